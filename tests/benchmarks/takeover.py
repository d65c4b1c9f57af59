"""Measures the pause of the sessions when one reknit process takes over from another; see --help.

Every message is checked at both ends for content and order, so that one lost, repeated or moved
ends the run, as a closed connection does.
"""

import argparse
import gc
import os
import re
import signal
import sys
import tempfile
from collections.abc import Callable
from contextlib import ExitStack, suppress
from math import ceil
from pathlib import Path
from subprocess import Popen
from time import perf_counter

from cases import Case
from crowd import SOURCES
from load import Client, Load, RunError
from peers import Place, at_least_once
from processes import StartError, patience, raise_file_limit, start, start_server, stop

SPARE_FILES = 100  # what a process needs besides its connections
SLICE = 0.005  # seconds between two groups of messages
CALM = 3.0  # seconds before and after a takeover
PATIENCE = patience(60.0)  # seconds after which one has failed
TAKEN = re.compile(r"process (\d+) has taken over")

DESCRIPTION = """\
Measures how long sessions stand still when a new reknit process takes over from the running one
(SIGUSR2): each session has a message answered all the time, and its longest round trip counts.
Options after -- go to reknit serve."""


class Pinging(Client):
    """A client whose longest round trip is noted."""

    __slots__ = ("longest",)

    def __init__(self, load: Load, address: tuple[str, int], source: str = "") -> None:
        super().__init__(load, address, source)
        self.longest = 0.0

    def received(self, count: int) -> None:
        """Replies came: each to the oldest message."""
        now = perf_counter()
        self.count += count
        self.load.received += count
        for _ in range(count):
            self.longest = max(self.longest, now - self.posted.popleft()[1])

    def say(self, now: float) -> None:
        """Send the next message."""
        self.due += self.ring.frame
        self.posted.append((1, now))
        self.flush()


class Crowd(Load):
    """Clients that send in turn, `rate` messages a second together."""

    client = Pinging
    clients: list[Pinging]  # type: ignore[assignment]

    def __init__(self, port: int, rate: float) -> None:
        super().__init__(port)
        self.sent = 0
        self._rate = rate

    def watch(self, seconds: float, done: Callable[[], bool] = lambda: True) -> None:
        """Send and receive for so long, and until it is done. Raises RunError."""
        began = now = perf_counter()
        sent = 0
        while now < began + seconds or not done():
            while sent < (now - began) * self._rate:
                self.clients[self.sent % len(self.clients)].say(now)
                self.sent += 1
                sent += 1
            self.loop.turn(SLICE)
            self._check()
            now = perf_counter()
            if now > began + seconds + PATIENCE:
                raise RunError("waited too long")

    def longest(self) -> list[float]:
        """The longest round trip of each session since this was last asked, sorted; in seconds."""
        found = sorted(client.longest for client in self.clients)
        for client in self.clients:
            client.longest = 0.0
        return found


class Proxy:
    """The running process, which is another one after each takeover."""

    def __init__(self, process: Popen[bytes], log: Path) -> None:
        self.pid = process.pid
        self._log = log
        self._takeovers = 0

    def begin_takeover(self) -> None:
        """Have it start its successor."""
        os.kill(self.pid, signal.SIGUSR2)

    def taken_over(self) -> bool:
        """Whether the successor has it now."""
        found = TAKEN.findall(self._log.read_text())
        if len(found) == self._takeovers:
            return False
        self._takeovers = len(found)
        self.pid = int(found[-1])
        return True

    def stop(self) -> None:
        """End the last of them."""
        with suppress(ProcessLookupError):
            os.kill(self.pid, signal.SIGTERM)


def main() -> int:
    """Exit status 1 if a session was lost, 2 if nothing could begin."""
    options = _options()
    files = raise_file_limit()
    count = min(options.connections, (files - SPARE_FILES) // 2)
    if count < options.connections:
        print(f"{files} open files are allowed: room for {count} connections", file=sys.stderr)
    try:
        _measure(options, count)
    except RunError as error:
        print(f"takeover.py: FAILED: {error}", file=sys.stderr)
        return 1
    except StartError as error:
        print(f"takeover.py: {error}", file=sys.stderr)
        return 2
    return 0


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=DESCRIPTION)
    add = parser.add_argument
    add("--connections", type=int, default=5000, help="sessions (default: 5000)")
    add("--rate", type=float, default=5000, help="messages a second in all (default: 5000)")
    add("--size", type=int, default=64, help="bytes of each (default: 64)")
    add("--takeovers", type=int, default=5, help="one after the other (default: 5)")
    add("--server-port", type=int, default=9125, help="of the server behind (default: 9125)")
    add("serve", nargs="*", help=argparse.SUPPRESS)
    return parser.parse_args()


def _measure(options: argparse.Namespace, count: int) -> None:
    with ExitStack() as stack:
        directory = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        log = stack.enter_context((directory / "log").open("w"))
        everywhere = os.sched_getaffinity(0)
        server = start_server(options.server_port, everywhere, log)
        stack.callback(stop, server)
        peer = at_least_once(Place(options.server_port, directory, count))
        process = start([*peer.command, *options.serve], everywhere, peer.port, log)
        stack.callback(stop, process)
        proxy = Proxy(process, directory / "log")
        stack.callback(proxy.stop)
        gc.disable()
        crowd = Crowd(peer.port, options.rate)
        stack.callback(crowd.close)
        crowd.open(count, SOURCES)
        crowd.plan(Case(count, options.size))
        crowd.watch(CALM)
        crowd.longest()
        crowd.watch(CALM)
        print(f"{count:,} sessions, {options.rate:,.0f} messages a second, {peer.version}")
        print("longest round trip of a session, in ms: half of them, 99 %, all")
        _show("no takeover", crowd.longest())
        for number in range(1, options.takeovers + 1):
            proxy.begin_takeover()
            crowd.watch(CALM, proxy.taken_over)
            crowd.watch(CALM)
            _show(f"takeover {number}", crowd.longest())
        crowd.turn_until(lambda: crowd.received == crowd.sent)
        print(f"{crowd.sent:,} messages answered, each once and in order; no connection closed")


def _show(title: str, trips: list[float]) -> None:
    marks = (trips[ceil(len(trips) * part) - 1] * 1e3 for part in (0.5, 0.99, 1.0))
    print(f"{title}: " + " ".join(f"{mark:,.0f}" for mark in marks), flush=True)


if __name__ == "__main__":
    sys.exit(main())
