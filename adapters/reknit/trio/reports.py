"""What the log says of a session: how its state changes, and what it has cost."""

from logging import INFO, WARNING
from typing import assert_never

from reknit_core.commands import Dropped, Transitioned, Undelivered

from reknit.observe.logs import tell
from reknit.trio.links import Link


def report(link: Link, change: Transitioned | Dropped | Undelivered) -> None:
    """Log it."""
    match change:
        case Transitioned(trigger, state, reason):
            text = "%(session)s %(state)s by %(trigger)s" + (": %(reason)s" if reason else "")
            tell(
                INFO,
                "transition",
                text,
                session=link.label,
                state=state.value,
                trigger=trigger.value,
                reason=reason,
            )
        case Dropped(side, total):
            text = "%(session)s queue full: %(total)d to the %(side)s dropped"
            tell(
                WARNING,
                "dropped",
                text,
                session=link.label,
                state=link.context.state.value,
                side=side.value,
                total=total,
            )
        case Undelivered(side, messages, size):
            text = "%(session)s lost %(messages)d messages to the %(side)s (%(bytes)d bytes)"
            tell(
                INFO,
                "lost",
                text,
                session=link.label,
                state=link.context.state.value,
                side=side.value,
                messages=messages,
                bytes=size,
            )
        case _:
            assert_never(change)
