"""What one direction's queue may hold, and what is dropped where it holds more."""

from enum import Enum
from math import inf
from typing import assert_never

from reknit_core.leg.probe import Probe
from reknit_core.policy.policy import Overflow, Policy
from reknit_core.queue.backlog import Backlog, Cut
from reknit_core.queue.budget import SHARE

MAX_AHEAD = 16 * 2**20  # bytes: more than two systems' buffers hold in front of a Pong
MIN_MESSAGE = 2  # bytes of the smallest one: a frame's header


class Full(Enum):
    """What becomes of a queue that is over its bounds, where nothing is cut out of it."""

    GOES_ON = "it is within its bounds, or its sender is not read"
    ENDS = "the session ends"


def next_alarm(queue: Backlog, policy: Policy, *, asks: bool) -> int:
    """The queue's tail at which to look again: before a bound, or to ask for confirmation."""
    waiting = queue.count - queue.confirmed_count
    size, messages = policy.queue_bytes, policy.queue_messages
    if asks:
        if queue.confirmed == queue.tail:
            return queue.tail + 1  # nothing to ask about yet
        size, messages = policy.confirm_bytes_at_most, messages // 2
    return min(queue.confirmed + size, queue.tail + (messages - waiting) * MIN_MESSAGE)


def has_room(source: Backlog, policy: Policy, probe: Probe) -> bool:
    """Whether a peer is to be read whose messages the proxy answers in the absent end's place.

    The answers are in `source`, and nobody else holds back who fills it.
    """
    held = source.tail - source.confirmed
    owes = probe.sent_at != inf and not probe.ping  # its Pong may stand behind what isn't read
    ahead = MAX_AHEAD if owes else 0
    if source.budget.used >= source.budget.limit and held >= SHARE + ahead:
        return False
    few = source.count - source.confirmed_count < policy.queue_messages
    return held < policy.queue_bytes + ahead and (few or owes)


def make_room(queue: Backlog, policy: Policy, overflow: Overflow, newest: int) -> Full | Cut:
    """Cut out what the policy says if the queue is over its bounds.

    `newest`: how many of its messages have just come.
    """
    if (
        queue.tail - queue.confirmed <= policy.queue_bytes
        and queue.count - queue.confirmed_count <= policy.queue_messages
    ):
        return Full.GOES_ON
    match overflow:
        case Overflow.PAUSE:
            return Full.GOES_ON
        case Overflow.CLOSE:
            return Full.ENDS
        case Overflow.DROP_OLDEST:  # some more than needed, so that not each message cuts
            return queue.drop_oldest(policy.queue_bytes * 3 // 4, policy.queue_messages * 3 // 4)
        case Overflow.DROP_NEWEST:
            return queue.drop_newest(newest, policy.queue_bytes, policy.queue_messages)
        case never:
            assert_never(never)
