"""A network in memory with a clock of its own: latency, partial writes, stalls, lost connections.

Nothing here waits: run() jumps from one event to the next. All that is random comes from the
`Random` that is passed in, so that a seed gives the same course each time. Sockets behave as TCP
does towards their owners: bytes arrive in order and in pieces, a writer whose peer doesn't read
has to wait, and a socket closed with unread bytes resets the connection.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from heapq import heappop, heappush
from itertools import count
from random import Random
from typing import Protocol

from reknit_core import Buffer, Transit

Address = tuple[str, int]
Dialled = Callable[["MemorySocket | str"], None]
"""Called with what a dial came to: the socket, or why there is none, for people."""

READ_SIZE = 65536  # bytes a read
MAX_AT_ONCE = 1_000_000  # events at one moment: more than that is a loop that never ends


@dataclass(frozen=True, slots=True)
class Conditions:
    """How a network treats bytes. Latencies in seconds, sizes in bytes."""

    latency: tuple[float, float] = (0.001, 0.001)
    """The shortest and the longest time that a packet takes."""
    capacity: int = 65536
    """What a direction holds, on its way and unread, before its writer has to wait."""
    partial: float = 0.0
    """How likely a write takes only a part of what fits."""
    part: int = 100
    """The largest such part."""


class Owner(Protocol):
    """Who uses a MemorySocket, and is told what happens on it."""

    def on_data(self, data: bytes) -> None:
        """Bytes were read."""

    def on_eof(self) -> None:
        """The peer ended its direction; everything it sent was read."""

    def on_lost(self, reason: str) -> None:
        """The connection was reset; the socket is closed."""

    def on_writable(self) -> None:
        """A send that did not take everything can go on."""


class MemoryNetwork:
    """The clock, the events to come, and who listens where.

    `log`: where to note each event as a line of text; None: nowhere.
    """

    def __init__(
        self, random: Random, conditions: Conditions | None = None, log: list[str] | None = None
    ) -> None:
        self.random = random
        self.conditions = conditions or Conditions()
        self.log = log
        self.now = 0.0
        self.events = 0
        """How many events have happened."""
        self._heap: list[tuple[float, int, Callable[[], None]]] = []
        self._sequence = count(1)
        self._names = count(1)
        self._listeners: dict[Address, Callable[[MemorySocket], None] | None] = {}

    def at(self, time: float, action: Callable[[], None]) -> None:
        """Call `action` at that time (seconds); those of one time in the order of the calls."""
        heappush(self._heap, (max(time, self.now), next(self._sequence), action))

    def after(self, delay: float, action: Callable[[], None]) -> None:
        """Call `action` after that many seconds."""
        heappush(self._heap, (self.now + delay, next(self._sequence), action))

    def run(self, until: float) -> None:
        """Let everything happen up to that time (seconds), which it is then.

        Raises RuntimeError if time stands still.
        """
        heap = self._heap
        while heap and heap[0][0] <= until:
            first, moment = self.events, heap[0][0]
            self.now = moment
            while heap and heap[0][0] == moment:
                self.events += 1
                heappop(heap)[2]()
                if self.events - first > MAX_AT_ONCE:
                    raise RuntimeError(f"no end of events at {moment}")
        self.now = until

    def latency(self) -> float:
        """How long the next packet takes (seconds)."""
        shortest, longest = self.conditions.latency
        return shortest if shortest == longest else self.random.uniform(shortest, longest)

    def note(self, line: str) -> None:
        """Add a line to the log."""
        if self.log is not None:
            self.log.append(f"@{self.now:.6f} {line}")

    # -- Connections ---------------------------------------------------------------------------

    def listen(self, address: Address, accept: Callable[["MemorySocket"], None]) -> None:
        """Hand each new connection to that address to `accept`, which makes itself its owner."""
        self._listeners[address] = accept

    def refuse(self, address: Address) -> None:
        """Nobody listens there any more: dials are refused."""
        self._listeners.pop(address, None)

    def swallow(self, address: Address) -> None:
        """Packets to that address get lost: dials time out."""
        self._listeners[address] = None

    def dial(self, address: Address, timeout: float, done: Dialled) -> None:
        """Connect within `timeout` seconds; `done` gets the socket and must become its owner."""
        there, back = self.latency(), self.latency()
        if there + back > timeout:
            self.after(timeout, partial(done, "timed out"))
        else:
            self.after(there, partial(self._arrive, address, timeout - there, back, done))

    def _arrive(self, address: Address, timeout: float, back: float, done: Dialled) -> None:
        if address not in self._listeners:
            self.note(f"{address[0]} refuses a dial")
            self.after(back, partial(done, "connection refused"))
            return
        accept = self._listeners[address]
        if accept is None:
            self.after(timeout, partial(done, "timed out"))
            return
        name = f"{address[0]}#{next(self._names)}"
        near, far = MemorySocket(self, f"{name}<"), MemorySocket(self, f"{name}>")
        near.peer, far.peer = far, near
        far.not_before = self.now + back
        self.note(f"{name} begins")
        self.after(back, partial(done, near))
        accept(far)


class MemorySocket:
    """One end of a connection."""

    __slots__ = (
        "_blocked",
        "_ended",
        "_eof",
        "_inbox",
        "_kept",
        "_network",
        "_reading",
        "_silent",
        "_waking",
        "acked",
        "name",
        "not_before",
        "open",
        "owner",
        "peer",
        "sent",
    )

    owner: Owner
    peer: "MemorySocket"

    def __init__(self, network: MemoryNetwork, name: str) -> None:
        self._network = network
        self.name = name
        self.open = True
        self.sent = 0
        """Bytes that this end has taken from its owner."""
        self.acked = 0
        """How many of them the peer's owner has read."""
        self._kept: int | None = None  # how many of those before it began to discard
        self.not_before = 0.0
        """When what was sent last arrives (seconds): later bytes don't overtake it."""
        self._inbox: list[bytes] = []
        self._reading = True
        self._blocked = False  # the owner waits for on_writable
        self._waking = False  # on_writable is on its way
        self._ended = False  # our direction is ended
        self._eof = False  # the peer's end of stream is here, but not read
        self._silent = False  # nothing passes any more, and nobody is told

    # -- What the owner does -------------------------------------------------------------------

    def recv(self, size: int) -> bytes:
        """Nothing: the owner is given what comes."""
        return b""

    def sendmsg(self, buffers: list[Buffer]) -> int:
        """As send(), of all of these."""
        return self.send(b"".join(buffers))

    def send(self, data: Buffer) -> int:
        """Take as much as fits; returns how many bytes. If not all, on_writable() comes."""
        if not self.open or self._ended:
            return 0
        network = self._network
        conditions = network.conditions
        room = conditions.capacity - self.sent + self.acked
        size = taken = min(len(data), room)
        if conditions.partial and size > 1 and network.random.random() < conditions.partial:
            taken = network.random.randint(1, min(size, conditions.part))
        if taken < len(data):
            self._blocked = True
            if taken < size:
                self._wake()
            data = data[:taken]
        if taken:
            self.sent += taken
            network.at(self._arrival(), partial(self.peer._arrive, bytes(data)))
        return taken

    def read(self, wanted: bool) -> None:
        """Whether the owner wants to read: bytes and the end of the stream wait until it does."""
        if wanted != self._reading:
            self._reading = wanted
            if wanted and (self._inbox or self._eof):
                self._network.after(0.0, self._drain)

    def discard(self) -> None:
        """What is read from now on is not used: it doesn't count as accepted."""
        if self.peer._kept is None:
            self.peer._kept = self.peer.acked

    def end(self) -> None:
        """End this direction: the peer reads what is on its way, and then the end."""
        if self.open and not self._ended:
            self._ended = True
            self._network.at(self._arrival(), self.peer._arrive_end)

    def close(self) -> None:
        """Close. If bytes are unread, or still come, the peer sees a reset."""
        if not self.open:
            return
        if self._inbox:
            self.reset()
        else:
            self.end()
            self._shut()

    def reset(self) -> None:
        """Close at once, by a reset."""
        if self.open:
            self._shut()
            self._tell_reset()

    def cut(self) -> None:
        """The connection breaks on its way: what was on its way is lost, both ends see a reset."""
        self._silent = self.peer._silent = True
        for end in (self, self.peer):
            self._network.after(self._network.latency(), end._arrive_reset)

    def vanish(self) -> None:
        """From now on nothing passes, and neither end is told: a cable pulled, a host gone."""
        self._network.note(f"{self.name} vanishes")
        self._silent = self.peer._silent = True

    @property
    def accepted(self) -> int:
        """Bytes sent here that the peer's owner has read for use."""
        return self.acked if self._kept is None else self._kept

    @property
    def in_transit(self) -> Transit:
        """How far what was sent here has got: a system's socket acknowledges what it can hold."""
        return Transit(self.sent - self.acked, self.acked)

    @property
    def unread(self) -> int:
        """Bytes that the peer has sent and this end's owner has not read."""
        return self.peer.sent - self.peer.acked

    # -- What the network does -----------------------------------------------------------------

    def _arrival(self) -> float:
        network = self._network
        self.not_before = max(self.not_before, network.now + network.latency())
        return self.not_before

    def _arrive(self, data: bytes) -> None:
        if self._silent:
            return
        if not self.open:
            self._tell_reset()
        elif self._reading and not self._inbox:
            self._deliver(data)
        else:
            self._inbox.append(data)

    def _arrive_end(self) -> None:
        if self.open and not self._silent:
            self._eof = True
            self._drain()

    def _arrive_reset(self) -> None:
        if self.open:
            self._network.note(f"{self.name} reset")
            self._shut()
            self.owner.on_lost("connection reset by peer")

    def _deliver(self, data: bytes) -> None:
        network = self._network
        if network.log is not None:
            network.note(f"{self.name} reads {len(data)}")
        peer = self.peer
        peer.acked += len(data)
        if peer._blocked and not self._silent:
            peer._wake()
        self.owner.on_data(data)

    def _drain(self) -> None:
        while self._inbox and self._reading:
            data = b"".join(self._inbox)
            self._inbox = [data[READ_SIZE:]] if len(data) > READ_SIZE else []
            self._deliver(data[:READ_SIZE])
        if self._eof and self._reading and self.open:
            self._eof = False
            self._network.note(f"{self.name} reads the end")
            self.owner.on_eof()

    def _wake(self) -> None:
        if not self._waking:
            self._waking = True
            self._network.after(self._network.latency(), self._unblock)

    def _unblock(self) -> None:
        self._waking = False
        if self._blocked and self.open:
            self._blocked = False
            self.owner.on_writable()

    def _tell_reset(self) -> None:
        if not self._silent:
            self._network.at(self._arrival(), self.peer._arrive_reset)

    def _shut(self) -> None:
        self.open = False
        self._inbox = []
        self._eof = False
