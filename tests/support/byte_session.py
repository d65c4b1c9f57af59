"""Two far ends and a context between them, fed with bytes: an adapter without sockets."""

from reknit_core.commands import Command, Dial, Disconnect, Transitioned
from reknit_core.events import ConnectionLost, ServerConnected, Side
from reknit_core.lifecycle import State
from reknit_core.play.peers import ClientPeer, Peer, ServerPeer
from reknit_core.policy.policy import Policy
from reknit_core.policy.upstream import Upstream
from reknit_core.proxy.contexts import Contexts
from reknit_core.script.actions import ClientConnects, ServerAccepts
from reknit_core.session.context import ContextStateMachine
from reknit_core.wire.handshake import ClientHandshake, UpgradeRequest

NONCE = b"~reknit~"
TURNS = 1000  # of writing and obeying, after one read


class ByteSession:
    """One session. Bytes that an end sends go in as they are given, one read each."""

    def __init__(self, policy: Policy, *, deflate: bool = False) -> None:
        self.contexts = Contexts(policy, Upstream("server.test", 80), lambda size: NONCE[:size])
        self.now = 0.0
        self.deflate = deflate
        self.context: ContextStateMachine | None = None
        self.peers: dict[Side, Peer] = {}
        self.phrases: dict[Side, list[str]] = {Side.CLIENT: [], Side.SERVER: []}
        self.states: list[State] = []
        self.dials: list[int] = []
        self._handshake = ClientHandshake()
        self._asking = False  # whether a client's request is not complete

    # -- Connections ---------------------------------------------------------------------------

    def client_request(self) -> bytes:
        """A client connects: its opening handshake, to be received."""
        action = ClientConnects("/", None, None, None, None, (), "" if self.deflate else None)
        peer = ClientPeer(action, "session", NONCE)
        self.peers[Side.CLIENT] = peer
        self._handshake = ClientHandshake()
        self._asking = True
        return peer.request()

    def server_answer(self) -> bytes:
        """The server is reached and accepts: its answer, to be received."""
        assert self.context is not None
        peer = ServerPeer(self.context.server.generation, NONCE)
        self.peers[Side.SERVER] = peer
        self.context.handle(ServerConnected(peer.generation), self.now)
        self.settle()
        deflate = "server_no_context_takeover" if self.deflate else None
        return peer.accept(ServerAccepts(None, deflate, None, None))

    def lose(self, side: Side) -> None:
        """A connection is reset."""
        assert self.context is not None
        peer = self.peers.pop(side)
        self.context.handle(ConnectionLost(side, peer.generation, "reset"), self.now)
        self.settle()

    def receive(self, side: Side, data: bytes) -> None:
        """Bytes come in."""
        if side is Side.CLIENT and self._asking:
            self._receive_request(data)
        else:
            assert self.context is not None
            self.context.receive_data(side, data, self.now)
        self.settle()

    def _receive_request(self, data: bytes) -> None:
        request = self._handshake.receive_data(data)
        if request is None:
            return
        assert isinstance(request, UpgradeRequest)
        context = self.contexts.connect(self._handshake, request, self.now)
        assert isinstance(context, ContextStateMachine)
        self.context = context
        self.peers[Side.CLIENT].generation = context.client.generation
        self._asking = False

    def pass_time(self) -> None:
        """The next deadline comes."""
        assert self.context is not None
        deadline = self.context.next_deadline()
        if deadline is not None:
            self.now = max(self.now, deadline)
            self.context.handle_timeout(self.now)
            self.settle()

    # -- What comes out ------------------------------------------------------------------------

    def settle(self) -> None:
        """Obey and write until the context rests."""
        for _ in range(TURNS):
            if self.context is None or not self._turn(self.context):
                return
        raise AssertionError("the context does not come to rest")

    def _turn(self, context: ContextStateMachine) -> bool:
        commands = context.commands()
        for command in commands:
            self._obey(command)
        wrote = [self._write(context, peer) for peer in list(self.peers.values())]
        return bool(commands) or any(wrote)

    def _obey(self, command: Command) -> None:
        match command:
            case Dial(attempt=attempt):
                self.dials.append(attempt)
            case Transitioned(state=state):
                self.states.append(state)
            case Disconnect(side=side, generation=generation, farewell=farewell):
                peer = self.peers.get(side)
                if peer is not None and peer.generation == generation:
                    self.phrases[side] += peer.receive(farewell)
                    del self.peers[side]

    def _write(self, context: ContextStateMachine, peer: Peer) -> bool:
        offered = b"".join(context.pending(peer.side))
        data = peer.take(offered)
        if offered:
            context.advance(peer.side, len(data), self.now)
        self.phrases[peer.side] += peer.receive(data)
        return bool(data)
