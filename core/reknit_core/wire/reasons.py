"""What went wrong, for people: on one line, printable, short. Peers may have written it."""

import re

LONGEST = 200  # characters


def printable(text: str) -> str:
    """The text on one line, with escapes for what can't be printed."""
    if text.isprintable():
        return text
    return "".join(c if c.isprintable() else ascii(c)[1:-1] for c in text)


def shortened(text: str) -> str:
    """The text as printable() has it, at most LONGEST characters."""
    text = printable(text[: LONGEST + 1])
    return text if len(text) <= LONGEST else text[: LONGEST - 1] + "…"


def without_users(text: str) -> str:
    """The text without what stands in front of the hosts of its URLs: there may be a password."""
    return re.sub(r"([A-Za-z][A-Za-z0-9+.-]*://).*@", r"\1...@", text, flags=re.DOTALL)


def without_user(url: str) -> str:
    """The same of what was meant as a URL, which may lack its scheme."""
    return re.sub(r"\A([A-Za-z][A-Za-z0-9+.-]*:/*)?.*@", r"\1...@", url, flags=re.DOTALL)


def reason_of(error: Exception) -> str:
    """What an error says: the system's word for it without number and file, if it has one."""
    return getattr(error, "strerror", None) or str(error)
