"""Measures what attacks cost a reknit process and a session that has nothing to do with them.

Every message of that session, the bystander, is checked for content and order.
"""

import argparse
import gc
import json
import os
import signal
import sys
import tempfile
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from subprocess import PIPE, Popen
from time import perf_counter
from typing import IO

from cases import Case
from endpoint import Loop
from load import TICK, Load, RunError, part_of
from peers import Place, at_least_once, reknit_version
from processes import (
    HERE,
    Cores,
    StartError,
    forget_peak,
    free_port,
    machine,
    patience,
    peak_memory,
    processor_seconds,
    raise_file_limit,
    start,
    stop,
)

FRAMES = HERE.parent / "support"
RATE = 100  # messages a second of the bystander
SIZE = 64  # bytes of each
CALM = 3.0  # seconds before the attack
SETTLE = 0.5  # seconds that don't count
PATIENCE = patience(30.0)  # seconds for an attack to end
MIB = 1 << 20
LIMITS = ("--connection-limit", "5000", "--session-limit", "3000", "--queue-total", str(256 * MIB))
BY_ADDRESS = ("--address-connections", "100", "--address-rate", "20")

DESCRIPTION = """\
Measures attacks on one reknit process, one after the other, each with a process of its own: its
memory and processor time, and the round trips of a bystander's session that has 100 messages a
second answered, before and during it. Beside it stands another one straight to the server: what
that one feels is the machine's part, not the proxy's. Linux, two cores. Options after -- go to
reknit serve."""


@dataclass(frozen=True, slots=True)
class Row:
    """An attack: its name, what it is, how many seconds it takes to show, options it is for."""

    attack: str
    title: str
    seconds: float = 0.0
    options: tuple[str, ...] = ()


ROWS = (
    Row("slowloris", "2,000 handshakes at a byte a second", 13),
    Row("silent", "2,000 connections that say nothing", 13),
    Row("come-and-go", "connections opened and reset, over and over"),
    Row("come-and-go", "the same, with limits by address", options=BY_ADDRESS),
    Row("nonsense", "requests that are no handshake, over and over"),
    Row("nonsense", "the same, with limits by address", options=BY_ADDRESS),
    Row("open-and-cut", "sessions opened and cut, over and over"),
    Row("open-and-cut", "the same, with limits by address", options=BY_ADDRESS),
    Row("left-open", "1,500 sessions that never say anything, not even Pongs", 25),
    Row("strange", "attempts to resume one id, by strangers"),
    Row("unknown", "attempts to resume an id that is not there"),
    Row("take-over", "one id taken over, over and over"),
    Row("take-over-full", "the same, with a full queue to be sent again"),
    Row("take-over-full", "the same, with limits by address", options=BY_ADDRESS),
    Row("leave-and-return", "32 clients that leave by 1001 and return"),
    Row("pings", "10 floods of empty Pings"),
    Row("large-pings", "10 floods of Pings of 125 bytes"),
    Row("pongs", "10 floods of Pongs"),
    Row("empty", "10 floods of empty messages"),
    Row("uneven", "10 floods of messages of 0, 1 and 2 bytes"),
    Row("fragments", "10 floods of one-byte fragments"),
    Row("empty-fragments", "10 floods of empty fragments"),
    Row("pings-in-fragments", "10 floods of Pings between one-byte fragments"),
    Row("large", "10 floods of messages of 32 KiB"),
    Row("byte-by-byte", "10 floods of packets of one byte"),
    Row("byte-a-second", "1,000 sessions that send a byte a second"),
    Row("impossible", "messages of 2^62 bytes, over and over"),
    Row("never-whole", "50 messages of 16 MiB that stop at 15"),
    Row("bomb", "10 floods of messages that inflate a thousandfold"),
    Row("deaf", "50 clients that never read, with a flood for each"),
    Row("deaf-pinger", "10 clients that send Pings and read no Pong"),
    Row("server-pings", "server: 10 floods of empty Pings"),
    Row("server-large-pings", "server: 10 floods of Pings of 125 bytes"),
    Row("server-pongs", "server: 10 floods of Pongs"),
    Row("server-empty", "server: 10 floods of empty messages"),
    Row("server-uneven", "server: 10 floods of messages of 0, 1 and 2 bytes"),
    Row("server-fragments", "server: 10 floods of one-byte fragments"),
    Row("server-empty-fragments", "server: 10 floods of empty fragments"),
    Row("server-pings-in-fragments", "server: 10 floods of Pings between one-byte fragments"),
    Row("server-large", "server: 10 floods of messages of 32 KiB"),
    Row("server-impossible", "server: messages of 2^62 bytes, over and over"),
    Row("server-endless", "server: 10 answers to the handshake without an end"),
    Row("server-slow", "server: 200 answers to the handshake at a byte a second"),
    Row("server-restless", "server: 200 sessions left by 1012 as soon as they begin"),
    Row("server-deaf", "server: 50 that never read, with a flood for each"),
)


NAMES = tuple(row.attack for row in ROWS)
HEAD = """\
| attack | what the proxy did with it | MiB before | peak | of a core \
| bystander before: p50 / p99 / longest, ms | during | during, straight to the server |
| --- | --- | ---: | ---: | ---: | ---: | ---: | ---: |"""


@dataclass(frozen=True, slots=True)
class Trips:
    """Round trips in ms."""

    p50: float
    p99: float
    longest: float

    def __str__(self) -> str:
        return f"{self.p50:.2f} / {self.p99:.1f} / {self.longest:.0f}"


class Bystander(Load):
    """A session that sends a message now and then, and gets it back."""

    def say(self) -> None:
        """Send the next message."""
        (client,) = self.clients
        client.due += client.ring.frame
        client.posted.append((1, perf_counter()))
        client.flush()

    def take_trips(self) -> Trips:
        """Those since this was last asked; one that is still under way counts too."""
        now = perf_counter()
        for client in self.clients:
            for number, at in client.posted:
                self.trips[int((now - at) / TICK)] += number
        found = Trips(*(1e3 * (part_of(self.trips, part) or 0.0) for part in (0.5, 0.99, 1.0)))
        self.trips.clear()
        return found


class Watch:
    """The bystander of a proxy, and one that goes straight to the server."""

    def __init__(self, proxy: int, server: int) -> None:
        self.loop = Loop()
        self.bystander = Bystander(proxy, self.loop)
        self.straight = Bystander(server, self.loop)

    def begin(self) -> None:
        """Open the sessions. Raises RunError."""
        for each in (self.bystander, self.straight):
            each.open(1)
            each.plan(Case(1, SIZE))

    def look(self, seconds: float) -> tuple[Trips, Trips]:
        """How they fare for so long. Raises RunError if they don't."""
        pair = (self.bystander, self.straight)
        began = now = perf_counter()
        said = 0
        while now < began + seconds:
            if said < (now - began) * RATE:
                said += 1
                for each in pair:
                    each.say()
            self.loop.turn(max(0.0, began + said / RATE - perf_counter()))
            for each in pair:
                if each.failures:
                    raise RunError(each.failures[0])
            now = perf_counter()
        found = (self.bystander.take_trips(), self.straight.take_trips())
        self.bystander.turn_until(lambda: not any(each.clients[0].posted for each in pair))
        return found

    def close(self) -> None:
        """End both."""
        self.bystander.close()
        self.straight.close()


@dataclass(frozen=True, slots=True)
class Found:
    """What an attack did: outcomes, resident bytes, part of a core, round trips."""

    outcomes: dict[str, int]
    memory: tuple[int, int]
    busy: float
    before: Trips
    during: Trips
    straight: Trips


class Stage:
    """The server, on a core with the loader and the attackers; each proxy has one to itself."""

    def __init__(self, cores: Cores, directory: Path, log: IO[str], serve: list[str]) -> None:
        self._cores = cores
        self._log = log
        self._serve = serve
        self._place = Place(free_port(), directory, 0)
        self._environment = {"PYTHONPATH": os.pathsep.join((str(FRAMES), *sys.path[1:]))}
        server = [sys.executable, str(HERE / "hostile_server.py"), str(self._place.upstream)]
        port = self._place.upstream
        self.server = start(server, cores.server, port, log, self._environment)

    def measure(self, row: Row, seconds: float) -> Found:
        """Attack a fresh proxy. Raises RunError, StartError."""
        peer = at_least_once(self._place)
        command = [*peer.command, *LIMITS, *row.options, *self._serve]
        with ExitStack() as stack:
            process = start(command, self._cores.proxy, peer.port, self._log)
            stack.callback(stop, process)
            watch = Watch(peer.port, self._place.upstream)
            stack.callback(watch.close)
            watch.begin()
            watch.look(SETTLE)
            before, _ = watch.look(CALM)
            forget_peak(process.pid)
            memory = peak_memory(process.pid)
            seconds = max(row.seconds, seconds)
            attack = self._attack(row.attack, peer.port, seconds)
            stack.callback(stop, attack)
            assert attack.stdout is not None
            attack.stdout.readline()  # it begins
            watch.look(SETTLE)
            used = processor_seconds(process.pid)
            during, straight = watch.look(seconds)
            used = processor_seconds(process.pid) - used
            end = perf_counter() + PATIENCE
            while attack.poll() is None and perf_counter() < end:
                watch.look(SETTLE)  # nobody else answers the proxy's Pings for the bystander
            said, _ = attack.communicate(timeout=SETTLE)
            watch.look(SETTLE)
            if process.poll() is not None:
                raise RunError("the proxy has ended")
            peak = peak_memory(process.pid)
        if attack.returncode:
            raise RunError(f"the attack {row.attack} failed")
        return Found(json.loads(said), (memory, peak), used / seconds, before, during, straight)

    def _attack(self, name: str, port: int, seconds: float) -> Popen[bytes]:
        command = [sys.executable, str(HERE / "hostile_clients.py")]
        return Popen(
            [*command, name, str(port), str(seconds + SETTLE)],
            stdout=PIPE,
            stderr=self._log,
            env={**os.environ, **self._environment},
            start_new_session=True,
        )


def main() -> int:
    """Exit status 1 if the bystander suffered more than a delay, 2 if nothing could begin."""
    options = _options()
    raise_file_limit()
    gc.disable()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))  # so that what was started is ended
    status = 0
    with ExitStack() as stack:
        directory = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        log = stack.enter_context((directory / "log").open("w"))
        try:
            cores = Cores.choose([int(core) for core in options.cores.split(",") if core])
            os.sched_setaffinity(0, {cores.load})
            stage = Stage(cores, directory, log, options.serve)
        except (StartError, ValueError) as error:
            print(f"hostile.py: {error}", file=sys.stderr)
            return 2
        stack.callback(stop, stage.server)
        print(HEAD, flush=True)
        for row in ROWS:
            if options.only and row.attack not in options.only.split(","):
                continue
            try:
                found = stage.measure(row, options.seconds)
            except (RunError, StartError) as error:
                status = 1
                print(f"| {row.title} | FAILED: {error} |", flush=True)
            else:
                print(_line(row, found), flush=True)
    about = machine()
    print(f"\nreknit {reknit_version()}; {about['processor']}, {about['cores']} cores.")
    return status


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=DESCRIPTION)
    add = parser.add_argument
    add("--seconds", type=float, default=8, help="of each attack, at least (default: 8)")
    add("--only", default="", metavar="ATTACK,…", help="|".join(dict.fromkeys(NAMES)))
    add("--cores", default="", metavar="N,N[,N]", help="for proxy, attackers and server")
    add("serve", nargs="*", help=argparse.SUPPRESS)
    return parser.parse_args()


def _line(row: Row, found: Found) -> str:
    outcomes = ", ".join(f"{what} x {count:,}" for what, count in sorted(found.outcomes.items()))
    before, peak = (f"{size / MIB:.0f}" for size in found.memory)
    cells = (row.title, outcomes, before, peak, f"{found.busy:.0%}")
    return f"| {' | '.join(cells)} | {found.before} | {found.during} | {found.straight} |"


if __name__ == "__main__":
    sys.exit(main())
