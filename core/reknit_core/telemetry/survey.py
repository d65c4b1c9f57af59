"""Looks at all sessions at one moment: how many are in which state, what has passed, what waits."""

from collections import Counter
from dataclasses import dataclass
from math import inf

from reknit_core.counters import Towards
from reknit_core.lifecycle import State
from reknit_core.proxy.contexts import Contexts
from reknit_core.queue.backlog import Backlog

_WAITING = (State.SERVER_DOWN, State.BOTH_DOWN)


@dataclass(slots=True)
class Flow:
    """Messages towards one side, in all sessions.

    `messages` and `bytes` were received for it since the proxy began (frame headers count, what
    was dropped too), `dropped` of them by full queues. `waiting` bytes are still to be handed to
    a socket; `unconfirmed` ones are those, and those that may have to go out again.
    """

    messages: int
    bytes: int
    dropped: int
    waiting: int = 0
    unconfirmed: int = 0
    unconfirmed_messages: int = 0

    def add(self, backlog: Backlog) -> None:
        """Add one session's."""
        self.messages += backlog.count + backlog.dropped
        self.bytes += backlog.tail
        self.dropped += backlog.dropped
        self.waiting += backlog.tail - backlog.sent
        self.unconfirmed += backlog.tail - backlog.confirmed
        self.unconfirmed_messages += backlog.count - backlog.confirmed_count


@dataclass(frozen=True, slots=True)
class Survey:
    """All sessions at one moment."""

    states: Counter[State]
    to_client: Flow
    to_server: Flow


def survey(contexts: Contexts) -> Survey:
    """Look at every session that is not closed; about 1 µs each."""
    states: Counter[State] = Counter(dict.fromkeys(State, 0))
    to_client = _ended(contexts.counters.to_client)
    to_server = _ended(contexts.counters.to_server)
    for context in contexts:
        states[context.state] += 1
        to_client.add(context.server.queue)
        to_server.add(context.client.queue)
    return Survey(states, to_client, to_server)


def _ended(towards: Towards) -> Flow:
    """What went that way in sessions that are over."""
    size = towards.ended_bytes + towards.dropped_bytes
    return Flow(towards.ended_messages, size, towards.ended_dropped)


def waits(contexts: Contexts, now: float) -> dict[str, float | None]:
    """What there is to say of those that wait, in seconds from now; looks at every session.

    `sessions`: how many wait. `attempt`: the highest number of one. `next_seconds`: the first
    attempt of any. `first_end_seconds`, `last_end_seconds`: when they will be given up if all
    attempts fail at once. None: nothing is due.
    """
    sessions = attempt = 0
    soonest = first = inf
    last = -inf
    if any(contexts.counters.states[state] for state in _WAITING):
        for context in contexts:
            if context.state in _WAITING:
                dialling = context.server.dialling
                sessions += 1
                attempt = max(attempt, dialling.attempt)
                soonest = min(soonest, dialling.at)
                end = dialling.spent_at()
                first, last = min(first, end), max(last, end)
    return {
        "sessions": sessions,
        "attempt": attempt,
        "next_seconds": _until(soonest, now),
        "first_end_seconds": _until(first, now),
        "last_end_seconds": _until(last, now),
    }


def _until(at: float, now: float) -> float | None:
    return None if at in (inf, -inf) else round(max(0.0, at - now), 1)
