"""The two legs of a session: IncomingWebSocket (the client's) and OutgoingWebSocket (the server's).

A leg outlives its connections: each new one has the next generation number. It knows what comes
from its peer (`queue`), what goes to it (`source`, the other leg's queue), and its lane: the
bytes of the proxy's own making (handshakes, control frames) with the place in `source` that
they follow. Control and close frames are built and read by wsproto.
"""

from enum import Enum
from itertools import takewhile
from math import inf
from typing import ClassVar

from wsproto.frame_protocol import FrameProtocol, ParseFailed

from reknit_core.backlog import GATHER, Backlog, Buffer
from reknit_core.events import Side
from reknit_core.frames import FrameScanner, Violation, payload
from reknit_core.handshake import ClientHandshake, ServerHandshake

NO_STATUS = 1005
ABNORMAL = 1006
_BAD_GATEWAY = 1014  # registered, but unknown to wsproto 1.3.2

MAX_LANE = 64  # frames: a peer that sends more control frames than are taken is no longer read
MAX_EARLY = 64 * 1024  # bytes that a peer may send before its handshake is done
PROBE_SIZE = 8  # bytes of the counter in the proxy's own Pings


class Phase(Enum):
    """What a leg's connection is doing."""

    AWAY = "away"
    DIALLING = "dialling"
    HANDSHAKE = "handshake"
    OPEN = "open"
    CLOSING = "closing"  # our Close follows what is queued; the peer's answer is awaited
    CLOSE_RECEIVED = "close received"  # the peer's Close is in; our answer is due
    LEAVING = "leaving"  # our last bytes are on their way


class WebSocket:
    """One leg. The context decides; this only keeps the connection's bookkeeping."""

    side: ClassVar[Side]

    __slots__ = (
        "early",
        "generation",
        "heard",
        "lane",
        "phase",
        "probe",
        "probed",
        "queue",
        "scanner",
        "source",
    )

    def __init__(self, queue: Backlog, source: Backlog) -> None:
        self.queue = queue
        self.source = source
        self.phase = Phase.AWAY
        self.generation = 0
        self.scanner: FrameScanner | None = None
        self.early = b""  # what came before the leg was open
        self.lane: list[tuple[int, bytes]] = []
        self.heard = 0.0  # when the peer last sent anything
        self.probe = 0  # counter of the proxy's last Ping
        self.probed = inf  # when it was sent, while unanswered

    def open(self, *, deflate: bool, limit: int, now: float) -> None:
        """The opening handshake is done: frames follow."""
        self.phase = Phase.OPEN
        self.heard = now
        self.scanner = FrameScanner(masked=self.side is Side.CLIENT, deflate=deflate, limit=limit)

    def gone(self) -> None:
        """The connection is gone; what was on its way waits as the delivery policy says."""
        self.phase = Phase.AWAY
        self.scanner = None
        self.early = b""
        self.lane = []
        self.probed = inf
        self.queue.drop_partial()
        self.source.rewind()

    def say(self, data: bytes, position: int) -> None:
        """Put bytes of the proxy's own into the stream, at a message end."""
        self.lane.append((position, data))

    def pending(self) -> list[Buffer]:
        """What the socket should be given next."""
        lane = self.lane
        source = self.source
        if not lane:
            return source.pending(source.tail) if self.phase is Phase.OPEN else []
        position = lane[0][0]
        buffers = source.pending(position)
        if len(buffers) < GATHER:
            here = takewhile(lambda said: said[0] <= position, lane)
            buffers += [data for _, data in here]
        return buffers

    def advance(self, taken: int, now: float) -> None:
        """The socket took `taken` bytes of what pending() gave."""
        lane = self.lane
        if not lane:
            self.source.advance(taken)
            return
        ahead = min(taken, lane[0][0] - self.source.sent)
        if ahead > 0:
            self.source.advance(ahead)
            taken -= ahead
        while taken:
            position, data = lane[0]
            if taken < len(data):
                lane[0] = (position, data[taken:])
                break
            taken -= len(data)
            del lane[0]
        if self.probed != inf:
            self.probed = max(self.probed, now)  # what still moves is not dead

    def close_frame(self, code: int, reason: str) -> bytes:
        """A Close frame; 1005, and what may not go onto the wire, is sent without a code."""
        if code in (NO_STATUS, ABNORMAL, 1015):
            return bytes(self._protocol().close())
        return bytes(self._protocol().close(code, reason))

    def pong(self, data: bytes) -> None:
        """Answer a Ping in the server's or client's place."""
        self.say(bytes(self._protocol().pong(data)), self.source.next_end()[0])

    def ping(self, nonce: bytes, now: float) -> None:
        """Ask for a sign of life, in a form that can be told from the other end's Pings."""
        self.probe += 1
        self.probed = now
        data = nonce + self.probe.to_bytes(PROBE_SIZE, "big")
        self.say(bytes(self._protocol().ping(data)), self.source.next_end()[0])

    def last_words(self, code: int, reason: str) -> bytes:
        """A Close frame for a connection that is dropped, if one may stand at this very point."""
        source = self.source
        if self.phase is Phase.OPEN and not self.lane and source.sent == source.next_end()[0]:
            return self.close_frame(code, reason)
        return b""

    def read_close(self, frame: bytes) -> tuple[int, str] | Violation:
        """The code and reason of a peer's Close frame."""
        data = payload(frame)
        if data[:2] == _BAD_GATEWAY.to_bytes(2, "big"):
            return _BAD_GATEWAY, data[2:].decode(errors="replace")
        protocol = FrameProtocol(client=self.side is Side.SERVER, extensions=[])
        protocol.receive_bytes(frame)
        try:
            content = next(protocol.received_frames()).payload
        except ParseFailed as error:
            return Violation(int(error.code), f"bad Close frame: {error}")
        assert isinstance(content, tuple)  # so for every Close
        return int(content[0]), str(content[1] or "")

    def _protocol(self) -> FrameProtocol:
        # Towards the server the proxy is a client, and masks.
        return FrameProtocol(client=self.side is Side.SERVER, extensions=[])


class IncomingWebSocket(WebSocket):
    """The client's leg. Its queue holds client messages that wait for the server."""

    side = Side.CLIENT

    __slots__ = ("handshake",)

    def __init__(self, queue: Backlog, source: Backlog) -> None:
        super().__init__(queue, source)
        self.handshake: ClientHandshake | None = None


class OutgoingWebSocket(WebSocket):
    """The server's leg. Its queue holds server messages that wait for the client."""

    side = Side.SERVER

    __slots__ = ("accepted_at", "attempt", "handshake", "reconnect_info", "since")

    def __init__(self, queue: Backlog, source: Backlog) -> None:
        super().__init__(queue, source)
        self.handshake: ServerHandshake | None = None
        self.attempt = 0  # the design's retryCount
        self.since = inf  # when the current handshake began
        self.accepted_at = -inf
        self.reconnect_info: str | None = None
