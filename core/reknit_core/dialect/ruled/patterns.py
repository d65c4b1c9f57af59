"""Patterns over JSON documents, and paths into them: what a dialect's rules are made of.

A path is names and indices with dots between: `payload.id`, `1`. A pattern says what stands at
which paths: a value, one of several values, a text that a regular expression finds something in,
or only that there is something, or nothing.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum

import msgspec

Scalar = str | int | float | bool | None
Path = tuple[str | int, ...]

MAX_DEPTH = 8  # names in a path


class Presence(Enum):
    """That something stands at a path, whatever it is; or nothing."""

    PRESENT = True
    ABSENT = False


Wanted = tuple[Scalar, ...] | re.Pattern[str] | Presence


@dataclass(frozen=True, slots=True)
class Pattern:
    """What must stand at each path: one of these values, such a text, or a Presence."""

    places: tuple[tuple[Path, Wanted], ...]

    def fits(self, document: object) -> bool:
        """Whether the document is as the pattern says."""
        for path, wanted in self.places:  # noqa: SIM110 - it is done for every message
            if not _is_so(find(document, path), wanted):
                return False
        return True


class _Missing:
    """What stands where nothing does: JSON's null is something."""


MISSING = _Missing()


def read_path(text: str) -> Path:
    """The path that a text names. Raises ValueError."""
    parts = text.split(".")
    if not all(parts) or len(parts) > MAX_DEPTH:
        raise ValueError(text)
    return tuple(int(part) if _is_index(part) else part for part in parts)


def find(document: object, path: Path) -> object:
    """What stands at the path; MISSING if nothing does."""
    found = document
    for part in path:
        if isinstance(found, dict):
            found = found.get(part if isinstance(part, str) else str(part), MISSING)
        elif isinstance(found, list) and isinstance(part, int) and part < len(found):
            found = found[part]
        else:
            return MISSING
    return found


def decode(data: bytes) -> object:
    """The JSON document in a message; MISSING if it is none, or no object or array."""
    if data[:1] not in b"{[ \t\r\n" or not data:
        return MISSING
    try:
        document = msgspec.json.decode(data)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return MISSING
    return document if isinstance(document, (dict, list)) else MISSING


def encode(document: Mapping[str, object] | list[object]) -> bytes:
    """A JSON document as a message has it: an array, where all its names are indices."""
    if isinstance(document, dict) and document and all(map(_is_index, document)):
        document = [document[name] for name in sorted(document, key=int)]
    return msgspec.json.encode(document)


def placed(document: Mapping[str, object], path: Path, value: Scalar) -> dict[str, object]:
    """The document with that value at that path."""
    name, *rest = path
    inner = document.get(str(name))
    within = inner if isinstance(inner, dict) else {}
    return {**document, str(name): placed(within, tuple(rest), value) if rest else value}


def _is_index(name: str) -> bool:
    return name.isascii() and name.isdigit()


def _is_so(found: object, wanted: Wanted) -> bool:
    if isinstance(wanted, Presence):
        return (found is not MISSING) is (wanted is Presence.PRESENT)
    if isinstance(wanted, re.Pattern):
        return isinstance(found, str) and wanted.search(found) is not None
    if isinstance(found, str):
        return found in wanted
    return found is not MISSING and any(
        found == value and isinstance(found, bool) is isinstance(value, bool) for value in wanted
    )
