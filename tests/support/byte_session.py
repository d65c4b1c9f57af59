"""Two far ends and a context between them, fed with bytes: an adapter without sockets."""

from reknit_core.commands import Command, Dial, Transitioned
from reknit_core.driver import Driver, Wire
from reknit_core.events import Event
from reknit_core.leg.transit import Transit
from reknit_core.lifecycle import State
from reknit_core.play.peers import ClientPeer, Peer, ServerPeer
from reknit_core.policy.policy import Policy
from reknit_core.policy.upstream import Upstream
from reknit_core.proxy.contexts import Contexts
from reknit_core.queue.stream import Buffer
from reknit_core.script.actions import ClientConnects, ServerAccepts
from reknit_core.session.context import ContextStateMachine
from reknit_core.side import Side
from reknit_core.wire.handshake import ClientHandshake, UpgradeRequest

NONCE = b"~reknit~"


class ByteTransport:
    """An end's connection; `phrases` is what the end has understood of all that came."""

    def __init__(self, peer: Peer, phrases: list[str]) -> None:
        self.wire: Wire | None = None
        self.peer = peer
        self._phrases = phrases

    @property
    def socket(self) -> "ByteTransport":
        return self

    def send(self, data: Buffer) -> int:
        return self.sendmsg([data])

    def sendmsg(self, buffers: list[Buffer]) -> int:
        data = self.peer.take(b"".join(buffers))
        self._phrases += self.peer.receive(data)
        return len(data)

    def recv(self, size: int) -> bytes:
        return b""  # all was handed in

    def watch(self, *, reads: bool, writes: bool) -> None:
        pass  # the tests ask the context

    def in_transit(self) -> Transit | None:
        return None

    def part(self, farewell: bytes, linger: float) -> None:
        self._phrases += self.peer.receive(farewell)


class ByteSession:
    """One session. Bytes that an end sends go in as they are given, one read each."""

    def __init__(self, policy: Policy, *, deflate: bool = False) -> None:
        self.contexts = Contexts(policy, Upstream("server.test", 80), lambda size: NONCE[:size])
        self.now = 0.0
        self.deflate = deflate
        self.driver: Driver | None = None
        self.phrases: dict[Side, list[str]] = {Side.CLIENT: [], Side.SERVER: []}
        self.states: list[State] = []
        self.dials: list[int] = []
        self._handshake = ClientHandshake()
        self._asking: ClientPeer | None = None  # whose request is not complete

    @property
    def context(self) -> ContextStateMachine | None:
        return self.driver.context if self.driver else None

    @property
    def peers(self) -> dict[Side, Peer]:
        """The ends that are connected."""
        peers: dict[Side, Peer] = {}
        for side in Side:
            wire = self._wire(side)
            if wire is not None:
                assert isinstance(wire.transport, ByteTransport)
                peers[side] = wire.transport.peer
        if self._asking is not None:
            peers[Side.CLIENT] = self._asking
        return peers

    # -- Connections ---------------------------------------------------------------------------

    def client_request(self) -> bytes:
        """A client connects: its opening handshake, to be received."""
        action = ClientConnects("/", None, None, None, None, (), "" if self.deflate else None)
        self._asking = ClientPeer(action, "session", NONCE)
        self._handshake = ClientHandshake()
        return self._asking.request()

    def server_answer(self) -> bytes:
        """The server is reached and accepts: its answer, to be received."""
        assert self.driver is not None
        peer = ServerPeer(self.driver.context.server.generation, NONCE)
        transport = ByteTransport(peer, self.phrases[Side.SERVER])
        self.driver.connected(peer.generation, transport, self.now)
        deflate = "server_no_context_takeover" if self.deflate else None
        return peer.accept(ServerAccepts(None, deflate, None, None))

    def lose(self, side: Side) -> None:
        """A connection is reset."""
        wire = self._wire(side)
        assert wire is not None
        wire.broken("reset", self.now)

    def receive(self, side: Side, data: bytes) -> None:
        """Bytes come in."""
        if side is Side.CLIENT and self._asking is not None:
            self._receive_request(self._asking, data)
        else:
            wire = self._wire(side)
            if wire is not None:
                wire.readable(self.now, data)

    def _receive_request(self, peer: ClientPeer, data: bytes) -> None:
        request = self._handshake.receive_data(data)
        if request is None:
            return
        assert isinstance(request, UpgradeRequest)
        context = self.contexts.connect(self._handshake, request, self.now)
        assert isinstance(context, ContextStateMachine)
        if self.context is not context:
            self.driver = Driver(context, self)
        peer.generation = context.client.generation
        self._asking = None
        assert self.driver is not None
        self.driver.arrived(ByteTransport(peer, self.phrases[Side.CLIENT]), self.now)

    def pass_time(self) -> None:
        """The next deadline comes."""
        assert self.driver is not None
        deadline = self.driver.context.next_deadline()
        while deadline is not None and self.driver.deadline < deadline:
            self.driver.wake(self.driver.deadline)  # a timer that was set to an earlier one
        if deadline is not None:
            self.now = max(self.now, deadline)
            self.driver.wake(self.now)

    def make_room(self, side: Side, room: int | None) -> None:
        """From now on that end takes so many bytes; None: all."""
        self.peers[side].room = room
        wire = self._wire(side)
        if wire is not None:
            wire.writable(self.now)

    def _wire(self, side: Side) -> Wire | None:
        if self.driver is None:
            return None
        return self.driver.client if side is Side.CLIENT else self.driver.server

    # -- The driver's host ---------------------------------------------------------------------

    def dial(self, dial: Dial) -> None:
        self.dials.append(dial.attempt)

    def call_off(self) -> None:
        pass

    def wake(self, deadline: float) -> None:
        pass  # time passes when a test says so

    def tell(self, what: Event | Command, now: float) -> None:
        if isinstance(what, Transitioned):
            self.states.append(what.state)

    def news(self) -> None:
        pass

    def over(self) -> None:
        pass
