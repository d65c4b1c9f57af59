"""Looks at all sessions at one moment: how many are in which state, what has passed, what waits."""

from collections import Counter
from dataclasses import dataclass

from reknit_core.counters import Towards
from reknit_core.lifecycle import State
from reknit_core.proxy.contexts import Contexts
from reknit_core.queue.backlog import Backlog


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
