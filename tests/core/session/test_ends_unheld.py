"""What ends a session is never held up by a full queue: both sides, every bound."""

from typing import Any

import pytest
from frame_bytes import CLOSE, FIN, PING, PONG, frame, message
from reknit_core.events import ConnectionLost, Shutdown
from reknit_core.leg.leg import MAX_LANE, SMALL
from reknit_core.leg.phase import Phase
from reknit_core.lifecycle import State
from reknit_core.policy.policy import Delivery, Overflow, Policy
from reknit_core.queue.budget import SHARE
from reknit_core.session.context import ContextStateMachine
from reknit_core.side import Side
from reknit_core.wire.frames import payload
from sessions_by_hand import accept, contexts, session, take

SIDES = pytest.mark.parametrize("closer", list(Side))


def other(side: Side) -> Side:
    return Side.SERVER if side is Side.CLIENT else Side.CLIENT


def text(side: Side, size: int = 300) -> bytes:
    return message(bytes(size), masked=side is Side.CLIENT).data


def close(side: Side) -> bytes:
    return frame(FIN | CLOSE, b"\x03\xe8", masked=side is Side.CLIENT)


def connected(**changes: Any) -> ContextStateMachine:
    context = session(contexts(Policy(delivery=Delivery.AT_LEAST_ONCE, **changes)))
    accept(context)
    return context


def flow(context: ContextStateMachine) -> None:
    """Both sockets take all."""
    for _ in range(4):
        take(context, Side.CLIENT)
        take(context, Side.SERVER)


@SIDES
@pytest.mark.parametrize(
    "bounds",
    [
        {"queue_bytes": 500},
        {"queue_messages": 2},
        {"queue_total": 500},
        {"queue_bytes": 500, "overflow_to_server": Overflow.DROP_OLDEST},
        {"queue_bytes": 500, "overflow_to_client": Overflow.DROP_OLDEST},
    ],
)
def test_what_a_closed_end_never_confirms_holds_nobody_up(
    closer: Side, bounds: dict[str, int]
) -> None:
    context = connected(**bounds)
    there = other(closer)
    size = SHARE + 1 if "queue_total" in bounds else 300
    for side in (closer, there):
        for _ in range(3):
            context.receive_data(side, text(side, size), 1.0)
    flow(context)
    context.receive_data(closer, close(closer), 2.0)
    flow(context)
    assert context.state is State.CLOSING
    assert context.wants_read(there)
    for _ in range(9):  # it goes on for a while, and nothing piles up
        context.receive_data(there, text(there, size), 2.0)
        flow(context)
        assert context.wants_read(there)
    leg = context.client if there is Side.CLIENT else context.server
    assert leg.queue.confirmed == leg.queue.tail
    context.receive_data(there, close(there), 2.0)
    assert payload(take(context, closer)[-len(close(there)) :]) == b"\x03\xe8"
    assert context.state is State.CLOSED


@SIDES
def test_a_closed_end_that_takes_nothing_holds_back_what_is_sent_to_it(closer: Side) -> None:
    context = connected(queue_bytes=500)
    there = other(closer)
    context.receive_data(closer, close(closer), 2.0)
    flow(context)
    for _ in range(2):
        assert context.wants_read(there)
        context.receive_data(there, text(there), 2.0)
    assert not context.wants_read(there)
    take(context, closer)
    assert context.wants_read(there)


@SIDES
def test_so_it_is_after_a_takeover(closer: Side) -> None:
    context = connected(queue_bytes=500)
    there = other(closer)
    for _ in range(3):
        context.receive_data(there, text(there), 1.0)
    flow(context)
    context.receive_data(closer, close(closer), 2.0)
    flow(context)
    context.commands()
    thawed = contexts(context.client.policy).take_in(context.frozen(3.0), 3.0)
    for _ in range(9):
        assert thawed.wants_read(there)
        thawed.receive_data(there, text(there), 4.0)
        flow(thawed)


@SIDES
@pytest.mark.parametrize("full", list(Side))
def test_control_frames_that_are_not_taken_hold_no_close_up(closer: Side, full: Side) -> None:
    context = connected()
    there = other(closer)
    leg = context.client if full is Side.CLIENT else context.server
    for _ in range(MAX_LANE):
        leg.say(bytes(SMALL), leg.source.tail)
    assert not context.wants_read(there)
    context.receive_data(closer, close(closer), 2.0)
    assert context.wants_read(there)
    kind = frame(FIN | PING, b"?", masked=there is Side.CLIENT)
    pong = frame(FIN | PONG, b"?", masked=there is Side.CLIENT)
    lanes = [len(context.client.lane), len(context.server.lane)]
    context.receive_data(there, (kind + pong) * 20, 2.0)
    assert [len(context.client.lane), len(context.server.lane)] == lanes


@SIDES
def test_a_shutdown_reads_on(closer: Side) -> None:
    """Both are told, and what they still send is discarded: so their Closes are heard."""
    context = connected(queue_bytes=500)
    for side in Side:
        for _ in range(3):
            context.receive_data(side, text(side), 1.0)
    context.advance(closer, 0, 1.0)
    assert not context.wants_read(other(closer))
    context.handle(Shutdown(1001, ""), 2.0)
    assert context.wants_read(Side.CLIENT)
    assert context.wants_read(Side.SERVER)


@SIDES
def test_an_overflow_reads_on(closer: Side) -> None:
    """4413: the one that sent too much is told, and its Close is heard."""
    context = connected(
        queue_bytes=500, overflow_to_server=Overflow.CLOSE, overflow_to_client=Overflow.CLOSE
    )
    context.advance(other(closer), 0, 1.0)
    for _ in range(3):
        context.receive_data(closer, text(closer), 1.0)
    assert context.state is State.CLOSING
    assert context.wants_read(Side.CLIENT)
    assert context.wants_read(Side.SERVER)


@SIDES
def test_an_end_that_is_lost_after_a_full_queue_closed_leaves_the_other_read(closer: Side) -> None:
    context = connected(queue_bytes=500)
    there = other(closer)
    for _ in range(3):
        context.receive_data(there, text(there), 1.0)
    flow(context)
    context.receive_data(closer, close(closer), 2.0)
    leg = context.client if closer is Side.CLIENT else context.server
    context.handle(ConnectionLost(closer, leg.generation, "reset"), 3.0)
    assert leg.phase in (Phase.AWAY,)
    assert context.wants_read(there)
