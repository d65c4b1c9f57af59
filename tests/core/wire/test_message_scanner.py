"""Messages that are seen whole: each once, however it comes, and all else as it was."""

import operator
import random
from time import process_time

import pytest
from hypothesis import given
from hypothesis import strategies as st
from reknit_core.dialect.speech import Message
from reknit_core.script.phrases import frame, message_frames
from reknit_core.side import Side
from reknit_core.wire.frames import FrameScanner, Opcode, message_ends
from reknit_core.wire.inband import MAX_REPLY, InbandScanner
from reknit_core.wire.messages import GROWTH, TURN, MessageScanner, message_frame

LIMIT = 2**20
SEEN = 256 * 1024


class Listening:
    """Hears, and answers for each message what `becomes` says; it passes if that says nothing."""

    def __init__(self, becomes: dict[bytes, Message | None] | None = None) -> None:
        self.heard: list[Message] = []
        self.starts: list[tuple[int, int]] = []
        self.missed: list[str] = []
        self._becomes = becomes or {}

    def hear(self, message: Message, start: int, size: int) -> Message | None:
        self.heard.append(message)
        self.starts.append((start, size))
        return self._becomes.get(message.data, message)

    def miss(self, why: str) -> None:
        self.missed.append(why)


def scanner(listening: Listening, *, masked: bool = False) -> MessageScanner:
    return MessageScanner(masked=masked, deflate=True, limit=LIMIT, seen=SEEN, listener=listening)


def scan_all(reading: FrameScanner, pieces: list[bytes]) -> tuple[bytes, bytes, int]:
    """What passes without its control frames, these, and how many messages."""
    data, controls, messages = [], [], 0
    for piece in pieces:
        passed = reading.scan(piece)
        while True:
            start = 0
            for control in reading.controls:
                data.append(passed[start : control.start])
                controls.append(passed[control.start : control.end])
                start = control.end
            data.append(passed[start:])
            messages += reading.messages
            assert not reading.plain or not isinstance(reading, MessageScanner)
            if not reading.behind:
                break
            passed = reading.scan(b"")
    return b"".join(data), b"".join(controls), messages


PARTS = st.one_of(
    st.builds(
        lambda data, binary, parts, compressed: [
            (
                Message(data, not binary),
                message_frames(
                    data, binary=binary, masked=True, parts=parts, compressed=compressed
                ),
            )
        ],
        st.builds(operator.mul, st.binary(max_size=300), st.sampled_from([1, 1, 1, 500])),
        st.booleans(),
        st.integers(1, 5),
        st.booleans(),
    ),
    st.builds(lambda data: [(None, frame(Opcode.PING, data, masked=True))], st.binary(max_size=9)),
)


@given(st.lists(PARTS, max_size=12), st.randoms(use_true_random=False))
def test_each_message_is_heard_once_and_all_passes_as_it_was(
    parts: list[list[tuple[Message | None, bytes]]], chance: random.Random
) -> None:
    flat = [part for several in parts for part in several]
    stream = b"".join(wire for _, wire in flat)
    cuts = sorted(chance.sample(range(len(stream) + 1), min(6, len(stream) + 1)))
    pieces = [stream[a:b] for a, b in zip([0, *cuts], [*cuts, len(stream)], strict=True)]
    listening = Listening()
    data, controls, messages = scan_all(scanner(listening, masked=True), pieces)
    said = [message for message, _ in flat if message is not None]
    assert listening.heard == said
    assert messages == len(said)
    assert data == b"".join(wire for message, wire in flat if message is not None)
    assert controls == b"".join(wire for message, wire in flat if message is None)


def test_a_control_frame_inside_a_message_stands_before_it() -> None:
    first, last = frame(Opcode.TEXT, b"a", masked=False, final=False), b"\x80\x01b"
    ping = frame(Opcode.PING, b"?", masked=False)
    listening = Listening()
    reading = scanner(listening)
    assert reading.scan(first) == b""
    assert reading.scan(ping) == ping
    assert reading.controls[0].boundary == 0
    assert reading.scan(last) == first + last
    assert listening.heard == [Message(b"ab", True)]


def test_what_is_left_out_and_what_stands_in_its_place() -> None:
    becomes = {b"out": None, b"other": Message(b"instead", False)}
    listening = Listening(becomes)
    words = [b"a", b"out", b"other", b"b"]
    wires = [message_frames(word, binary=False, masked=False) for word in words]
    reading = scanner(listening)
    instead = message_frame(Side.CLIENT, Message(b"instead", False))
    assert reading.scan(b"".join(wires)) == wires[0] + instead + wires[3]
    assert reading.messages == 3
    assert reading.boundary == len(wires[0] + instead + wires[3])
    size = [len(wire) for wire in wires]
    starts = [0, size[0], size[0], size[0] + len(instead)]
    assert listening.starts == list(zip(starts, size, strict=True))


@pytest.mark.parametrize("is_text", [True, False])
@pytest.mark.parametrize("data", [b"", b"x", b"\xff\xfe", b"y" * 70000])
@pytest.mark.parametrize("to", Side)
def test_a_message_of_the_proxys_own_reads_as_it_was_meant(
    to: Side, data: bytes, *, is_text: bool
) -> None:
    listening = Listening()
    wire = message_frame(to, Message(data, is_text))
    assert scanner(listening, masked=to is Side.SERVER).scan(wire) == wire
    assert listening.heard == [Message(data, is_text)]


def test_one_that_is_too_large_passes_unseen_and_in_parts() -> None:
    listening = Listening()
    reading = scanner(listening)
    wire = message_frames(b"z" * 2 * SEEN, binary=True, masked=False)
    pieces = [wire[at : at + 65536] for at in range(0, len(wire), 65536)]
    small = message_frames(b"small", binary=False, masked=False)
    passed = [reading.scan(piece) for piece in pieces[:-1]]
    passed.append(reading.scan(pieces[-1] + small))
    assert b"".join(passed) == wire + small
    assert any(passed[:-1])
    assert listening.missed == ["a message of more than 262,144 bytes"]
    assert listening.heard == [Message(b"small", True)]
    assert [*message_ends(wire + small)] == [len(wire), len(wire + small)]


def test_one_that_is_too_large_when_inflated_passes_unseen() -> None:
    listening = Listening()
    wire = message_frames(b"z" * (SEEN + 1), binary=True, masked=False, compressed=True)
    assert scanner(listening).scan(wire) == wire
    assert listening.missed == ["a message of more than 262,144 bytes, when decompressed,"]
    assert listening.heard == []


def test_what_grows_over_and_over_passes_unseen_until_what_comes_allows_it() -> None:
    listening = Listening()
    reading = scanner(listening)
    bomb = message_frames(b"z" * (SEEN - 1), binary=True, masked=False, compressed=True)
    assert len(bomb) * GROWTH < SEEN // 4
    for _ in range(3):
        assert reading.scan(bomb) == bomb
    assert len(listening.heard) == 1
    assert (
        listening.missed == ["compressed messages that grow more than 64-fold, over and over,"] * 2
    )
    calm = random.Random(1).randbytes(SEEN // GROWTH)
    wire = message_frames(calm, binary=True, masked=False, compressed=True)
    assert scan_all(reading, [wire + bomb + bomb])[0] == wire + bomb + bomb
    assert [len(message.data) for message in listening.heard[1:]] == [len(calm), SEEN - 1]


def test_one_scan_hears_no_more_than_others_can_wait_for() -> None:
    size = TURN // 2
    wire = message_frames(b"z" * size, binary=True, masked=True, compressed=True)
    ping = frame(Opcode.PING, b"?", masked=True)
    close = frame(Opcode.CLOSE, b"", masked=True)
    listening = Listening()
    reading = MessageScanner(
        masked=True, deflate=True, limit=LIMIT, seen=4 * LIMIT, listener=listening
    )
    heard, passed = [], reading.scan(wire[:9])
    data = wire[9:] + wire + ping + wire + wire + wire + close + b"not read"
    while True:
        passed += reading.scan(data)
        heard.append(len(listening.heard))
        if not reading.behind:
            break
        data = b""
    assert heard == [2, 4, 5]
    assert passed == 2 * wire + ping + 3 * wire + close


def test_what_breaks_the_rules_behind_what_waits_is_found_when_its_turn_comes() -> None:
    wire = message_frames(b"z" * TURN, binary=True, masked=False, compressed=True)
    listening = Listening()
    reading = MessageScanner(
        masked=False, deflate=True, limit=LIMIT, seen=4 * LIMIT, listener=listening
    )
    assert reading.scan(wire + wire + b"\xff\xff") == wire
    assert (reading.behind, reading.violation) == (True, None)
    after = scanner(listening)
    after.thaw(reading.frozen())
    assert after.scan(b"") == wire
    assert after.violation is not None
    assert not after.behind


def test_while_the_operator_asks_large_ones_are_seen_as_before() -> None:
    listening = Listening()
    large = b"z" * (MAX_REPLY + 1)
    reading = MessageScanner(
        masked=False, deflate=True, limit=LIMIT, seen=2 * MAX_REPLY, listener=listening
    )
    wire = message_frames(large, binary=False, masked=False)
    assert InbandScanner(reading, {"id": 1}).scan(wire) == wire
    assert (listening.missed, listening.heard) == ([], [Message(large, True)])


def test_one_that_can_not_be_inflated_passes_unseen() -> None:
    listening = Listening()
    wire = frame(Opcode.TEXT, b"\x07\xff no deflate", masked=False, compressed=True)
    assert scanner(listening).scan(wire) == wire
    assert listening.missed == ["a message that can't be decompressed"]
    assert listening.heard == []


@pytest.mark.parametrize("cut", range(1, 19))
def test_it_goes_on_in_another_process(cut: int) -> None:
    parts = message_frames(b"half and half", binary=False, masked=False, parts=3)
    listening = Listening()
    before = scanner(listening)
    assert before.scan(parts[:cut]) == b""
    after = scanner(listening)
    after.thaw(before.frozen())
    assert after.scan(parts[cut:]) == parts
    assert listening.heard == [Message(b"half and half", True)]


def test_a_request_of_the_operators_lets_it_hear_on() -> None:
    listening = Listening()
    one = message_frames(b'{"id": 2}', binary=False, masked=False, parts=2)
    reply = message_frames(b'{"id": 1}', binary=False, masked=False)
    before = scanner(listening)
    assert before.scan(one[:7]) == b""
    asked = InbandScanner(before, {"id": 1})
    assert asked.scan(one[7:] + reply + one) == one + one
    assert asked.reply == b'{"id": 1}'
    assert listening.heard == [Message(b'{"id": 2}', True)] * 2
    asked.close()
    assert asked.scan(reply) == reply
    assert listening.heard[2:] == [Message(b'{"id": 1}', True)]


@pytest.mark.skipif(
    hasattr(MessageScanner, "__mypyc_attrs__"),
    reason="a compiled class can't be watched",
)
def test_endless_fragments_cost_no_more_than_they_are() -> None:
    """Each read of more is looked at once, not with all that is kept."""
    walked = 0

    class Counting(MessageScanner):
        def _step(self, data: bytes, pos: int, size: int) -> int:
            nonlocal walked
            walked += 1
            return super()._step(data, pos, size)

    reading = Counting(masked=False, deflate=False, limit=LIMIT, seen=SEEN, listener=Listening())
    reading.scan(frame(Opcode.TEXT, b"", masked=False, final=False))
    empty = frame(Opcode.CONTINUATION, b"", masked=False, final=False)
    for _ in range(1000):
        assert reading.scan(empty) == b""
    assert walked <= 2001
    assert len(reading._kept) == 1, "they are kept together"


SECONDS = 5.0  # of the processor: it takes a tenth of one


def test_control_frames_within_a_message_cost_nothing_for_what_is_kept() -> None:
    listening = Listening()
    reading = scanner(listening)
    part = frame(Opcode.CONTINUATION, b"x", masked=False, final=False)
    began = process_time()
    scan_all(reading, [frame(Opcode.TEXT, b"x", masked=False, final=False) + part * 16_000])
    ping = frame(Opcode.PING, b"p", masked=False)
    for _ in range(6000):
        assert scan_all(reading, [ping]) == (b"", ping, 0)
        assert process_time() - began < SECONDS
    scan_all(reading, [frame(Opcode.CONTINUATION, b"end", masked=False)])
    assert listening.heard == [Message(b"x" * 16_001 + b"end", True)]
