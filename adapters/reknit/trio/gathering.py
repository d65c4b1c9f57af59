"""Those that are open, and the wait for the last of them."""

from collections.abc import Iterator
from typing import Generic, TypeVar

import trio

T = TypeVar("T")


class Gathering(Generic[T]):
    """They come and go; in the end somebody waits until none is left."""

    def __init__(self) -> None:
        self._members: dict[T, None] = {}
        self._empty: trio.Event | None = None  # as soon as somebody waits for it

    def __len__(self) -> int:
        return len(self._members)

    def __iter__(self) -> Iterator[T]:
        """All of them, the first first; they may go meanwhile."""
        return iter(list(self._members))

    def add(self, member: T) -> None:
        """One has come."""
        self._members[member] = None

    def discard(self, member: T) -> None:
        """One has gone. Nothing, if that was known."""
        self._members.pop(member, None)
        if self._empty is not None and not self._members:
            self._empty.set()
            self._empty = None

    async def wait_empty(self) -> None:
        """Return when none is left."""
        while self._members:
            if self._empty is None:
                self._empty = trio.Event()
            await self._empty.wait()
