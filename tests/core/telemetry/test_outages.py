"""Outages: what is told of each moment follows from the transitions."""

from reknit_core.counters import Counters
from reknit_core.lifecycle import State, Transition, Trigger
from reknit_core.telemetry.outages import KEPT, Moment, Outages

S, T = State, Trigger


def move(counters: Counters, *rows: Transition) -> None:
    for row in rows:
        counters.moved(row)


def test_sessions_count_while_they_wait_and_losses_in_their_moment() -> None:
    counters = Counters()
    for _ in range(2):
        counters.began(S.CONNECTED)
    outages = Outages(counters)
    outages.note()
    move(
        counters,
        Transition(S.CONNECTED, T.SERVER_LOST, S.SERVER_DOWN),
        Transition(S.SERVER_DOWN, T.CLIENT_LOST, S.BOTH_DOWN),
        Transition(S.CONNECTED, T.CLIENT_LOST, S.CLIENT_DOWN),
    )
    outages.note()
    outages.note()
    move(counters, Transition(S.BOTH_DOWN, T.SERVER_ACCEPTED, S.CLIENT_DOWN))
    outages.note()
    assert [*outages] == [
        Moment(0, 0, 0, 0),
        Moment(1, 2, 1, 2),
        Moment(1, 2, 0, 0),
        Moment(0, 2, 0, 0),
    ]


def test_an_outage_within_a_moment_is_seen() -> None:
    counters = Counters()
    counters.began(S.CONNECTED)
    outages = Outages(counters)
    move(
        counters,
        Transition(S.CONNECTED, T.SERVER_LOST, S.SERVER_DOWN),
        Transition(S.SERVER_DOWN, T.SERVER_ACCEPTED, S.DRAINING),
    )
    outages.note()
    assert [*outages] == [Moment(0, 0, 1, 0)]


def test_a_client_that_leaves_before_its_session_began_is_no_outage() -> None:
    counters = Counters()
    counters.began(S.OPENING)
    outages = Outages(counters)
    move(counters, Transition(S.OPENING, T.CLIENT_LOST, S.CLOSED))
    outages.note()
    assert [*outages] == [Moment(0, 0, 0, 0)]


def test_old_moments_go() -> None:
    outages = Outages(Counters())
    for _ in range(KEPT + 5):
        outages.note()
    assert len([*outages]) == KEPT
