"""How large the proxy becomes while a peer that does not read is flooded.

`python memory_run.py` prints a table of sizes, with the default bounds.
"""

import signal
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from enum import Enum
from pathlib import Path
from tempfile import TemporaryDirectory

import trio
from children import HERE, LIMIT, Child, Children, children, start_proxy
from journal import read_journal
from raw_peer import RawPeer, RawServer, numbered, proxy_turned, raw_client

SIZE = 1000  # bytes of a message
MB = 10**6
FULL = 60_000  # messages of a flood: more than all buffers on the way hold


class Victim(Enum):
    """Who is flooded."""

    STOPPED_SERVER = "server stopped"
    STOPPED_CLIENT = "client stopped"
    SLOW_SERVER = "server slow"


@dataclass(frozen=True, slots=True)
class Sizes:
    """The proxy's resident size in bytes, round by round; and how far each flood came (bytes)."""

    start: int
    bound: tuple[int, ...]
    after: tuple[int, ...]
    held_back: tuple[int, ...]


class Flood:
    """Numbered messages, as many as go."""

    def __init__(self, peer: RawPeer, proxy: int, *, masked: bool) -> None:
        self.sent = 0
        self._peer = peer
        self._proxy = proxy  # its port
        self._masked = masked

    async def run(self, count: int) -> None:
        """Send that many more."""
        for first in range(self.sent, self.sent + count, 20):
            await self._peer.send_frames(
                numbered(range(first + 1, first + 21), SIZE, masked=self._masked)
            )
            self.sent = first + 20

    async def held_back(self) -> None:
        """Wait until nothing goes any more, however often the proxy looks at its sockets."""
        before = -1
        while self.sent > before:
            before = self.sent
            await proxy_turned(self._proxy)


def resident(process: trio.Process) -> int:
    """The resident size in bytes (Linux)."""
    for line in Path(f"/proc/{process.pid}/status").read_text().splitlines():
        if line.startswith("VmRSS:"):
            return int(line.split()[1]) * 1024
    raise RuntimeError("no VmRSS")


async def measure(victim: Victim, count: int, *options: str, rounds: int = 2) -> Sizes:
    """Flood that victim with `count` messages, let it catch up, and do so again."""
    with trio.fail_after(LIMIT), TemporaryDirectory() as folder:
        journal = Path(folder, "journal")
        async with children() as started, trio.open_nursery() as nursery:
            options = ("--heartbeat-interval", "0", "--heartbeat-timeout", "600", *options)
            if victim is Victim.STOPPED_CLIENT:
                opened = _flooding_server(started, nursery, journal, options)
            else:
                slow = victim is Victim.SLOW_SERVER
                opened = _flooding_client(started, nursery, journal, options, slow=slow)
            async with opened as (proxy, reader, flood):
                sizes = await _rounds(proxy, reader, flood, victim, count, journal, rounds)
            nursery.cancel_scope.cancel()
        return sizes


async def _rounds(
    proxy: trio.Process,
    reader: trio.Process,
    flood: Flood,
    victim: Victim,
    count: int,
    journal: Path,
    rounds: int,
) -> Sizes:
    start = resident(proxy)
    bound, after, held_back = [], [], []
    for _ in range(rounds):
        begun = flood.sent
        if victim is not Victim.SLOW_SERVER:
            reader.send_signal(signal.SIGSTOP)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(flood.run, count)
            await flood.held_back()
            held_back.append((flood.sent - begun) * SIZE)
            bound.append(resident(proxy))
            reader.send_signal(signal.SIGCONT)
        while read_journal(journal)[-1:] != [flood.sent]:
            await trio.sleep(0.05)
        after.append(resident(proxy))
    if read_journal(journal) != [*range(1, flood.sent + 1)]:
        raise RuntimeError("messages were lost, repeated or reordered")
    return Sizes(start, tuple(bound), tuple(after), tuple(held_back))


async def _reader(started: Children, journal: Path, role: str, port: int, *options: str) -> Child:
    """A process that writes down what it gets."""
    program = str(HERE / "run_peer.py")
    reader = await started.start(
        *(sys.executable, program, role, "websockets", str(journal), str(port), *options)
    )
    await reader.order("go")
    return reader


@asynccontextmanager
async def _flooding_client(
    started: Children, nursery: trio.Nursery, journal: Path, options: tuple[str, ...], *, slow: bool
) -> AsyncIterator[tuple[trio.Process, trio.Process, Flood]]:
    reader = await _reader(started, journal, "server", 0, *(["--slow"] if slow else []))
    port = int((await reader.said("listening")).split()[1])
    proxy, proxy_port = await start_proxy(started, port, *options)
    async with raw_client(proxy_port) as peer:
        nursery.start_soon(peer.answer_pings)
        yield proxy.process, reader.process, Flood(peer, proxy_port, masked=True)


@asynccontextmanager
async def _flooding_server(
    started: Children, nursery: trio.Nursery, journal: Path, options: tuple[str, ...]
) -> AsyncIterator[tuple[trio.Process, trio.Process, Flood]]:
    server = RawServer()
    await nursery.start(server.run)
    proxy, proxy_port = await start_proxy(started, server.port, *options)
    reader = await _reader(started, journal, "client", proxy_port)
    peer = await server.next()
    await reader.said("open")
    nursery.start_soon(peer.answer_pings)
    yield proxy.process, reader.process, Flood(peer, proxy_port, masked=False)


def main() -> None:
    """Print the table."""
    print("| flooded | start | at the bound | after | at the bound again | after | held back at |")
    print("| --- | ---: | ---: | ---: | ---: | ---: | ---: |")
    for victim in Victim:
        sizes = trio.run(measure, victim, FULL)
        cells = [sizes.start]
        for pair in zip(sizes.bound, sizes.after, strict=True):
            cells += pair
        cells.append(max(sizes.held_back))
        shown = " | ".join(f"{cell / MB:.1f} MB" for cell in cells)
        print(f"| {victim.value} | {shown} |", flush=True)


if __name__ == "__main__":
    main()
