"""Requests of the operator's: the reply is cut out of whatever the peer sends, and nothing else."""

import json
import zlib

import pytest
from hypothesis import given
from hypothesis import strategies as st
from reknit_core.script.phrases import frame, message_frames
from reknit_core.wire.frames import FrameScanner, Opcode, payload
from reknit_core.wire.inband import MAX_REPLY, InbandScanner, request_frame

LIMIT = 2**20
EXPECTED = {"id": 1}


def scanner(*, masked: bool = False) -> FrameScanner:
    return FrameScanner(masked=masked, deflate=True, limit=LIMIT)


def asked(expected: dict[str, str | int | float | bool | None] | None = None) -> InbandScanner:
    return InbandScanner(scanner(), EXPECTED if expected is None else expected)


def message(text: str | bytes, *, masked: bool = False, **how: bool | int) -> bytes:
    content = text.encode() if isinstance(text, str) else text
    options = {"binary": False, "parts": 1, "compressed": False, **how}
    return message_frames(content, masked=masked, **options)  # type: ignore[arg-type]


# -- Which message is the reply ------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ('{"id": 1}', {"id": 1}),
        ('{"id": 1, "more": [1]}', {"id": 1}),
        ('{"id": 1.0}', {"id": 1}),
        ('{"id": null}', {"id": None}),
        ('{"a": {"b": {"c": "x"}}}', {"a.b.c": "x"}),
        ('{"ok": true, "id": "7"}', {"ok": True, "id": "7"}),
        (b'{"id": 1}', {"id": 1}),
    ],
)
def test_a_reply(text: str | bytes, expected: dict[str, str | int | float | bool | None]) -> None:
    reading = asked(expected)
    assert reading.scan(message(text, binary=isinstance(text, bytes))) == b""
    assert json.loads(reading.reply or b"") == json.loads(text)


@pytest.mark.parametrize(
    "text",
    [
        *('{"id": 2}', '{"id": true}', '{"id": "1"}', '{"id": [1]}', '{"ID": 1}', "1", "[1]"),
        *("", "null", '{"id": 1', '{"id": 1} x', "[" * 5000, '{"id": ' * 5000, "not json"),
        *(b"\xff", b'{"id": 1, "x": "\xff"}'),
    ],
)
def test_no_reply(text: str | bytes) -> None:
    reading = asked()
    data = message(text)
    assert reading.scan(data) == data
    assert reading.reply is None
    assert reading.messages == 1
    assert reading.boundary == len(data)


def test_what_is_too_large_when_inflated_is_none() -> None:
    large = json.dumps({"id": 1, "padding": "x" * MAX_REPLY}).encode()
    for data in (message(large), message(large, compressed=True), broken_deflate()):
        reading = asked()
        assert reading.scan(data) == data
        assert reading.reply is None


def test_what_is_too_large_is_not_kept_back() -> None:
    reading = asked()
    data = message("x" * (MAX_REPLY + 100))
    assert reading.scan(data[:MAX_REPLY]) == b""
    assert reading.scan(data[MAX_REPLY : MAX_REPLY + 50]) == data[: MAX_REPLY + 50]
    assert reading.scan(data[MAX_REPLY + 50 :] + message('{"id": 1}')) == data[MAX_REPLY + 50 :]
    assert reading.reply is not None


def broken_deflate() -> bytes:
    return frame(Opcode.TEXT, b"\xff\xff\xff", masked=False, compressed=True)


def test_the_inflated_size_is_bounded() -> None:
    """A bomb costs no more than the largest reply."""
    bomb = zlib.compressobj(wbits=-15)
    packed = bomb.compress(bytes(64 * 2**20)) + bomb.flush(zlib.Z_SYNC_FLUSH)
    data = frame(Opcode.TEXT, packed[:-4], masked=False, compressed=True)
    assert len(data) < MAX_REPLY
    reading = asked()
    assert reading.scan(data) == data


def test_the_request_is_masked_towards_the_server_only() -> None:
    to_server = request_frame("x" * 40, masked=True)
    to_client = request_frame("x" * 40, masked=False)
    assert (to_server[:2], to_client[:2]) == (b"\x81\xa8", b"\x81\x28")
    assert payload(to_server) == to_client[2:] == b"x" * 40


# -- Whatever comes, however it is cut -----------------------------------------------------------

TEXTS = st.sampled_from(['{"id": 1}', '{"id": 1, "n": 2}', '{"id": 2}', "x", "", "y" * 130])
MESSAGES = st.tuples(TEXTS, st.integers(1, 3), st.booleans(), st.integers(0, 2))


def frames_of(text: str, parts: int, pings: list[bytes], *, masked: bool) -> list[bytes]:
    """The message's frames, and the Pings after its first one."""
    size = len(text) // parts
    cuts = [*range(0, size * parts, max(size, 1))][:parts] if size else [0] * parts
    made = []
    for number, start in enumerate(cuts):
        last = number == parts - 1
        part = text[start:] if last else text[start : start + size]
        opcode = Opcode.CONTINUATION if number else Opcode.TEXT
        made.append(frame(opcode, part.encode(), masked=masked, final=last))
    return [made[0], *(frame(Opcode.PING, each, masked=masked) for each in pings), *made[1:]]


class Reader:
    """What comes out of a scanner: messages and Pings."""

    def __init__(self) -> None:
        self.size = 0
        self.count = 0
        self.messages = b""
        self.pings: list[bytes] = []
        self.order: list[bytes | int] = []  # Pings, and how many messages were complete before

    def read(self, scanning: FrameScanner, data: bytes) -> None:
        kept = scanning.scan(data)
        assert scanning.violation is None
        assert scanning.boundary <= len(kept)
        self.size += len(kept)
        before, self.count = self.count, self.count + scanning.messages
        pos = 0
        for control in scanning.controls:
            self.messages += kept[pos : control.start]
            self.pings.append(payload(kept[control.start : control.end]))
            self.order += [self.pings[-1], before + control.messages]
            assert control.boundary <= control.start
            pos = control.end
        self.messages += kept[pos:]


@given(
    sent=st.lists(MESSAGES, max_size=8),
    masked=st.booleans(),
    cuts=st.lists(st.integers(1, 40), min_size=1),
    begin=st.integers(0, 80),
)
def test_all_but_the_reply_passes(
    sent: list[tuple[str, int, bool, int]], masked: bool, cuts: list[int], begin: int
) -> None:
    """The request is made after `begin` bytes; each read has the next number of `cuts` bytes."""
    stream = b""
    starts = []
    messages = []
    pings: list[bytes] = []
    order: list[bytes | int] = []
    for text, parts, compressed, number in sent:
        starts.append(len(stream))
        new = [b"%d" % (len(pings) + each) for each in range(number)]
        pings += new
        place = len(messages) + (compressed or parts == 1)
        for each in new:
            order += [each, place]
        if compressed:
            messages.append(message(text, masked=masked, compressed=True, parts=parts))
            between = [frame(Opcode.PING, each, masked=masked) for each in new]
            stream += b"".join((messages[-1], *between))
        else:
            messages.append(b"".join(frames_of(text, parts, [], masked=masked)))
            stream += b"".join(frames_of(text, parts, new, masked=masked))
    reader = Reader()
    before = scanner(masked=masked)
    reader.read(before, stream[:begin])
    passed = reader.size
    reading = InbandScanner(before, EXPECTED)
    pos, turn = begin, 0
    while pos < len(stream):
        assert not reading.plain, "no short way past the payloads"
        size = cuts[turn % len(cuts)]
        reader.read(reading, stream[pos : pos + size])
        pos, turn = pos + size, turn + 1

    fitting = [
        number
        for number, (text, *_) in enumerate(sent)
        if text.startswith('{"id": 1') and starts[number] >= passed
    ]
    for number in fitting[:1]:
        assert reading.reply == sent[number][0].encode()
        del messages[number]
        order = [each - (each > number) if isinstance(each, int) else each for each in order]
    if not fitting:
        assert reading.reply is None
    assert reader.messages == b"".join(messages)
    assert reader.count == len(messages)
    assert reader.pings == pings
    assert reader.order == order
