"""The proxy's own Ping on a leg: a sign of life, and proof that what stands before it arrived.

One is in flight at a time. Its payload is the session's nonce and a counter, by which its Pong is
known. When the answer is late, `judge` says what that means.
"""

from collections.abc import Sequence
from enum import Enum
from math import inf

from reknit_core.form import Moment
from reknit_core.leg.leg_forms import FrozenProbe
from reknit_core.leg.transit import SLOWEST, Transit
from reknit_core.policy.policy import Policy
from reknit_core.queue.backlog import Backlog
from reknit_core.queue.stream import Mark
from reknit_core.side import Side
from reknit_core.wire.controls import ping_frame

PATIENCE = 2  # heartbeat time-outs without a Pong, before and after: while a peer sends, or is slow
SLOW_PATIENCE = 4  # the same, while much stands in front of the Ping
PROBE_SIZE = 8  # bytes of the counter in the proxy's own Pings


class Judgement(Enum):
    """What a missed deadline means."""

    ASK = "ask"  # nothing is asked yet
    ALIVE = "alive"  # its system takes what stands in front of the Ping
    WAIT = "wait"  # it can't be heard now, or its Pong stands behind what it sends
    MISSED = "missed"  # one more time-out has passed
    ASK_AGAIN = "ask again"  # and its stack may have left out the Pong
    GIVE_UP = "give up"


class Probe:
    """What is known by the proxy's own Pings on one connection.

    `number`: counter of the last Ping on an earlier connection. The methods' `source`: what goes
    to the peer. It is the leg's, as the policy is: a reference of one's own takes room, in each
    session.
    """

    __slots__ = (
        "confirm_at",
        "loaded",
        "mark",
        "missed",
        "number",
        "ping",
        "sent_at",
        "transit",
    )

    def __init__(self, number: int = 0) -> None:
        self.number = number  # counter of the last Ping
        self.mark: Mark = (0, 0)  # the message end that it stands behind
        self.ping = b""  # the Ping, as far as it isn't written yet
        self.sent_at = inf  # when it was written, while unanswered
        self.missed = 0  # how often the time for an answer has passed since the last one
        self.loaded = False  # whether much stands in front of it
        self.transit: Transit | None = None  # what the system last said that counted
        self.confirm_at = inf  # when to ask the peer to confirm

    def frozen(self, lane: Sequence[tuple[int, bytes]]) -> FrozenProbe:
        """The probe as data; `lane`: where its Ping stands, if it isn't written."""
        places = [place for place, (_, data) in enumerate(lane) if data is self.ping]
        return FrozenProbe(
            number=self.number,
            mark=self.mark,
            ping=places[0] if places else None,
            sent_at=Moment(self.sent_at),
            missed=self.missed,
            loaded=self.loaded,
            transit=self.transit,
            confirm_at=Moment(self.confirm_at),
        )

    def thaw(self, form: FrozenProbe, lane: Sequence[tuple[int, bytes]], shift: float) -> None:
        """Go on as that one; `shift`: seconds from its clock to this one."""
        self.number = form.number
        self.mark = form.mark
        self.ping = b"" if form.ping is None else lane[form.ping][1]
        self.sent_at = form.sent_at + shift
        self.missed = form.missed
        self.loaded = form.loaded
        self.transit = form.transit
        self.confirm_at = form.confirm_at + shift

    # -- Asking ----------------------------------------------------------------------------------

    def is_due(self, source: Backlog, policy: Policy, now: float) -> bool:
        """More goes to the peer: whether to ask at once; if not, `confirm_at` says when."""
        if self.sent_at != inf or source.confirmed == source.tail:
            return False
        if (
            source.tail - source.confirmed >= policy.confirm_bytes_at_most
            or source.count - source.confirmed_count >= policy.queue_messages // 2
        ):
            return True
        if self.confirm_at == inf:
            self.confirm_at = now + policy.confirm_after
        return False

    def ask(
        self, to: Side, nonce: bytes, now: float, source: Backlog, policy: Policy, *, full: bool
    ) -> bytes:
        """The next Ping, for its place at `mark`; `full`: the peer's socket has no room."""
        self.number += 1
        self.sent_at = now
        # A socket with room takes all there is; behind a full one the nearest place is better.
        self.mark = source.next_end() if full else source.mark
        size = self.mark[0] - source.confirmed
        self.loaded = _is_much(size, policy) or (self.loaded and self.missed > 0)
        self.confirm_at = inf
        self.ping = ping_frame(to, nonce + self.number.to_bytes(PROBE_SIZE, "big"))
        return self.ping

    def answered(self, data: bytes, now: float, source: Backlog, policy: Policy) -> float | None:
        """A Pong to one of the proxy's own Pings came: how long after that (seconds).

        None for one to an earlier Ping, which proves less.
        """
        if int.from_bytes(data[-PROBE_SIZE:], "big") != self.number or self.sent_at == inf:
            return None
        if self.ping:
            return None  # guessed: the Ping isn't out yet
        round_trip = now - self.sent_at
        self.sent_at = inf
        self.missed = 0
        self.transit = None
        source.alarm = 0
        if not source.eager and self.mark[0] > source.confirmed:
            source.confirm(*self.mark)
        else:
            source.trim()
        if source.confirmed < source.tail:
            self.confirm_at = now + policy.confirm_after
        return round_trip

    # -- Waiting ---------------------------------------------------------------------------------

    def deadline(self, heard: float, policy: Policy) -> float:
        """When to ask a peer that was last `heard` then, or to miss its answer (seconds)."""
        if self.sent_at != inf:
            return self.sent_at + policy.heartbeat_timeout
        if not policy.heartbeat_interval:
            return self.confirm_at
        return min(heard + policy.heartbeat_interval, self.confirm_at)

    def judge(
        self, policy: Policy, *, silent: bool, busy: bool, moves: bool, seen: Transit | None
    ) -> Judgement:
        """What it means that the answer is late.

        Any byte counts as life (`silent`: none came since the Ping), and so does what the peer's
        system acknowledges while much stands in front of the Ping (`moves`). Its Pong may stand
        behind much else that it sends (`busy`), so at-least-once waits twice for it, and then asks
        again, as some stacks leave out a Pong. A peer that leaves that out too confirms nothing,
        and is given up.
        """
        if moves:
            return Judgement.ALIVE
        patience = self._patience(seen, policy)
        if self.missed + 1 >= patience if silent else self.missed >= max(patience, PATIENCE):
            return Judgement.GIVE_UP
        if not silent and busy:
            return Judgement.WAIT
        if silent or self.missed + 1 != PATIENCE or self.ping:
            return Judgement.MISSED  # one that isn't out need not be repeated
        return Judgement.ASK_AGAIN

    def wait(self, judgement: Judgement, now: float) -> None:
        """The time for an answer begins anew, as it was judged."""
        self.sent_at = now
        if judgement is Judgement.ALIVE:
            self.missed = 0
        elif judgement is not Judgement.WAIT:
            self.missed += 1

    def moves(self, seen: Transit, time: float) -> bool:
        """Whether this peer's system has acknowledged enough since the last look that counted.

        SLOWEST times `time` (seconds) is enough: so no peer can hold its session by a byte now and
        then. So is all that was left. Only what stands in front of the Ping counts.
        """
        before = self.transit
        if before is None:
            self.transit = seen
            return False
        gained = max(before.left - seen.left, (seen.arrived or 0) - (before.arrived or 0))
        if gained < SLOWEST * time and (seen.left or not before.left):
            return False
        self.transit = seen
        return self.loaded

    def begin_looking(self, seen: Transit | None, policy: Policy) -> None:
        """At-most-once: nothing but the system tells what stands in front of the Ping."""
        self.transit = seen
        self.loaded = seen is not None and _is_much(seen.left, policy)

    def _patience(self, seen: Transit | None, policy: Policy) -> int:
        """How many time-outs in a row may pass without a sign of life.

        A peer that has been idle owes its Pong at once. One that much stands in front of may be
        slow, and its window may open in steps of its whole buffer, but its system answers all the
        time that it is full.
        """
        if not self.loaded:
            return 1
        quiet = PATIENCE * policy.heartbeat_timeout
        if seen is None or (seen.left and (seen.quiet or 0.0) >= quiet):
            return PATIENCE
        return SLOW_PATIENCE


def _is_much(size: int, policy: Policy) -> bool:
    """Whether a slow peer takes longer for so many bytes than an answer may take."""
    return size >= SLOWEST * policy.heartbeat_timeout
