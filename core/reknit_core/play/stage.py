"""Does for a context what an adapter does, without sockets, and writes down all that comes out.

It obeys commands, writes as much as a peer takes, reads while the context wants to, and hands
late events on. Each call that tells of something raises ImpossibleError where it can't happen.
"""

from collections.abc import Callable, Iterable
from typing import assert_never

from reknit_core.commands import Answered, Dial, Disconnect, Dropped, Transitioned, Undelivered
from reknit_core.events import ConnectionLost, DialFailed, ServerConnected, Side
from reknit_core.play.peers import ClientPeer, Peer, ServerPeer
from reknit_core.script.phrases import describe
from reknit_core.script.scenario import seconds
from reknit_core.session.context import ContextStateMachine

_EOF = b""
_MAX_TURNS = 1_000_000  # before a context rests: a peer may have sent that many pieces


class ImpossibleError(Exception):
    """What can't happen now, or not at all; the text says why."""


class PlayedAdapter:
    """What an adapter holds for one context: its connections and its dial.

    `write_line` is called with each outcome: its kind (`<` or `=`) and its text. `nonce` is what
    the payloads of the proxy's own Pings begin with.
    """

    def __init__(
        self,
        context: ContextStateMachine,
        write_line: Callable[[str, str], None],
        nonce: bytes,
    ) -> None:
        self.context = context
        self._write_line = write_line
        self._nonce = nonce
        self._peers: dict[tuple[Side, int], Peer] = {}  # that are connected, by generation
        self._newest = dict.fromkeys(Side, 0)  # the latest generation of each side
        self._dial: Dial | None = None  # under way
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

    def attach_client(self, peer: ClientPeer) -> None:
        """The context has taken this client in."""
        peer.generation = self.context.client.generation
        self._newest[Side.CLIENT] = peer.generation
        self._attach(peer)

    def dial_connected(self, generation: int | None, now: float) -> None:
        """The dial has a transport, or an old one says so late."""
        number = self._finish_dial(generation, now)
        if self._dial is not None and self._dial.generation == number:
            self._dial = None
            self._attach(ServerPeer(number, self._nonce))
        self.context.handle(ServerConnected(number), now)

    def dial_failed(self, generation: int | None, reason: str, now: float) -> None:
        """The dial got no transport, or an old one says so late."""
        number = self._finish_dial(generation, now)
        if self._dial is not None and self._dial.generation == number:
            self._dial = None
        self.context.handle(DialFailed(number, reason), now)

    def _finish_dial(self, generation: int | None, now: float) -> int:
        """The dial that an event tells of: the one under way, or a named one that is over."""
        dial = self._dial
        if dial is not None and generation in (None, dial.generation):
            if now < round(dial.at, 6):
                raise ImpossibleError(f"the dial is due at {seconds(dial.at)}")
            return dial.generation
        if generation is None:
            raise ImpossibleError("no dial is under way")
        if generation not in self._dialled or (Side.SERVER, generation) in self._peers:
            raise ImpossibleError("no dial of that number is over")
        return generation

    def _attach(self, peer: Peer) -> None:
        self._peers[peer.side, peer.generation] = peer
        self._attached.add((peer.side, peer.generation))

    def end(self, side: Side) -> None:
        """The peer ends its stream, behind what it has sent."""
        peer = self.talking(side)
        peer.ended = True
        peer.unread.append(_EOF)

    def reset(self, side: Side, generation: int | None, now: float) -> None:
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
        self.context.handle(ConnectionLost(side, generation, "connection reset"), now)

    def arrive(self, peer: Peer, pieces: Iterable[bytes]) -> None:
        """The peer sends these bytes, one piece for each read."""
        peer.unread.extend(piece for piece in pieces if piece)

    def _connected(self, side: Side) -> Peer | None:
        return self._peers.get((side, self._newest[side]))

    # -- What comes out ------------------------------------------------------------------------

    def settle(self, now: float) -> None:
        """Obey, write and read until the context rests."""
        for _ in range(_MAX_TURNS):
            if not (
                self._obey()
                | self._write(Side.SERVER, now)
                | self._write(Side.CLIENT, now)
                | self._watch()
                | (self._read(Side.SERVER, now) or self._read(Side.CLIENT, now))
            ):
                return
        raise AssertionError("the context does not come to rest")

    def tell(self, peer: Peer, data: bytes) -> None:
        """The peer gets these bytes."""
        for phrase in peer.receive(data):
            self._out(f"{peer.side.value} {phrase}")

    def _obey(self) -> bool:
        commands = self.context.commands()
        for command in commands:
            match command:
                case Dial(generation, attempt, at):
                    self._dial = command
                    self._dialled.add(generation)
                    self._newest[Side.SERVER] = generation
                    self._out(f"dial attempt={attempt} at={seconds(at)}")
                case Disconnect():
                    self._disconnect(command)
                case Transitioned():
                    self._write_line("=", command.state.value)
                case Dropped(side, total):
                    self._out(f"{side.value} dropped total={total}")
                case Undelivered(side, messages, size):
                    self._out(f"{side.value} undelivered messages={messages} bytes={size}")
                case Answered(side, reply, reason):
                    what = f"no reply: {reason}" if reply is None else f"reply {describe(reply)}"
                    self._out(f"{side.value} {what}")
                case _:
                    assert_never(command)
        return bool(commands)

    def _disconnect(self, command: Disconnect) -> None:
        side, generation = command.side, command.generation
        dial = self._dial
        if side is Side.SERVER and dial is not None and dial.generation == generation:
            self._dial = None
            self._out("dial cancelled")
            return
        peer = self._peers.pop((side, generation), None)
        if peer is None:
            self._out(f"{side.value} disconnect generation={generation}")
            return
        self.tell(peer, peer.take(command.farewell))
        if peer.cut:
            self._out(f"{side.value} cut")
        if not peer.ended:  # else it is gone already, and only its socket has to be closed
            linger = f" linger={command.linger:g}" if command.linger else ""
            self._out(f"{side.value} disconnect{linger}")

    def _write(self, side: Side, now: float) -> bool:
        peer = self._connected(side)
        offered = b"".join(self.context.pending(side)) if peer is not None else b""
        if peer is None or not offered:
            return False
        data = peer.take(offered)
        self.context.advance(side, len(data), now)
        self.tell(peer, data)
        return bool(data) or self.context.attention

    def _watch(self) -> bool:
        """Show where the proxy stops or begins to read."""
        changed = False
        for side in Side:
            peer = self._connected(side)
            if peer is not None and peer.is_read is not self.context.wants_read(side):
                peer.is_read = not peer.is_read
                self._out(f"{side.value} {'resume' if peer.is_read else 'pause'}")
                changed = True
        return changed

    def _read(self, side: Side, now: float) -> bool:
        peer = self._connected(side)
        if peer is None or not peer.is_read or not peer.unread:
            return False
        data = peer.unread.popleft()
        if data == _EOF:
            self.context.receive_eof(side, now)
        else:
            self.context.receive_data(side, data, now)
        return True

    def _out(self, text: str) -> None:
        self._write_line("<", text)
