"""Numbered messages of many sessions, each due at a moment, and what became of them."""

import os
import struct
from dataclasses import dataclass, field
from pathlib import Path

RECORD = struct.Struct("<IId")  # session, number, moment; 16 bytes never straddle two pages
OPENED = 0  # in place of a message's number: a connection was opened


@dataclass(frozen=True, slots=True)
class Schedule:
    """When each end sends which message, numbered from 1: nobody has to tell anyone.

    `rate`: messages a second of all sessions in both directions; `start`: monotonic seconds.
    """

    sessions: int
    rate: float
    start: float

    @property
    def interval(self) -> float:
        """Seconds between two messages of one sender."""
        return 2 * self.sessions / self.rate

    def due(self, session: int, number: int) -> float:
        """When that message is to be sent (monotonic seconds)."""
        return self.start + (number - 1 + session / self.sessions) * self.interval

    def rounds(self, now: float) -> int:
        """How many messages of every sender were due by then."""
        return max(0, int((now - self.start) / self.interval))


class Journal:
    """Appends what an end has handled to a file; safe from the end's own SIGKILL at once."""

    def __init__(self, path: Path) -> None:
        self._file = os.open(path, os.O_CREAT | os.O_APPEND | os.O_WRONLY, 0o600)

    def note(self, session: int, number: int, moment: float) -> None:
        """Message `number` of that session was handled at that moment."""
        os.write(self._file, RECORD.pack(session, number, moment))


def handled_so_far(path: Path, sessions: int) -> list[int]:
    """How many messages of each session that journal holds, by whichever process."""
    counts = [0] * sessions
    if path.exists():
        for session, number, _ in RECORD.iter_unpack(path.read_bytes()):
            counts[session] += number != OPENED
    return counts


@dataclass(slots=True)
class Tally:
    """What became of the messages of one direction, as its receiver's journal says."""

    path: Path
    schedule: Schedule
    repeated: int = 0
    reordered: int = 0
    opened: int = 0
    """Connections of the receiver."""
    longest: float = 0.0
    """Of the times from when a message was due until it was handled; in seconds."""
    _read: int = 0
    _last: list[int] = field(init=False)
    _missing: set[tuple[int, int]] = field(default_factory=set)

    def __post_init__(self) -> None:
        self._last = [0] * self.schedule.sessions

    def has_come_to(self, rounds: int) -> bool:
        """Whether that many messages, or a later one, were handled of every session."""
        return min(self._last) >= rounds

    def lost(self, rounds: int) -> int:
        """So many of the first `rounds` messages of all sessions were not handled."""
        missing = sum(number <= rounds for _, number in self._missing)
        return missing + sum(max(0, rounds - last) for last in self._last)

    def read_on(self) -> None:
        """Take in what is new in the journal."""
        with self.path.open("rb") as file:
            file.seek(self._read)
            data = file.read()
        whole = len(data) - len(data) % RECORD.size
        self._read += whole
        for session, number, moment in RECORD.iter_unpack(data[:whole]):
            if number == OPENED:
                self.opened += 1
            else:
                self._handled(session, number, moment)

    def _handled(self, session: int, number: int, moment: float) -> None:
        last = self._last[session]
        if number > last:
            self._missing.update((session, missed) for missed in range(last + 1, number))
            self._last[session] = number
        elif (session, number) in self._missing:
            self._missing.remove((session, number))
            self.reordered += 1
        else:
            self.repeated += 1
            return
        self.longest = max(self.longest, moment - self.schedule.due(session, number))
