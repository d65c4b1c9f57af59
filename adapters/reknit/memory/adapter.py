"""The in-memory adapter: the same core on a network with a virtual clock, for simulation.

It does what the trio adapter does on real sockets: executes commands, moves bytes, keeps timers.
Minutes pass in milliseconds, and a seed gives the same course each time.
"""

from collections.abc import Callable
from functools import partial
from math import inf
from typing import assert_never

from reknit_core.codes import GOING_AWAY
from reknit_core.commands import (
    Answered,
    Command,
    Dial,
    Disconnect,
    Dropped,
    Transitioned,
    Undelivered,
)
from reknit_core.events import ConnectionLost, DialFailed, ServerConnected, Shutdown, Side
from reknit_core.lifecycle import State
from reknit_core.policy.policy import Policy
from reknit_core.policy.upstream import Upstream
from reknit_core.proxy.contexts import Contexts
from reknit_core.session.context import ContextStateMachine
from reknit_core.wire.handshake import ClientHandshake, Refusal, refusal

from reknit.memory.network import Address, MemoryNetwork, MemorySocket

Observer = Callable[[str, Command], None]
"""Told of each command before it is executed: the connection id of its session, the command."""


class MemorySession:
    """A context and what the adapter holds for it: its sockets, its dial, its timer."""

    __slots__ = ("client", "context", "dialling", "server", "timer")

    def __init__(self, context: ContextStateMachine) -> None:
        self.context = context
        self.client: Leg | None = None
        self.server: Leg | None = None
        self.dialling = 0
        """The generation of the dial under way; 0: none."""
        self.timer = inf
        """When the next look at the context's deadline is due (seconds)."""


class MemoryProxy:
    """Serves `address` of a network and dials `upstream`."""

    def __init__(
        self,
        network: MemoryNetwork,
        address: Address,
        policy: Policy,
        upstream: Upstream,
        observer: Observer | None = None,
    ) -> None:
        self.network = network
        self.address = address
        self.policy = policy
        self.contexts = Contexts(policy, upstream, network.random.randbytes)
        self.sessions: dict[ContextStateMachine, MemorySession] = {}
        """Every session with a connection or a dial, also when it is closed."""
        self._upstream = (upstream.host, upstream.port)
        self._observer = observer
        network.listen(address, self._accept)

    def stop(self) -> None:
        """No new clients; every session is closed with 1001."""
        self.network.refuse(self.address)
        for session in list(self.sessions.values()):
            shutdown = Shutdown(GOING_AWAY, "the proxy is going away")
            session.context.handle(shutdown, self.network.now)
            self.settle(session)

    def enter(self, context: ContextStateMachine, socket: MemorySocket) -> None:
        """A client has begun or resumed that session."""
        session = self.sessions.get(context)
        if session is None:
            session = self.sessions[context] = MemorySession(context)
        self.settle(session)  # an older client's socket goes first
        session.client = Leg(self, session, Side.CLIENT, context.client.generation, socket)
        self.settle(session)

    def settle(self, session: MemorySession) -> None:
        """Do what the context asks for, and write what it has, until it rests."""
        context = session.context
        while True:
            for command in context.commands():
                self._execute(session, command)
            self.write(session)
            if not context.attention:
                break
        deadline = context.next_deadline()
        if deadline is not None and deadline < session.timer:
            session.timer = deadline
            self.network.at(deadline, partial(self._due, session, deadline))
        if context.state is State.CLOSED and not (
            session.client or session.server or session.dialling
        ):
            self.sessions.pop(context, None)

    def write(self, session: MemorySession) -> None:
        """Write what both sockets take, and read from those whose bytes have a place."""
        client, server = session.client, session.server
        if server is not None:
            server.write()
        if client is not None:
            client.write()
            client.socket.read(session.context.wants_read(Side.CLIENT))
        if server is not None:
            server.socket.read(session.context.wants_read(Side.SERVER))

    def _accept(self, socket: MemorySocket) -> None:
        Doorway(self, socket)

    # -- Commands ------------------------------------------------------------------------------

    def _execute(self, session: MemorySession, command: Command) -> None:
        if self.network.log is not None:
            self.network.note(f"{session.context.connection_id} < {_line(command)}")
        if self._observer is not None:
            self._observer(session.context.connection_id, command)
        match command:
            case Dial():
                session.dialling = command.generation
                self.network.at(command.at, partial(self._dial, session, command.generation))
            case Disconnect():
                self._disconnect(session, command)
            case Transitioned():
                if command.state is State.CLOSED:
                    self.contexts.forget(session.context)
            case Dropped() | Undelivered() | Answered():
                pass  # for the observer
            case _:
                assert_never(command)

    def _dial(self, session: MemorySession, generation: int) -> None:
        if session.dialling == generation:
            done = partial(self._dialled, session, generation)
            self.network.dial(self._upstream, self.policy.connect_timeout, done)

    def _dialled(
        self, session: MemorySession, generation: int, outcome: MemorySocket | str
    ) -> None:
        if session.dialling != generation:
            if isinstance(outcome, MemorySocket):  # called off in the meantime
                part(self.network, outcome, b"", 0.0)
            return
        session.dialling = 0
        if isinstance(outcome, MemorySocket):
            session.server = Leg(self, session, Side.SERVER, generation, outcome)
            session.context.handle(ServerConnected(generation), self.network.now)
        else:
            session.context.handle(DialFailed(generation, outcome), self.network.now)
        self.settle(session)

    def _disconnect(self, session: MemorySession, command: Disconnect) -> None:
        if command.side is Side.SERVER and session.dialling == command.generation:
            session.dialling = 0
        leg = session.client if command.side is Side.CLIENT else session.server
        if leg is None or leg.generation != command.generation:
            return
        if leg is session.client:
            session.client = None
        else:
            session.server = None
        part(self.network, leg.socket, command.farewell, command.linger)

    def _due(self, session: MemorySession, when: float) -> None:
        if session.timer == when and session.context in self.sessions:
            session.timer = inf
            session.context.handle_timeout(self.network.now)
            self.settle(session)


class Leg:
    """One established socket and the leg that it serves."""

    __slots__ = ("_blocked", "_context", "_proxy", "generation", "session", "side", "socket")

    def __init__(
        self,
        proxy: MemoryProxy,
        session: MemorySession,
        side: Side,
        generation: int,
        socket: MemorySocket,
    ) -> None:
        self._proxy = proxy
        self._context = session.context
        self._blocked = False
        self.session = session
        self.side = side
        self.generation = generation
        self.socket = socket
        socket.owner = self

    def write(self) -> None:
        """Write what the socket takes."""
        context, side, socket = self._context, self.side, self.socket
        now = self._proxy.network.now
        while not self._blocked and (buffers := context.pending(side)):
            data = buffers[0] if len(buffers) == 1 else b"".join(buffers)
            taken = socket.send(bytes(data))
            context.advance(side, taken, now)
            if taken < len(data):
                self._blocked = True
                context.advance(side, 0, now)

    def on_data(self, data: bytes) -> None:
        """Let the core scan it, and write what it lets through."""
        straight = self._context.receive_data(self.side, data, self._proxy.network.now)
        session = self.session
        other = session.server if self.side is Side.CLIENT else session.client
        if straight and other is not None and not other._blocked:
            taken = other.socket.send(data)
            self._context.advance(other.side, taken, self._proxy.network.now)
            if taken == len(data):
                return
        self._go_on()

    def on_eof(self) -> None:
        """The peer has ended its stream."""
        self._context.receive_eof(self.side, self._proxy.network.now)
        self._go_on()

    def on_lost(self, reason: str) -> None:
        """The connection broke."""
        lost = ConnectionLost(self.side, self.generation, reason)
        self._context.handle(lost, self._proxy.network.now)
        self._go_on()

    def on_writable(self) -> None:
        """There is room again."""
        self._blocked = False
        self._go_on()

    def _go_on(self) -> None:
        if self._context.attention:
            self._proxy.settle(self.session)
        else:
            self._proxy.write(self.session)
            if self._context.attention:
                self._proxy.settle(self.session)


class Doorway:
    """A client's connection until it belongs to a session or is refused."""

    def __init__(self, proxy: MemoryProxy, socket: MemorySocket) -> None:
        self._proxy = proxy
        self._socket = socket
        self._handshake = ClientHandshake(socket.name)
        socket.owner = self
        proxy.network.after(proxy.policy.request_timeout, self._late)

    def on_data(self, data: bytes) -> None:
        """A part of the request."""
        outcome = self._handshake.receive_data(data)
        if outcome is None:
            return
        context: ContextStateMachine | Refusal = (
            outcome
            if isinstance(outcome, Refusal)
            else self._proxy.contexts.connect(self._handshake, outcome, self._proxy.network.now)
        )
        if isinstance(context, Refusal):
            self._refuse(context)
        else:
            self._proxy.enter(context, self._socket)

    def on_eof(self) -> None:
        """The client has gone again."""
        self._socket.close()

    def on_lost(self, reason: str) -> None:
        """The client has gone again."""

    def on_writable(self) -> None:
        """Nothing was written yet."""

    def _late(self) -> None:
        if self._socket.owner is self and self._socket.open:
            self._refuse(refusal(408, "request_timeout", "no complete request in time"))

    def _refuse(self, answer: Refusal) -> None:
        network, policy = self._proxy.network, self._proxy.policy
        part(network, self._socket, self._handshake.refuse(answer), policy.close_timeout)


class Departure:
    """The owner of a socket that is only closing: what still comes is discarded."""

    def __init__(self, socket: MemorySocket) -> None:
        self._socket = socket
        socket.owner = self
        socket.discard()

    def on_data(self, data: bytes) -> None:
        """Discard it."""

    def on_eof(self) -> None:
        """The peer has seen our end of the stream."""
        self._socket.close()

    def on_lost(self, reason: str) -> None:
        """It is over."""

    def on_writable(self) -> None:
        """Nothing is left to write."""


def _line(command: Command) -> str:
    if isinstance(command, Disconnect):  # a farewell's mask is random (RFC 6455, section 5.3)
        size = len(command.farewell)
        return f"Disconnect {command.side.value} {command.generation}, after {size} bytes"
    return str(command)


def part(network: MemoryNetwork, socket: MemorySocket, farewell: bytes, linger: float) -> None:
    """Close a socket as Disconnect says: farewell if it is taken at once, linger in seconds."""
    Departure(socket)
    if farewell:
        socket.send(farewell)
    if linger > 0:
        socket.end()
        socket.read(True)
        network.after(linger, socket.close)
    else:
        socket.close()
