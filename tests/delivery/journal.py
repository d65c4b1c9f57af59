"""A journal of numbered messages that survives the SIGKILL of the process that writes it."""

import os
import struct
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

RECORD = struct.Struct("<Q")  # 8 bytes never straddle two pages, so no kill can tear one


class Journal:
    """Appends numbers to a file; each is the system's, and safe, before append() returns."""

    def __init__(self, path: Path) -> None:
        self._file = os.open(path, os.O_CREAT | os.O_APPEND | os.O_WRONLY, 0o600)
        self.count = os.fstat(self._file).st_size // RECORD.size

    def append(self, number: int) -> None:
        """Write down that message `number` was handled."""
        os.write(self._file, RECORD.pack(number))
        self.count += 1


def read_journal(path: Path) -> list[int]:
    """The numbers in the order in which they were handled, by all processes that wrote them."""
    if not path.exists():
        return []
    return [number for (number,) in RECORD.iter_unpack(path.read_bytes())]


@dataclass(frozen=True, slots=True)
class Outcome:
    """How the messages of one direction fared."""

    accepted: int
    """What the proxy has taken from the sender: the messages 1 to this number."""
    handled: int
    """Handled by the receiving application, each counted once."""
    repeated: int
    """Handled once more."""
    reordered: int
    """Handled for the first time, but after a later one."""

    @property
    def lost(self) -> int:
        """Accepted, never handled."""
        return self.accepted - self.handled


def outcome(accepted: int, numbers: list[int]) -> Outcome:
    """What a journal says of `accepted` messages. Raises ValueError for a number never sent."""
    first = list(dict.fromkeys(numbers))
    if not all(0 < number <= accepted for number in first):
        raise ValueError("a message was handled that was never sent")
    reordered = sum(later < earlier for earlier, later in pairwise(first))
    return Outcome(accepted, len(first), len(numbers) - len(first), reordered)
