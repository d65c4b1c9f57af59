"""Those that are open, and the wait for the last of them."""

from collections.abc import Iterator
from typing import Generic, TypeVar

import trio

T = TypeVar("T")


class Gathering(Generic[T]):
    """They come and go; in the end somebody waits until none is left."""

    def __init__(self) -> None:
        self._members: dict[T, None] = {}
        self._left = trio.Event()  # set, and replaced, when one has gone

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
        self._left.set()
        self._left = trio.Event()

    async def wait_empty(self) -> None:
        """Return when none is left."""
        while self._members:
            await self._left.wait()
