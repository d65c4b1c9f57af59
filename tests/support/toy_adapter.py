"""A whole adapter, to read first: pipes in memory in place of sockets.

An adapter with sockets does the same, and also: it bounds how long a request may take and how many
connections there are, and calls `driver.abandon()` for a session in which an exception is raised.
"""

from collections.abc import Callable
from random import Random

import reknit_core as core
from turned_clock import Clock  # an asyncio loop has the same: time(), call_at(), call_soon()


class Pipe:
    """The proxy's end of a connection: a Transport. `peer` is called with what the proxy sends."""

    def __init__(self, clock: Clock, peer: Callable[[bytes], None]) -> None:
        self.wire: core.Wire | None = None
        self.reader: Callable[[bytes], None] | None = None  # until there is a wire
        self.socket = self  # a real one would be a non-blocking socket
        self._clock, self._peer = clock, peer
        self._unread: list[bytes] = []
        self._reads = True

    def give(self, data: bytes) -> None:
        """The peer sends that; b"": it ends its stream."""
        self._unread.append(data)
        self._clock.call_soon(self._look)

    def _look(self) -> None:
        if self._unread and self._reads and self.wire is not None:
            self.wire.readable(self._clock.time())
        elif self._unread and self._reads and self.reader is not None:
            self.reader(self.recv())

    def send(self, data: core.Buffer) -> int:
        return self.sendmsg([data])

    def sendmsg(self, buffers: list[core.Buffer]) -> int:
        data = b"".join(buffers)
        self._clock.call_soon(lambda: self._peer(data))  # not from inside this call
        return len(data)

    def recv(self, size: int = 0) -> bytes:
        if not self._unread:
            raise BlockingIOError
        return self._unread.pop(0)

    def watch(self, *, reads: bool, writes: bool) -> None:
        self._reads = reads  # there is always room to write
        for _ in self._unread:
            self._clock.call_soon(self._look)

    def in_transit(self) -> None:
        return None  # it can't be asked

    def part(self, farewell: bytes, linger: float) -> None:
        self._reads = False
        self.send(farewell)
        self.send(b"")  # the end of the stream


class ToyProxy:
    """Sessions of one server. `connect`: a new pipe to it; None: it is away."""

    def __init__(
        self, policy: core.Policy, clock: Clock, connect: Callable[[], Pipe | None]
    ) -> None:
        self.clock, self.connect = clock, connect
        upstream = core.parse_upstream("ws://server.example")
        self.contexts = core.Contexts(policy, upstream, Random(1).randbytes)  # or os.urandom
        self.sessions: dict[core.ContextStateMachine, Session] = {}

    def accept(self, pipe: Pipe) -> None:
        """A client has connected."""
        handshake = core.ClientHandshake()
        pipe.reader = lambda data: self._read(pipe, handshake, data)

    def _read(self, pipe: Pipe, handshake: core.ClientHandshake, data: bytes) -> None:
        came = self.contexts.receive(handshake, data, self.clock.time())
        if isinstance(came, core.ContextStateMachine):
            session = self.sessions.get(came) or Session(self, came)
            session.driver.arrived(pipe, self.clock.time())
        elif came is not None or not data:
            pipe.part(handshake.refuse(came) if came else b"", 0.0)


class Session(core.Host):
    """A session's driver, and what it needs: its Host. What is left out here does nothing."""

    def __init__(self, proxy: ToyProxy, context: core.ContextStateMachine) -> None:
        self.driver = core.Driver(context, self)
        self._proxy, self._time = proxy, proxy.clock.time
        proxy.sessions[context] = self

    def dial(self, dial: core.Dial) -> None:
        self._proxy.clock.call_at(dial.at, lambda: self._connect(dial.generation))

    def _connect(self, generation: int) -> None:
        if self.driver.dialling != generation:
            return  # it was called off
        if (pipe := self._proxy.connect()) is not None:
            self.driver.connected(generation, pipe, self._time())
        else:
            self.driver.dial_failed(generation, "no server", self._time())

    def wake(self, deadline: float) -> None:  # an earlier call does no harm
        self._proxy.clock.call_at(deadline, lambda: self.driver.wake(self._time()))

    def news(self) -> None:
        self._proxy.clock.call_soon(self._settle)

    def _settle(self) -> None:
        for context in self._proxy.contexts.news():
            self._proxy.sessions[context].driver.settle(self._time())

    def over(self) -> None:
        self._proxy.contexts.forget(self.driver.context)
        del self._proxy.sessions[self.driver.context]
