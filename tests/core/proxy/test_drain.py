"""When each session of a proxy that stops is told to go, and what is counted as lost."""

import pytest
from reknit_core.lifecycle import State
from reknit_core.play.player import Player
from reknit_core.proxy.drain import FAREWELL, Toll, schedule
from reknit_core.script.scenario import DEFAULT_POLICY
from reknit_core.session.context import ContextStateMachine

CONNECTED = ("client connected", "server connected", "server accepts")


def player(*events: str) -> Player:
    """A session that is connected, and has seen these events."""
    playing = Player(DEFAULT_POLICY)
    for event in (*CONNECTED, *events):
        playing.do(f"@0 > {event}")
    return playing


def context(*events: str) -> ContextStateMachine:
    found = player(*events).context
    assert found is not None
    return found


def test_sessions_go_evenly_and_in_their_order() -> None:
    sessions = [context() for _ in range(4)]
    assert schedule(sessions, 10.0) == list(zip([0.0, 2.5, 5.0, 7.5], sessions, strict=True))
    assert [moment for moment, _ in schedule(sessions, 0.0)] == [0.0] * 4
    assert schedule([], 10.0) == []


@pytest.mark.parametrize(
    "owes",
    [
        ("client lost", 'server message "for the client"'),
        ("server lost", 'client message "for the server"'),
        ("client lost", "server lost", "timeout"),  # owes nothing
    ],
)
def test_those_that_owe_messages_to_an_absent_end_go_last(owes: tuple[str, ...]) -> None:
    first, second = context(*owes), context()
    expected = [second, first] if "message" in owes[-1] else [first, second]
    assert [each for _, each in schedule([first, second], 1.0)] == expected


def test_a_full_socket_is_no_absent_end() -> None:
    first, second = context("client takes nothing", 'server message "x"'), context()
    assert [each for _, each in schedule([first, second], 1.0)] == [first, second]


def test_the_toll_of_sessions_that_go_on() -> None:
    full = context("client takes nothing", 'server message "12345" "12345678"')
    away = context("server lost", 'client message "12"')
    assert Toll.of([full, away, context()]) == Toll(3, 7 + 10 + 8)
    assert Toll.of([]) == Toll(0, 0)


@pytest.mark.parametrize(
    ("events", "lost"),
    [
        ((), Toll()),
        (('client message "read"', 'server message "read"'), Toll()),
        (("server lost", 'client message "12"'), Toll(1, 8)),
        (("client lost", 'server message "12" "34"'), Toll(2, 8)),
        (("client takes nothing", 'server message "12"'), Toll(1, 4)),
        (("client takes 1", 'server message "12"'), Toll(1, 4)),  # cut in the middle
        (('server partial "1234" bytes=3',), Toll()),  # it was never complete
    ],
)
def test_what_waits_when_a_session_is_over_is_counted(events: tuple[str, ...], lost: Toll) -> None:
    playing = player(*events)
    counters = playing.contexts.counters
    before = Toll(1, 1)
    assert playing.context is not None
    playing.do(f"@1 > shutdown {FAREWELL.code} server={FAREWELL.server_code}")
    playing.do("@60 > wait")  # nobody answers the Close
    assert playing.context.state is State.CLOSED
    assert Toll.so_far(counters) == lost
    assert lost.plus(before).since(before) == lost
    playing.do("@61 > shutdown 1001")
    assert Toll.so_far(counters) == lost


@pytest.mark.parametrize("end", ["client", "server"])
def test_an_end_that_closes_has_got_what_it_was_given(end: str) -> None:
    """It need not have confirmed it."""
    playing = Player(DEFAULT_POLICY)
    for event in (*CONNECTED, 'client message "1"', 'server message "1"', f"{end} close 1000"):
        playing.do(f"@0 > {event}")
    playing.do(f"@0 > {'server' if end == 'client' else 'client'} close 1000")
    playing.do("@60 > wait")
    assert playing.context is not None
    assert playing.context.state is State.CLOSED
    assert Toll.so_far(playing.contexts.counters) == Toll()
