"""One leg, with what it may hold and how its peer proves that it is there.

The bounds of its queue, and the proxy's own Pings: a sign of life, and proof of what arrived.
"""

from math import inf
from typing import assert_never

from reknit_core.policy.policy import Overflow, Policy
from reknit_core.queue.backlog import Backlog
from reknit_core.queue.budget import SHARE
from reknit_core.session.leg import Leg, Phase
from reknit_core.session.transit import SLOWEST, Look, Transit, unseen

MAX_LANE = 64  # buffers: a peer that sends more control frames than are taken is no longer read
MIN_MESSAGE = 2  # bytes of the smallest one: a frame's header
MAX_EARLY = 64 * 1024  # bytes that a peer may send before its handshake is done
MAX_AHEAD = 16 * 2**20  # bytes: more than two systems' buffers hold in front of a Pong
PATIENCE = 2  # heartbeat time-outs without a Pong, before and after: while a peer sends, or is slow
SLOW_PATIENCE = 4  # the same, while much stands in front of the Ping
PROBE_SIZE = 8  # bytes of the counter in the proxy's own Pings


class WebSocket(Leg):
    """One leg. The context decides; this keeps the connection's books."""

    __slots__ = ()

    # -- The queue's bounds ----------------------------------------------------------------------

    def wants_read(self) -> bool:
        """Whether what this peer sends has somewhere to go, and what it has sent is read."""
        if self.is_behind:
            return False
        if self.phase is not Phase.OPEN and not self.delivers:
            return len(self.early) < MAX_EARLY and not self.ended
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
        if queue.budget.used >= queue.budget.limit and (held >= SHARE + ahead or self.is_stuck):
            return False
        if self.phase is not Phase.OPEN:
            return True  # no control frame of its is passed on any more
        return len(self.lane) < MAX_LANE and len(self.other.lane) < MAX_LANE

    @property
    def is_stuck(self) -> bool:
        """Whether its message is too large to go on with while all bytes are in use."""
        queue = self.queue
        return queue.budget.used >= queue.budget.limit and queue.partial >= SHARE

    def next_alarm(self, *, confirms: bool) -> int:
        """The queue's tail at which to look again: before a bound, or to ask for confirmation."""
        queue = self.queue
        policy = self.policy
        waiting = queue.count - queue.confirmed_count
        size, messages = policy.queue_bytes, policy.queue_messages
        if confirms and self.other.probed == inf:
            if queue.confirmed == queue.tail:
                return queue.tail + 1  # nothing to ask about yet
            size, messages = policy.confirm_bytes_at_most, messages // 2
        return min(queue.confirmed + size, queue.tail + (messages - waiting) * MIN_MESSAGE)

    def can_go_on(self, received: int) -> bool:
        """Whether this peer, which says how many messages it has received, can get the next one."""
        return not self.asked and self.source.holds(received)

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

    # -- The proxy's own Pings -------------------------------------------------------------------

    def ask(self, nonce: bytes, now: float) -> None:
        """Send the proxy's own Ping: a sign of life, and proof that what is before it arrived."""
        self.probe += 1
        self.probed = now
        # A socket with room takes all there is; behind a full one the nearest place is better.
        source = self.source
        self.probe_mark = source.next_end() if self.full else source.mark
        size = self.probe_mark[0] - source.confirmed
        self.loaded = self._is_much(size) or (self.loaded and self.missed > 0)
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
        self.transit = None
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

    def overdue(self, nonce: bytes, now: float, look: Look = unseen) -> bool:
        """The deadline has passed: ask, or ask again; True if the peer is to be given up.

        Any byte counts as life, and so does what the peer's system acknowledges while much stands
        in front of the Ping. A peer that isn't read can't be heard: its silence doesn't count. Its
        Pong may stand behind much else that it sends, so at-least-once waits twice for it, and then
        asks again, as some stacks leave out a Pong. A peer that leaves that out too confirms
        nothing, and is given up. So is one that can't go on with its message all the time, since
        what there is of it fills the memory.
        """
        eager = self.source.eager
        if self.probed == inf:
            self.ask(nonce, now)
            if eager:  # nothing else tells what stands in front of the Ping
                self.transit = self._seen(look)
                self.loaded = self.transit is not None and self._is_much(self.transit.left)
            return False
        if self.is_stuck:
            return True
        if not self.wants_read():
            self.probed = now
            return False
        time = self.policy.heartbeat_timeout
        seen = self._seen(look)
        if self._moves(seen, time):
            self.probed = now
            self.missed = 0
            return False
        silent = self.heard <= self.probed
        patience = self._patience(seen, time)
        if self.missed + 1 >= patience if silent else self.missed >= max(patience, PATIENCE):
            return True
        if not silent and (self.queue.partial or eager):
            self.probed = now
            return False
        self.missed += 1
        if (
            silent or self.missed != PATIENCE or self.ping
        ):  # one that isn't out need not be repeated
            self.probed = now
            return False
        self.ask(nonce, now)
        return False

    def _is_much(self, size: int) -> bool:
        """Whether a slow peer takes longer for so many bytes than an answer may take."""
        return size >= SLOWEST * self.policy.heartbeat_timeout

    def _patience(self, seen: Transit | None, time: float) -> int:
        """How many time-outs in a row may pass without a sign of life.

        A peer that has been idle owes its Pong at once. One that much stands in front of may be
        slow, and its window may open in steps of its whole buffer, but its system answers all the
        time that it is full.
        """
        if not self.loaded:
            return 1
        if seen is None or (seen.left and (seen.quiet or 0.0) >= PATIENCE * time):
            return PATIENCE
        return SLOW_PATIENCE

    def _moves(self, seen: Transit | None, time: float) -> bool:
        """Whether this peer's system has acknowledged enough since the last look that counted.

        SLOWEST times `time` (seconds) is enough: so no peer can hold its session by a byte now and
        then. So is all that was left. Only what stands in front of the Ping counts. Where the
        system can't be asked, a full socket that has taken more is enough.
        """
        before = self.transit
        if seen is None:
            return self.drained > self.probed
        if before is None:
            self.transit = seen
            return False
        gained = max(before.left - seen.left, (seen.arrived or 0) - (before.arrived or 0))
        if gained < SLOWEST * time and (seen.left or not before.left):
            return False
        self.transit = seen
        return self.loaded

    def _seen(self, look: Look) -> Transit | None:
        """What the system says; if not how much has arrived, that follows from what it took."""
        seen = look(self.side)
        if seen is not None and seen.arrived is None:
            return Transit(seen.left, self.source.sent - seen.left, seen.quiet)
        return seen

    def goes_on(self, look: Look, time: float) -> bool:
        """Whether what is left for this peer, which should be done by now, is still on its way."""
        before, self.loaded = self.transit, True
        moves = self._moves(self._seen(look), time)
        begun = before is None and self.transit is not None and self.transit.left > 0
        return moves or begun

    def confirm_no_more(self) -> None:
        """The peer has closed, and answers no more Pings: what it was handed counts as arrived."""
        self.source.eager = True
        self.source.confirm(*self.source.handed())


NOBODY = WebSocket(Backlog(eager=True), Backlog(eager=True), Policy())
"""The other leg of a leg whose session is over: so that the two don't keep each other alive."""
