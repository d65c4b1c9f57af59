"""One session looked at closely: each side's connection, and what is on its way to it."""

from dataclasses import dataclass

from reknit_core.session.context import ContextStateMachine
from reknit_core.side import Side


@dataclass(frozen=True, slots=True)
class Detail:
    """A side at one moment.

    `phase`: what its connection is doing. `generation`: its number among the side's connections.
    The rest is of what goes to it: messages since the session began, and how many of them a full
    queue has cost; bytes that no socket has taken yet; bytes and messages that may have to go out
    again.
    """

    phase: str
    generation: int
    messages: int
    dropped_messages: int
    waiting_bytes: int
    unconfirmed_bytes: int
    unconfirmed_messages: int


def detail(context: ContextStateMachine, side: Side) -> Detail:
    """That side of the session, now."""
    leg = context.client if side is Side.CLIENT else context.server
    source = leg.source
    return Detail(
        phase=leg.phase.value,
        generation=leg.generation,
        messages=source.count + source.dropped,
        dropped_messages=source.dropped,
        waiting_bytes=source.tail - source.sent,
        unconfirmed_bytes=source.tail - source.confirmed,
        unconfirmed_messages=source.count - source.confirmed_count,
    )


def attempts(context: ContextStateMachine) -> int:
    """The number of the last attempt to reach the server, counted from 1 after a loss."""
    return context.server.dialling.attempt
