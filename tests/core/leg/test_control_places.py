"""Control frames keep their place among whole messages, in both directions."""

import random

import pytest
from frame_bytes import FIN, PING, PONG, frame, message
from reknit_core.leg.leg import SMALL
from reknit_core.policy.policy import Delivery, Policy
from reknit_core.queue.stream import GATHER
from reknit_core.session.context import ContextStateMachine
from reknit_core.side import Side
from reknit_core.wire.frames import Opcode, payload
from sessions_by_hand import accept, contexts, session, take

SIDES = pytest.mark.parametrize("side", list(Side))


def connected(**changes: object) -> ContextStateMachine:
    """A session that nobody is asked in."""
    policy = Policy(delivery=Delivery.AT_MOST_ONCE, **changes)  # type: ignore[arg-type]
    context = session(contexts(policy))
    accept(context)
    return context


def other(side: Side) -> Side:
    return Side.SERVER if side is Side.CLIENT else Side.CLIENT


def behind(opened: bytes, *, masked: bool) -> list[bytes]:
    """Whole frames of a stream, as an end would see it."""
    found = []
    while opened:
        length = opened[1] & 0x7F
        head = 2
        if length == 126:
            length, head = int.from_bytes(opened[2:4], "big"), 4
        elif length == 127:
            length, head = int.from_bytes(opened[2:10], "big"), 10
        size = head + 4 * masked + length
        found.append(opened[:size])
        opened = opened[size:]
    return found


def in_place(frames: list[bytes]) -> list[bytes]:
    """These frames with those controls that stand inside a message in front of it."""
    placed: list[bytes] = []
    open_: list[bytes] = []
    for each in frames:
        if each[0] & 0x08:
            placed.append(each)
            continue
        open_.append(each)
        if each[0] & FIN:
            placed += open_
            open_ = []
    return placed


def stream(chance: random.Random, *, masked: bool) -> list[bytes]:
    """Frames of all kinds, ended by a whole message."""
    frames: list[bytes] = []
    for number in range(chance.randint(1, 30)):
        size = chance.choice((0, 1, 125, 126, 3000, SMALL + 1, 70_000))
        parts = [b"%d" % number, bytes(size), b"end"][: chance.randint(1, 3)]
        for part in message(*parts, masked=masked).frames:
            for _ in range(chance.choice((0, 0, 1, 3))):
                kind = chance.choice((PING, PONG))
                frames.append(frame(FIN | kind, b"%d" % len(frames), masked=masked))
            frames.append(part)
    return frames


@SIDES
@pytest.mark.parametrize("seed", range(20))
def test_whatever_a_read_holds(side: Side, seed: int) -> None:
    """Some reads have several messages and controls, some a piece of one; some writes are short."""
    chance = random.Random(seed)
    masked = side is Side.CLIENT
    context = connected()
    there = other(side)
    frames = stream(chance, masked=masked)
    data = b"".join(frames)
    written = b""
    pos = 0
    while pos < len(data):
        size = chance.choice((1, 7, 300, 68 * 1024, 10**9)) if len(data) - pos < 400_000 else 50_000
        straight = context.receive_data(side, data[pos : pos + size], 1.0)
        if straight:
            assert context.pending(there) == [data[pos : pos + size]]
        pos += size
        while context.client.is_behind or context.server.is_behind:
            context.receive_data(side, b"", 1.0)
        while buffers := context.pending(there):
            assert len(buffers) <= GATHER
            out = b"".join(buffers)
            taken = chance.randint(1, len(out)) if chance.random() < 0.3 else len(out)
            context.advance(there, taken, 1.0)
            written += out[:taken]
            if chance.random() < 0.3:
                break
    written += take(context, there)
    assert behind(written, masked=masked) == in_place(frames)


@SIDES
def test_also_while_the_queue_drains(side: Side) -> None:
    """The other end is away, comes back, and reads late."""
    masked = side is Side.CLIENT
    context = connected()
    there = other(side)
    first, second = message(b"1", masked=masked).data, message(b"2", masked=masked).data
    pong = frame(FIN | PONG, b"p", masked=masked)
    ping = frame(FIN | PING, b"q", masked=masked)
    context.advance(there, 0, 1.0)  # its socket is full
    context.receive_data(side, first + pong + second, 1.0)
    context.receive_data(side, ping + first, 1.0)
    assert take(context, there) == first + pong + second + ping + first


@SIDES
def test_compressed_messages_too(side: Side) -> None:
    masked = side is Side.CLIENT
    context = session(contexts(), b"Sec-WebSocket-Extensions: permessage-deflate")
    accept(context, b"Sec-WebSocket-Extensions: permessage-deflate; server_no_context_takeover")
    packed = frame(FIN | 0x40 | Opcode.TEXT, b"\x02\x00", masked=masked)
    pong = frame(FIN | PONG, b"p", masked=masked)
    context.receive_data(side, pong + packed + pong + packed, 1.0)
    assert take(context, other(side)).startswith(pong + packed + pong + packed)


@SIDES
def test_many_of_them_go_out_in_one_write(side: Side) -> None:
    """A control frame before each of many messages costs no write of its own."""
    masked = side is Side.CLIENT
    context = connected()
    there = other(side)
    data = b"".join(
        frame(FIN | PONG, b"%d" % number, masked=masked) + message(b"x", masked=masked).data
        for number in range(50)
    )
    context.receive_data(side, data, 1.0)
    buffers = context.pending(there)
    assert b"".join(buffers) == data
    assert len(buffers) <= GATHER
    context.advance(there, len(data), 1.0)
    assert context.pending(there) == []


@SIDES
def test_an_answer_from_the_wrong_kind_of_stack_is_heard(side: Side) -> None:
    """A Pong to the proxy's own Ping with the wrong mask, cut anywhere, is taken; no other is."""
    context = session(contexts())
    accept(context)
    leg = context.client if side is Side.CLIENT else context.server
    there = other(side)
    masked = side is Side.CLIENT
    text = message(b"m", masked=not masked).data
    context.receive_data(there, text, 1.0)
    context.handle_timeout(context.next_deadline() or 0.0)
    ping = take(context, side)[len(text) :]
    wrong = frame(FIN | PONG, payload(ping), masked=not masked)
    right = message(b"r", masked=masked).data
    for place in range(1, len(wrong)):
        context.receive_data(side, wrong[:place], 2.0)
        context.receive_data(side, wrong[place:] + right, 2.0)
        assert leg.probe.sent_at == float("inf")
        assert take(context, there) == right
    bad = payload(ping)[:-9] + b"?" + payload(ping)[-8:]
    for frame_ in (
        frame(FIN | PONG, bad, masked=not masked),
        frame(FIN | PING, payload(ping), masked=not masked),
        frame(FIN | PONG, b"", masked=not masked),
        message(payload(ping), masked=not masked).data,
    ):
        scanner = leg.new_scanner(deflate=False, nonce=context.nonce)
        scanner.scan(frame_ + right)
        assert scanner.violation is not None
        assert scanner.violation.code == 1002
