"""Many sessions of one proxy: opened, idle, cut off, and through an outage of their server."""

import socket
from collections import Counter
from dataclasses import dataclass
from itertools import islice
from math import ceil
from struct import pack
from subprocess import Popen
from time import perf_counter
from typing import Protocol, cast

from load import Client, Load, RunError
from messages import Opcode, frame
from processes import forget_peak, memory, patience, peak_memory, processor_seconds

SOURCES = tuple(f"127.0.0.{last}" for last in range(2, 10))  # each has some 28,000 ports
PROBE_INTERVAL = 0.005  # seconds between two Pings of the probe
CALM_INTERVAL = 0.1  # the same where the processor time of the others is measured
SETTLE = 2.0  # seconds before anything is read
RETURNING = 256  # clients on their way back at one time: no more than any system keeps waiting
RESET = pack("ii", 1, 0)  # SO_LINGER: closing breaks the connection
SLICE = 50  # messages or connections before the probe gets its turn
PATIENCE = patience(300.0)  # seconds in which all must be connected again
BURST = 0.1  # seconds of the window in which dials are counted
MIB = 1 << 20
PLAN = {"flow": "echo", "size": 64, "first": 0, "read": 4096}


class Probe(Client):
    """A session that sends Pings all the time, to see how long the proxy looks away.

    While the server is away the proxy answers them itself, so that they tell of its loop in each
    state. Those on their way to a server when it is killed are never answered.
    """

    __slots__ = ("answered", "gap", "interval", "latest", "longest", "next", "number", "times")

    def __init__(self, load: Load, address: tuple[str, int]) -> None:
        super().__init__(load, address)
        self.times: dict[int, float] = {}
        self.number = 0
        self.interval = PROBE_INTERVAL
        self.reset()

    def reset(self) -> None:
        """Forget what was seen."""
        self.answered = 0
        self.next = self.latest = perf_counter()
        self.longest = self.gap = 0.0  # of a round trip; between two answers; in seconds
        self.times.clear()

    def ask(self) -> None:
        """Send a Ping if it is time for one."""
        now = perf_counter()
        if now >= self.next and self.opened:
            self.next = now + self.interval
            self.number += 1
            self.times[self.number] = now
            self.extras.append(frame(Opcode.PING, b"%d" % self.number, masked=True))
            self.flush()

    def ponged(self, payload: bytes) -> None:
        """Note how long it took."""
        now = perf_counter()
        sent = self.times.pop(int(payload), None)
        if sent is not None:
            self.answered += 1
            self.longest = max(self.longest, now - sent)
            self.gap = max(self.gap, now - self.latest)
            self.latest = now


class Crowd(Load):
    """Clients that do nothing, and a probe among them."""

    def __init__(self, port: int) -> None:
        super().__init__(port)
        self.probe = Probe(self, self.address)
        self.clients.append(self.probe)

    def add_client(self, source: str) -> None:
        """Begin to connect one more, which has an id and so can come back."""
        name = f"crowd-{len(self.clients)}"
        self.clients.append(Client(self, self.address, source, name))

    def turn(self) -> None:
        """Serve once, the probe too. Raises RunError when a session has ended."""
        self.probe.ask()
        self.loop.turn(PROBE_INTERVAL / 2)
        if self.failures:
            raise RunError(self.failures[0])

    def watch(self, seconds: float) -> None:
        """Do nothing else for so long. Raises RunError."""
        end = perf_counter() + seconds
        while perf_counter() < end:
            self.turn()


@dataclass(frozen=True, slots=True)
class Opened:
    """Opening connections, all together and one, until the client has the server's answer."""

    connections: int
    seconds: float
    each_p50_ms: float
    each_p99_ms: float
    processor_us_each: float


@dataclass(frozen=True, slots=True)
class Standing:
    """Idle connections with heartbeats on; `pings` are those that the clients answered."""

    connections: int
    seconds: float
    kib_each: float
    mib_without: float
    mib: float
    processor_percent: float
    pings: int
    longest_round_trip_ms: float


@dataclass(frozen=True, slots=True)
class Comeback:
    """All clients gone in one moment and back; `longest_…` is what a bystander saw of it."""

    contexts: int
    all_back: float
    each_p50_ms: float
    each_p99_ms: float
    processor_us_each: float
    dialled_anew: int
    longest_round_trip_ms: float
    longest_silence_ms: float
    longest_turn_of_loader_ms: float


@dataclass(frozen=True, slots=True)
class Outage:
    """The server gone and back. The times of dials begin when the new server listens."""

    contexts: int
    seconds_away: float
    first_dial: float
    median_dial: float
    last_dial: float
    most_dials_in_100_ms: int
    all_delivered: float
    repeated: int
    processor_seconds: float
    mib_before: float
    mib_peak: float
    longest_round_trip_ms: float
    longest_silence_ms: float
    probes_sent: int
    probes_answered: int
    longest_turn_of_server_ms: float
    longest_turn_of_loader_ms: float


def opening(crowd: Crowd, process: Popen[bytes], count: int) -> Opened:
    """Open so many connections. Raises RunError."""
    before = processor_seconds(process.pid)
    seconds = crowd.open(count, SOURCES)
    used = processor_seconds(process.pid) - before
    took = sorted(client.took for client in crowd.clients[1:])
    return Opened(
        connections=count,
        seconds=seconds,
        each_p50_ms=took[ceil(count * 0.5) - 1] * 1e3,
        each_p99_ms=took[ceil(count * 0.99) - 1] * 1e3,
        processor_us_each=used / count * 1e6,
    )


def standing(crowd: Crowd, process: Popen[bytes], base: int, seconds: float) -> Standing:
    """Let the connections stand; `base` is the memory of the process without them."""
    crowd.watch(SETTLE)
    full, count = memory(process.pid), len(crowd.clients) - 1
    pings = sum(client.pings for client in crowd.clients)
    crowd.probe.reset()
    crowd.probe.interval = CALM_INTERVAL
    before = processor_seconds(process.pid)
    crowd.watch(seconds)
    used = processor_seconds(process.pid) - before
    return Standing(
        connections=count,
        seconds=seconds,
        kib_each=(full - base) / count / 1024,
        mib_without=base / MIB,
        mib=full / MIB,
        processor_percent=used / seconds * 100,
        pings=sum(client.pings for client in crowd.clients) - pings,
        longest_round_trip_ms=crowd.probe.longest * 1e3,
    )


def comeback(crowd: Crowd, process: Popen[bytes], upstream: int) -> Comeback:
    """All clients lose their connections, and return with their ids; then each asks once.

    Raises RunError unless each finds its session.
    """
    crowd.watch(SETTLE)
    dialled = len(_ask_server(upstream)[1])
    used = processor_seconds(process.pid)
    probe, lost = crowd.probe, crowd.clients[1:]
    probe.reset()
    crowd.loop.longest = 0.0
    began = perf_counter()
    _lose(crowd)
    waiting = iter(lost)
    while crowd.opened <= len(lost):
        room = RETURNING - (len(crowd.clients) - crowd.opened)
        for client in islice(waiting, min(room, SLICE)):
            source = SOURCES[len(crowd.clients) % len(SOURCES)]
            crowd.clients.append(Client(crowd, crowd.address, source, client.name))
        crowd.turn()
        if perf_counter() - began > PATIENCE:
            raise RunError(f"{len(lost) + 1 - crowd.opened} have not come back")
    back = perf_counter()
    crowd.watch(SETTLE)  # until the proxy is done with what it has lost
    used = processor_seconds(process.pid) - used
    longest, silence = probe.longest, probe.gap
    crowd.notes = 0
    _send_all(crowd, crowd.clients[1:])
    crowd.turn_until(lambda: crowd.notes >= len(lost))
    _, handshakes, _ = _ask_server(upstream)
    took = sorted(client.took for client in crowd.clients[1:])
    return Comeback(
        contexts=len(lost),
        all_back=back - began,
        each_p50_ms=took[ceil(len(took) * 0.5) - 1] * 1e3,
        each_p99_ms=took[ceil(len(took) * 0.99) - 1] * 1e3,
        processor_us_each=used / len(lost) * 1e6,
        dialled_anew=len(handshakes) - dialled - 1,
        longest_round_trip_ms=longest * 1e3,
        longest_silence_ms=silence * 1e3,
        longest_turn_of_loader_ms=crowd.loop.longest * 1e3,
    )


def _lose(crowd: Crowd) -> None:
    """Break every connection but the probe's."""
    for number, client in enumerate(crowd.clients[1:]):
        client.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET)
        client.close()
        if not number % SLICE:
            crowd.probe.ask()
            crowd.loop.turn(0)
    del crowd.clients[1:]
    crowd.opened = 1


class Restarts(Protocol):
    """Kills the server; the next one listens after so many seconds."""

    def __call__(self, seconds: float) -> None: ...


def outage(
    crowd: Crowd, process: Popen[bytes], restart: Restarts, upstream: int, seconds: float
) -> Outage:
    """Kill the server and have it back; meanwhile each client sends a message.

    Raises RunError unless each gets its answer.
    """
    crowd.watch(SETTLE)
    before, used = memory(process.pid), processor_seconds(process.pid)
    forget_peak(process.pid)
    probe, clients = crowd.probe, crowd.clients[1:]
    first_probe = probe.number
    probe.reset()
    crowd.loop.longest, crowd.notes = 0.0, 0
    restart(seconds)
    began = perf_counter()
    crowd.watch(seconds / 2)
    _send_all(crowd, clients)
    while crowd.notes < len(clients) or not all(client.told for client in clients):
        crowd.turn()
        if perf_counter() - began > PATIENCE:
            raise RunError(f"{sum(not client.told for client in clients)} have no answer")
    delivered = perf_counter()
    used = processor_seconds(process.pid) - used
    listening, handshakes, turn = _ask_server(upstream)
    dials = sorted(at - listening for at in handshakes)
    windows = Counter(int(at / BURST) for at in dials)
    return Outage(
        contexts=len(clients),
        seconds_away=listening - began,
        first_dial=dials[0],
        median_dial=dials[len(dials) // 2],
        last_dial=dials[-1],
        most_dials_in_100_ms=max(windows.values()),
        all_delivered=delivered - listening,
        repeated=crowd.notes - len(clients),
        processor_seconds=used,
        mib_before=before / MIB,
        mib_peak=peak_memory(process.pid) / MIB,
        longest_round_trip_ms=probe.longest * 1e3,
        longest_silence_ms=probe.gap * 1e3,
        probes_sent=probe.number - first_probe,
        probes_answered=probe.answered,
        longest_turn_of_server_ms=turn * 1e3,
        longest_turn_of_loader_ms=crowd.loop.longest * 1e3,
    )


def _send_all(crowd: Crowd, clients: list[Client]) -> None:
    """Each client sends a note; the server, or the one that comes, answers if nothing is lost."""
    waiting = iter(clients)
    while part := list(islice(waiting, SLICE)):
        for client in part:
            client.send_note(PLAN)
        crowd.turn()


def _ask_server(port: int) -> tuple[float, list[float], float]:
    """When it began to listen, the times of its handshakes, its longest turn; in seconds."""
    load = Load(port)
    try:
        load.open(1)
        load.clients[0].send_note({"do": "statistics"})
        load.turn_until(lambda: load.notes > 0)
        told = load.clients[0].told
    finally:
        load.close()
    handshakes = cast(list[float], told["handshakes"])[:-1]  # the last is that of this question
    return cast(float, told["listening"]), handshakes, cast(float, told["longest"])
