"""What receive_data promises an adapter by True holds, whatever came before."""

import random
from math import inf

import pytest
from frame_bytes import FIN, PING, PONG, TEXT, frame, message
from reknit_core.leg.leg import Leg
from reknit_core.leg.probe import PROBE_SIZE
from reknit_core.lifecycle import State
from reknit_core.policy.policy import Delivery, Policy
from reknit_core.session.context import ContextStateMachine
from reknit_core.side import Side
from sessions_by_hand import accept, contexts, session

NONCE = (3).to_bytes(8, "big")  # the third bytes of randomness: after the id and the key


def some_frames(chance: random.Random, *, masked: bool) -> bytes:
    """Mostly whole messages, as they come in one read."""
    kind = chance.random()
    if kind < 0.1:
        return frame(FIN | chance.choice((PING, PONG)), b"said by a peer", masked=masked)
    size = chance.choice((0, 5, 125, 126, 5000, 70000))
    payloads = [b"x" * size] * (2 if kind < 0.2 else 1)
    return message(*payloads, opcode=TEXT, masked=masked).data * chance.choice((1, 1, 3))


def answer_to_the_proxy(leg: Leg, *, masked: bool) -> bytes:
    """The Pong that a peer owes, once the proxy's Ping is written."""
    if leg.probe.sent_at == inf or leg.probe.ping:
        return b""
    return frame(FIN | PONG, NONCE + leg.probe.number.to_bytes(PROBE_SIZE, "big"), masked=masked)


def write(context: ContextStateMachine, side: Side, chance: random.Random, now: float) -> None:
    """Write what there is, sometimes only a part of it."""
    while buffers := context.pending(side):
        size = sum(map(len, buffers))
        taken = chance.randrange(size) if chance.random() < 0.1 else size
        context.advance(side, taken, now)
        if taken < size:
            break


@pytest.mark.long
@pytest.mark.parametrize("delivery", Delivery)
def test_what_may_go_the_short_way_is_all_that_waits(delivery: Delivery) -> None:
    chance = random.Random(7)
    policy = Policy(
        delivery=delivery, queue_bytes=300_000, queue_messages=400, confirm_bytes=20_000
    )
    context = session(contexts(policy))
    accept(context)
    now = 1.0
    ways = {True: 0, False: 0}
    for _ in range(3000):
        now += 0.01
        side = chance.choice((Side.CLIENT, Side.SERVER))
        other = Side.SERVER if side is Side.CLIENT else Side.CLIENT
        leg = context.client if side is Side.CLIENT else context.server
        masked = side is Side.CLIENT
        data = answer_to_the_proxy(leg, masked=masked)
        if leg.wants_read():
            data += some_frames(chance, masked=masked)
        cut = chance.randrange(len(data) + 1) if chance.random() < 0.1 else len(data)
        for part in filter(None, (data[:cut], data[cut:])):
            straight = context.receive_data(side, part, now) is not None
            ways[straight] += 1
            if straight:
                assert context.pending(other) == [part]
                assert context.wants_read(side)
                assert not leg.lane
            write(context, other, chance, now)
        write(context, side, chance, now)
    assert context.state is State.CONNECTED
    assert min(ways.values()) > 500
