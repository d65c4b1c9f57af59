"""`reknit serve` in a process of its own, on a free loopback port.

The processes are forked from one that has imported all they need: that takes a tenth of the time.
"""

import asyncio
import multiprocessing
import os
import re
import resource
import signal
from multiprocessing.context import ForkServerProcess
from pathlib import Path
from typing import Self

from forked_serve import serve
from linux import only_on_linux
from patience import LIMIT, patience

_FORKS = multiprocessing.get_context("forkserver")
_FORKS.set_forkserver_preload(["pytest", "reknit.cli.main", "reknit.process.serve"])
_LISTENING = re.compile(r"listening on (?:unix:\S+|\S+:(\d+)) for ")
_SAID = "(?:DEBUG|INFO|WARNING)"  # how loudly depends on how many sessions meet with it
_STATE = re.compile(rf"{_SAID} [0-9a-f]{{12}} (\w+) by (\w+)")

PATIENT = (
    *("--retry-interval", "0.05", "--retry-limit", "1000000", "--client-grace", "3600"),
    *("--heartbeat-interval", "3600", "--heartbeat-timeout", "3600"),
    *("--connect-timeout", "600", "--handshake-wait", "600", "--request-timeout", "600"),
    *("--close-timeout", str(patience(5)), "--drain-time", "0"),
)
"""Nothing runs out while a test takes its time, unless that is what it tests."""


class ProxyLog:
    """The log of a proxy, read as it is written: it tells what the proxy has noticed."""

    def __init__(self) -> None:
        self.port = 0
        self.lines: list[str] = []
        self._logged = asyncio.Condition()
        self._reader: asyncio.Task[None] | None = None

    async def read_log(self, descriptor: int) -> None:
        """Read it from that descriptor; the proxy listens when this returns."""
        log = asyncio.StreamReader()
        await asyncio.get_running_loop().connect_read_pipe(
            lambda: asyncio.StreamReaderProtocol(log), os.fdopen(descriptor, "rb")
        )
        self._reader = asyncio.create_task(self._read(log))
        found = _LISTENING.search(await self.logged(_LISTENING.pattern))
        assert found is not None
        self.port = int(found[1] or 0)

    async def _read(self, log: asyncio.StreamReader) -> None:
        async for line in log:
            async with self._logged:
                self.lines.append(line.decode().rstrip())
                self._logged.notify_all()
        async with self._logged:
            self._logged.notify_all()

    async def log_ended(self) -> None:
        """Wait until nobody writes it any more."""
        assert self._reader is not None
        await self._reader

    async def logged(self, pattern: str, times: int = 1) -> str:
        """Wait until that many log lines match; returns the last of them."""
        async with self._logged:
            while True:
                found = [line for line in self.lines if re.search(pattern, line)]
                if len(found) >= times:
                    return found[times - 1]
                if self._reader is None or self._reader.done():
                    log = "\n".join(self.lines)
                    raise AssertionError(f"the proxy ended without {pattern!r}:\n{log}")
                await self._logged.wait()

    async def reached(self, state: str, times: int = 1) -> None:
        """Wait until the log shows a session in that state, that many times."""
        await self.logged(rf"{_SAID} [0-9a-f]{{12}} {state} by ", times)

    @property
    def transitions(self) -> list[tuple[str, str]]:
        """(state, trigger) of every transition so far, of all sessions."""
        found = map(_STATE.search, self.lines)
        return [(match[1], match[2]) for match in found if match]

    async def stop(self) -> int | None:
        """Ask it to stop, if it still runs; returns the exit status."""
        raise NotImplementedError


class ProxyProcess(ProxyLog):
    """A running proxy."""

    def __init__(self, process: ForkServerProcess) -> None:
        super().__init__()
        self._process = process

    @classmethod
    async def start(cls, upstream: str, *options: str, files: int = 0) -> Self:
        """Start a patient proxy for that upstream URL; it listens when this returns.

        It says all that it has to say, unless the options ask for less.
        `files`: how many it may have open; 0: as many as this process may.
        """
        receiver, sender = _FORKS.Pipe(duplex=False)
        listen = () if "--listen" in options else ("--listen", "127.0.0.1:0")
        level = () if "--log-level" in options else ("--log-level", "debug")
        options = (upstream, *listen, *level, *PATIENT, *options)
        process = _FORKS.Process(target=serve, args=(options, sender, files))
        process.start()
        sender.close()
        proxy = cls(process)
        await proxy.read_log(os.dup(receiver.fileno()))
        receiver.close()
        return proxy

    @property
    def pid(self) -> int:
        """The process's id."""
        assert self._process.pid is not None
        return self._process.pid

    def memory(self) -> int:
        """The resident size in bytes (Linux)."""
        only_on_linux("/proc")
        status = Path(f"/proc/{self._process.pid}/status").read_text()
        found = re.search(r"VmRSS:\s+(\d+) kB", status)
        assert found is not None
        return int(found[1] or 0) * 1024

    @property
    def open_files(self) -> int:
        """The highest number of an open file, and one (Linux)."""
        only_on_linux("/proc")
        return 1 + max(int(name.name) for name in Path(f"/proc/{self._process.pid}/fd").iterdir())

    def limit_files(self, number: int) -> None:
        """Files with this or a higher number can't be opened any more (Linux)."""
        only_on_linux("prlimit")
        assert self._process.pid is not None
        _, most = resource.prlimit(self._process.pid, resource.RLIMIT_NOFILE)
        resource.prlimit(self._process.pid, resource.RLIMIT_NOFILE, (number, most))

    @property
    def processor_seconds(self) -> float:
        """How much processor time it has used (Linux)."""
        only_on_linux("/proc")
        fields = Path(f"/proc/{self._process.pid}/stat").read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

    def signal(self, number: signal.Signals) -> None:
        """Send the process a signal."""
        assert self._process.pid is not None
        os.kill(self._process.pid, number)

    async def wait(self) -> int | None:
        """The exit status, once it has ended and its log is read."""
        await self.log_ended()
        self._process.join()
        return self._process.exitcode

    async def stop(self) -> int | None:
        """Ask it to stop, if it still runs; returns the exit status."""
        if self._process.is_alive():
            self.signal(signal.SIGTERM)
        try:
            async with asyncio.timeout(LIMIT / 4):
                return await self.wait()
        except TimeoutError:
            self._process.kill()
            await self.wait()
            raise AssertionError("the proxy did not stop") from None
