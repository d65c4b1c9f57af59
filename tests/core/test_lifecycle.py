"""Every state with every trigger, as the design's table has it."""

from contextlib import suppress
from dataclasses import dataclass
from itertools import product

import pytest
from reknit_core import lifecycle
from reknit_core.lifecycle import (
    INITIAL,
    TRANSITIONS,
    LifecycleError,
    State,
    Transition,
    Trigger,
    fire,
)
from transitions import MachineError

# The table once more, by trigger: the state it is fired in, and the state it leads to.
TABLE = {
    "server_accepted": {
        "opening": "connected",
        "server_down": "draining",
        "both_down": "client_down",
    },
    "server_unaware": {"server_down": "reopening", "both_down": "reopening_alone"},
    "server_informed": {"reopening": "draining", "reopening_alone": "client_down"},
    "server_refused": {"opening": "closed", "server_down": "closed", "both_down": "closed"},
    "server_lost": {
        "connected": "server_down",
        "draining": "server_down",
        "client_down": "both_down",
        "reopening": "server_down",
        "reopening_alone": "both_down",
    },
    "retries_spent": {"opening": "closed", "server_down": "closed", "both_down": "closed"},
    "client_lost": {
        "opening": "closed",
        "connected": "client_down",
        "draining": "client_down",
        "server_down": "both_down",
        "reopening": "reopening_alone",
    },
    "client_returned": {
        "client_down": "draining",
        "both_down": "server_down",
        "reopening_alone": "reopening",
    },
    "client_began_anew": {
        "connected": "server_down",
        "draining": "server_down",
        "reopening": "server_down",
    },
    "grace_ended": {"client_down": "closed", "both_down": "closed"},
    "drained": {"draining": "connected"},
    "session_ended": {
        "opening": "closing",
        "connected": "closing",
        "server_down": "closing",
        "client_down": "closing",
        "both_down": "closing",
        "draining": "closing",
        "reopening": "closing",
        "reopening_alone": "closing",
    },
    "session_failed": {
        "connected": "closing",
        "server_down": "closing",
        "client_down": "closing",
        "both_down": "closing",
        "draining": "closing",
        "reopening": "closing",
        "reopening_alone": "closing",
    },
    "legs_closed": {"closing": "closed"},
}


@dataclass(slots=True)
class Model:
    """Slots, as the context has them: the machine must add nothing to what it drives."""

    state: State


@pytest.mark.parametrize(("state", "trigger"), list(product(State, Trigger)))
def test_every_state_with_every_trigger(state: State, trigger: Trigger) -> None:
    model = Model(state)
    target = TABLE[trigger.value].get(state.value)
    if target is None:
        with pytest.raises(LifecycleError) as caught:
            fire(model, trigger)
        assert str(caught.value) == f"no transition for {trigger.value} in state {state.value}"
        assert caught.value.__context__ is None
        assert model.state is state
    else:
        assert fire(model, trigger).target is State(target)
        assert model.state is State(target)


@pytest.mark.parametrize(("state", "trigger"), list(product(State, Trigger)))
def test_the_machine_goes_the_same_way(state: State, trigger: Trigger) -> None:
    fired, driven = Model(state), Model(state)
    with suppress(LifecycleError):
        fire(fired, trigger)
    with suppress(MachineError):
        lifecycle._MACHINE.events[trigger.name].trigger(driven)
    assert fired.state is driven.state


def test_the_table_has_these_rows_and_no_others() -> None:
    rows = [
        Transition(State(source), Trigger(trigger), State(target))
        for trigger, targets in TABLE.items()
        for source, target in targets.items()
    ]
    assert sorted(TRANSITIONS, key=str) == sorted(rows, key=str)
    assert len({(row.source, row.trigger) for row in TRANSITIONS}) == len(TRANSITIONS)


def test_a_session_begins_opening_and_closed_is_its_end() -> None:
    assert INITIAL is State.OPENING
    assert not [row for row in TRANSITIONS if row.source is State.CLOSED]
    reached: set[State] = {INITIAL}
    for _ in State:
        reached |= {row.target for row in TRANSITIONS if row.source in reached}
    assert reached == set(State)


def test_models_do_not_share_a_state() -> None:
    one, other = Model(INITIAL), Model(INITIAL)
    fire(one, Trigger.SERVER_ACCEPTED)
    assert (one.state, other.state) == (State.CONNECTED, State.OPENING)
