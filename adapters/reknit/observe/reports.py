"""What the log says of a session: how its state changes, and what it has cost."""

import hashlib
from logging import INFO, WARNING
from typing import assert_never

from reknit_core.commands import Dropped, Transitioned, Undelivered
from reknit_core.lifecycle import State

from reknit.observe.logs import tell

LABEL = 6  # bytes of a session's digest: enough to tell a hundred thousand apart


def label_of(connection_id: str, key: bytes) -> str:
    """How a session is called in logs and calls: its id is a secret."""
    return hashlib.blake2s(connection_id.encode(), key=key, digest_size=LABEL).hexdigest()


def report(label: str, now: State, change: Transitioned | Dropped | Undelivered) -> None:
    """Log it, of the session that is called so and is `now` in that state."""
    match change:
        case Transitioned(trigger, state, reason):
            text = "%(session)s %(state)s by %(trigger)s" + (": %(reason)s" if reason else "")
            tell(
                INFO,
                "transition",
                text,
                session=label,
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
                session=label,
                state=now.value,
                side=side.value,
                total=total,
            )
        case Undelivered(side, messages, size):
            text = "%(session)s lost %(messages)d messages to the %(side)s (%(bytes)d bytes)"
            tell(
                INFO,
                "lost",
                text,
                session=label,
                state=now.value,
                side=side.value,
                messages=messages,
                bytes=size,
            )
        case _:
            assert_never(change)
