"""Those that are open, and the wait for the last of them."""

from collections.abc import Iterator, Sized
from typing import Generic, TypeVar

import trio

T = TypeVar("T")


class Emptiness:
    """The wait until nothing is left of these; who takes some away says so."""

    def __init__(self, members: Sized) -> None:
        self._members = members
        self._come: trio.Event | None = None  # as soon as somebody waits for it

    def look(self) -> None:
        """One has gone: wake who waits, if it was the last."""
        if self._come is not None and not self._members:
            self._come.set()
            self._come = None

    async def wait(self) -> None:
        """Return when none is left."""
        while self._members:
            if self._come is None:
                self._come = trio.Event()
            await self._come.wait()


class Gathering(Generic[T]):
    """They come and go; in the end somebody waits until none is left."""

    def __init__(self) -> None:
        self._members: dict[T, None] = {}
        self._emptiness = Emptiness(self._members)

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
        self._emptiness.look()

    async def wait_empty(self) -> None:
        """Return when none is left."""
        await self._emptiness.wait()
