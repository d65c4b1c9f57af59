"""Protocols that are a stream of bytes: units cut out of messages that may hold several, or half.

A reader is made for each direction. Large units are passed over, not kept. What a server says
passes on unit by unit, so that a client has heard half of none when the server is lost; but for
large ones.
"""

from abc import abstractmethod
from collections.abc import Iterator
from typing import Any, Generic, NamedTuple, TypeVar

Unit = TypeVar("Unit")

MAX_UNIT = 64 * 1024
"""Bytes; a larger one is not kept: what is, is copied with each message that brings more of it."""

MAX_UNITS = 8192
"""In one message, which is heard at once while others wait; writers flush far fewer at a time."""

_MAX_SOUGHT = 64 * MAX_UNIT
"""Bytes looked through for one unit's end, again with each message that brings more of it."""


class MalformedError(ValueError):
    """Bytes that are none of the protocol."""


class Piece(NamedTuple, Generic[Unit]):
    """What passes on of one unit in a message; `unit`: what it is, once that is known."""

    data: bytes
    unit: Unit | None


class Cut(NamedTuple, Generic[Unit]):
    """Where a unit ends, and what it is; None: that is not known yet."""

    end: int | None
    unit: Unit | None


class StreamReader(Generic[Unit]):
    """Cuts units out of one direction's bytes.

    `holds_back`: whether units pass on only when they are whole, but for large ones.
    """

    __slots__ = ("_held", "_holds_back", "_skip", "_sought", "_whole")

    UNTIL: bytes = b""
    """The byte at which a large unit ends whose length is not known."""

    def __init__(self, *, holds_back: bool = False) -> None:
        self._holds_back = holds_back
        self._held = b""  # of a unit that isn't whole
        self._skip = 0  # bytes of a large one still to come; -1: up to UNTIL
        self._whole = 0  # bytes of that one which isn't whole; 0: not known yet
        self._sought = 0  # bytes looked through for its end

    @abstractmethod
    def cut(self, data: bytes, pos: int) -> Cut[Unit]:
        """The unit that begins there. Raises MalformedError."""

    @property
    def is_inside(self) -> bool:
        """Whether the bytes so far end within a unit."""
        return bool(self._held) or self._skip != 0

    @property
    def has_passed_half(self) -> bool:
        """Whether a part of a unit has passed on."""
        return self._skip != 0 or (bool(self._held) and not self._holds_back)

    @property
    def held_back(self) -> bytes:
        """Bytes that have not passed on."""
        return self._held if self._holds_back else b""

    @property
    def half(self) -> bytes:
        """The bytes so far of the unit that isn't whole; none if it is too large."""
        return self._held

    def only(self, data: bytes) -> Unit | None:
        """What the next bytes are if they are one whole unit; else they are to be read.

        Raises MalformedError.
        """
        if self._held or self._skip:
            return None
        end, unit = self.cut(data, 0)
        return unit if end == len(data) else None

    def read(self, data: bytes) -> Iterator[Piece[Unit]]:
        """The next bytes, unit by unit. Raises MalformedError."""
        if len(self._held) + len(data) < self._whole:  # there is nothing new to be found
            self._held += data
            yield Piece(b"" if self._holds_back else data, None)
            return
        before = pos = 0
        self._whole = 0
        if self._held:
            before = 0 if self._holds_back else len(self._held)  # bytes that have passed on
            data = self._held + data
            self._held = b""
        elif self._skip:
            pos = self._pass_over(data)
            if pos:
                yield Piece(data[:pos], None)
        units = 0
        while pos < len(data):
            units += 1
            if units > MAX_UNITS:
                raise MalformedError
            here = max(pos, before)
            end, unit = self.cut(data, pos)
            known = len(data) + 1 if end is None else end
            if known - pos > MAX_UNIT:
                self._skip = -1 if end is None else max(0, end - len(data))
                yield Piece(data[here:known], unit)
            elif known <= len(data):
                self._sought = 0
                yield Piece(data[here:known], unit)
            else:
                self._held = data[pos:]
                self._whole = 0 if end is None else end - pos
                self._sought = self._sought + len(self._held) if pos == 0 else 0
                if self._sought > _MAX_SOUGHT:
                    raise MalformedError
                yield Piece(b"" if self._holds_back else data[here:], None)
            pos = known

    def _pass_over(self, data: bytes) -> int:
        """Where the rest of a large unit ends."""
        if self._skip >= 0:
            pos = min(self._skip, len(data))
            self._skip -= pos
            return pos
        pos = data.find(self.UNTIL) + 1
        if pos:
            self._skip = 0
        return pos or len(data)

    def freeze(self) -> list[object]:
        """What is half read."""
        return [self._held, self._skip]

    def thaw(self, state: Any) -> None:
        """Become what freeze() gave."""
        self._held, self._skip = state
