"""Decisions out of a fuzzer's bytes."""

from collections.abc import Iterator, Sequence
from typing import TypeVar

T = TypeVar("T")


class Choices:
    """Reads decisions one after the other; when the bytes are used up, each is the first."""

    def __init__(self, data: bytes) -> None:
        self._data = data
        self._position = 0

    @property
    def more(self) -> bool:
        """Whether bytes are left."""
        return self._position < len(self._data)

    def number(self, below: int) -> int:
        """A number from 0, below one of at most 256."""
        if not self.more:
            return 0
        self._position += 1
        return self._data[self._position - 1] % below

    def chance(self, of: int) -> bool:
        """True about once in so many times."""
        return self.number(of) == of - 1

    def pick(self, options: Sequence[T]) -> T:
        """One of them."""
        return options[self.number(len(options))]

    def some(self, most: int) -> bytes:
        """As many bytes as the next one says, up to `most`."""
        start = self._position + 1
        self._position = start + self.number(most + 1)
        return self._data[start : self._position]

    def rest(self) -> bytes:
        """All that is left."""
        start, self._position = self._position, len(self._data)
        return self._data[start:]


def pieces(data: bytes) -> Iterator[bytes]:
    """What follows the first byte, in pieces of as many bytes as that says; 0: in one."""
    size = (data[0] if data else 0) or len(data) or 1
    for start in range(1, len(data), size):
        yield data[start : start + size]
