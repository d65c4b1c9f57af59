"""Ends are killed and cut off while numbers stream both ways: what each delivery policy keeps.

The whole run, thirty blows for every combination, is `python kill_run.py`.
"""

import os

import pytest
import trio
from journal import Outcome, outcome
from kill_run import ENOUGH, Blow, Plan, Promise, Stack, ends_a_session, play

pytest.importorskip("aiohttp", reason="needs aiohttp, a stack whose handlers run inline")

KILLED = (Blow.KILL_SERVER, Blow.KILL_CLIENT)
CUT = (Blow.CUT_SERVER, Blow.CUT_CLIENT)
TIMES = int(os.environ.get("DELIVERY_BLOWS", "4"))


def test_a_server_that_closes_its_connection_is_no_end_of_a_session() -> None:
    outage = "WARNING the server is out: 1 of 1 session waits: the server closed the connection"
    assert not ends_a_session(outage)
    assert ends_a_session("INFO 7f527d23b9ce closed by legs_closed")
    assert ends_a_session("INFO 7f527d23b9ce closing by session_ended: client lost")


def run(promise: Promise, stack: Stack, blows: tuple[Blow, ...], *, slow: bool = False) -> None:
    """Play it, and hold both directions against the promise."""
    result = trio.run(play, Plan(promise, stack, blows, TIMES, slow))
    for one in (result.to_server, result.to_client):
        assert one.accepted >= ENOUGH
        assert one.reordered == 0
        if promise is not Promise.AT_LEAST_ONCE:
            assert one.repeated == 0
        if keeps_all(promise, stack, blows):
            assert one.lost == 0


def keeps_all(promise: Promise, stack: Stack, blows: tuple[Blow, ...]) -> bool:
    """Whether nothing may be lost; a stack that reads ahead loses what it holds when it dies."""
    match promise:
        case Promise.AT_MOST_ONCE:
            return False
        case Promise.AT_LEAST_ONCE:
            return stack is Stack.AIOHTTP or blows == CUT
        case Promise.EXACT:
            return True


@pytest.mark.parametrize(
    ("promise", "stack"),
    [
        (Promise.AT_MOST_ONCE, Stack.WEBSOCKETS),
        (Promise.AT_LEAST_ONCE, Stack.AIOHTTP),
        (Promise.EXACT, Stack.AIOHTTP),
    ],
)
def test_processes_are_killed(promise: Promise, stack: Stack) -> None:
    run(promise, stack, KILLED)


def test_slow_handlers_behind_a_queue_are_killed() -> None:
    run(Promise.EXACT, Stack.WEBSOCKETS, KILLED, slow=True)


@pytest.mark.parametrize("stack", Stack)
def test_connections_are_cut(stack: Stack) -> None:
    run(Promise.AT_LEAST_ONCE, stack, CUT)


@pytest.mark.parametrize(
    ("numbers", "expected"),
    [
        ([1, 2, 3], Outcome(3, 3, 0, 0)),
        ([1, 3], Outcome(3, 2, 0, 0)),
        ([1, 2, 1, 2, 3], Outcome(3, 3, 2, 0)),
        ([2, 1, 3], Outcome(3, 3, 0, 1)),
        ([], Outcome(3, 0, 0, 0)),
    ],
)
def test_a_journal_tells_how_messages_fared(numbers: list[int], expected: Outcome) -> None:
    assert outcome(3, numbers) == expected


def test_a_message_that_was_never_sent_is_an_error() -> None:
    with pytest.raises(ValueError, match="never sent"):
        outcome(3, [1, 2, 3, 4])
