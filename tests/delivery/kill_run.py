"""A delivery run: numbers stream both ways through a proxy while its ends are killed or cut.

`python kill_run.py [BLOWS]` plays every combination and prints a table.
"""

import random
import sys
from collections.abc import Iterator
from dataclasses import dataclass, replace
from enum import Enum
from itertools import cycle, islice, product
from pathlib import Path
from tempfile import TemporaryDirectory

import trio
from children import HERE, LIMIT, Child, Children, Relay, children, free_port, start_proxy
from journal import Outcome, outcome, read_journal

WINDOW = 2**19  # bytes: more than websockets reads ahead, which is 256 KiB and 16 messages
ENOUGH = 600  # messages that each end has handled before the end of a run
DEADLY = (0.05, 0.5)  # seconds that a process lives, from its first breath on, at least and most


class Stack(Enum):
    """The library that both ends use."""

    AIOHTTP = "aiohttp"
    WEBSOCKETS = "websockets"


class Promise(Enum):
    """How messages are delivered."""

    AT_MOST_ONCE = "at-most-once"
    AT_LEAST_ONCE = "at-least-once"
    EXACT = "exact resume"
    """At-least-once, and the ends say on a return how many messages they have handled."""


class Blow(Enum):
    """What happens to an end."""

    KILL_SERVER = "server killed"
    KILL_CLIENT = "client killed"
    CUT_SERVER = "server cut off"
    CUT_CLIENT = "client cut off"


@dataclass(frozen=True, slots=True)
class Plan:
    """One run. `blows` fall in turn, `times` in all, at moments drawn from `seed`."""

    promise: Promise
    stack: Stack
    blows: tuple[Blow, ...]
    times: int
    slow: bool = False
    rate: int = 2000
    seed: int = 1

    def __str__(self) -> str:
        ends = f"{self.stack.value}{' slow' if self.slow else ''}"
        return f"{self.promise.value}, {ends}, {' and '.join(blow.value for blow in self.blows)}"


@dataclass(frozen=True, slots=True)
class Result:
    """What became of the messages of each direction."""

    to_server: Outcome
    to_client: Outcome


class Run:
    """The processes of one run."""

    def __init__(self, plan: Plan, started: Children, folder: Path) -> None:
        self._plan = plan
        self._children = started
        self._folder = folder
        self._ports = {"server": free_port(), "client": 0}
        self._current: dict[str, Child] = {}
        self._next: dict[str, Child] = {}
        self._opened = {"server": 0, "client": 0}  # sessions before the last blow
        self._proxy: Child | None = None

    async def play(self, nursery: trio.Nursery) -> Result:
        """From the first start to the last message."""
        plan = self._plan
        links = {"server": Relay(self._ports["server"]), "client": Relay(0)}
        await nursery.start(links["server"].run)
        delivery = "at-most-once" if plan.promise is Promise.AT_MOST_ONCE else "at-least-once"
        self._proxy, links["client"].target = await start_proxy(
            self._children,
            links["server"].port,
            *("--delivery", delivery, "--retry-interval", "0.03", "--retry-jitter", "0"),
            *("--retry-limit", "100000", "--client-grace", "60", "--log-level", "info"),
            *("--replay-window", str(WINDOW)),
        )
        await nursery.start(links["client"].run)
        self._ports["client"] = links["client"].port
        for role in ("server", "client"):
            await self._start(role)
        for role in ("server", "client"):
            await self._current[role].said("open")
        moments = random.Random(plan.seed)
        for blow in islice(cycle(plan.blows), plan.times):
            await trio.sleep(moments.uniform(*DEADLY))
            await self._strike(blow, links)
        for role in ("server", "client"):
            await self._current[role].said("open", self._opened[role] + 1)
        await self._go_on()
        return await self._finish()

    async def _go_on(self) -> None:
        """Wait until messages have come both ways, enough of them, and some on what is left."""
        for role in ("server", "client"):
            before = len(self._handled(role))
            with trio.fail_after(LIMIT):
                while len(found := self._handled(role)) == before or max(found) < ENOUGH:
                    await trio.sleep(0.02)

    def _handled(self, role: str) -> list[int]:
        return read_journal(self._folder / role)

    async def _start(self, role: str) -> None:
        """The next process of that role goes; the one after it gets ready."""
        child = self._next.pop(role, None) or await self._prepare(role)
        await child.said("ready")
        await child.order("go")
        self._current[role] = child
        self._opened[role] = 0
        if role == "server":
            await child.said("listening")
        if any(blow.value.startswith(f"{role} killed") for blow in self._plan.blows):
            self._next[role] = await self._prepare(role)

    async def _prepare(self, role: str) -> Child:
        plan = self._plan
        return await self._children.start(
            sys.executable,
            str(HERE / "run_peer.py"),
            *(role, plan.stack.value, str(self._folder / role), str(self._ports[role])),
            f"--rate={plan.rate}",
            *(["--counts"] if plan.promise is Promise.EXACT else []),
            *(["--slow"] if plan.slow else []),
        )

    async def _strike(self, blow: Blow, links: dict[str, Relay]) -> None:
        match blow:
            case Blow.KILL_SERVER | Blow.KILL_CLIENT:
                role = blow.value.split()[0]
                await self._current[role].kill()
                await self._start(role)
            case Blow.CUT_SERVER | Blow.CUT_CLIENT:
                role = blow.value.split()[0]
                self._opened[role] = self._current[role].count("open")
                links[role].cut()

    async def _finish(self) -> Result:
        """Stop sending; then wait until nothing more is handled."""
        accepted = {}
        for role, child in self._current.items():
            await child.order("stop")
            accepted[role] = int((await child.said("sent")).split()[1])
        results = {}
        for role, other in (("server", "client"), ("client", "server")):
            last = accepted[other]
            with trio.move_on_after(LIMIT):
                while last not in read_journal(self._folder / role)[-1000:]:
                    await trio.sleep(0.02)
            assert self._proxy is not None
            if any(map(ends_a_session, self._proxy.lines)):
                raise RuntimeError(f"the session ended: {self._proxy.lines[-20:]}")
            results[role] = outcome(last, read_journal(self._folder / role))
        return Result(results["server"], results["client"])


def ends_a_session(line: str) -> bool:
    """Whether the proxy logs there that a session ends, and not what its server has closed."""
    return " closing by " in line or " closed by " in line


async def play(plan: Plan) -> Result:
    """Play a run, in processes and files of its own."""
    with TemporaryDirectory() as folder:
        async with children() as started, trio.open_nursery() as nursery:
            result = await Run(plan, started, Path(folder)).play(nursery)
            nursery.cancel_scope.cancel()
        return result


# -- Every combination -------------------------------------------------------------------------


def plans(times: int) -> Iterator[Plan]:
    """Each promise, stack and way to be hit."""
    ends = ((Stack.AIOHTTP, False), (Stack.WEBSOCKETS, False), (Stack.WEBSOCKETS, True))
    hits = ((Blow.KILL_SERVER,), (Blow.KILL_CLIENT,), (Blow.CUT_SERVER, Blow.CUT_CLIENT))
    for blows, (stack, slow), promise in product(hits, ends, Promise):
        yield Plan(promise, stack, blows, times, slow)


def main() -> None:
    """Print the table."""
    times = int(sys.argv[1]) if len(sys.argv) > 1 else 30
    print(
        "| hit | ends | delivery | direction | accepted | handled | lost | repeated | reordered |"
    )
    print("| --- | --- | --- | --- | ---: | ---: | ---: | ---: | ---: |")
    for plan in plans(times):
        result = trio.run(play, replace(plan, seed=times))
        for direction, one in (("to server", result.to_server), ("to client", result.to_client)):
            ends = f"{plan.stack.value}{', slow handler' if plan.slow else ''}"
            hit = f"{times} times {' or '.join(blow.value for blow in plan.blows)}"
            counts = (one.accepted, one.handled, one.lost, one.repeated, one.reordered)
            cells = (hit, ends, plan.promise.value, direction, *map(str, counts))
            print(f"| {' | '.join(cells)} |", flush=True)


if __name__ == "__main__":
    main()
