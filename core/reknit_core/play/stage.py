"""Gives a context's driver what an adapter gives it, without sockets, and writes down what it does.

Peers stand in the sockets' place, and late events are handed on. Each call that tells of something
raises ImpossibleError where it can't happen.
"""

from collections.abc import Callable, Iterable

from reknit_core.commands import (
    Answered,
    AttemptFailed,
    Command,
    Dial,
    DialectChosen,
    Disconnect,
    Dropped,
    Transitioned,
    Undelivered,
)
from reknit_core.driver import Driver, Wire
from reknit_core.events import ConnectionLost, DialFailed, Event, ServerConnected
from reknit_core.leg.transit import Transit
from reknit_core.play.peers import ClientPeer, Peer, ServerPeer
from reknit_core.queue.stream import Buffer
from reknit_core.script.phrases import describe, quote
from reknit_core.script.scenario import seconds
from reknit_core.session.context import ContextStateMachine
from reknit_core.side import Side

_EOF = b""
_MAX_TURNS = 1_000_000  # before a context rests: a peer may have sent that many pieces


class ImpossibleError(Exception):
    """What can't happen now, or not at all; the text says why."""


class PlayedTransport:
    """A connection whose far end is a peer; `out` gets what is to be seen of it."""

    def __init__(self, peer: Peer, out: Callable[[str], None]) -> None:
        self.wire: Wire | None = None
        self.peer = peer
        self._out = out

    @property
    def socket(self) -> "PlayedTransport":
        """What is read and written is the peer's."""
        return self

    def send(self, data: Buffer) -> int:
        """As much as the peer takes."""
        return self.sendmsg([data])

    def sendmsg(self, buffers: list[Buffer]) -> int:
        """As much as the peer takes."""
        data = self.peer.take(b"".join(buffers))
        self.peer.acknowledge(len(data))
        self._tell(data)
        return len(data)

    def recv(self, size: int) -> bytes:
        """What the peer sent with one write."""
        if not self.peer.unread:
            raise BlockingIOError
        return self.peer.unread.popleft()

    def watch(self, *, reads: bool, writes: bool) -> None:
        """Show where the proxy stops or begins to read."""
        if self.peer.is_read is not reads:
            self.peer.is_read = reads
            self._out(f"{self.peer.side.value} {'resume' if reads else 'pause'}")

    def in_transit(self) -> Transit | None:
        """What the peer's system says. A socket that doesn't take all can't be asked."""
        return None if self.peer.room is not None else self.peer.in_transit

    def part(self, farewell: bytes, linger: float) -> None:
        """The peer sees the end."""
        peer = self.peer
        self._tell(peer.take(farewell))
        if peer.cut:
            self._out(f"{peer.side.value} cut")
        if not peer.ended:  # else it is gone already, and only its socket has to be closed
            after = f" linger={linger:g}" if linger else ""
            self._out(f"{peer.side.value} disconnect{after}")

    def _tell(self, data: bytes) -> None:
        for phrase in self.peer.receive(data):
            self._out(f"{self.peer.side.value} {phrase}")


class Stage:
    """What an adapter holds for one context: its driver, its connections and its dial.

    `write_line` is called with each outcome: its kind (`<` or `=`) and its text. `nonce` is what
    the payloads of the proxy's own Pings begin with.
    """

    def __init__(
        self,
        context: ContextStateMachine,
        write_line: Callable[[str, str], None],
        nonce: bytes,
    ) -> None:
        self.driver = Driver(context, self)
        self.awaited: Dial | None = None
        """The dial under way."""
        self._write_line = write_line
        self._nonce = nonce
        self._dialled: set[int] = set()  # every dial there was
        self._attached: set[tuple[Side, int]] = set()  # every connection there was

    # -- Connections ---------------------------------------------------------------------------

    def peer(self, side: Side) -> Peer:
        """That side's peer. Raises ImpossibleError if it isn't connected."""
        peer = self._connected(side)
        if peer is None:
            raise ImpossibleError("there is no connection")
        return peer

    def talking(self, side: Side) -> Peer:
        """That side's peer, if something can still come from it."""
        peer = self.peer(side)
        if peer.ended:
            raise ImpossibleError("its stream has ended")
        return peer

    def asked_server(self) -> ServerPeer:
        """The server, if a request waits for its answer."""
        server = self.talking(Side.SERVER)
        if not isinstance(server, ServerPeer) or not server.may_answer:
            raise ImpossibleError("no request waits for an answer")
        return server

    def attach_client(self, peer: ClientPeer, now: float) -> None:
        """The context has taken this client in."""
        self.driver.arrived(self._transport(peer, self.driver.context.client.generation), now)

    def dial_connected(self, generation: int | None, now: float) -> None:
        """The dial has a transport, or an old one says so late."""
        number = self._finish_dial(generation, now)
        if self.driver.dialling == number:
            self.awaited = None
            transport = self._transport(ServerPeer(number, self._nonce), number)
            self.driver.connected(number, transport, now)
        else:
            self.driver.handle(ServerConnected(number), now)

    def dial_failed(
        self, generation: int | None, reason: str, now: float, *, answered: bool = False
    ) -> None:
        """The dial got no transport, or an old one says so late."""
        number = self._finish_dial(generation, now)
        if self.driver.dialling == number:
            self.awaited = None
            self.driver.dial_failed(number, reason, now, answered=answered)
        else:
            self.driver.handle(DialFailed(number, reason, answered), now)

    def _finish_dial(self, generation: int | None, now: float) -> int:
        """The dial that an event tells of: the one under way, or a named one that is over."""
        dial = self.awaited
        if dial is not None and generation in (None, dial.generation):
            if now < round(dial.at, 6):
                raise ImpossibleError(f"the dial is due at {seconds(dial.at)}")
            return dial.generation
        if generation is None:
            raise ImpossibleError("no dial is under way")
        server = self.driver.server
        if generation not in self._dialled or (server and server.generation == generation):
            raise ImpossibleError("no dial of that number is over")
        return generation

    def _transport(self, peer: Peer, generation: int) -> PlayedTransport:
        peer.generation = generation
        self._attached.add((peer.side, generation))
        return PlayedTransport(peer, self._out)

    def end(self, side: Side) -> None:
        """The peer ends its stream, behind what it has sent."""
        peer = self.talking(side)
        peer.ended = True
        peer.unread.append(_EOF)

    def reset(
        self, side: Side, generation: int | None, now: float, *, answered: bool = False
    ) -> None:
        """The connection is reset, or an old one says so late."""
        peer = self._connected(side)
        if peer is not None and generation in (None, peer.generation):
            peer.ended = True
            peer.unread.clear()
            generation = peer.generation
        elif generation is None:
            raise ImpossibleError("there is no connection")
        elif (side, generation) not in self._attached:
            raise ImpossibleError("there was no such connection")
        reason = "TLS: certificate required" if answered else "connection reset"
        self.driver.handle(ConnectionLost(side, generation, reason, answered), now)

    def arrive(self, peer: Peer, pieces: Iterable[bytes]) -> None:
        """The peer sends these bytes, one piece for each read."""
        peer.unread.extend(piece for piece in pieces if piece)

    def take(self, side: Side, limit: int | None, now: float) -> None:
        """From now on the peer's socket takes so many bytes; None: all."""
        wire = self._wire(side)
        self.peer(side).room = limit
        if wire is not None and wire.full and limit != 0:
            wire.writable(now)

    def _connected(self, side: Side) -> Peer | None:
        wire = self._wire(side)
        if wire is None:
            return None
        assert isinstance(wire.transport, PlayedTransport)
        return wire.transport.peer

    def _wire(self, side: Side) -> Wire | None:
        return self.driver.client if side is Side.CLIENT else self.driver.server

    # -- What comes out ------------------------------------------------------------------------

    def rest(self, now: float) -> None:
        """Read until nothing more is to be read."""
        for _ in range(_MAX_TURNS):
            if not (self._read(Side.SERVER, now) or self._read(Side.CLIENT, now)):
                return
        raise AssertionError("the context does not come to rest")

    def _read(self, side: Side, now: float) -> bool:
        wire = self._wire(side)
        peer = self._connected(side)
        if wire is None or peer is None or not peer.is_read or not peer.unread:
            return False
        wire.readable(now)
        return True

    def dial(self, dial: Dial) -> None:
        """A dial is under way."""
        self.awaited = dial
        self._dialled.add(dial.generation)
        self._out(f"dial attempt={dial.attempt} at={seconds(dial.at)}")

    def call_off(self) -> None:
        """It no longer is."""
        self.awaited = None
        self._out("dial cancelled")

    def wake(self, deadline: float) -> None:
        """The player asks the context itself, to show each deadline at its very time."""

    def tell(self, what: Event | Command, now: float) -> None:
        """Write down what comes out, but for what is seen in connections and dials."""
        match what:
            case Transitioned():
                self._write_line("=", what.state.value)
            case AttemptFailed(_, failure, reason, server):
                at = f" server={server}" if server else ""
                self._out(f"dial failed {failure.value} {quote(reason.encode())}{at}")
            case DialectChosen(name, known):
                self._out(f"dialect {name}{'' if known else ' unknown'}")
            case Dropped(side, total):
                self._out(f"{side.value} dropped total={total}")
            case Undelivered(side, messages, size):
                self._out(f"{side.value} undelivered messages={messages} bytes={size}")
            case Answered(side, reply, reason):
                said = f"no reply: {reason}" if reply is None else f"reply {describe(reply)}"
                self._out(f"{side.value} {said}")
            case Disconnect(side, generation):
                wire = self._wire(side)
                dialling = side is Side.SERVER and self.driver.dialling == generation
                if not dialling and (wire is None or wire.generation != generation):
                    self._out(f"{side.value} disconnect generation={generation}")
            case _:
                pass

    def news(self) -> None:
        """There are no other sessions."""

    def over(self) -> None:
        """Nothing is left of it."""

    def _out(self, text: str) -> None:
        self._write_line("<", text)
