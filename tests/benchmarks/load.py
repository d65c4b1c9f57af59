"""The loader: many clients in one loop, each of which checks what it gets."""

import base64
import hashlib
import socket
from collections import defaultdict, deque
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import partial
from math import inf
from time import perf_counter

from cases import Case, Flow
from endpoint import Endpoint, Loop
from messages import READ_SIZE, MessageError, messages
from processes import patience
from secure import secured
from server import GUID
from speech import speech

KEY = "dGhlIHNhbXBsZSBub25jZQ=="
ACCEPT = base64.b64encode(
    hashlib.sha1(KEY.encode() + GUID, usedforsecurity=False).digest()
).decode()
OPENING = 64  # handshakes under way at one time
PATIENCE = patience(60.0)  # seconds after which waiting has failed
BIND_ADDRESS_NO_PORT = 24  # IP_BIND_ADDRESS_NO_PORT, which Python 3.11 has no name for
TICK = 1e-7  # seconds; how finely round trips are counted


class RunError(Exception):
    """A run that gave no result, and why."""


@dataclass(frozen=True, slots=True)
class Result:
    """What a run showed: all its messages, the seconds they took, round trips in seconds."""

    messages: int
    seconds: float
    p50: float | None
    p99: float | None


class Client(Endpoint):
    """One connection of the loader."""

    __slots__ = (
        "began",
        "count",
        "load",
        "name",
        "posted",
        "ready_for_load",
        "told",
        "took",
        "waiting",
    )
    masked = True

    def __init__(
        self, load: "Load", address: tuple[str, int], source: str = "", name: str = ""
    ) -> None:
        sock = socket.socket()
        if source:
            sock.setsockopt(socket.IPPROTO_IP, BIND_ADDRESS_NO_PORT, 1)
            sock.bind((source, 0))
        self.began = perf_counter()
        sock.connect(address)
        if load.secure is not None:
            sock = load.secure.wrap_socket(sock, server_hostname=address[0])
        super().__init__(load.loop, sock)
        self.load = load
        self.name = name
        self.took = inf  # seconds for connecting and the opening handshake
        self.count = 0
        self.told: dict[str, object] = {}
        self.posted: deque[tuple[int, float]] = deque()
        host = f"{address[0]}:{address[1]}"
        identity = f"X-Connection-Id: {name}\r\n" if name else ""
        self.extras.append(
            f"GET /benchmark HTTP/1.1\r\nHost: {host}\r\nUpgrade: websocket\r\n"
            f"Connection: Upgrade\r\nSec-WebSocket-Key: {KEY}\r\n"
            f"Sec-WebSocket-Version: 13\r\n{identity}\r\n".encode()
        )
        self.flush()

    def greet(self, head: str) -> None:
        """The server's answer must be 101 and fit the key."""
        status, *fields = head.split("\r\n")
        headers = {
            name.strip().lower(): value.strip()
            for name, _, value in (field.partition(":") for field in fields)
        }
        if status.split()[1:2] != ["101"] or headers.get("sec-websocket-accept") != ACCEPT:
            raise MessageError(f"refused: {status}")
        self.took = perf_counter() - self.began
        self.load.opened += 1

    def noted(self, content: dict[str, object]) -> None:
        """Keep what the server says."""
        self.told.update(content)
        self.load.notes += 1

    def ended(self, reason: str) -> None:
        """No connection may end while it is used."""
        self.load.failures.append(reason)

    def begin(self, flow: Flow, in_flight: int) -> None:
        """Start sending, or let the server start."""
        match flow:
            case Flow.ECHO:
                self.posted.append((in_flight, perf_counter()))
                self.due = in_flight * self.ring.frame
                self.flush()
            case Flow.TO_SERVER:
                self.due = inf
                self.flush()
            case Flow.TO_CLIENT:
                self.send_note({"do": "go"})

    def received(self, count: int) -> None:
        """Replies came: note their round trips, send as many again."""
        load = self.load
        self.count += count
        load.received += count
        posted = self.posted
        if not posted:
            return
        now = perf_counter()
        if posted[0][0] == count:  # mostly: the answer to all that was sent at one time
            load.trips[int((now - posted.popleft()[1]) / TICK)] += count
        else:
            self._note_trips(count, now)
        if load.running:
            self.due += count * self.ring.frame
            posted.append((count, now))

    def _note_trips(self, count: int, now: float) -> None:
        posted, trips = self.posted, self.load.trips
        left = count
        while left:
            number, at = posted[0]
            if number > left:
                posted[0] = (number - left, at)
                trips[int((now - at) / TICK)] += left
                break
            posted.popleft()
            trips[int((now - at) / TICK)] += number
            left -= number


class Load:
    """A set of clients of one port; with a file of an `authority` they speak TLS."""

    client = Client

    def __init__(self, port: int, loop: Loop | None = None, authority: str = "") -> None:
        self.loop = loop or Loop()
        self.secure = secured(authority) if authority else None
        self.address = ("127.0.0.1", port)
        self.clients: list[Client] = []
        self.opened = 0
        self.notes = 0
        self.received = 0
        self.failures: list[str] = []
        self.trips: defaultdict[int, int] = defaultdict(int)
        self.running = False

    def open(self, count: int, sources: Iterable[str] = ()) -> float:
        """Open so many more connections; the seconds that it took. Raises RunError."""
        began = perf_counter()
        goal = len(self.clients) + count
        places = list(sources) or [""]
        while self.opened < goal:
            while len(self.clients) < min(goal, self.opened + OPENING):
                place = places[len(self.clients) % len(places)]
                try:
                    self.add_client(place)
                except OSError as error:
                    raise RunError(f"can't connect: {error.strerror}") from None
            self.turn_until(partial(self._has_opened, self.opened + 1))
        return perf_counter() - began

    def add_client(self, source: str) -> None:
        """Begin to connect one more. Raises OSError."""
        self.clients.append(self.client(self, self.address, source))

    def plan(self, case: Case) -> None:
        """Agree with the server on what will be sent. Raises RunError."""
        known = messages(case.size, case.speech)
        read = min(READ_SIZE, max(4096, 2 * case.in_flight * known.masked.frame))
        if case.flow is not Flow.ECHO:
            read = READ_SIZE
        self.notes = 0
        for number, client in enumerate(self.clients):
            # Each connection begins elsewhere, so that a mix-up of two is noticed.
            first = number * 7 % known.count
            client.limit = read
            client.speech = speech(case.speech)
            client.receiver.expect(known.plain, known.answered, first)
            client.send_ring(known.masked, first)
            client.send_note(
                {
                    "flow": case.flow.value,
                    "size": case.size,
                    "first": first,
                    "read": read,
                    "speech": case.speech,
                }
            )
        self._wait_for_notes()

    def run(self, case: Case, seconds: float) -> Result:
        """Load for that long, then until everything has arrived. Raises RunError."""
        self.trips.clear()
        self.received, before = 0, sum(client.total_sent() for client in self.clients)
        self.running = True
        began = perf_counter()
        for client in self.clients:
            client.begin(case.flow, case.in_flight)
        end = began + seconds
        turn = self.loop.turn
        while perf_counter() < end and not self.failures:
            turn(0.1)
        self.running = False
        count = self._finish(case.flow) - (before if case.flow is Flow.TO_SERVER else 0)
        took = perf_counter() - began
        self._check()
        return Result(count, took, part_of(self.trips, 0.5), part_of(self.trips, 0.99))

    def _finish(self, flow: Flow) -> int:
        """Wait until all is there; the number of messages, for a stream to the server all yet."""
        self.notes = 0
        match flow:
            case Flow.ECHO:
                self.turn_until(lambda: not any(client.posted for client in self.clients))
                return self.received
            case Flow.TO_SERVER:
                for client in self.clients:
                    client.stop_sending()
                    client.send_note({"do": "count"})
                self._wait_for_notes()
                self._compare("received", lambda client: client.total_sent())
                return sum(client.total_sent() for client in self.clients)
            case Flow.TO_CLIENT:
                for client in self.clients:
                    client.send_note({"do": "stop"})
                self._wait_for_notes()
                self._compare("sent", lambda client: client.count)
                return self.received

    def _compare(self, what: str, ours: Callable[[Client], int]) -> None:
        for client in self.clients:
            if client.told.get(what) != ours(client):
                raise RunError(f"the server {what} {client.told.get(what)}, here {ours(client)}")

    def rest(self, seconds: float) -> None:
        """Only answer what is asked. Raises RunError."""
        end = perf_counter() + seconds
        while (left := end - perf_counter()) > 0:
            self.loop.turn(left)
        self._check()

    def close(self) -> None:
        """End every session on purpose, and wait for that."""
        open_clients = [client for client in self.clients if client.socket.fileno() >= 0]
        for client in open_clients:
            client.leave()
        end = perf_counter() + 5
        while any(c.socket.fileno() >= 0 for c in open_clients) and perf_counter() < end:
            self.loop.turn(0.1)
        for client in open_clients:
            client.close()
        if not self.loop.endpoints:
            self.loop.epoll.close()

    def _has_opened(self, count: int) -> bool:
        return self.opened >= count

    def _wait_for_notes(self) -> None:
        self.turn_until(lambda: self.notes >= len(self.clients))

    def turn_until(self, done: Callable[[], bool]) -> None:
        """Serve until it is done. Raises RunError if that takes too long or a client fails."""
        limit = perf_counter() + PATIENCE
        while not done():
            self._check()
            if perf_counter() > limit:
                raise RunError("waited too long")
            self.loop.turn(0.1)

    def _check(self) -> None:
        if self.failures:
            raise RunError(self.failures[0])


def part_of(trips: dict[int, int], part: float) -> float | None:
    """The round trip that this part of all is not slower than, in seconds."""
    left = sum(trips.values()) * part
    for ticks in sorted(trips):
        left -= trips[ticks]
        if left <= 0:
            return ticks * TICK
    return None
