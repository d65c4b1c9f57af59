"""A proxy of several workers: real processes, started as a user starts them."""

import asyncio
import os
import re
import signal
from asyncio.subprocess import Process
from pathlib import Path

from socket_bench import Bench, header
from succession import Succession
from tls_files import certificate, client_context, write_certificate
from websockets.asyncio.client import ClientConnection
from websockets.asyncio.connection import Connection

_TAKEN = re.compile(r"process (\d+) has taken over")
_WORKER = re.compile(r"worker (\d+) is process (\d+)")


class Staff(Succession):
    """A parent and its workers."""

    @property
    def workers(self) -> dict[int, int]:
        """The process of each worker, of those that were started last."""
        found = [match for line in self.lines if (match := _WORKER.search(line))]
        return {int(match[1]): int(match[2]) for match in found}

    @property
    def alive(self) -> list[int]:
        """The processes of all workers that live, also of those that are only to take over."""
        found = [match for line in self.lines if (match := _WORKER.search(line))]
        return [pid for match in found if is_alive(pid := int(match[2]))]

    async def outcome(self, process: Process) -> bool:
        """Whether that one, which was started, takes over; if it fails, it ends with status 1."""
        while True:
            taken = [int(match[1]) for line in self.lines if (match := _TAKEN.search(line))]
            if process.pid in taken:
                self.reigns, self.pid = len(taken), taken[-1]
                await self.logged("listening on", self.reigns + 1)
                return True
            if process.returncode is not None:
                assert process.returncode == 1
                self._started.remove(process)
                return False
            await asyncio.sleep(0.01)

    def signal_worker(self, number: int, what: signal.Signals) -> None:
        """Send a worker a signal."""
        os.kill(self.workers[number], what)

    async def ended(self) -> int:
        """The exit status of the one that was started, once it and its workers have ended."""
        status = await self._started[0].wait()
        os.close(self._output)
        self._output = -1
        await self.log_ended()
        return status

    async def serves_again(self, number: int, times: int = 1) -> None:
        """Wait until a worker that has died was started again."""
        await self.logged(f"worker {number} serves again", times)


def is_alive(pid: int) -> bool:
    """Whether a process is there, and no zombie (Linux)."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


async def begin(bench: Bench, *options: str, workers: int = 3, scheme: str = "ws") -> Staff:
    """So many workers for the bench's server."""
    upstream = f"{scheme}://127.0.0.1:{bench.upstream.port}"
    proxy = Staff(upstream, "--workers", str(workers), *options)
    await proxy.begin()
    bench.proxies.append(proxy)  # type: ignore[arg-type]  # as the tests of takeovers do
    return proxy


def with_tls(bench: Bench, tmp_path: Path) -> tuple[str, str]:
    """Options with which clients speak TLS."""
    bench.tls = client_context()
    return "--tls-cert", write_certificate(tmp_path / "cert.pem", certificate("127.0.0.1"))


async def exchange(client: Connection, server: Connection) -> None:
    """A message each way."""
    await client.send("there")
    assert await server.recv() == "there"
    await server.send("back")
    assert await client.recv() == "back"


def how(client: ClientConnection) -> str | None:
    """Whether it has a new session, or an old one."""
    return header(client.response, "x-reconnect")
