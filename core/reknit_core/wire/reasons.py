"""What went wrong, for people: on one line, printable, short. Peers may have written it."""

LONGEST = 200  # characters


def printable(text: str) -> str:
    """The text on one line, with escapes for what can't be printed."""
    return "".join(c if c.isprintable() else ascii(c)[1:-1] for c in text)


def shortened(text: str) -> str:
    """The text as printable() has it, at most LONGEST characters."""
    text = printable(text[: LONGEST + 1])
    return text if len(text) <= LONGEST else text[: LONGEST - 1] + "…"
