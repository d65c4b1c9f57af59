"""The in-memory adapter: the same core on a network with a virtual clock, for simulation.

It gives the core's driver what the trio adapter does on real sockets: connections, dials, timers.
Minutes pass in milliseconds, and a seed gives the same course each time.
"""

from collections.abc import Callable
from functools import partial
from math import inf

from reknit_core import ContextStateMachine
from reknit_core.codes import GOING_AWAY
from reknit_core.commands import Command, Dial, Disconnect, Transitioned
from reknit_core.driver import Driver
from reknit_core.events import Event, Shutdown
from reknit_core.lifecycle import State
from reknit_core.policy.policy import Policy
from reknit_core.proxy.contexts import Contexts
from reknit_core.proxy.server_check import ServerCheck
from reknit_core.servers import Server, Upstreams
from reknit_core.wire.handshake import ClientHandshake, Refusal, refusal

from reknit.memory.network import Address, MemoryNetwork, MemorySocket
from reknit.memory.transport import MemoryTransport, part

Observer = Callable[[str, Command], None]
"""Told of each command before it is executed: the connection id of its session, the command."""


class MemorySession:
    """What a session has of the network beside its connections: its dial, its timer."""

    __slots__ = ("_proxy", "driver")

    def __init__(self, proxy: "MemoryProxy", context: ContextStateMachine) -> None:
        self._proxy = proxy
        self.driver = Driver(context, self)

    def dial(self, dial: Dial) -> None:
        """Connect when that is due, if it isn't called off before."""
        self._proxy.network.at(dial.at, partial(self._dial, dial.generation))

    def call_off(self) -> None:
        """Nothing to do: the driver knows which dial it awaits."""

    def wake(self, deadline: float) -> None:
        """Look at the session again at that time."""
        self._proxy.network.at(deadline, self._due)

    def tell(self, what: Event | Command, now: float) -> None:
        """Tell the log and the observer of commands."""
        if isinstance(what, Command):
            self._proxy.note(self.driver.context, what)

    def news(self) -> None:
        """Settle the others when this is done."""
        self._proxy.network.after(0.0, self._proxy.settle_news)

    def over(self) -> None:
        """Nothing is left of it."""
        self._proxy.sessions.pop(self.driver.context, None)

    def _dial(self, generation: int) -> None:
        if self.driver.dialling == generation:
            self._proxy.dial(self.driver.context, partial(self._dialled, generation))

    def _dialled(self, generation: int, outcome: MemorySocket | str) -> None:
        now = self._proxy.network.now
        if isinstance(outcome, MemorySocket):
            self.driver.connected(generation, self._proxy.transport(outcome), now)
        else:
            self.driver.dial_failed(generation, outcome, now)

    def _due(self) -> None:
        self.driver.wake(self._proxy.network.now)


class MemoryProxy:
    """Serves `address` of a network and dials `upstream`."""

    def __init__(
        self,
        network: MemoryNetwork,
        address: Address,
        policy: Policy,
        upstream: Upstreams,
        observer: Observer | None = None,
    ) -> None:
        self.network = network
        self.address = address
        self.policy = policy
        self.contexts = Contexts(policy, upstream, network.random.randbytes)
        self.sessions: dict[ContextStateMachine, MemorySession] = {}
        """Every session with a connection or a dial, also when it is closed."""
        self._observer = observer
        network.listen(address, self._accept)
        self._look_at_servers()

    def stop(self) -> None:
        """No new clients; every session is closed with 1001."""
        self.network.refuse(self.address)
        for session in list(self.sessions.values()):
            shutdown = Shutdown(GOING_AWAY, "the proxy is going away")
            session.driver.handle(shutdown, self.network.now)

    def enter(self, context: ContextStateMachine, socket: MemorySocket) -> None:
        """A client has begun or resumed that session."""
        session = self.sessions.get(context)
        if session is None:
            session = self.sessions[context] = MemorySession(self, context)
        session.driver.arrived(self.transport(socket), self.network.now)

    def settle_news(self) -> None:
        """See to the sessions that have commands by what another has met."""
        if self.contexts.servers.has_news:
            self._look_at_servers()
        for context in self.contexts.news():
            session = self.sessions.get(context)
            if session is not None:
                session.driver.settle(self.network.now)

    def dial(
        self, context: ContextStateMachine, done: Callable[[MemorySocket | str], None]
    ) -> None:
        """Connect to the session's server; `done` gets the socket, or why there is none."""
        servers = self.contexts.servers
        name = context.choose_server()
        if name is None:
            done(servers.why_none)
            return
        upstream = servers.upstream(name)
        self.network.dial((upstream.host, upstream.port), self.policy.connect_timeout, done)

    def _look_at_servers(self) -> None:
        """Check those that are to be checked, and come back in time."""
        servers, network = self.contexts.servers, self.network
        for server in servers.checks_due(network.now):
            address = (server.upstream.host, server.upstream.port)
            network.dial(address, self.policy.connect_timeout, partial(self._checked, server))
        servers.news()
        if servers.next_check < inf:
            network.at(max(servers.next_check, network.now), self._look_at_servers)

    def _checked(self, server: Server, outcome: MemorySocket | str) -> None:
        if isinstance(outcome, str):
            self.checked(server, outcome)
        else:
            Checking(self, server, outcome)

    def checked(self, server: Server, problem: str | None) -> None:
        """A check has ended so."""
        self.contexts.servers.checked(server, problem, self.network.now)
        self._look_at_servers()

    def transport(self, socket: MemorySocket) -> MemoryTransport:
        """What a session has of that socket."""
        return MemoryTransport(self.network, socket)

    def note(self, context: ContextStateMachine, command: Command) -> None:
        """That command comes out of that session."""
        if self.network.log is not None:
            self.network.note(f"{context.connection_id} < {_line(command)}")
        if self._observer is not None:
            self._observer(context.connection_id, command)
        if isinstance(command, Transitioned) and command.state is State.CLOSED:
            self.contexts.forget(context)

    def _accept(self, socket: MemorySocket) -> None:
        Doorway(self, socket)


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
        now = self._proxy.network.now
        outcome = self._proxy.contexts.receive(self._handshake, data, now)
        if isinstance(outcome, Refusal):
            self._refuse(outcome)
        elif outcome is not None:
            self._proxy.enter(outcome, self._socket)

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


class Checking:
    """A server's connection, until it has shown that it is up."""

    def __init__(self, proxy: MemoryProxy, server: Server, socket: MemorySocket) -> None:
        self._proxy = proxy
        self._server = server
        self._socket = socket
        self._check = ServerCheck(proxy.contexts.servers, server, proxy.policy)
        socket.owner = self
        if self._check.request:
            socket.send(self._check.request)
            proxy.network.after(proxy.policy.connect_timeout, self._late)
        else:
            self._end(None)

    def on_data(self, data: bytes) -> None:
        """A part of its answer."""
        if self._check.receive_data(data):
            self._end(self._check.problem)

    def on_eof(self) -> None:
        """It says no more."""
        self.on_data(b"")

    def on_lost(self, reason: str) -> None:
        """It has gone."""
        self._end(reason)

    def on_writable(self) -> None:
        """All was written."""

    def _late(self) -> None:
        if self._socket.open:
            self._end("no answer to the check in time")

    def _end(self, problem: str | None) -> None:
        self._socket.close()
        self._proxy.checked(self._server, problem)


def _line(command: Command) -> str:
    if isinstance(command, Disconnect):  # a farewell's mask is random (RFC 6455, section 5.3)
        size = len(command.farewell)
        return f"Disconnect {command.side.value} {command.generation}, after {size} bytes"
    return str(command)
