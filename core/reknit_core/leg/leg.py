"""One leg of a session and its connection: frames in, frames out, and the proxy's own among them.

A leg outlives its connections: each new one has the next generation number. It knows what comes
from its peer (`queue`), what goes to it (`source`, the other leg's queue), and its lane: the
bytes of the proxy's own making (handshakes, control frames) with the place in `source` that
they follow.
"""

from math import inf
from typing import ClassVar, assert_never

from reknit_core.dialect.speech import Message
from reknit_core.leg.bounds import MAX_AHEAD, Full, has_room, make_room, next_alarm
from reknit_core.leg.dialogue import Dialogue
from reknit_core.leg.lane import NOTHING_SAID, Lane, interleaved, moved_up, placed
from reknit_core.leg.phase import Phase
from reknit_core.leg.probe import Judgement, Probe
from reknit_core.leg.transit import Look, Transit, unseen
from reknit_core.policy.policy import Overflow, Policy
from reknit_core.queue.backlog import Backlog
from reknit_core.queue.budget import SHARE
from reknit_core.queue.stream import Buffer
from reknit_core.side import Side
from reknit_core.wire.controls import close_frame, pong_frame
from reknit_core.wire.frames import FrameScanner, Opcode
from reknit_core.wire.messages import MessageScanner, message_frame

MAX_LANE = 64  # buffers: a peer that sends more control frames than are taken is no longer read
MAX_EARLY = 64 * 1024  # bytes that a peer may send before its handshake is done
SMALL = 4096  # bytes that are cheaper to copy than to keep by reference

_NEVER = -inf


class Leg:
    """One leg. The context decides; this keeps the connection's books.

    `other` is the other leg: what comes from its peer goes to this one.
    """

    side: ClassVar[Side]

    __slots__ = (
        "asked",
        "dialogue",
        "drained",
        "early",
        "ended",
        "full",
        "generation",
        "heard",
        "lane",
        "other",
        "phase",
        "pinged",
        "policy",
        "probe",
        "queue",
        "scanner",
        "source",
    )

    other: "Leg"

    def __init__(self, queue: Backlog, source: Backlog, policy: Policy) -> None:
        self.queue = queue
        self.source = source
        self.policy = policy
        self.phase = Phase.AWAY
        self.generation = 0
        self.scanner: FrameScanner | None = None
        self.early = b""  # what came before the leg was open
        self.lane: Lane = NOTHING_SAID
        self.heard = 0.0  # when the peer last sent anything
        self.probe = Probe()
        self.pinged: bytes | None = None  # a Ping of the peer's own that the other end owes a Pong
        self.full = False  # whether the socket took less than it was given
        self.drained = _NEVER  # when it last took more after that
        self.asked = False  # whether it has had a request of the operator's: its counts are off
        self.dialogue: Dialogue | None = None  # what is known of this session's messages
        self.ended = False  # whether the peer has ended its stream, in a session that ends

    # -- A connection begins and ends ------------------------------------------------------------

    def open(self, *, deflate: bool, now: float, nonce: bytes = b"") -> None:
        """The opening handshake is done: frames follow. `nonce`: as in new_scanner()."""
        self.phase = Phase.OPEN
        self.heard = now
        self.scanner = self.new_scanner(deflate=deflate, nonce=nonce)
        self.source.alarm = 0
        if not self.source.eager and self.source.confirmed < self.source.tail:
            self.probe.confirm_at = now + self.policy.confirm_after

    def new_scanner(self, *, deflate: bool, nonce: bytes) -> FrameScanner:
        """What reads this peer's frames. `nonce`: what the proxy's own Pings to it begin with."""
        masked = self.side is Side.CLIENT
        limit = self.policy.message_limit
        if self.dialogue is not None and self.dialogue.interpreter is not None:
            return MessageScanner(
                masked=masked,
                deflate=deflate,
                limit=limit,
                seen=self.dialogue.seen,
                nonce=nonce,
                listener=self,
            )
        return FrameScanner(masked=masked, deflate=deflate, limit=limit, nonce=nonce)

    def gone(self) -> None:
        """The connection is gone; what was on its way waits as the delivery policy says."""
        self.phase = Phase.AWAY
        self.scanner = None
        self.early = b""
        self.lane = NOTHING_SAID
        self.probe = Probe(self.probe.number)
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

    # -- Messages of a session whose dialect is known ----------------------------------------------

    def hear(self, message: Message, start: int, size: int) -> Message | None:
        """What passes in the place of this peer's message: see Listener."""
        dialogue = self.dialogue
        assert dialogue is not None
        start += self.queue.received
        end = start + size
        away = self.other.phase is not Phase.OPEN
        passes = dialogue.hear(self.side, message, end, self.generation, away=away)
        if dialogue.begins_anew and self._can_begin_anew(dialogue):
            dialogue.begin_anew(start, self.generation)
            return dialogue.hear(self.side, message, end, self.generation, away=True)
        return passes

    def _can_begin_anew(self, dialogue: Dialogue) -> bool:
        """Whether a client that begins anew can do so on this connection.

        Not within a message that goes to it, nor where messages are missing that it may count.
        """
        source, queue = self.source, self.queue
        counted = source.dropped or queue.dropped or dialogue.begins_elsewhere
        return self.phase is Phase.OPEN and not counted and source.is_between

    def count_kept(self, scanner: FrameScanner) -> None:
        """What the scanner keeps of this peer's messages counts as if it were queued."""
        if self.scanner is scanner and self.dialogue is not None:
            self.queue.keep_back(scanner.kept)

    def miss(self, why: str) -> None:
        """A message passes unseen: its end can't be told enough of what was said."""
        if self.dialogue is not None:
            self.dialogue.lose(f"{why} could not be followed")

    def say_for(self, message: Message) -> None:
        """Let the other end get a message in this peer's place, which is away."""
        assert self.dialogue is not None
        frame = message_frame(self.other.side, message)
        self.queue.append(frame, len(frame), 1)
        self.dialogue.count_made(self.side)

    def tell(self, message: Message) -> None:
        """Let this peer have a message before all that is queued, and what follows that."""
        self.lane = placed(self.lane, self.source.sent, message_frame(self.side, message))

    def _reach(self) -> int:
        """The position in `source` up to which this peer may have it now."""
        if self.side is Side.CLIENT or self.dialogue is None:
            return self.source.tail
        return int(min(self.source.tail, self.dialogue.hold))

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
        tail = source.tail if self.dialogue is None else self._reach()
        if not lane:
            return source.pending(tail) if open_ else []
        until = tail if open_ else min(tail, max(position for position, _ in lane))
        return interleaved(lane, source, until)

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
            if data is self.probe.ping:
                self.probe.ping = rest
                if not rest:
                    self.probe.sent_at = now  # the peer's time begins when it can have the Ping
            if rest:
                self.lane[written] = (position, rest)
                break
            written += 1
        if written:
            self.lane = self.lane[written:] or NOTHING_SAID
        if taken:
            source.advance(taken)

    def say(self, data: bytes, position: int) -> None:
        """Put bytes of the proxy's own into the stream, at a message end."""
        lane = self.lane
        ping = self.probe.ping
        if not lane:
            self.lane = [(position, data)]
            return
        if data is not ping:
            place, last = lane[-1]
            if place == position and last is not ping and len(last) + len(data) <= SMALL:
                lane[-1] = (place, last + data)  # a flood of them would cost much more apart
                return
        lane.append((position, data))

    # -- The proxy's own words -------------------------------------------------------------------

    def last_words(self, code: int, reason: str) -> bytes:
        """A Close frame for a connection that is dropped, if one may stand at this very point."""
        if self.phase is Phase.OPEN and not self.lane and self.source.is_between:
            return close_frame(self.side, code, reason)
        return b""

    def pong(self, data: bytes) -> None:
        """Answer a Ping in the other end's place."""
        self.say(pong_frame(self.side, data), self.source.next_end()[0])

    # -- The queue's bounds ----------------------------------------------------------------------

    def wants_read(self) -> bool:
        """Whether what this peer sends has somewhere to go, and what it has sent is read."""
        if self.is_behind:
            return False
        if self.phase is not Phase.OPEN and not self.delivers:
            return len(self.early) < MAX_EARLY and not self.ended
        queue, policy = self.queue, self.policy
        held = queue.tail - queue.confirmed
        # If all of it is handed on, this peer's own Pong may stand behind what isn't read here,
        # and the other's behind what isn't read there: then neither queue would ever be
        # confirmed. So a peer that owes a Pong is read some way further.
        owes = self.probe.sent_at != inf and queue.sent == queue.tail
        ahead = MAX_AHEAD if owes else 0
        if (
            held >= policy.queue_bytes + ahead
            or (queue.count - queue.confirmed_count >= policy.queue_messages and not owes)
        ) and (self.phase is not Phase.OPEN or policy.overflow(self.side) is Overflow.PAUSE):
            return False
        if queue.budget.used >= queue.budget.limit and (held >= SHARE + ahead or self.is_stuck):
            return False
        if self.phase is not Phase.OPEN:
            return True  # no control frame of its is passed on any more
        if len(self.lane) >= MAX_LANE or len(self.other.lane) >= MAX_LANE:
            return False
        answers = self.dialogue is not None and self.other.phase is not Phase.OPEN
        return not answers or has_room(self.source, policy, self.probe)

    @property
    def is_stuck(self) -> bool:
        """Whether its message is too large to go on with while all bytes are in use."""
        queue = self.queue
        return queue.budget.used >= queue.budget.limit and queue.partial >= SHARE

    def next_alarm(self, *, confirms: bool) -> int:
        """The queue's tail at which to look again: before a bound, or to ask for confirmation."""
        asks = confirms and self.other.probe.sent_at == inf
        return next_alarm(self.queue, self.policy, asks=asks)

    def can_go_on(self, received: int) -> bool:
        """Whether this peer, which says how many messages it has received, can get the next one."""
        return not self.asked and self.source.holds(received)

    def make_room(self) -> bool:
        """Drop what the policy says if the queue is over its bounds; False if it says to end."""
        assert self.scanner is not None
        overflow = self.policy.overflow(self.side)
        done = make_room(self.queue, self.policy, overflow, self.scanner.messages)
        if isinstance(done, Full):
            return done is Full.GOES_ON
        self.other._moved_up(*done)
        return True

    def _moved_up(self, start: int, size: int) -> None:
        """Bytes were cut out of the source: what was to follow them follows what is left."""
        self.lane = moved_up(self.lane, start, size)
        if self.probe.mark[0] > start:
            self.probe.mark = (0, 0)  # its answer proves nothing any more

    # -- The proxy's own Pings -------------------------------------------------------------------

    def ask(self, nonce: bytes, now: float) -> None:
        """Send the proxy's own Ping: a sign of life, and proof that what is before it arrived."""
        probe = self.probe
        ping = probe.ask(self.side, nonce, now, self.source, self.policy, full=self.full)
        self.say(ping, probe.mark[0])

    def answered(self, data: bytes, now: float) -> float | None:
        """A Pong to one of the proxy's own Pings came: see Probe.answered()."""
        return self.probe.answered(data, now, self.source, self.policy)

    def seek_confirmation(self, nonce: bytes, now: float) -> None:
        """More goes to this peer: ask, with one Ping at a time, when enough is unconfirmed."""
        if self.phase is Phase.OPEN and self.probe.is_due(self.source, self.policy, now):
            self.ask(nonce, now)

    def deadline(self) -> float:
        """When to ask the peer for a sign of life, or to miss its answer."""
        return self.probe.deadline(self.heard, self.policy) if self.phase is Phase.OPEN else inf

    def overdue(self, nonce: bytes, now: float, look: Look = unseen) -> bool:
        """The deadline has passed: ask, wait or ask again; True if the peer is to be given up."""
        probe = self.probe
        judgement = self._judge(look)
        match judgement:
            case Judgement.ASK:
                self.ask(nonce, now)
                if self.source.eager:
                    probe.begin_looking(self._seen(look), self.policy)
            case Judgement.ALIVE | Judgement.WAIT | Judgement.MISSED:
                probe.wait(judgement, now)
            case Judgement.ASK_AGAIN:
                probe.wait(judgement, now)
                self.ask(nonce, now)
            case Judgement.GIVE_UP:
                return True
            case _:
                assert_never(judgement)
        return False

    def _judge(self, look: Look) -> Judgement:
        """What it means that the deadline has passed: see Probe.judge().

        A peer that isn't read can't be heard: its silence doesn't count. One that can't go on with
        its message all the time is given up, since what there is of it fills the memory.
        """
        probe = self.probe
        if probe.sent_at == inf:
            return Judgement.ASK
        if self.is_stuck:
            return Judgement.GIVE_UP
        if not self.wants_read():
            return Judgement.WAIT
        seen = self._seen(look)
        return probe.judge(
            self.policy,
            silent=self.heard <= probe.sent_at,
            busy=bool(self.queue.partial) or self.source.eager,
            moves=self._moves(seen, self.policy.heartbeat_timeout),
            seen=seen,
        )

    def _moves(self, seen: Transit | None, time: float) -> bool:
        """Whether what goes to this peer gets on: by its system's word, or as its socket shows."""
        if seen is None:
            return self.drained > self.probe.sent_at  # a full socket has taken more
        return self.probe.moves(seen, time)

    def _seen(self, look: Look) -> Transit | None:
        """What the system says; if not how much has arrived, that follows from what it took."""
        seen = look(self.side)
        if seen is not None and seen.arrived is None:
            return Transit(seen.left, self.source.sent - seen.left, seen.quiet)
        return seen

    def goes_on(self, look: Look, time: float, now: float) -> bool:
        """Whether what is left for this peer still gets on, `time` seconds after the last look."""
        probe = self.probe
        before, probe.loaded = probe.transit, True
        seen = self._seen(look)
        moves = self.drained > now - time if seen is None else probe.moves(seen, time)
        begun = before is None and probe.transit is not None and probe.transit.left > 0
        return moves or begun

    def confirm_no_more(self) -> None:
        """The peer has closed, and answers no more Pings: what it was handed counts as arrived."""
        self.source.eager = True
        self.source.confirm(*self.source.handed())


NOBODY = Leg(Backlog(eager=True), Backlog(eager=True), Policy())
"""The other leg of a leg whose session is over: so that the two don't keep each other alive."""
