"""`reknit serve` in a process of its own, on a free loopback port."""

import asyncio
import os
import re
import signal
import sys
from pathlib import Path
from typing import Self

_COMMAND = (sys.executable, "-c", "from reknit.cli import main; main()", "serve")
_LISTENING = re.compile(r"listening on \S+ port (\d+) ")
_STATE = re.compile(r"INFO [0-9a-f]{8} (\w+) by (\w+)")


def serve_command(*options: str) -> tuple[tuple[str, ...], dict[str, str]]:
    """The command line and the environment for `reknit serve` with these options."""
    environment = {k: v for k, v in os.environ.items() if not k.startswith("REKNIT_")}
    return (*_COMMAND, *options), environment


class ProxyProcess:
    """A running proxy. Its log, read as it is written, tells what the proxy has noticed."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self.port = 0
        self.lines: list[str] = []
        self._process = process
        self._logged = asyncio.Condition()
        self._reader = asyncio.create_task(self._read())

    @classmethod
    async def start(cls, upstream: str, *options: str) -> Self:
        """Start a proxy for that upstream URL; it listens when this returns."""
        command, environment = serve_command(upstream, "--listen", "127.0.0.1:0", *options)
        pipe = asyncio.subprocess.PIPE
        proxy = cls(await asyncio.create_subprocess_exec(*command, stderr=pipe, env=environment))
        found = _LISTENING.search(await proxy.logged(_LISTENING.pattern))
        assert found is not None
        proxy.port = int(found[1])
        return proxy

    async def _read(self) -> None:
        assert self._process.stderr is not None
        async for line in self._process.stderr:
            async with self._logged:
                self.lines.append(line.decode().rstrip())
                self._logged.notify_all()
        async with self._logged:
            self._logged.notify_all()

    async def logged(self, pattern: str, times: int = 1) -> str:
        """Wait until that many log lines match; returns the last of them."""
        async with self._logged:
            while True:
                found = [line for line in self.lines if re.search(pattern, line)]
                if len(found) >= times:
                    return found[times - 1]
                if self._process.stderr is None or self._process.stderr.at_eof():
                    raise AssertionError(f"the proxy ended without: {pattern}")
                await self._logged.wait()

    async def reached(self, state: str, times: int = 1) -> None:
        """Wait until the log shows a session in that state, that many times."""
        await self.logged(rf"INFO [0-9a-f]{{8}} {state} by ", times)

    @property
    def transitions(self) -> list[tuple[str, str]]:
        """(state, trigger) of every transition so far, of all sessions."""
        found = map(_STATE.search, self.lines)
        return [(match[1], match[2]) for match in found if match]

    def memory(self) -> int:
        """The resident size in bytes (Linux)."""
        status = Path(f"/proc/{self._process.pid}/status").read_text()
        found = re.search(r"VmRSS:\s+(\d+) kB", status)
        assert found is not None
        return int(found[1]) * 1024

    def signal(self, number: signal.Signals) -> None:
        """Send the process a signal."""
        self._process.send_signal(number)

    async def wait(self) -> int:
        """The exit status, once it has ended and its log is read."""
        status = await self._process.wait()
        await self._reader
        return status

    async def stop(self) -> int:
        """Ask it to stop, if it still runs; returns the exit status."""
        if self._process.returncode is None:
            self.signal(signal.SIGTERM)
        try:
            async with asyncio.timeout(10):
                return await self.wait()
        except TimeoutError:
            self._process.kill()
            await self.wait()
            raise AssertionError("the proxy did not stop") from None
