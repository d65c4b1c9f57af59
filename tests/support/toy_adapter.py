"""A whole adapter, to read first: pipes in memory in place of sockets, a clock turned by hand.

An adapter with sockets does the same, and also: it bounds how long a request may take and how many
connections there are, and calls `driver.abandon()` for a session in which an exception is raised.
"""

from collections.abc import Callable
from heapq import heappop, heappush
from itertools import count
from random import Random

from reknit_core import (
    Buffer,
    ClientHandshake,
    Command,
    Contexts,
    ContextStateMachine,
    Dial,
    Driver,
    Event,
    Policy,
    Refusal,
    State,
    Transitioned,
    Wire,
    parse_upstream,
)


class Clock:
    """The time (seconds), and what is to be called when. It passes in run() only."""

    def __init__(self) -> None:
        self.now = 0.0
        self._due: list[tuple[float, int, Callable[[], None]]] = []
        self._order = count()

    def at(self, when: float, call: Callable[[], None]) -> None:
        heappush(self._due, (when, next(self._order), call))

    def run(self, until: float) -> None:
        while self._due and self._due[0][0] <= until:
            when, _, call = heappop(self._due)
            self.now = max(self.now, when)
            call()
        self.now = until


class Pipe:
    """The proxy's end of a connection: a Transport. `peer` is called with what the proxy sends."""

    def __init__(self, clock: Clock, peer: Callable[[bytes], None]) -> None:
        self.wire: Wire | None = None
        self.reader: Callable[[], None] | None = None  # until there is a wire
        self._clock, self._peer = clock, peer
        self._unread: list[bytes] = []
        self._reads = True
        self.socket = self  # a real one would be a non-blocking socket

    def give(self, data: bytes) -> None:
        """The peer sends that; b"": it ends its stream."""
        self._unread.append(data)
        self._clock.at(self._clock.now, self._look)

    def _look(self) -> None:
        if not (self._unread and self._reads):
            return
        if self.wire is not None:
            self.wire.readable(self._clock.now)
        elif self.reader is not None:
            self.reader()

    def send(self, data: Buffer) -> int:
        return self.sendmsg([data])

    def sendmsg(self, buffers: list[Buffer]) -> int:
        data = b"".join(buffers)
        self._clock.at(self._clock.now, lambda: self._peer(data))  # not from inside this call
        return len(data)

    def recv(self, size: int) -> bytes:
        if not self._unread:
            raise BlockingIOError
        return self._unread.pop(0)

    def watch(self, *, reads: bool, writes: bool) -> None:
        self._reads = reads  # there is always room to write
        for _ in self._unread:
            self._clock.at(self._clock.now, self._look)

    def in_transit(self) -> None:
        return None

    def part(self, farewell: bytes, linger: float) -> None:
        self._reads = False
        if farewell:
            self.send(farewell)
        self.send(b"")  # the end of the stream


class Session:
    """A session's driver, and what it needs: its Host."""

    def __init__(self, proxy: "ToyProxy", context: ContextStateMachine) -> None:
        self.driver = Driver(context, self)
        self._proxy = proxy

    def dial(self, dial: Dial) -> None:
        self._proxy.clock.at(dial.at, lambda: self._connect(dial))

    def _connect(self, dial: Dial) -> None:
        now = self._proxy.clock.now
        if self.driver.dialling != dial.generation:
            return  # it was called off
        if (pipe := self._proxy.connect()) is not None:
            self.driver.connected(dial.generation, pipe, now)
        else:
            self.driver.dial_failed(dial.generation, "no server", now)

    def call_off(self) -> None:
        pass  # _connect() sees it

    def wake(self, deadline: float) -> None:  # an earlier call does no harm
        self._proxy.clock.at(deadline, lambda: self.driver.wake(self._proxy.clock.now))

    def tell(self, what: Event | Command, now: float) -> None:
        if isinstance(what, Transitioned):
            self._proxy.states.append(what.state)
            if what.state is State.CLOSED:
                self._proxy.contexts.forget(self.driver.context)

    def news(self) -> None:
        self._proxy.clock.at(self._proxy.clock.now, self._proxy.settle_news)

    def over(self) -> None:
        del self._proxy.sessions[self.driver.context]


class ToyProxy:
    """Sessions of one server. `connect`: a new pipe to it; None: it is away."""

    def __init__(self, policy: Policy, clock: Clock, connect: Callable[[], Pipe | None]) -> None:
        self.clock, self.connect = clock, connect
        upstream = parse_upstream("ws://server.example")
        self.contexts = Contexts(policy, upstream, Random(1).randbytes)  # os.urandom, if it matters
        self.sessions: dict[ContextStateMachine, Session] = {}
        self.states: list[State] = []  # what there was

    def settle_news(self) -> None:
        for context in self.contexts.news():
            if context in self.sessions:
                self.sessions[context].driver.settle(self.clock.now)

    def accept(self, pipe: Pipe) -> None:
        """A client has connected."""
        handshake = ClientHandshake()
        pipe.reader = lambda: self._read(pipe, handshake)

    def _read(self, pipe: Pipe, handshake: ClientHandshake) -> None:
        data = pipe.recv(4096)
        if not data:
            pipe.part(b"", 0.0)
            return
        request = handshake.receive_data(data)
        if request is None:
            return
        now = self.clock.now
        if isinstance(request, Refusal):
            pipe.part(handshake.refuse(request), 0.0)
            return
        context = self.contexts.connect(handshake, request, now)
        if isinstance(context, Refusal):
            pipe.part(handshake.refuse(context), 0.0)
            return
        if context not in self.sessions:
            self.sessions[context] = Session(self, context)
        self.sessions[context].driver.arrived(pipe, now)
