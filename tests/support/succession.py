"""A proxy and those that take over from it: real processes, started as a user starts them.

A forked process would do for anything else, but it can't start itself again.
"""

import asyncio
import os
import re
import signal
import sys
from asyncio.subprocess import Process
from collections.abc import Mapping
from contextlib import suppress

from patience import LIMIT
from proxy_process import PATIENT, ProxyLog

_TAKEN = re.compile(r"process (\d+) has taken over")


class Succession(ProxyLog):
    """One proxy, whichever process it is. All have the same command line, and write one log."""

    def __init__(self, upstream: str, *options: str) -> None:
        super().__init__()
        listen = () if "--listen" in options else ("--listen", "127.0.0.1:0")
        level = () if "--log-level" in options else ("--log-level", "debug")
        self.options = (upstream, *listen, *level, *PATIENT, *options)
        self.pid = 0
        self.reigns = 0
        """How many processes have taken over."""
        self._started: list[Process] = []
        self._output = -1

    async def begin(self, *, environment: Mapping[str, str] | None = None) -> None:
        """Start the first process; it listens when this returns."""
        log, self._output = os.pipe()
        process = await self.start(environment=environment)
        await self.read_log(log)
        self.pid = process.pid

    async def start(self, *options: str, environment: Mapping[str, str] | None = None) -> Process:
        """Start a process with that command line and more options; it is not waited for."""
        clean = {name: text for name, text in os.environ.items() if not name.startswith("REKNIT_")}
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "reknit", "serve", *self.options, *options),
            env={**clean, **(environment or {})},
            stderr=self._output,
        )
        self._started.append(process)
        return process

    async def restart(self) -> None:
        """Have the running process start its successor, until that has taken over."""
        self.signal(signal.SIGUSR2)
        await self.taken_over()

    async def taken_over(self) -> None:
        """Wait until one more process has taken over."""
        self.reigns += 1
        found = _TAKEN.search(await self.logged(_TAKEN.pattern, self.reigns))
        assert found is not None
        self.pid = int(found[1])
        await self.logged("listening on", self.reigns + 1)

    def signal(self, number: signal.Signals) -> None:
        """Send a signal to the process that is the proxy now."""
        os.kill(self.pid, number)

    async def stop(self) -> int | None:
        """Stop it; returns the worst exit status of those that were started here."""
        if self._output >= 0:
            os.close(self._output)
            self._output = -1
            if self.pid:  # else it has not begun, and 0 means this very test
                with suppress(ProcessLookupError):
                    self.signal(signal.SIGTERM)
        try:
            async with asyncio.timeout(LIMIT / 4):
                await self.log_ended()
                return max([await process.wait() for process in self._started])
        except TimeoutError:
            with suppress(ProcessLookupError):
                self.signal(signal.SIGKILL)
            for process in self._started:  # one may never have come to take over
                with suppress(ProcessLookupError):
                    process.kill()
            raise AssertionError("the proxy did not stop") from None
