"""The lifecycle of a context: its states, its triggers and the one table of transitions.

Rules that the table follows (design, "States"):

* A session is `opening` until the server accepts; only then does the client get its 101.
* While one leg is away the context waits in `server_down`, `client_down` or `both_down`.
  Either return leads to the state that matches what is still away.
* When both legs are up again, the queues drain first (`draining`), then it is `connected`.
* A new server that knows nothing of the session, where its protocol is known, is told first what
  it must know: `reopening`, or `reopening_alone` while the client is away.
* A client that returns and begins its protocol anew, where that is known, gets another server:
  `server_down` until that has accepted.
* A leg that ends the session on purpose leads to `closing` from every state that has a session,
  and to `closed` when both legs have ended. So does a session that fails: it can't go on without
  a gap, or a queue is full where that is to end it.
* Spent retries, a refusal for good and an ended grace lead to `closed` at once. A leg that is
  still up gets its Close frame from there: the closing handshake is the leg's business, the
  session is over.

The machine is made by table.py: the core chooses a trigger, fires it, and acts on the new state.
"""

from enum import Enum
from typing import NamedTuple, Protocol

from reknit_core.table import machine_of, read_table


class State(Enum):
    """Where a context is in its life."""

    __hash__ = object.__hash__  # members are single; Enum's own is Python code

    OPENING = "opening"
    CONNECTED = "connected"
    SERVER_DOWN = "server_down"
    CLIENT_DOWN = "client_down"
    BOTH_DOWN = "both_down"
    REOPENING = "reopening"
    REOPENING_ALONE = "reopening_alone"
    DRAINING = "draining"
    CLOSING = "closing"
    CLOSED = "closed"


SERVER_AWAY = frozenset(
    (State.SERVER_DOWN, State.BOTH_DOWN, State.REOPENING, State.REOPENING_ALONE)
)
"""In which the server is waited for, or told what it must know: client messages wait."""
CLIENT_AWAY = frozenset((State.CLIENT_DOWN, State.BOTH_DOWN, State.REOPENING_ALONE))
"""In which the client is waited for: server messages wait."""


class Trigger(Enum):
    """What moves a context from one state to the next."""

    __hash__ = object.__hash__  # members are single; Enum's own is Python code

    SERVER_ACCEPTED = "server_accepted"
    SERVER_UNAWARE = "server_unaware"
    SERVER_INFORMED = "server_informed"
    SERVER_REFUSED = "server_refused"
    SERVER_LOST = "server_lost"
    RETRIES_SPENT = "retries_spent"
    CLIENT_LOST = "client_lost"
    CLIENT_RETURNED = "client_returned"
    GRACE_ENDED = "grace_ended"
    CLIENT_BEGAN_ANEW = "client_began_anew"
    DRAINED = "drained"
    SESSION_ENDED = "session_ended"
    SESSION_FAILED = "session_failed"
    LEGS_CLOSED = "legs_closed"


class Transition(NamedTuple):
    """One row of the table."""

    source: State
    trigger: Trigger
    target: State


INITIAL = State.OPENING

TRANSITIONS: tuple[Transition, ...] = (
    Transition(State.OPENING, Trigger.SERVER_ACCEPTED, State.CONNECTED),
    Transition(State.OPENING, Trigger.SERVER_REFUSED, State.CLOSED),
    Transition(State.OPENING, Trigger.RETRIES_SPENT, State.CLOSED),
    Transition(State.OPENING, Trigger.CLIENT_LOST, State.CLOSED),
    Transition(State.OPENING, Trigger.SESSION_ENDED, State.CLOSING),
    #
    Transition(State.CONNECTED, Trigger.SERVER_LOST, State.SERVER_DOWN),
    Transition(State.CONNECTED, Trigger.CLIENT_LOST, State.CLIENT_DOWN),
    Transition(State.CONNECTED, Trigger.CLIENT_BEGAN_ANEW, State.SERVER_DOWN),
    Transition(State.CONNECTED, Trigger.SESSION_ENDED, State.CLOSING),
    Transition(State.CONNECTED, Trigger.SESSION_FAILED, State.CLOSING),
    #
    Transition(State.SERVER_DOWN, Trigger.SERVER_ACCEPTED, State.DRAINING),
    Transition(State.SERVER_DOWN, Trigger.SERVER_UNAWARE, State.REOPENING),
    Transition(State.SERVER_DOWN, Trigger.SERVER_REFUSED, State.CLOSED),
    Transition(State.SERVER_DOWN, Trigger.RETRIES_SPENT, State.CLOSED),
    Transition(State.SERVER_DOWN, Trigger.CLIENT_LOST, State.BOTH_DOWN),
    Transition(State.SERVER_DOWN, Trigger.SESSION_ENDED, State.CLOSING),
    Transition(State.SERVER_DOWN, Trigger.SESSION_FAILED, State.CLOSING),
    #
    Transition(State.CLIENT_DOWN, Trigger.CLIENT_RETURNED, State.DRAINING),
    Transition(State.CLIENT_DOWN, Trigger.GRACE_ENDED, State.CLOSED),
    Transition(State.CLIENT_DOWN, Trigger.SERVER_LOST, State.BOTH_DOWN),
    Transition(State.CLIENT_DOWN, Trigger.SESSION_ENDED, State.CLOSING),
    Transition(State.CLIENT_DOWN, Trigger.SESSION_FAILED, State.CLOSING),
    #
    Transition(State.BOTH_DOWN, Trigger.SERVER_ACCEPTED, State.CLIENT_DOWN),
    Transition(State.BOTH_DOWN, Trigger.SERVER_UNAWARE, State.REOPENING_ALONE),
    Transition(State.BOTH_DOWN, Trigger.CLIENT_RETURNED, State.SERVER_DOWN),
    Transition(State.BOTH_DOWN, Trigger.SERVER_REFUSED, State.CLOSED),
    Transition(State.BOTH_DOWN, Trigger.RETRIES_SPENT, State.CLOSED),
    Transition(State.BOTH_DOWN, Trigger.GRACE_ENDED, State.CLOSED),
    Transition(State.BOTH_DOWN, Trigger.SESSION_ENDED, State.CLOSING),
    Transition(State.BOTH_DOWN, Trigger.SESSION_FAILED, State.CLOSING),
    #
    Transition(State.REOPENING, Trigger.SERVER_INFORMED, State.DRAINING),
    Transition(State.REOPENING, Trigger.SERVER_LOST, State.SERVER_DOWN),
    Transition(State.REOPENING, Trigger.CLIENT_LOST, State.REOPENING_ALONE),
    Transition(State.REOPENING, Trigger.CLIENT_BEGAN_ANEW, State.SERVER_DOWN),
    Transition(State.REOPENING, Trigger.SESSION_ENDED, State.CLOSING),
    Transition(State.REOPENING, Trigger.SESSION_FAILED, State.CLOSING),
    #
    Transition(State.REOPENING_ALONE, Trigger.SERVER_INFORMED, State.CLIENT_DOWN),
    Transition(State.REOPENING_ALONE, Trigger.SERVER_LOST, State.BOTH_DOWN),
    Transition(State.REOPENING_ALONE, Trigger.CLIENT_RETURNED, State.REOPENING),
    Transition(State.REOPENING_ALONE, Trigger.SESSION_ENDED, State.CLOSING),
    Transition(State.REOPENING_ALONE, Trigger.SESSION_FAILED, State.CLOSING),
    #
    Transition(State.DRAINING, Trigger.DRAINED, State.CONNECTED),
    Transition(State.DRAINING, Trigger.SERVER_LOST, State.SERVER_DOWN),
    Transition(State.DRAINING, Trigger.CLIENT_LOST, State.CLIENT_DOWN),
    Transition(State.DRAINING, Trigger.CLIENT_BEGAN_ANEW, State.SERVER_DOWN),
    Transition(State.DRAINING, Trigger.SESSION_ENDED, State.CLOSING),
    Transition(State.DRAINING, Trigger.SESSION_FAILED, State.CLOSING),
    #
    Transition(State.CLOSING, Trigger.LEGS_CLOSED, State.CLOSED),
)


class Model(Protocol):
    """What the machine drives: anything with a state."""

    state: State


class LifecycleError(Exception):
    """A trigger that the table does not allow in the model's state: a bug in the caller."""


_MACHINE = machine_of(State, TRANSITIONS, INITIAL)
_NEXT = {
    (source, trigger): Transition(source, trigger, target)
    for (source, trigger), target in read_table(_MACHINE, State, Trigger).items()
}


def fire(model: Model, trigger: Trigger) -> Transition:
    """Move `model` by `trigger` and return the row of the table that says where to.

    Raises LifecycleError, with the model unchanged, where the table has no such row.
    """
    row = _NEXT.get((model.state, trigger))
    if row is None:
        raise LifecycleError(f"no transition for {trigger.value} in state {model.state.value}")
    model.state = row.target
    return row
