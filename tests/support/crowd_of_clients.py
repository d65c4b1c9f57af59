"""Many clients at once, which come, go and come back: bytes by hand, as they are many."""

import asyncio
from collections.abc import Iterable, Iterator
from itertools import islice
from typing import TypeVar

from raw_websocket import RawConnection, request
from socket_bench import COMES_BACK, Bench

AT_ONCE = 50

T = TypeVar("T")


class Crowd:
    """So many clients of the bench's last proxy, and their connections at its raw server.

    Every other one names its session; the others are told their id.
    """

    def __init__(self, bench: Bench, number: int) -> None:
        self._bench = bench
        self._number = number
        self.clients: list[RawConnection] = []
        self.servers: dict[str, RawConnection] = {}
        """By the session's id."""

    async def come(self) -> None:
        """All begin a session."""
        accepting = self._bench.spawn(self._accept())
        for numbers in _groups(range(self._number)):
            named = [[f"x-connection-id: user-{n}"] if n % 2 else [] for n in numbers]
            self.clients += await asyncio.gather(*[self._ask("new", *name) for name in named])
        await accepting

    def go(self) -> None:
        """All connections of clients break."""
        for client in self.clients:
            client.abort()
        self.clients = []

    async def come_back(self) -> list[RawConnection]:
        """All come back to their sessions, in the order of `servers`."""
        for names in _groups(self.servers):
            back = [self._ask("resumed", f"x-reconnect-id: {name}") for name in names]
            self.clients += await asyncio.gather(*back)
        return self.clients

    async def _ask(self, how: str, *headers: str) -> RawConnection:
        client = await self._bench.raw()
        client.send(request("/", COMES_BACK, *headers))
        head = await client.read_head()
        assert (head.status, head.value("x-reconnect")) == (101, how)
        return client

    async def _accept(self) -> None:
        while len(self.servers) < self._number:
            server = await self._bench.raw_upstream.accept()
            name = server.head.value("x-connection-id")
            assert name is not None
            self.servers[name] = server


def _groups(several: Iterable[T]) -> Iterator[list[T]]:
    rest = iter(several)
    while group := list(islice(rest, AT_ONCE)):
        yield group
