"""Bytes in any pieces, and any bytes at all."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import pytest
from byte_session import ByteSession
from hypothesis import given, settings
from hypothesis import strategies as st
from reknit.verify.fuzz.happenings import check_bounds
from reknit_core.lifecycle import State
from reknit_core.policy.policy import Delivery, Policy
from reknit_core.script.phrases import close_payload, frame, message_frames
from reknit_core.side import Side
from reknit_core.wire.frames import Opcode

INVALID = ("invalid", "response invalid", "request invalid")
NOT_DEFLATE = 'invalid "Error -3'  # zlib's: what is compressed passes through unread
SIDES = st.sampled_from(Side)
POLICIES = st.builds(
    Policy,
    delivery=st.sampled_from(Delivery),
    queue_bytes=st.sampled_from([4 * 2**20, 1000]),
    message_limit=st.sampled_from([16 * 2**20, 1000]),
    replay_window=st.sampled_from([65536, 0]),
    heartbeat_interval=st.just(0.0),
)

# -- Frames ------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Said:
    """Frames to come from either end: what they are, and how they are made."""

    make: Callable[[bool], bytes]
    text: str

    def __repr__(self) -> str:
        return self.text


@st.composite
def said(draw: Callable[[Any], Any]) -> Said:
    """A message, in fragments perhaps and with a Ping between them, or a Ping or Pong."""
    content = draw(st.binary(max_size=20)) + bytes(draw(st.sampled_from([0, 0, 110, 3000])))
    kind = draw(st.sampled_from(["message", "message", "fragments", "ping", "pong"]))
    parts = draw(st.integers(1, 3))

    def make(masked: bool) -> bytes:
        control = bytes([masked]) + content[:9]  # else one end's Pong could answer its own Ping
        match kind:
            case "message":
                return message_frames(content, binary=True, masked=masked, parts=parts)
            case "fragments":
                first = frame(Opcode.TEXT, content, masked=masked, final=False)
                ping = frame(Opcode.PING, b"?" + control, masked=masked)
                return first + ping + frame(Opcode.CONTINUATION, b"end", masked=masked)
            case "ping":
                return frame(Opcode.PING, b"?" + control, masked=masked)
            case _:
                return frame(Opcode.PONG, b"!" + control, masked=masked)

    return Said(make, f"{kind} of {len(content)} bytes, {parts} parts")


def made(frames: Iterable[Said], side: Side) -> bytes:
    return b"".join(one.make(side is Side.CLIENT) for one in frames)


# -- Any split ---------------------------------------------------------------------------------

RUNS = st.lists(said(), max_size=4)
LIFE = st.lists(st.tuples(SIDES, RUNS, st.sampled_from(["", "", "", "lost", "cut"])), max_size=8)
CUTS = st.lists(st.integers(0, 10**6), max_size=6)


def in_pieces(data: bytes, cuts: list[int]) -> list[bytes]:
    places = sorted({0, len(data), *(cut % (len(data) + 1) for cut in cuts)})
    return [data[start:end] for start, end in pairwise(places)]


def record(
    policy: Policy, early: list[Said], life: list[tuple[Side, list[Said], str]], cuts: list[int]
) -> ByteSession:
    """Play a whole session, with each end's bytes in pieces."""
    session = ByteSession(policy)

    def receive(side: Side, data: bytes) -> None:
        for piece in in_pieces(data, cuts):
            session.receive(side, piece)

    receive(Side.CLIENT, session.client_request() + made(early, Side.CLIENT))
    receive(Side.SERVER, session.server_answer() + made(early, Side.SERVER))
    for side, frames, end in life:
        data = made(frames, side)
        receive(side, data[: len(data) * 2 // 3] if end == "cut" else data)
        if end:
            session.lose(side)
            back = session.client_request if side is Side.CLIENT else session.server_answer
            receive(side, back() + made(early, side))
    for side in Side:
        close = frame(Opcode.CLOSE, close_payload(1000, b"x"), masked=side is Side.CLIENT)
        receive(side, made(early, side) + close)
    return session


def told(session: ByteSession, side: Side) -> tuple[list[str], list[str]]:
    """What an end got: messages and handshakes, and Pings and Pongs.

    A control frame may come behind messages that were read with it.
    """
    control = [phrase for phrase in session.phrases[side] if phrase.startswith(("ping", "pong"))]
    return [phrase for phrase in session.phrases[side] if phrase not in control], control


@pytest.mark.long
@settings(max_examples=400)
@given(delivery=st.sampled_from(Delivery), early=RUNS, life=LIFE, cuts=CUTS)
def test_any_split_of_the_same_bytes_gives_the_same_result(
    delivery: Delivery, early: list[Said], life: list[tuple[Side, list[Said], str]], cuts: list[int]
) -> None:
    policy = Policy(delivery=delivery, confirm_bytes=2**30)
    whole, pieces = (record(policy, early, life, how) for how in ([], cuts))
    for side in Side:
        assert told(pieces, side) == told(whole, side)
    assert pieces.states == whole.states
    assert pieces.dials == whole.dials
    assert whole.states[-1] is State.CLOSED


# -- Any bytes ---------------------------------------------------------------------------------


class Garbage(bytes):
    """Bytes that are short to print."""

    def __repr__(self) -> str:
        return f"{len(self)} bytes: {self[:40].hex(' ')}"


@st.composite
def garbage(draw: Callable[[Any], Any], side: Side) -> Garbage:
    """Random bytes, or frames with something wrong in them, or nothing wrong."""
    if draw(st.booleans()):
        return Garbage(draw(st.binary(max_size=300)))
    data = made(draw(st.lists(said(), min_size=1, max_size=3)), side)
    place = draw(st.integers(0, len(data) - 1))
    other = bytes(draw(st.binary(max_size=10)))
    match draw(st.sampled_from(["keep", "change", "cut", "insert", "repeat"])):
        case "keep":
            return Garbage(data)
        case "change":
            return Garbage(data[:place] + other + data[place + len(other) :])
        case "cut":
            return Garbage(data[:place])
        case "insert":
            return Garbage(data[:place] + other + data[place:])
        case _:
            return Garbage(data[:place] + data)


class Attack:
    """A session whose ends send anything; it comes back as long as it can."""

    def __init__(self, policy: Policy, *, deflate: bool) -> None:
        self.policy = policy
        self.session = ByteSession(policy, deflate=deflate)
        self.largest = 0

    def go_on(self) -> bool:
        """Have both ends there; False if the session is over."""
        session = self.session
        context = session.context
        if context is None or (context.resumable and Side.CLIENT not in session.peers):
            session.receive(Side.CLIENT, session.client_request())
            context = session.context
        assert context is not None
        waited = context.state in (State.OPENING, State.SERVER_DOWN, State.BOTH_DOWN)
        if waited and Side.SERVER not in session.peers:
            session.receive(Side.SERVER, session.server_answer())
        return context.state is not State.CLOSED

    def send(self, side: Side, data: bytes) -> None:
        """Bytes from an end, if they are read."""
        context = self.session.context
        assert context is not None
        if side in self.session.peers and context.wants_read(side):
            self.largest = max(self.largest, len(data))
            self.session.receive(side, data)

    def check(self) -> None:
        """Nothing invalid came out, and little is held."""
        context = self.session.context
        assert context is not None
        for phrases in self.session.phrases.values():
            wrong = [phrase for phrase in phrases if phrase.startswith(INVALID)]
            assert all(phrase.startswith(NOT_DEFLATE) for phrase in wrong)
        check_bounds(context, self.policy, self.largest)


@pytest.mark.long
@settings(max_examples=300)
@given(data=st.data(), policy=POLICIES, deflate=st.booleans())
def test_any_bytes_are_survived(data: st.DataObject, policy: Policy, deflate: bool) -> None:
    attack = Attack(policy, deflate=deflate)
    for _ in range(data.draw(st.integers(1, 40))):
        if not attack.go_on():
            attack = Attack(policy, deflate=deflate)
            attack.go_on()
        side = data.draw(SIDES)
        match data.draw(st.sampled_from(["send", "send", "send", "lose", "time", "room"])):
            case "send":
                attack.send(side, data.draw(garbage(side)))
            case "lose" if side in attack.session.peers:
                attack.session.lose(side)
            case "time":
                attack.session.pass_time()
            case "room" if side in attack.session.peers:
                attack.session.make_room(side, data.draw(st.sampled_from([0, 1, 10, None])))
        attack.check()
