"""One leg of a session and its connection: frames in, frames out, and the proxy's own among them.

A leg outlives its connections: each new one has the next generation number. It knows what comes
from its peer (`queue`), what goes to it (`source`, the other leg's queue), and its lane: the
bytes of the proxy's own making (handshakes, control frames) with the place in `source` that
they follow. Control and close frames are built and read by wsproto.
"""

from enum import Enum
from itertools import islice, takewhile
from math import inf
from typing import TYPE_CHECKING, ClassVar

from wsproto.frame_protocol import FrameProtocol, ParseFailed

from reknit_core.codes import BAD_GATEWAY, INVALID_DATA, NEVER_SENT
from reknit_core.policy.policy import Policy
from reknit_core.queue.backlog import Backlog
from reknit_core.queue.stream import GATHER, Buffer, Mark
from reknit_core.session.transit import Transit
from reknit_core.side import Side
from reknit_core.wire.frames import FrameScanner, Opcode, Violation, payload

if TYPE_CHECKING:
    from reknit_core.session.websocket import WebSocket


SMALL = 4096  # bytes that are cheaper to copy than to keep by reference

# They build frames only, which leaves no state in them. Towards the server the proxy masks.
_TO_SERVER = FrameProtocol(client=True, extensions=[])
_TO_CLIENT = FrameProtocol(client=False, extensions=[])

_NEVER = -inf


class Phase(Enum):
    """What a leg's connection is doing."""

    AWAY = "away"
    DIALLING = "dialling"
    HANDSHAKE = "handshake"
    OPEN = "open"
    CLOSING = "closing"  # our Close follows what is queued; the peer's answer is awaited
    CLOSE_RECEIVED = "close received"  # the peer's Close is in; our answer is due
    LEAVING = "leaving"  # our last bytes are on their way


class Leg:
    """One leg. The context decides; this keeps the connection's books.

    `other` is the other leg: what comes from its peer goes to this one.
    """

    side: ClassVar[Side]

    __slots__ = (
        "asked",
        "confirm_at",
        "drained",
        "early",
        "ended",
        "full",
        "generation",
        "heard",
        "lane",
        "loaded",
        "missed",
        "other",
        "phase",
        "ping",
        "pinged",
        "policy",
        "probe",
        "probe_mark",
        "probed",
        "queue",
        "scanner",
        "source",
        "transit",
    )

    other: "WebSocket"

    def __init__(self, queue: Backlog, source: Backlog, policy: Policy) -> None:
        self.queue = queue
        self.source = source
        self.policy = policy
        self.phase = Phase.AWAY
        self.generation = 0
        self.scanner: FrameScanner | None = None
        self.early = b""  # what came before the leg was open
        self.lane: list[tuple[int, bytes]] = []
        self.heard = 0.0  # when the peer last sent anything
        self.probe = 0  # counter of the proxy's last Ping
        self.ping = b""  # that Ping, as far as it isn't written yet
        self.probed = inf  # when it was written, while unanswered
        self.probe_mark: Mark = (0, 0)  # the message end that it stands behind
        self.missed = 0  # how often the time for an answer has passed since the last one
        self.loaded = False  # whether much stands in front of that Ping
        self.transit: Transit | None = None  # what the system last said that counted
        self.confirm_at = inf  # when to ask the peer to confirm
        self.pinged: bytes | None = None  # a Ping of the peer's own that the other end owes a Pong
        self.full = False  # whether the socket took less than it was given
        self.drained = _NEVER  # when it last took more after that
        self.asked = False  # whether it has had a request of the operator's: its counts are off
        self.ended = False  # whether the peer has ended its stream, in a session that ends

    # -- A connection begins and ends ------------------------------------------------------------

    def open(self, *, deflate: bool, now: float, nonce: bytes = b"") -> None:
        """The opening handshake is done: frames follow. `nonce`: as in new_scanner()."""
        self.phase = Phase.OPEN
        self.heard = now
        self.scanner = self.new_scanner(deflate=deflate, nonce=nonce)
        self.source.alarm = 0
        if not self.source.eager and self.source.confirmed < self.source.tail:
            self.confirm_at = now + self.policy.confirm_after

    def new_scanner(self, *, deflate: bool, nonce: bytes) -> FrameScanner:
        """What reads this peer's frames. `nonce`: what the proxy's own Pings to it begin with."""
        masked = self.side is Side.CLIENT
        limit = self.policy.message_limit
        return FrameScanner(masked=masked, deflate=deflate, limit=limit, nonce=nonce)

    def gone(self) -> None:
        """The connection is gone; what was on its way waits as the delivery policy says."""
        self.phase = Phase.AWAY
        self.scanner = None
        self.early = b""
        self.lane = []
        self.ping = b""
        self.probed = self.confirm_at = inf
        self.missed = 0
        self.loaded = False
        self.transit = None
        self.full = False
        self.drained = _NEVER
        self.pinged = None
        self.queue.drop_partial()
        self.source.rewind()
        self.source.alarm = 0
        self.other.answer_in_place()

    def answer_in_place(self) -> None:
        """The other end is gone: it can't answer this peer's Ping any more, so the proxy does."""
        if self.pinged is not None and self.phase is Phase.OPEN:
            self.pong(self.pinged)
        self.pinged = None

    # -- Bytes -----------------------------------------------------------------------------------

    def cut_controls(self, data: bytes) -> list[tuple[Opcode, bytes, int]]:
        """Queue what the scanner passed, without its control frames, which are returned.

        Each with its place in the queue: the end of the last message that it came after.
        """
        scanner = self.scanner
        assert scanner is not None
        frames = []
        start = messages = 0
        for control in scanner.controls:
            if start < control.start:
                new = control.messages - messages
                self._queue_part(data, start, control.start, control.boundary, new)
            frames.append((control.opcode, data[control.start : control.end], self.queue.tail))
            start, messages = control.end, control.messages
        if start < len(data):
            new = scanner.messages - messages
            self._queue_part(data, start, len(data), scanner.boundary, new)
        return frames

    def _queue_part(self, data: bytes, start: int, end: int, boundary: int, messages: int) -> None:
        """Queue this part of what the scanner passed; a large one is not copied.

        `boundary`: where in the data its last message ends, if `messages` are completed in it.
        """
        if self.delivers:
            large = end - start > SMALL
            part: Buffer = memoryview(data)[start:end] if large else data[start:end]
            self.queue.append(part, max(0, boundary - start), messages)

    @property
    def is_behind(self) -> bool:
        """Whether this peer has sent more frames at one time than are read in one turn."""
        scanner = self.scanner
        return scanner is not None and scanner.behind

    @property
    def delivers(self) -> bool:
        """Whether this peer's messages still go to the other end.

        An end that has asked for the Close is owed what was on its way to it (RFC 6455, 1.4).
        """
        if self.phase is Phase.CLOSING:
            return self.other.phase is Phase.CLOSE_RECEIVED
        return self.phase is Phase.OPEN

    def pending(self) -> list[Buffer]:
        """What the socket should be given next."""
        lane = self.lane
        source = self.source
        open_ = self.phase is Phase.OPEN or self.phase is Phase.CLOSE_RECEIVED
        if not lane:
            return source.pending(source.tail) if open_ else []
        until = source.tail if open_ else max(position for position, _ in lane)
        said = 0
        at = lane[0][0]
        if at >= until:  # mostly so: all that is said follows all messages
            buffers = source.pending(at)
            return (
                buffers
                if len(buffers) >= GATHER
                else buffers + self._said(0, at, GATHER - len(buffers))
            )
        buffers = []
        at = source.sent
        for message in source.pending(until):
            rest = message
            while said < len(lane) and lane[said][0] < at + len(rest):
                ahead = lane[said][0] - at
                if ahead > 0:
                    buffers.append(memoryview(rest)[:ahead])
                    rest = memoryview(rest)[ahead:]
                    at += ahead
                buffers.append(lane[said][1])
                said += 1
            buffers.append(rest)
            at += len(rest)
            if len(buffers) >= GATHER:
                return buffers[:GATHER]
        return buffers + self._said(said, at, GATHER - len(buffers))

    def _said(self, start: int, position: int, most: int) -> list[Buffer]:
        """What stands in the lane from there on, and may follow up to that place."""
        here = takewhile(lambda said: said[0] <= position, islice(self.lane, start, None))
        return [data for _, data in islice(here, most)]

    def advance(self, taken: int, now: float) -> None:
        """The socket took `taken` bytes of what pending() gave; 0: it has no room now."""
        if not taken:
            self.full = True
            return
        if self.full:
            self.full = False
            self.drained = now
        source = self.source
        written = 0
        for position, data in self.lane:
            ahead = min(taken, position - source.sent)
            if ahead > 0:
                source.advance(ahead)
                taken -= ahead
            if not taken:
                break
            rest = data[taken:]
            taken -= len(data) - len(rest)
            if data is self.ping:
                self.ping = rest
                if not rest:
                    self.probed = now  # the peer's time begins when it can have the Ping
            if rest:
                self.lane[written] = (position, rest)
                break
            written += 1
        if written:
            del self.lane[:written]
        if taken:
            source.advance(taken)

    def say(self, data: bytes, position: int) -> None:
        """Put bytes of the proxy's own into the stream, at a message end."""
        lane = self.lane
        if lane and data is not self.ping:
            place, last = lane[-1]
            if place == position and last is not self.ping and len(last) + len(data) <= SMALL:
                lane[-1] = (place, last + data)  # a flood of them would cost much more apart
                return
        lane.append((position, data))

    # -- Control frames --------------------------------------------------------------------------

    def close_frame(self, code: int, reason: str) -> bytes:
        """A Close frame; 1005, and what may not go onto the wire, is sent without a code."""
        if code in NEVER_SENT:
            return bytes(self._protocol().close())
        return bytes(self._protocol().close(code, reason))

    def last_words(self, code: int, reason: str) -> bytes:
        """A Close frame for a connection that is dropped, if one may stand at this very point."""
        source = self.source
        if self.phase is Phase.OPEN and not self.lane and source.sent == source.next_end()[0]:
            return self.close_frame(code, reason)
        return b""

    def read_close(self, frame: bytes) -> tuple[int, str] | Violation:
        """The code and reason of a peer's Close frame."""
        data = payload(frame)
        if data[:2] == BAD_GATEWAY.to_bytes(2, "big"):
            try:
                return BAD_GATEWAY, data[2:].decode()
            except UnicodeDecodeError:
                return Violation(INVALID_DATA, "bad Close frame: the reason is not UTF-8")
        protocol = FrameProtocol(client=self.side is Side.SERVER, extensions=[])
        protocol.receive_bytes(frame)
        try:
            content = next(protocol.received_frames()).payload
        except ParseFailed as error:
            return Violation(int(error.code), f"bad Close frame: {error}")
        assert isinstance(content, tuple)  # so for every Close
        return int(content[0]), str(content[1] or "")

    def pong(self, data: bytes) -> None:
        """Answer a Ping in the other end's place."""
        self.say(bytes(self._protocol().pong(data)), self.source.next_end()[0])

    def _protocol(self) -> FrameProtocol:
        return _TO_SERVER if self.side is Side.SERVER else _TO_CLIENT
