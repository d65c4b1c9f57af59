"""A glance at a JSON message: whether it can mean anything, by one of its members.

Most messages of a session carry an application's data and mean nothing to a dialect. Where all
patterns want certain texts at one name of the document, that member alone is read, and nothing is
made of the rest.
"""

from collections.abc import Iterable
from typing import Any

import msgspec

from reknit_core.dialect.ruled.patterns import Pattern

_TELLING = 2  # texts at a name that all messages of a protocol may well have: one tells nothing


class Glance:
    """What one of the patterns `meaningful` must fit, if a message means anything."""

    __slots__ = ("_decoder", "_texts")

    def __init__(self, meaningful: Iterable[Pattern]) -> None:
        name, self._texts = _telling(list(meaningful))
        seen = msgspec.defstruct("Seen", [("text", str, "")], rename={"text": name})
        self._decoder: msgspec.json.Decoder[Any] = msgspec.json.Decoder(seen)

    def excludes(self, data: bytes) -> bool:
        """Whether the message certainly fits none of the patterns."""
        texts = self._texts
        if not texts:
            return texts is not None
        try:
            return self._decoder.decode(data).text not in texts
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
            return False  # it is broken, or has something else there: it is read as a whole


def _telling(meaningful: list[Pattern]) -> tuple[str, frozenset[str] | None]:
    """The name at which every pattern wants texts, and which; None: there is no such name.

    Without a pattern there is no text, either.
    """
    best: tuple[str, frozenset[str] | None] = ("", None if meaningful else frozenset())
    most = _TELLING
    names = {path[0] for each in meaningful[:1] for path, _ in each.places if len(path) == 1}
    for name in sorted(name for name in names if isinstance(name, str)):
        wanted = [_texts(each, name) for each in meaningful]
        together = frozenset().union(*wanted)
        if all(wanted) and len(together) >= most:
            best, most = (name, together), len(together) + 1
    return best


def _texts(pattern: Pattern, name: str) -> frozenset[str]:
    """Which texts the pattern wants at that name; none, if it wants something else, or nothing."""
    wanted = dict(pattern.places).get((name,))
    if not isinstance(wanted, tuple):
        return frozenset()
    texts = [value for value in wanted if isinstance(value, str)]
    return frozenset(texts if len(texts) == len(wanted) else ())
