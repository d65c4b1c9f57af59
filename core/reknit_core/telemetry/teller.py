"""What is said of the sessions, and how loudly.

A change of one session is said by itself; while the server is out, what that means for each of
them is a detail, and the outage is what is said. A loss is never said only in detail, nor that a
session is over.
"""

from enum import Enum
from typing import assert_never

from reknit_core.commands import (
    AttemptFailed,
    DialectChosen,
    Dropped,
    Failure,
    Transitioned,
    Undelivered,
)
from reknit_core.counters import Counters
from reknit_core.lifecycle import State, Trigger
from reknit_core.telemetry.losses import Losses, MoreLosses
from reknit_core.telemetry.server_outage import Outage, ServerOutage
from reknit_core.wire.reasons import shortened

Change = Transitioned | AttemptFailed | DialectChosen | Dropped | Undelivered
Remark = Outage | MoreLosses

_FAILURES = (Trigger.RETRIES_SPENT, Trigger.SESSION_FAILED)

_MINOR = (Trigger.DRAINED, Trigger.SESSION_ENDED)
"""Of what these lead to is told anyway: of the return before it, and when the session is closed."""

_ACCEPTED = (Trigger.SERVER_ACCEPTED, Trigger.SERVER_UNAWARE)


class Volume(Enum):
    """How loudly something is said."""

    __hash__ = object.__hash__  # members are single; Enum's own is Python code

    DETAIL = "detail"
    NEWS = "news"
    TROUBLE = "trouble"


class Teller:
    """Hears what happens to sessions, which are told apart by their labels. Times in seconds.

    What it says of them together is always trouble. It forgets an outage with its process: the one
    that takes over finds out by itself.
    """

    def __init__(self, counters: Counters) -> None:
        self._outage = ServerOutage(counters)
        self._losses = Losses()
        self._remarks: list[Remark] = []

    def hear(self, label: str, change: Change, now: float) -> Volume:
        """Something has happened to a session; how loudly that is said."""
        match change:
            case Transitioned():
                return self._transitioned(label, change, now)
            case AttemptFailed(goes_on=True):
                pass  # the next server may accept; what is to be said of this one is said once
            case AttemptFailed(_, failure, reason):
                self._miss(label, reason, now, away=failure is Failure.AWAY)
                return Volume.DETAIL
            case DialectChosen(_, known):
                return Volume.NEWS if known or not self._losses.admit(now) else Volume.TROUBLE
            case Dropped(_, total):
                if self._losses.admit(now):
                    return Volume.TROUBLE
                self._losses.add(label, dropped=total)
            case Undelivered(_, messages, size):
                if self._losses.admit(now):
                    return Volume.TROUBLE
                self._losses.add(label, messages=messages, size=size)
            case _:
                assert_never(change)
        return Volume.DETAIL

    def gone(self, label: str) -> None:
        """That session is over, or another process's. Nothing, if that was known."""
        self._outage.gone(label)

    @property
    def is_calm(self) -> bool:
        """Whether there is nothing to be said, now or in time: mostly so."""
        return not (self._remarks or self._outage.is_on or self._losses.are_some)

    def remarks(self) -> list[Remark]:
        """What there is to be said of all of them, the oldest first. Each is handed out once."""
        remarks, self._remarks = self._remarks, []
        return remarks

    @property
    def next_look(self) -> float:
        """When look() is due; inf: not before something happens."""
        return min(self._outage.next_look, self._losses.next_look)

    def look(self, now: float) -> None:
        """Time has passed: there may be remarks."""
        self._add(self._outage.look(now))
        self._add(self._losses.look(now))

    def finish(self) -> None:
        """The proxy stops: what is left to be said is among the remarks."""
        self._add(self._losses.finish())

    def _transitioned(self, label: str, change: Transitioned, now: float) -> Volume:
        trigger, state = change.trigger, change.state
        if trigger is Trigger.SERVER_LOST:
            self._miss(label, change.reason, now)
        if change.with_server:
            self._add(self._outage.ended_with(label, shortened(change.reason), now))
        concerned = self._outage.concerns(label)
        if trigger in _ACCEPTED:
            concerned |= self._outage.is_on and state is not State.CONNECTED
            self._outage.accepted(label, now)
        elif state is State.CLOSED:
            self._outage.gone(label)
        if trigger in _FAILURES:
            self._outage.failed(label)
            if self._losses.admit(now):
                return Volume.TROUBLE
            self._losses.add(label, ended=1)
            return Volume.NEWS if state is State.CLOSED else Volume.DETAIL
        if state is State.CLOSED:
            return Volume.NEWS
        return Volume.DETAIL if concerned or trigger in _MINOR else Volume.NEWS

    def _miss(self, label: str, reason: str, now: float, *, away: bool = False) -> None:
        self._add(self._outage.missed(label, shortened(reason), now, away=away))

    def _add(self, remark: Remark | None) -> None:
        if remark is not None:
            self._remarks.append(remark)
