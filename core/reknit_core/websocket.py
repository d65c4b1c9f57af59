"""One leg of a session: its connection, its queue, and the proxy's own frames on it.

A leg outlives its connections: each new one has the next generation number. It knows what comes
from its peer (`queue`), what goes to it (`source`, the other leg's queue), and its lane: the
bytes of the proxy's own making (handshakes, control frames) with the place in `source` that
they follow. Control and close frames are built and read by wsproto.
"""

from enum import Enum
from itertools import islice, takewhile
from math import inf
from typing import ClassVar, assert_never

from wsproto.frame_protocol import FrameProtocol, ParseFailed

from reknit_core.backlog import Backlog
from reknit_core.budget import SHARE
from reknit_core.frames import FrameScanner, Opcode, Violation, payload
from reknit_core.policy import Overflow, Policy
from reknit_core.side import Side
from reknit_core.stream import GATHER, Buffer, Mark

NO_STATUS = 1005
ABNORMAL = 1006
TLS_FAILED = 1015
INVALID_DATA = 1007
_BAD_GATEWAY = 1014  # registered, but unknown to wsproto 1.3.2

MAX_LANE = 64  # frames: a peer that sends more control frames than are taken is no longer read
MIN_MESSAGE = 2  # bytes of the smallest one: a frame's header
SMALL = 4096  # bytes that are cheaper to copy than to keep by reference
MAX_EARLY = 64 * 1024  # bytes that a peer may send before its handshake is done
MAX_AHEAD = 16 * 2**20  # bytes: more than two systems' buffers hold in front of a Pong
PATIENCE = 2  # heartbeat time-outs that a peer may send through without a Pong, before and after
PROBE_SIZE = 8  # bytes of the counter in the proxy's own Pings

# They build frames only, which leaves no state in them. Towards the server the proxy masks.
_TO_SERVER = FrameProtocol(client=True, extensions=[])
_TO_CLIENT = FrameProtocol(client=False, extensions=[])


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
    """One leg. The context decides; this keeps the connection's books.

    `other` is the other leg: what comes from its peer goes to this one.
    """

    side: ClassVar[Side]

    __slots__ = (
        "confirm_at",
        "drained",
        "early",
        "full",
        "generation",
        "heard",
        "lane",
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
        self.confirm_at = inf  # when to ask the peer to confirm
        self.pinged: bytes | None = None  # a Ping of the peer's own that the other end owes a Pong
        self.full = False  # whether the socket took less than it was given
        self.drained = -inf  # when it last took more after that

    # -- A connection begins and ends ----------------------------------------------------------

    def open(self, *, deflate: bool, now: float) -> None:
        """The opening handshake is done: frames follow."""
        self.phase = Phase.OPEN
        self.heard = now
        self.scanner = self.new_scanner(deflate=deflate)
        self.source.alarm = 0
        if not self.source.eager and self.source.confirmed < self.source.tail:
            self.confirm_at = now + self.policy.confirm_after

    def new_scanner(self, *, deflate: bool) -> FrameScanner:
        """What reads this peer's frames."""
        masked = self.side is Side.CLIENT
        return FrameScanner(masked=masked, deflate=deflate, limit=self.policy.message_limit)

    def gone(self) -> None:
        """The connection is gone; what was on its way waits as the delivery policy says."""
        self.phase = Phase.AWAY
        self.scanner = None
        self.early = b""
        self.lane = []
        self.ping = b""
        self.probed = self.confirm_at = inf
        self.missed = 0
        self.full = False
        self.drained = -inf
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

    # -- Bytes ---------------------------------------------------------------------------------

    def cut_controls(self, data: bytes) -> list[tuple[Opcode, bytes]]:
        """Queue what the scanner passed, without its control frames, which are returned."""
        scanner = self.scanner
        assert scanner is not None
        frames = []
        parts = []
        start = 0
        for control in scanner.controls:
            frames.append((control.opcode, data[control.start : control.end]))
            parts.append((start, control.start))
            start = control.end
        parts.append((start, len(data)))
        if self.delivers:
            self._queue_parts(data, [part for part in parts if part[0] < part[1]])
        return frames

    def _queue_parts(self, data: bytes, parts: list[tuple[int, int]]) -> None:
        """Queue these parts of what the scanner passed; large ones are not copied."""
        scanner = self.scanner
        assert scanner is not None
        boundary = scanner.boundary
        last = max((start for start, _ in parts if start < boundary), default=-1)
        for start, end in parts:
            large = end - start > SMALL
            part: Buffer = memoryview(data)[start:end] if large else data[start:end]
            if start == last:  # the messages end in here
                self.queue.append(part, min(end, boundary) - start, scanner.messages)
            else:
                self.queue.append(part, 0, 0)

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
        if not lane:
            open_ = self.phase is Phase.OPEN or self.phase is Phase.CLOSE_RECEIVED
            return source.pending(source.tail) if open_ else []
        position = lane[0][0]
        buffers = source.pending(position)
        if len(buffers) < GATHER:
            here = takewhile(lambda said: said[0] <= position, lane)
            buffers += [data for _, data in islice(here, GATHER - len(buffers))]
        return buffers

    def advance(self, taken: int, now: float) -> None:
        """The socket took `taken` bytes of what pending() gave; 0: it has no room now."""
        if not taken:
            self.full = True
            return
        if self.full:
            self.full = False
            self.drained = now
        lane = self.lane
        if not lane:
            self.source.advance(taken)
            return
        ahead = min(taken, lane[0][0] - self.source.sent)
        if ahead > 0:
            self.source.advance(ahead)
            taken -= ahead
        if self.ping:
            self.probed = now  # the peer's time begins when it can have the Ping
        written = 0
        while taken:
            position, data = lane[written]
            rest = data[taken:]
            if data is self.ping:
                self.ping = rest
            if rest:
                lane[written] = (position, rest)
                break
            taken -= len(data)
            written += 1
        del lane[:written]

    def wants_read(self) -> bool:
        """Whether what this peer sends has somewhere to go."""
        if self.phase is not Phase.OPEN and not self.delivers:
            return len(self.early) < MAX_EARLY
        queue = self.queue
        policy = self.policy
        held = queue.tail - queue.confirmed
        # If all of it is handed on, this peer's own Pong may stand behind what isn't read here,
        # and the other's behind what isn't read there: then neither queue would ever be
        # confirmed. So a peer that owes a Pong is read some way further.
        owes = self.probed != inf and queue.sent == queue.tail
        ahead = MAX_AHEAD if owes else 0
        if (
            held >= policy.queue_bytes + ahead
            or (queue.count - queue.confirmed_count >= policy.queue_messages and not owes)
        ) and (self.phase is not Phase.OPEN or policy.overflow(self.side) is Overflow.PAUSE):
            return False
        budget = queue.budget
        if budget.used >= budget.limit and held >= SHARE + ahead:
            return False
        return len(self.lane) < MAX_LANE and len(self.other.lane) < MAX_LANE

    def next_alarm(self, *, confirms: bool) -> int:
        """The queue's tail at which to look again: before a bound, or to ask for confirmation."""
        queue = self.queue
        policy = self.policy
        waiting = queue.count - queue.confirmed_count
        size, messages = policy.queue_bytes, policy.queue_messages
        if confirms and self.other.probed == inf:
            size, messages = policy.confirm_bytes_at_most, messages // 2
        return min(queue.confirmed + size, queue.tail + (messages - waiting) * MIN_MESSAGE)

    def make_room(self) -> bool:
        """Drop what the policy says if the queue is over its bounds; False if it says to end."""
        queue = self.queue
        policy = self.policy
        if (
            queue.tail - queue.confirmed <= policy.queue_bytes
            and queue.count - queue.confirmed_count <= policy.queue_messages
        ):
            return True
        match policy.overflow(self.side):
            case Overflow.PAUSE:
                return True  # the sender is not read: wants_read()
            case Overflow.CLOSE:
                return False
            case Overflow.DROP_OLDEST:  # some more than needed, so that not each message cuts
                cut = queue.drop_oldest(policy.queue_bytes * 3 // 4, policy.queue_messages * 3 // 4)
            case Overflow.DROP_NEWEST:
                assert self.scanner is not None
                cut = queue.drop_newest(
                    self.scanner.messages, policy.queue_bytes, policy.queue_messages
                )
            case never:
                assert_never(never)
        self.other._moved_up(*cut)
        return True

    def _moved_up(self, start: int, size: int) -> None:
        """Bytes were cut out of the source: what was to follow them follows what is left."""
        self.lane = [(p if p <= start else max(start, p - size), data) for p, data in self.lane]
        if self.probe_mark[0] > start:
            self.probe_mark = (0, 0)  # its answer proves nothing any more

    def say(self, data: bytes, position: int) -> None:
        """Put bytes of the proxy's own into the stream, at a message end."""
        self.lane.append((position, data))

    # -- Control frames ------------------------------------------------------------------------

    def close_frame(self, code: int, reason: str) -> bytes:
        """A Close frame; 1005, and what may not go onto the wire, is sent without a code."""
        if code in (NO_STATUS, ABNORMAL, TLS_FAILED):
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
        if data[:2] == _BAD_GATEWAY.to_bytes(2, "big"):
            try:
                return _BAD_GATEWAY, data[2:].decode()
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

    def ask(self, nonce: bytes, now: float) -> None:
        """Send the proxy's own Ping: a sign of life, and proof that what is before it arrived."""
        self.probe += 1
        self.probed = now
        # A socket with room takes all there is; behind a full one the nearest place is better.
        self.probe_mark = self.source.next_end() if self.full else self.source.mark
        self.confirm_at = inf
        data = nonce + self.probe.to_bytes(PROBE_SIZE, "big")
        self.ping = bytes(self._protocol().ping(data))
        self.say(self.ping, self.probe_mark[0])

    def seek_confirmation(self, nonce: bytes, now: float) -> None:
        """More goes to this peer: ask, with one Ping at a time, when enough is unconfirmed."""
        source = self.source
        if self.phase is not Phase.OPEN or self.probed != inf or source.confirmed == source.tail:
            return
        policy = self.policy
        if (
            source.tail - source.confirmed >= policy.confirm_bytes_at_most
            or source.count - source.confirmed_count >= policy.queue_messages // 2
        ):
            self.ask(nonce, now)
        elif self.confirm_at == inf:
            self.confirm_at = now + policy.confirm_after

    def answered(self, data: bytes, now: float) -> float | None:
        """A Pong to one of the proxy's own Pings came: how long after that (seconds).

        None for one to an earlier Ping, which proves less.
        """
        if int.from_bytes(data[-PROBE_SIZE:], "big") != self.probe or self.probed == inf:
            return None
        if self.ping:
            return None  # guessed: the Ping isn't out yet
        round_trip = now - self.probed
        self.probed = inf
        self.missed = 0
        source = self.source
        source.alarm = 0
        if not source.eager and self.probe_mark[0] > source.confirmed:
            source.confirm(*self.probe_mark)
        else:
            source.trim()
        if source.confirmed < source.tail:
            self.confirm_at = now + self.policy.confirm_after
        return round_trip

    def deadline(self) -> float:
        """When to ask the peer for a sign of life, or to miss its answer."""
        if self.phase is not Phase.OPEN:
            return inf
        if self.probed != inf:
            return self.probed + self.policy.heartbeat_timeout
        if not self.policy.heartbeat_interval:
            return self.confirm_at
        return min(self.heard + self.policy.heartbeat_interval, self.confirm_at)

    def overdue(self, nonce: bytes, now: float) -> bool:
        """The deadline has passed: ask, or ask again; True if the peer is to be given up.

        Any byte counts as life, and so does a full socket that has taken more. A peer that isn't
        read can't be heard: its silence doesn't count. Its Pong may stand behind much else that
        it sends, so at-least-once waits twice for it, and then asks again, as some stacks leave
        out a Pong. A peer that leaves that out too confirms nothing, and is given up.
        """
        if self.probed != inf:
            silent = self.heard <= self.probed
            if self.drained > self.probed or not self.wants_read():
                self.probed = now
                return False
            if silent or self.missed == PATIENCE:
                return True
            if self.queue.is_partial or self.source.eager:
                self.probed = now
                return False
            self.missed += 1
            if self.missed < PATIENCE:
                self.probed = now
                return False
        self.ask(nonce, now)
        return False

    def _protocol(self) -> FrameProtocol:
        return _TO_SERVER if self.side is Side.SERVER else _TO_CLIENT


NOBODY = WebSocket(Backlog(eager=True), Backlog(eager=True), Policy())
"""The other leg of a leg whose session is over: so that the two don't keep each other alive."""
