"""What the two tables of closing and the list of configurations say of one another."""

import pytest
from reknit_core.leg.phase import Phase
from reknit_core.lifecycle import INITIAL, TRANSITIONS, State
from reknit_core.session.closing import CLOSE_MEANS, FAREWELLS, Farewell
from reknit_core.session.configurations import CONFIGURATIONS, check
from reknit_core.side import Side


def phases(side: Side, states: set[State]) -> set[Phase]:
    """In which that side's leg can be in one of these states."""
    place = 0 if side is Side.CLIENT else 1
    return {pair[place] for state in states for pair in CONFIGURATIONS[state]}


def test_every_state_has_its_configurations() -> None:
    assert set(CONFIGURATIONS) == set(State)
    assert all(CONFIGURATIONS.values())


@pytest.mark.parametrize("side", list(Side))
def test_every_phase_can_be_told_farewell(side: Side) -> None:
    """A session ends from any state but the last: then each phase there is has its row."""
    ends = set(State) - {State.CLOSED}
    assert phases(side, ends) <= {phase for where, phase in FAREWELLS if where is side}


def test_a_close_can_come_wherever_frames_are_read() -> None:
    assert {phase for phase, _ in CLOSE_MEANS} == {Phase.OPEN, Phase.CLOSING}
    assert all((phase, out) in CLOSE_MEANS for phase, _ in CLOSE_MEANS for out in (True, False))


def test_who_is_told_already_is_told_nothing_more() -> None:
    nothing = {phase for (_, phase), farewell in FAREWELLS.items() if farewell is Farewell.NOTHING}
    assert nothing == {Phase.CLOSING, Phase.CLOSE_RECEIVED, Phase.LEAVING}


@pytest.mark.parametrize(
    ("state", "client", "server", "recovers"),
    [
        (State.CONNECTED, Phase.OPEN, Phase.AWAY, True),
        (State.OPENING, Phase.OPEN, Phase.DIALLING, True),
        (State.SERVER_DOWN, Phase.OPEN, Phase.DIALLING, False),
        (State.CLOSED, Phase.AWAY, Phase.DIALLING, True),
        (State.CLOSING, Phase.AWAY, Phase.DIALLING, False),
    ],
)
def test_what_can_not_be_is_a_bug(
    state: State, client: Phase, server: Phase, recovers: bool
) -> None:
    with pytest.raises(AssertionError):
        check(state, client, server, recovers=recovers)


def test_a_session_begins_in_no_configuration_but_its_first() -> None:
    check(INITIAL, Phase.HANDSHAKE, Phase.DIALLING, recovers=True)
    assert all(row.target is not INITIAL for row in TRANSITIONS)
