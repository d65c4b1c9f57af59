"""Restarts the proxy and the server under load, and says what that costs the sessions.

Every message is numbered, and both ends write down what they handle: so one that is lost, repeated
or moved shows, as does a connection that was closed. The whole run, ten restarts of each kind, is
`python restart_run.py`; see --help.
"""

import argparse
import os
import re
import signal
import sys
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, fields
from enum import Enum
from pathlib import Path
from tempfile import TemporaryDirectory
from time import monotonic

import trio
from children import HERE, LIMIT, Child, Children, children, free_port, start_proxy
from restart_journal import Schedule, Tally

GLANCE = 0.05  # seconds between two looks at the journals
TAKEN = re.compile(r"process (\d+) has taken over")


class RunError(Exception):
    """The run could not go on."""


class Restart(Enum):
    """What is restarted, and how."""

    NONE = "nothing"
    SIGNAL = "proxy, by SIGUSR2"
    TAKEOVER = "proxy, by --takeover"
    DEPLOY = "server, closing by 1012"
    KILL = "server, by SIGKILL"


@dataclass(frozen=True, slots=True)
class Plan:
    """A run. `rate`: messages a second in all; `times`: restarts of each kind.

    `opening`: seconds in which the sessions are opened; `calm`: from one restart to the next.
    `serve`: further options of `reknit serve`.
    """

    sessions: int = 500
    rate: float = 1000
    times: int = 10
    opening: float = 6.0
    calm: float = 3.0
    serve: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Counts:
    """How many messages were to be handled, and what became of them."""

    sent: int
    lost: int
    repeated: int
    reordered: int
    closed: int
    """Connections of clients that have ended."""
    dialled: int
    """Connections that the server got."""

    def since(self, earlier: "Counts") -> "Counts":
        """What has come on top of an earlier one."""
        names = (field.name for field in fields(self))
        return Counts(*(getattr(self, name) - getattr(earlier, name) for name in names))


@dataclass(frozen=True, slots=True)
class Row:
    """A restart, the longest delay of a message until the next one (seconds), and its cost."""

    restart: Restart
    number: int
    pause: float
    counts: Counts


class Run:
    """The processes of one run."""

    def __init__(self, plan: Plan, started: Children, folder: Path) -> None:
        self._plan = plan
        self._children = started
        self._folder = folder
        self._server_port = free_port()
        self._options = ("--takeover", str(folder / "door"), *plan.serve)
        self._takeovers: Counter[Child] = Counter()  # of the processes that log there

    async def play(self, tell: Callable[[Row], None]) -> None:
        """From the first start to the last restart; each row is told when it is known."""
        await self._begin()
        try:
            counts = await self._all_handled()
            for restart in Restart:
                times = 1 if restart is Restart.NONE else self._plan.times
                for number in range(1, times + 1):
                    await self._strike(restart)
                    await trio.sleep(self._plan.calm)
                    before, counts = counts, await self._all_handled()
                    tell(Row(restart, number, self._pause(), counts.since(before)))
        finally:
            os.kill(self._pid, signal.SIGKILL)

    async def _begin(self) -> None:
        self._proxy, port = await start_proxy(self._children, self._server_port, *self._options)
        self._pid = self._proxy.process.pid
        self._client = await self._prepare("client", port)
        self._next_server = await self._prepare("server", self._server_port)
        plan = self._plan
        self._schedule = Schedule(plan.sessions, plan.rate, monotonic() + plan.opening)
        self._tallies = [
            Tally(self._folder / role, self._schedule) for role in ("server", "client")
        ]
        await self._start_server()
        await self._client.order(f"go {self._schedule.start}")
        await self._client.said("open", plan.sessions)
        second = self._schedule.due(0, 2)  # so each session has had to show that it is open
        await trio.sleep(max(0.0, second - monotonic()))

    # -- Restarts ------------------------------------------------------------------------------

    async def _strike(self, restart: Restart) -> None:
        match restart:
            case Restart.NONE:
                pass
            case Restart.SIGNAL:
                os.kill(self._pid, signal.SIGUSR2)
                await self._taken_over()
            case Restart.TAKEOVER:
                new, _ = await start_proxy(self._children, self._server_port, *self._options)
                await self._taken_over()
                self._proxy = new
            case Restart.DEPLOY:
                self._server.process.terminate()
                if await self._server.process.wait() != 0:
                    raise RunError("the server failed")
                await self._start_server()
            case Restart.KILL:
                await self._server.kill()
                await self._start_server()

    async def _taken_over(self) -> None:
        """Wait until the process that is the proxy has handed over."""
        self._takeovers[self._proxy] += 1
        line = await self._proxy.said("taken", self._takeovers[self._proxy])
        found = TAKEN.search(line)
        if found is None:
            raise RunError(line)
        self._pid = int(found[1])

    async def _start_server(self) -> None:
        """The next server listens, and the one after it gets ready."""
        self._server = self._next_server
        await self._server.order(f"go {self._schedule.start}")
        await self._server.said("listening")
        self._next_server = await self._prepare("server", self._server_port)

    async def _prepare(self, role: str, port: int) -> Child:
        child = await self._children.start(
            *(sys.executable, str(HERE / "restart_peers.py")),
            *(role, str(self._folder / role), str(port)),
            f"--sessions={self._plan.sessions}",
            f"--rate={self._plan.rate}",
        )
        await child.said("ready")
        return child

    # -- What becomes of the messages ------------------------------------------------------------

    async def _all_handled(self) -> Counts:
        """Wait until all that is due by now was handled, but not for ever."""
        rounds = self._schedule.rounds(monotonic())
        with trio.move_on_after(LIMIT):
            while True:
                for tally in self._tallies:
                    tally.read_on()
                if all(tally.has_come_to(rounds) for tally in self._tallies):
                    break
                await trio.sleep(GLANCE)
        at_server, at_client = self._tallies
        return Counts(
            sent=2 * self._plan.sessions * rounds,
            lost=at_server.lost(rounds) + at_client.lost(rounds),
            repeated=at_server.repeated + at_client.repeated,
            reordered=at_server.reordered + at_client.reordered,
            closed=self._client.count("closed"),
            dialled=at_server.opened,
        )

    def _pause(self) -> float:
        """The longest delay of a message since this was last asked."""
        longest = max(tally.longest for tally in self._tallies)
        for tally in self._tallies:
            tally.longest = 0.0
        return longest


async def play(plan: Plan, tell: Callable[[Row], None]) -> None:
    """Play a run, in processes and files of its own."""
    with TemporaryDirectory() as folder:
        async with children() as started:
            await Run(plan, started, Path(folder)).play(tell)


# -- On the command line -----------------------------------------------------------------------


def main() -> int:
    """Print the table; exit status 1 unless every message was handled once and in order."""
    plan = _plan()
    print(f"{plan.sessions} sessions, {plan.rate:g} messages a second in all")
    names = [field.name for field in fields(Counts)]
    print(f"| restarted | | longest delay, ms | {' | '.join(names)} |")
    print(f"| --- {'| ---: ' * (2 + len(names))}|", flush=True)
    rows: list[Row] = []

    def tell(row: Row) -> None:
        rows.append(row)
        numbers = [getattr(row.counts, name) for name in names]
        cells = (row.restart.value, row.number, round(row.pause * 1e3), *numbers)
        print(f"| {' | '.join(map(str, cells))} |", flush=True)

    trio.run(play, plan, tell)
    costs = ("lost", "repeated", "reordered", "closed")
    return int(any(getattr(row.counts, name) for row in rows for name in costs))


def _plan() -> Plan:
    parser = argparse.ArgumentParser(
        description="Restarts the proxy and the server under load, and says what that costs. "
        "Options after -- go to reknit serve."
    )
    usual = Plan()
    parser.add_argument("--sessions", type=int, default=usual.sessions)
    parser.add_argument("--rate", type=float, default=usual.rate, help="messages a second in all")
    parser.add_argument("--times", type=int, default=usual.times, help="restarts of each kind")
    parser.add_argument("serve", nargs="*", help=argparse.SUPPRESS)
    options = parser.parse_args()
    return Plan(options.sessions, options.rate, options.times, serve=tuple(options.serve))


if __name__ == "__main__":
    sys.exit(main())
