"""The processes of a delivery run: the proxy, the ends, and a relay that can cut connections."""

import os
import random
import socket
import struct
import sys
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from pathlib import Path
from subprocess import PIPE

import trio

HERE = Path(__file__).parent
sys.path.append(str(HERE.parent / "support"))  # also where this is a program, and no test

from patience import LIMIT  # noqa: E402

_RESET = struct.pack("ii", 1, 0)  # SO_LINGER: closing sends RST
_NEVER_EPHEMERAL = range(20000, 32000)  # a dial to a dead server must not meet itself there

WORKERS = ("--workers", os.environ.get("DELIVERY_WORKERS", "1"))
"""Of each proxy, unless a run's own options say something else."""


class Child:
    """A running process that speaks in lines; they are counted by their first word."""

    def __init__(self, process: trio.Process) -> None:
        self.process = process
        self.lines: list[str] = []
        self._counts: Counter[str] = Counter()
        self._news = trio.Condition()
        self._ended = False

    async def order(self, line: str) -> None:
        """Give it a line on its standard input."""
        assert self.process.stdin is not None
        await self.process.stdin.send_all(line.encode() + b"\n")

    async def said(self, word: str, times: int = 1) -> str:
        """Wait until it has said such a line that often; returns the last one."""
        with trio.fail_after(LIMIT):
            async with self._news:
                while self._counts[word] < times:
                    if self._ended:
                        raise RuntimeError(f"ended without {word!r}: {self.lines}")
                    await self._news.wait()
        return next(line for line in reversed(self.lines) if word in line.split())

    def count(self, word: str) -> int:
        """How many lines with that word it has said."""
        return self._counts[word]

    async def kill(self) -> None:
        """SIGKILL."""
        self.process.kill()
        await self.process.wait()

    async def listen(self, stream: trio.abc.ReceiveStream) -> None:
        """Take its lines until it ends."""
        rest = b""
        with suppress(trio.ClosedResourceError):  # a child of the child can keep the pipe open
            async for data in stream:
                *lines, rest = (rest + data).split(b"\n")
                async with self._news:
                    for line in lines:
                        self.lines.append(line.decode())
                        self._counts.update(set(line.decode().split()))
                    self._news.notify_all()
        async with self._news:
            self._ended = True
            self._news.notify_all()


class Children:
    """Starts processes; none outlives it."""

    def __init__(self, nursery: trio.Nursery) -> None:
        self._nursery = nursery
        self._all: list[trio.Process] = []

    async def start(self, *command: str, errors: bool = False) -> Child:
        """A process whose standard output, or error output, is listened to."""
        environment = {k: v for k, v in os.environ.items() if not k.startswith("REKNIT_")}
        process = await trio.lowlevel.open_process(
            command,
            stdin=PIPE,
            stdout=None if errors else PIPE,
            stderr=PIPE if errors else None,
            env=environment,
        )
        self._all.append(process)
        child = Child(process)
        stream = process.stderr if errors else process.stdout
        assert stream is not None
        self._nursery.start_soon(child.listen, stream)
        return child

    async def end(self) -> None:
        """Kill what still runs, and close the pipes."""
        with trio.CancelScope(shield=True):
            for process in self._all:
                if process.returncode is None:
                    process.kill()
                await process.wait()
                for stream in (process.stdin, process.stdout, process.stderr):
                    if stream is not None:
                        await stream.aclose()


@asynccontextmanager
async def children() -> AsyncIterator[Children]:
    """Processes for as long as this lasts."""
    async with trio.open_nursery() as nursery:
        started = Children(nursery)
        try:
            yield started
        finally:
            await started.end()
            nursery.cancel_scope.cancel()


async def start_proxy(started: Children, server_port: int, *options: str) -> tuple[Child, int]:
    """`reknit serve` on a free port: the process and the port."""
    proxy = await started.start(
        sys.executable,
        *("-c", "from reknit.cli.main import main; main()", "serve"),
        *(f"ws://127.0.0.1:{server_port}", "--listen", "127.0.0.1:0", *WORKERS, *options),
        errors=True,
    )
    line = await proxy.said("listening")
    return proxy, int(line.partition(" for ")[0].rpartition(":")[2])


def free_port() -> int:
    """A port that a server can listen on, die, and listen on again."""
    while True:
        port = random.choice(_NEVER_EPHEMERAL)
        with socket.socket() as sock:
            try:
                sock.bind(("127.0.0.1", port))
            except OSError:
                continue
            return port


class Relay:
    """Passes TCP connections on to a port on this machine; cuts them on demand."""

    def __init__(self, target: int) -> None:
        self.target = target
        self.port = 0
        self.connections = 0
        self._sockets: set[trio.socket.SocketType] = set()

    async def run(self, *, task_status: trio.TaskStatus[None]) -> None:
        """Serve until cancelled."""
        listeners = await trio.open_tcp_listeners(0, host="127.0.0.1")
        self.port = listeners[0].socket.getsockname()[1]
        task_status.started()
        await trio.serve_listeners(self._handle, listeners)

    def cut(self) -> int:
        """Reset every connection on both ends; returns how many sockets that were."""
        cut = len(self._sockets)
        for sock in self._sockets:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
            sock.close()
        self._sockets.clear()
        return cut

    async def _handle(self, near: trio.SocketStream) -> None:
        async with AsyncExitStack() as stack:
            try:
                far = await trio.open_tcp_stream("127.0.0.1", self.target)
            except OSError:
                return
            await stack.enter_async_context(far)
            self.connections += 1
            ends = {near.socket, far.socket}
            self._sockets |= ends
            async with trio.open_nursery() as nursery:
                nursery.start_soon(self._copy, near, far)
                nursery.start_soon(self._copy, far, near)
            self._sockets -= ends

    async def _copy(self, source: trio.SocketStream, target: trio.SocketStream) -> None:
        try:
            async for data in source:
                await target.send_all(data)
            await target.send_eof()
        except (trio.BrokenResourceError, trio.ClosedResourceError):
            source.socket.close()
            target.socket.close()
