"""A peer that is slow is told from one that is dead: by what its system acknowledges."""

import pytest
from frame_bytes import FIN, PONG, frame, message
from legs_by_hand import DATA, NONCE, asked, feed, legs, write
from reknit_core.leg.leg import Leg
from reknit_core.leg.phase import Phase
from reknit_core.leg.probe import PATIENCE, SLOW_PATIENCE
from reknit_core.leg.transit import SLOWEST, Look, Transit
from reknit_core.policy.policy import Delivery, Policy
from reknit_core.session.context import ContextStateMachine
from reknit_core.side import Side
from sessions_by_hand import accept, contexts, session, take

TIME = 5.0  # a heartbeat time-out
BIG = message(bytes(90_000)).data
ENOUGH = int(SLOWEST * TIME)


def slow(*, eager: bool = False) -> Leg:
    """A client that was asked at second 20, with much in front that it has not acknowledged."""
    client, server = legs(eager=eager, heartbeat_interval=20, heartbeat_timeout=TIME)
    feed(server, BIG)
    write(client)
    client.probe.confirm_at = 99.0
    assert client.overdue(NONCE, 20.0, says(80_000, 10_000)) is False
    write(client, now=20.0)
    if not eager:
        assert client.overdue(NONCE, 20.0, says(80_000, 10_000)) is False
        client.probe.missed = 0
    return client


def says(left: int, arrived: int | None = None, quiet: float | None = None) -> Look:
    return lambda side: Transit(left, arrived, quiet)


def outlasts(client: Leg, look: Look) -> int:
    """How many time-outs it stays, at most nine."""
    for number in range(9):
        if client.overdue(NONCE, 25.0 + TIME * number, look):
            return number
    return 9


@pytest.mark.parametrize("eager", [False, True])
@pytest.mark.parametrize(
    "look",
    [
        says(80_000 - ENOUGH, 10_000 + ENOUGH),
        says(90_000, 10_000 + ENOUGH),  # more was written meanwhile
        says(80_000 - ENOUGH),  # no system's count of what has arrived
        says(0, 90_000),
        says(0),
    ],
)
def test_what_its_system_acknowledges_is_life(eager: bool, look: Look) -> None:
    client = slow(eager=eager)
    assert client.overdue(NONCE, 25.0, look) is False
    assert client.probe.sent_at == 25.0
    assert client.probe.missed == 0
    assert outlasts(client, look) == SLOW_PATIENCE - 1  # and once more of it is no news


@pytest.mark.parametrize("eager", [False, True])
def test_too_little_is_no_life(eager: bool) -> None:
    client = slow(eager=eager)
    arrived = 10_000
    for number in range(SLOW_PATIENCE - 1):
        arrived += 1
        look = says(90_000 - arrived, arrived, 0.1)
        assert client.overdue(NONCE, 25.0 + number * TIME, look) is False
    assert client.overdue(NONCE, 90.0, says(89_000 - arrived, arrived + 1, 0.1)) is True


def test_little_by_little_may_be_enough() -> None:
    client = slow()
    arrived = 10_000
    for number in range(50):
        arrived += ENOUGH // 2
        look = says(90_000 - arrived, arrived)
        assert client.overdue(NONCE, 25.0 + number * TIME, look) is False


def test_a_system_that_answers_nothing_is_dead_sooner() -> None:
    assert outlasts(slow(), says(80_000, 10_000, 0.5)) == SLOW_PATIENCE - 1
    assert outlasts(slow(), says(80_000, 10_000, PATIENCE * TIME)) == PATIENCE - 1
    assert outlasts(slow(), says(0, 10_000, PATIENCE * TIME)) > PATIENCE - 1  # it owes no answer
    assert outlasts(slow(), lambda side: None) == (PATIENCE - 1)


@pytest.mark.parametrize("eager", [False, True])
def test_a_peer_that_was_idle_owes_its_pong_at_once(eager: bool) -> None:
    client, server = legs(eager=eager, heartbeat_interval=20, heartbeat_timeout=TIME)
    assert client.overdue(NONCE, 20.0, says(ENOUGH - 1, 0)) is False  # that is little
    write(client, now=20.0)
    feed(server, BIG)  # behind the Ping
    write(client, now=21.0)
    assert client.overdue(NONCE, 25.0, says(50_000, 40_000)) is True


def test_a_slow_peer_that_sends_all_the_time_is_not_given_up_for_its_pong() -> None:
    client = slow()
    arrived = 10_000
    for number in range(9):
        client.heard = 24.0 + number * TIME
        arrived += ENOUGH
        look = says(90_000 - arrived, arrived)
        assert client.overdue(NONCE, 25.0 + number * TIME, look) is False
    for number in range(9, 9 + SLOW_PATIENCE):
        client.heard = 24.0 + number * TIME
        assert client.overdue(NONCE, 25.0 + number * TIME, look) is False
        write(client, now=25.0 + number * TIME)  # perhaps another Ping
    client.heard = 24.0 + 99 * TIME
    assert client.overdue(NONCE, 25.0 + 99 * TIME, look) is True


def test_an_answer_begins_all_anew() -> None:
    client = slow()
    client.answered(NONCE + client.probe.number.to_bytes(8, "big"), 24.0)
    assert (client.probe.transit, client.probe.missed) == (None, 0)
    client.ask(NONCE, 50.0)
    assert not client.probe.loaded
    assert asked(client).startswith(NONCE)
    client.gone()
    assert (client.probe.transit, client.probe.loaded) == (None, False)


def test_nobody_is_asked_before_a_deadline_is_missed() -> None:
    """Never for a message, nor for the Pings that ask to confirm."""

    def look(side: Side) -> Transit | None:
        raise AssertionError(side)

    client, server = legs()
    for number in range(100):
        feed(server, DATA)
        write(client)
        client.seek_confirmation(NONCE, float(number))
        if number % 10 == 0 and client.probe.sent_at == float("inf"):
            assert client.overdue(NONCE, float(number), look) is False
            client.answered(asked(client), float(number))


# -- The end ---------------------------------------------------------------------------------------


def closing() -> ContextStateMachine:
    """The server has closed behind a large message; the client's system still has it all."""
    context = session(contexts(Policy(close_timeout=5.0, delivery=Delivery.AT_LEAST_ONCE)))
    accept(context)
    context.receive_data(Side.SERVER, BIG + frame(FIN | 8, b"\x03\xe8"), 0.0)
    take(context, Side.CLIENT)
    take(context, Side.SERVER)
    assert context.client.phase is Phase.CLOSING
    assert context.next_deadline() == 5.0
    return context


def test_the_close_is_awaited_while_what_stands_before_it_arrives() -> None:
    context = closing()
    for number in range(1, 20):
        look = says(90_000 - number * ENOUGH, number * ENOUGH)
        context.handle_timeout(5.0 * number, look)
        assert context.client.phase is Phase.CLOSING
        assert context.next_deadline() == 5.0 * number + 5.0
    context.handle_timeout(100.0, look)
    assert context.client.phase is Phase.AWAY


def test_the_close_is_not_awaited_where_nothing_is_left_or_known() -> None:
    for look in (says(0, 90_010), lambda side: None):
        context = closing()
        context.handle_timeout(5.0, look)
        assert context.client.phase is Phase.AWAY


def test_a_pong_is_all_that_a_slow_peer_needs() -> None:
    client = slow()
    pong = frame(FIN | PONG, NONCE + client.probe.number.to_bytes(8, "big"), masked=True)
    ((_, frame_),) = feed(client, pong)
    assert frame_ == pong
