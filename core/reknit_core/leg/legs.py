"""The two legs of a session: the client's and the server's, by their names in the design."""

import json

from wsproto.frame_protocol import FrameProtocol

from reknit_core.counters import Counters
from reknit_core.form import Moment
from reknit_core.leg.dialling import Dialling, moved
from reknit_core.leg.leg import Leg
from reknit_core.leg.leg_forms import FrozenClient, FrozenLeg, FrozenServer
from reknit_core.leg.phase import Phase
from reknit_core.policy.policy import Policy
from reknit_core.queue.backlog import Backlog
from reknit_core.side import Side
from reknit_core.terms.pinned import Pinned
from reknit_core.wire.frames import Opcode, payload
from reknit_core.wire.handshake import ClientHandshake, ServerHandshake
from reknit_core.wire.headers import HeaderList


class IncomingWebSocket(Leg):
    """The client's leg. Its queue holds client messages that wait for the server."""

    side = Side.CLIENT

    __slots__ = ("handshake", "hello")

    def __init__(self, queue: Backlog, source: Backlog, policy: Policy) -> None:
        super().__init__(queue, source, policy)
        self.handshake: ClientHandshake | None = None
        self.hello = False  # whether this client wants to be greeted by a message

    def accept(self, pinned: Pinned, server_headers: HeaderList, told: HeaderList) -> None:
        """Answer its handshake. `told`: the proxy's own headers, which a greeting has too."""
        handshake = self.handshake
        assert handshake is not None
        self.handshake = None
        headers = (*server_headers, *told, *pinned.agreed_headers())
        self.say(handshake.accept(pinned.subprotocol, headers), self.source.sent)
        if self.hello:
            self.say(hello_frame(told), self.source.sent)

    def frozen(self) -> FrozenClient:
        """The leg as data, by reference."""
        return FrozenClient(
            leg=_frozen(self),
            handshake=None if self.handshake is None else self.handshake.frozen(),
            hello=self.hello,
        )

    def thaw(self, form: FrozenClient, shift: float, *, deflate: bool, nonce: bytes) -> None:
        """Become what that leg was: see _take_in()."""
        _take_in(self, form.leg, shift, deflate=deflate, nonce=nonce)
        self.hello = form.hello
        if form.handshake is not None:
            self.handshake = ClientHandshake.thawed(form.handshake)


class OutgoingWebSocket(Leg):
    """The server's leg. Its queue holds server messages that wait for the client."""

    side = Side.SERVER

    __slots__ = ("dialling",)

    def __init__(self, queue: Backlog, source: Backlog, policy: Policy, dialling: Dialling) -> None:
        super().__init__(queue, source, policy)
        self.dialling = dialling

    def frozen(self) -> FrozenServer:
        """The leg as data, by reference."""
        dialling = self.dialling
        return FrozenServer(
            leg=_frozen(self),
            handshake=None if dialling.handshake is None else dialling.handshake.frozen(),
            retry=dialling.frozen(),
            until=Moment(dialling.until),
            since=Moment(dialling.begun),
            wall=dialling.wall,
            dial_at=Moment(dialling.at),
            own=dialling.own,
            server=dialling.server,
        )

    def thaw(self, form: FrozenServer, shift: float, *, deflate: bool, nonce: bytes) -> None:
        """Become what that leg was: see _take_in()."""
        _take_in(self, form.leg, shift, deflate=deflate, nonce=nonce)
        dialling = self.dialling
        dialling.thaw(form.retry, shift)
        dialling.until = form.until + shift
        dialling.begun = form.since + shift
        dialling.wall = form.wall
        dialling.at = form.dial_at + shift
        dialling.own = form.own
        dialling.server = form.server
        if form.handshake is not None:
            dialling.handshake = ServerHandshake.thawed(form.handshake)


def go_on(leg: Leg, received: int | None, counters: Counters) -> None:
    """A peer is back, and may have said how many messages it has received."""
    source = leg.source
    handed, count = source.handed()
    if received is not None:
        source.resume_at(received)
    counters.towards(leg.side).replayed(
        count - source.confirmed_count, handed - source.confirmed, counts=received is not None
    )


def postpone(leg: Leg, late: float, now: float) -> None:
    """So many seconds don't count: the proxy itself stood still."""
    leg.heard = moved(leg.heard, late, now)
    leg.probe.sent_at = moved(leg.probe.sent_at, late, now)
    leg.probe.confirm_at += late


def pass_on(leg: Leg, opcode: Opcode, frame: bytes, position: int) -> None:
    """A Ping or Pong came from this leg's peer at that place of its queue.

    It is for the other end. While that is away a Ping is answered in its place.
    """
    other = leg.other
    if other.phase is Phase.OPEN:
        other.say(frame, position)
        if opcode is Opcode.PING:
            leg.pinged = payload(frame)
        elif other.pinged == payload(frame):
            other.pinged = None
    elif opcode is Opcode.PING:
        leg.pong(payload(frame))


def hello_frame(headers: HeaderList) -> bytes:
    """A text message to a client with what the proxy's own headers say, as a JSON object."""
    text = json.dumps({name.decode(): value.decode() for name, value in headers})
    return bytes(FrameProtocol(client=False, extensions=[]).send_data(text))


def _frozen(leg: Leg) -> FrozenLeg:
    """The leg as data, by reference."""
    return FrozenLeg(
        queue=leg.queue.frozen(),
        scanner=None if leg.scanner is None else leg.scanner.frozen(),
        probe=leg.probe.frozen(leg.lane),
        phase=leg.phase,
        generation=leg.generation,
        early=leg.early,
        lane=leg.lane,
        heard=Moment(leg.heard),
        pinged=leg.pinged,
        full=leg.full,
        asked=leg.asked,
        drained=Moment(leg.drained),
        ended=leg.ended,
    )


def _take_in(leg: Leg, form: FrozenLeg, shift: float, *, deflate: bool, nonce: bytes) -> None:
    """Become what that leg was; `shift`: seconds from its clock to this one.

    `deflate`, `nonce`: as in open(). The form's lists are this leg's own from here on.
    """
    leg.queue.thaw(form.queue)
    if form.scanner is not None:
        leg.scanner = leg.new_scanner(deflate=deflate, nonce=nonce)
        leg.scanner.thaw(form.scanner)
        leg.count_kept(leg.scanner)
    leg.lane = form.lane
    leg.probe.thaw(form.probe, leg.lane, shift)
    leg.phase = form.phase
    leg.generation = form.generation
    leg.early = form.early
    leg.heard = form.heard + shift
    leg.pinged = form.pinged
    leg.full = form.full
    leg.asked = form.asked
    leg.drained = form.drained + shift
    leg.ended = form.ended
    leg.source.eager |= form.phase is Phase.CLOSE_RECEIVED  # see confirm_no_more()
