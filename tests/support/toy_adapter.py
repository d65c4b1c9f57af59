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
        return None

    def part(self, farewell: bytes, linger: float) -> None:
        self._reads = False
        self.send(farewell)
        self.send(b"")  # the end of the stream


Connect = Callable[[], Pipe | None]


class ToyProxy:
    """Sessions of one server. `connect`: a new pipe to it; None: it is away."""

    def __init__(self, policy: core.Policy, clock: Clock, connect: Connect) -> None:
        self.clock, self.connect = clock, connect
        upstream = core.parse_upstream("ws://server.example")
        self.contexts = core.Contexts(policy, upstream, Random(1).randbytes)  # or os.urandom
        self.sessions: dict[core.ContextStateMachine, Session] = {}

    def accept(self, pipe: Pipe) -> None:
        """A client has connected."""
        handshake = core.ClientHandshake()
        pipe.reader = lambda data: self._read(pipe, handshake, data)

    def _read(self, pipe: Pipe, handshake: core.ClientHandshake, data: bytes) -> None:
        if not data:
            pipe.part(b"", 0.0)
            return
        outcome = handshake.receive_data(data)
        if isinstance(outcome, core.UpgradeRequest):
            context = self.contexts.connect(handshake, outcome, self.clock.time())
            if isinstance(context, core.ContextStateMachine):
                if context not in self.sessions:
                    self.sessions[context] = Session(self, context)
                self.sessions[context].driver.arrived(pipe, self.clock.time())
                return
            outcome = context
        if isinstance(outcome, core.Refusal):
            pipe.part(handshake.refuse(outcome), 0.0)

    def settle(self) -> None:
        """See to the sessions that may dial because of what another has met."""
        for context in self.contexts.news():
            self.sessions[context].driver.settle(self.clock.time())


class Session(core.Host):
    """A session's driver, and what it needs: its Host. What is left out here does nothing."""

    def __init__(self, proxy: ToyProxy, context: core.ContextStateMachine) -> None:
        self.driver = core.Driver(context, self)
        self._proxy = proxy

    def dial(self, dial: core.Dial) -> None:
        self._proxy.clock.call_at(dial.at, lambda: self._connect(dial.generation))

    def _connect(self, generation: int) -> None:
        if self.driver.dialling != generation:
            return  # it was called off
        if (pipe := self._proxy.connect()) is not None:
            self.driver.connected(generation, pipe, self._proxy.clock.time())
        else:
            self.driver.dial_failed(generation, "no server", self._proxy.clock.time())

    def wake(self, deadline: float) -> None:  # an earlier call does no harm
        self._proxy.clock.call_at(deadline, lambda: self.driver.wake(self._proxy.clock.time()))

    def news(self) -> None:
        self._proxy.clock.call_soon(self._proxy.settle)

    def over(self) -> None:
        self._proxy.contexts.forget(self.driver.context)
        del self._proxy.sessions[self.driver.context]
