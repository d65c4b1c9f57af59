"""The frame scanner against RFC 6455, section 5, and against wsproto."""

from collections.abc import Iterable
from dataclasses import dataclass
from itertools import pairwise

import pytest
from frame_bytes import (
    BINARY,
    CLOSE,
    CONTINUATION,
    FIN,
    KEY,
    PING,
    PONG,
    RSV1,
    TEXT,
    frame,
    length_bytes,
    masked_payload,
    message,
)
from hypothesis import example, given
from hypothesis import strategies as st
from reknit_core.codes import MESSAGE_TOO_BIG, PROTOCOL_ERROR
from reknit_core.wire.frames import (
    MAX_CONTROL_FRAME,
    ControlFrame,
    FrameScanner,
    Opcode,
    Violation,
    message_ends,
    payload,
)
from wsproto.extensions import Extension
from wsproto.frame_protocol import FrameDecoder, FrameProtocol, ParseFailed, RsvBits
from wsproto.frame_protocol import Opcode as WsprotoOpcode

UNLIMITED = 1 << 63
DIRECTIONS = pytest.mark.parametrize("masked", [False, True], ids=["unmasked", "masked"])
COMPRESSION = pytest.mark.parametrize("deflate", [False, True], ids=["plain", "deflate"])


def scanner(masked: bool = False, deflate: bool = False, limit: int = UNLIMITED) -> FrameScanner:
    return FrameScanner(masked=masked, deflate=deflate, limit=limit)


def inside(masked: bool, deflate: bool = False, limit: int = UNLIMITED) -> FrameScanner:
    """A scanner that has read the first fragment of a message, of three bytes."""
    scan = scanner(masked, deflate, limit)
    first = frame(BINARY, b"abc", masked=masked)
    assert scan.scan(first) == first
    assert (scan.boundary, scan.messages, scan.violation) == (0, 0, None)
    return scan


@dataclass
class Outcome:
    """What a stream came to, in positions of the stream: the same however it was split."""

    kept: bytes = b""
    boundary: int = 0
    messages: int = 0
    controls: tuple[tuple[Opcode, int, int], ...] = ()
    violation: Violation | None = None


def run(scan: FrameScanner, reads: Iterable[bytes]) -> Outcome:
    """Scan these reads, and check what must hold after each."""
    outcome = Outcome()
    for data in reads:
        start = len(outcome.kept)
        kept = scan.scan(data)
        outcome.kept += kept
        assert 0 <= scan.boundary <= len(kept)
        assert scan.messages == 0 or scan.boundary
        if scan.boundary:
            outcome.boundary = start + scan.boundary
        outcome.messages += scan.messages
        for control in scan.controls:
            assert 0 <= control.start < control.end <= len(kept)
            moved = (control.opcode, start + control.start, start + control.end)
            outcome.controls = (*outcome.controls, moved)
        outcome.violation = scan.violation
    return outcome


def cuts(data: bytes, places: Iterable[int]) -> list[bytes]:
    edges = sorted({0, len(data), *(place % (len(data) + 1) for place in places)})
    return [data[start:end] for start, end in pairwise(edges)]


# -- Every header ------------------------------------------------------------------------------


def first_byte_verdict(first: int, in_message: bool, deflate: bool) -> str | None:
    """What RFC 6455, 5.2 to 5.5, and RFC 7692, section 6, say about a frame's first byte."""
    final, rsv1, other_rsv, opcode = first & FIN, first & RSV1, first & 0x30, first & 0x0F
    if opcode in (3, 4, 5, 6, 7, 11, 12, 13, 14, 15):
        return f"reserved opcode 0x{opcode:x}"
    if opcode >= 8:
        if not final:
            return "fragmented control frame"
        return "reserved bit set" if rsv1 or other_rsv else None
    starts = opcode in (TEXT, BINARY)
    if other_rsv or (rsv1 and (in_message or not starts)):
        return "reserved bit set"
    if in_message:
        return "new message inside a fragmented one" if starts else None
    if not starts:
        return "continuation without a message"
    return "compressed frame without permessage-deflate" if rsv1 and not deflate else None


@DIRECTIONS
@COMPRESSION
@pytest.mark.parametrize("in_message", [False, True], ids=["outside", "inside"])
@pytest.mark.parametrize("size", [0, 1, 125])
def test_every_first_byte(masked: bool, deflate: bool, in_message: bool, size: int) -> None:
    allowed = 0
    for first in range(256):
        data = frame(first, b"p" * size, masked=masked)
        reason = first_byte_verdict(first, in_message, deflate)
        for cut in range(8):
            scan = inside(masked, deflate) if in_message else scanner(masked, deflate)
            outcome = run(scan, [data[:cut], data[cut:]])
            if reason is not None:
                assert outcome == Outcome(violation=Violation(1002, reason)), (first, cut)
                continue
            control = first & 0x0F >= 8
            ends = bool(first & FIN) and not control
            clear = ends or (control and not in_message)
            assert outcome == Outcome(
                kept=data,
                boundary=len(data) if clear else 0,
                messages=int(ends),
                controls=((Opcode(first & 0x0F), 0, len(data)),) if control else (),
            ), (first, cut)
        allowed += reason is None
    assert allowed == (5 if in_message else 11 if deflate else 7)


@DIRECTIONS
@pytest.mark.parametrize("first", [FIN | TEXT, BINARY, FIN | PING, FIN | CLOSE])
def test_every_second_byte(masked: bool, first: int) -> None:
    for second in range(256):
        length = second & 0x7F
        tail = {126: (126).to_bytes(2, "big"), 127: (65536).to_bytes(8, "big")}.get(length, b"")
        size = {126: 126, 127: 65536}.get(length, length)
        data = bytes([first, second]) + tail + (KEY if second & 0x80 else b"") + bytes(size)
        outcome = run(scanner(masked), [data[:1], data[1:]])
        if bool(second & 0x80) != masked:
            reason = "masked frame" if second & 0x80 else "unmasked frame"
            assert outcome == Outcome(violation=Violation(1002, reason))
        elif length > 125 and first & 0x0F >= 8:
            reason = "control frame over 125 bytes"
            assert outcome == Outcome(violation=Violation(1002, reason))
        else:
            assert (outcome.kept, outcome.violation) == (data, None)
            assert outcome.messages == int(first == FIN | TEXT)


@DIRECTIONS
@pytest.mark.parametrize("first", [FIN | TEXT, TEXT])
@pytest.mark.parametrize(
    ("form", "length", "verdict"),
    [
        (16, 0, (1002, "length not in its shortest form")),
        (16, 125, (1002, "length not in its shortest form")),
        (16, 126, None),
        (16, 65535, None),
        (64, 0, (1002, "length not in its shortest form")),
        (64, 125, (1002, "length not in its shortest form")),
        (64, 65535, (1002, "length not in its shortest form")),
        (64, 65536, None),
        (64, 2**40, None),
        (64, 2**40 + 1, (1009, f"message over {2**40} bytes")),
        (64, 2**62, (1009, f"message over {2**40} bytes")),
        (64, 2**63 - 1, (1009, f"message over {2**40} bytes")),
        (64, 2**63, (1002, "length over 63 bits")),
        (64, 2**64 - 1, (1002, "length over 63 bits")),
    ],
)
def test_extended_lengths(
    masked: bool, first: int, form: int, length: int, verdict: tuple[int, str] | None
) -> None:
    head = bytes([first]) + length_bytes(length, masked, form)
    full = head + (KEY if masked else b"")
    for cut in range(len(full)):
        scan = scanner(masked, limit=2**40)
        begun = run(scan, [full[:cut]])
        if cut < len(head) or verdict is None:
            assert begun == Outcome()  # a cut header is held back, and never judged by half
        outcome = run(scan, [full[cut:]])
        if verdict:
            assert scan.violation == Violation(*verdict)
            assert begun.kept + outcome.kept == b""
        else:
            assert outcome == Outcome(kept=full)
            if length < 2**20:
                assert run(scan, [bytes(length - 1)]) == Outcome(bytes(length - 1))
                final = first == FIN | TEXT
                assert run(scan, [b"x"]) == Outcome(b"x", int(final), int(final))


@DIRECTIONS
@pytest.mark.parametrize(
    ("form", "length"), [(16, 0), (16, 1), (16, 125), (64, 0), (64, 125), (64, 126), (64, 65535)]
)
def test_a_length_that_is_too_long_a_form_in_a_whole_frame(
    masked: bool, form: int, length: int
) -> None:
    head = length_bytes(length, masked, form) + (KEY if masked else b"")
    for first in (FIN | TEXT, TEXT):
        outcome = run(scanner(masked), [bytes([first]) + head + bytes(length)])
        assert outcome == Outcome(violation=Violation(1002, "length not in its shortest form"))


def test_a_verdict_comes_with_the_byte_that_decides_it() -> None:
    for data, needed in (
        (frame(0x83), 2),
        (frame(FIN | TEXT, b"x" * 126, masked=True), 2),
        (bytes([FIN | PING]) + length_bytes(126, False), 2),
        (bytes([FIN | TEXT]) + length_bytes(5, False, 16), 4),
        (bytes([FIN | TEXT]) + length_bytes(5, False, 64), 10),
        (frame(FIN | TEXT, b"x" * 126), 4),  # over the limit
    ):
        scan = scanner(limit=125)
        for index in range(needed - 1):
            scan.scan(data[index : index + 1])
            assert scan.violation is None
        scan.scan(data[needed - 1 : needed])
        assert scan.violation is not None


@DIRECTIONS
def test_a_header_cut_at_every_byte_is_held_back(masked: bool) -> None:
    for size in (0, 125, 126, 65535, 65536):
        data = frame(FIN | BINARY, b"z" * size, masked=masked)
        head = len(data) - size
        for cut in range(1, head):
            scan = scanner(masked)
            assert scan.scan(data[:cut]) == b""
            assert scan.scan(data[cut:]) == data
            assert (scan.messages, scan.boundary) == (1, len(data))


@DIRECTIONS
def test_a_control_frame_cut_at_every_byte_is_held_back(masked: bool) -> None:
    for size in (0, 1, 125):
        data = frame(FIN | PONG, b"c" * size, masked=masked)
        for cut in range(1, len(data)):
            scan = scanner(masked)
            assert scan.scan(data[:cut]) == b""
            assert scan.controls == []
            assert scan.scan(data[cut:]) == data
            assert scan.controls == [ControlFrame(Opcode.PONG, 0, len(data))]


# -- Messages ----------------------------------------------------------------------------------


def test_whole_messages_come_back_as_the_object_that_came_in() -> None:
    sizes = (0, 1, 125, 126, 127, 65535, 65536, 70000)
    data = b"".join(frame(FIN | BINARY, b"m" * size) for size in sizes)
    scan = scanner()
    assert scan.scan(data) is data
    assert (scan.messages, scan.boundary) == (len(sizes), len(data))


def test_nothing_in_nothing_out() -> None:
    scan = scanner()
    assert scan.scan(b"") == b""
    data = frame(FIN | BINARY, b"four")
    assert scan.scan(data[:4]) == data[:4]
    assert scan.scan(b"") == b""
    assert scan.scan(data[4:]) == data[4:]
    assert (scan.messages, scan.boundary) == (1, 2)


def test_a_payload_may_come_in_any_number_of_reads() -> None:
    data = frame(FIN | TEXT, b"0123456789")
    outcome = run(scanner(), [data[index : index + 1] for index in range(len(data))])
    assert outcome == Outcome(data, len(data), 1)


@DIRECTIONS
def test_control_frames_between_fragments(masked: bool) -> None:
    first, middle, last = message(b"one", b"", b"three", masked=masked).frames
    ping = frame(FIN | PING, b"?", masked=masked)
    pong = frame(FIN | PONG, masked=masked)
    data = first + ping + middle + pong + last + ping
    outcome = run(scanner(masked), [data])
    at = len(first)
    assert outcome.controls == (
        (Opcode.PING, at, at + len(ping)),
        (Opcode.PONG, at + len(ping + middle), at + len(ping + middle + pong)),
        (Opcode.PING, len(data) - len(ping), len(data)),
    )
    assert (outcome.messages, outcome.boundary) == (1, len(data))
    assert run(scanner(masked), [first + ping]).boundary == 0


def test_a_control_frame_counts_only_for_its_own_scan() -> None:
    scan = scanner()
    scan.scan(frame(FIN | PING))
    scan.scan(frame(FIN | TEXT, b"x"))
    assert (scan.controls, scan.messages, scan.boundary) == ([], 1, 3)
    scan.scan(frame(TEXT, b"x"))
    assert (scan.controls, scan.messages, scan.boundary) == ([], 0, 0)


@DIRECTIONS
def test_the_message_limit(masked: bool) -> None:
    for limit, size in ((125, 126), (200, 201), (65535, 65536), (70000, 70001)):
        too_big = Violation(MESSAGE_TOO_BIG, f"message over {limit} bytes")
        at_limit = frame(FIN | BINARY, b"x" * limit, masked=masked)
        over = frame(FIN | BINARY, b"x" * size, masked=masked)
        outcome = run(scanner(masked, limit=limit), [at_limit, over])
        assert outcome == Outcome(at_limit, len(at_limit), 1, (), too_big)


@DIRECTIONS
def test_the_message_limit_counts_all_fragments(masked: bool) -> None:
    fits = message(b"x" * 100, b"", b"x" * 50, b"x" * 50, masked=masked).data
    outcome = run(scanner(masked, limit=200), [fits + fits])
    assert (outcome.messages, outcome.violation) == (2, None)
    for parts in ((100, 101), (100, 100, 1), (0, 201), (200, 1), (1, 2**62)):
        scan = scanner(masked, limit=200)
        scan.scan(fits)
        for index, size in enumerate(parts):
            assert scan.violation is None
            first = CONTINUATION if index else TEXT
            scan.scan(frame(first, b"x" * min(size, 300), masked=masked, length=size))
        assert scan.violation == Violation(1009, "message over 200 bytes")


def test_a_control_frame_inside_a_message_is_no_part_of_its_size() -> None:
    first, last = message(b"x" * 100, b"x" * 100).frames
    outcome = run(scanner(limit=200), [first + frame(FIN | PING, b"p" * 125) + last])
    assert (outcome.messages, outcome.violation) == (1, None)


# -- Where it stops ----------------------------------------------------------------------------


@DIRECTIONS
def test_a_close_frame_ends_the_scan(masked: bool) -> None:
    text = frame(FIN | TEXT, b"hi", masked=masked)
    close = frame(FIN | CLOSE, b"\x03\xe8", masked=masked)
    for after in (b"", text, b"\xff\xff", close):
        scan = scanner(masked)
        assert scan.scan(text + close + after) == text + close
        assert (scan.messages, scan.boundary) == (1, len(text + close))
        closed = ControlFrame(Opcode.CLOSE, len(text), len(text + close), len(text), 1)
        assert (scan.controls, scan.violation) == ([closed], None)
        assert scan.scan(text) == b""
        assert (scan.messages, scan.boundary, scan.controls) == (0, 0, [])


def test_nothing_is_read_after_a_violation() -> None:
    text = frame(FIN | TEXT, b"hi")
    scan = scanner()
    assert scan.scan(text + b"\x83\x00" + text) == text
    assert (scan.messages, scan.boundary) == (1, len(text))
    violation = scan.violation
    assert violation == Violation(PROTOCOL_ERROR, "reserved opcode 0x3")
    assert scan.scan(text + frame(FIN | PING)) == b""
    assert (scan.messages, scan.boundary, scan.controls) == (0, 0, [])
    assert scan.violation is violation


# -- Any split ---------------------------------------------------------------------------------

sizes = st.one_of(st.integers(0, 20), st.sampled_from([124, 125, 126, 127, 300]))
keys = st.binary(min_size=4, max_size=4)
places = st.lists(st.integers(0, 10**6), max_size=12)


@st.composite
def valid_streams(draw: st.DrawFn, masked: bool, deflate: bool) -> list[bytes]:
    """Frames that keep every rule, with control frames anywhere but no Close."""
    frames: list[bytes] = []

    def controls() -> None:
        for _ in range(draw(st.sampled_from([0, 0, 0, 1, 2]))):
            opcode, size = draw(st.sampled_from([PING, PONG])), draw(st.integers(0, 125))
            data = frame(FIN | opcode, b"c" * size, masked=masked, key=draw(keys))
            frames.append(data)

    for _ in range(draw(st.integers(0, 6))):
        controls()
        rsv = RSV1 if deflate and draw(st.booleans()) else 0
        first = draw(st.sampled_from([TEXT, BINARY])) | rsv
        parts = draw(st.lists(sizes, min_size=1, max_size=3))
        for index, size in enumerate(parts):
            final = FIN if index == len(parts) - 1 else 0
            head = (CONTINUATION if index else first) | final
            frames.append(frame(head, b"d" * size, masked=masked, key=draw(keys)))
            if not final:
                controls()
    controls()
    return frames


@given(st.data(), st.booleans(), st.booleans(), places)
def test_a_valid_stream_gives_what_it_was_built_from(
    data: st.DataObject, masked: bool, deflate: bool, edges: list[int]
) -> None:
    frames = data.draw(valid_streams(masked, deflate))
    stream = b"".join(frames)
    at = messages = boundary = 0
    controls = []
    open_ = False
    for item in frames:
        opcode = item[0] & 0x0F
        if opcode >= 8:
            controls.append((Opcode(opcode), at, at + len(item)))
        else:
            open_ = not item[0] & FIN
            messages += not open_
        at += len(item)
        if not open_:
            boundary = at
    expected = Outcome(stream, boundary, messages, tuple(controls))
    assert run(scanner(masked, deflate), cuts(stream, edges)) == expected


@st.composite
def any_streams(draw: st.DrawFn, masked: bool, deflate: bool) -> bytes:
    """Valid frames, then anything: a bad frame, a Close, random bytes, a cut."""
    stream = b"".join(draw(valid_streams(masked, deflate)))
    for _ in range(draw(st.integers(0, 3))):
        first = draw(st.one_of(st.integers(0, 255), st.just(FIN | CLOSE)))
        stream += frame(first, draw(st.binary(max_size=130)), masked=draw(st.booleans()))
    stream += draw(st.binary(max_size=20))
    return stream[: draw(st.integers(0, len(stream)))] if draw(st.booleans()) else stream


@given(st.data(), st.booleans(), st.booleans(), places)
def test_any_split_gives_the_same(
    data: st.DataObject, masked: bool, deflate: bool, edges: list[int]
) -> None:
    stream = data.draw(any_streams(masked, deflate))
    limit = data.draw(st.sampled_from([125, 200, UNLIMITED]))
    whole = run(scanner(masked, deflate, limit), [stream])
    assert run(scanner(masked, deflate, limit), cuts(stream, edges)) == whole
    bytewise = [bytes([byte]) for byte in stream]
    assert run(scanner(masked, deflate, limit), bytewise) == whole
    assert stream.startswith(whole.kept)
    closed = [control for control in whole.controls if control[0] is Opcode.CLOSE]
    if closed:
        assert closed == [whole.controls[-1]]
        assert len(whole.kept) == closed[0][2]
    elif whole.violation is None:
        assert len(stream) - len(whole.kept) < MAX_CONTROL_FRAME  # all that is held back


# -- Agreement with wsproto --------------------------------------------------------------------


class Compressed(Extension):
    """permessage-deflate's bit and nothing else: payloads stay as they are."""

    name = "permessage-deflate"

    def enabled(self) -> bool:
        return True

    def offer(self) -> bool:
        return True

    def frame_inbound_header(
        self, proto: FrameDecoder | FrameProtocol, opcode: WsprotoOpcode, rsv: RsvBits, length: int
    ) -> RsvBits:
        starts = opcode in (WsprotoOpcode.TEXT, WsprotoOpcode.BINARY)
        return RsvBits(starts, False, False)


@dataclass
class Heard:
    """What an endpoint gets from a stream, and the close code if it breaks the protocol."""

    messages: int
    controls: list[tuple[int, object]]
    error: int | None


def by_wsproto(stream: bytes, masked: bool, deflate: bool) -> Heard:
    protocol = FrameProtocol(client=not masked, extensions=[Compressed()] if deflate else [])
    protocol.receive_bytes(stream)
    heard = Heard(0, [], None)
    try:
        for item in protocol.received_frames():
            if item.opcode >= 8:
                content = item.payload
                heard.controls.append((int(item.opcode), content))
            elif item.message_finished:
                heard.messages += 1
    except ParseFailed as error:
        heard.error = int(error.code)
    return heard


def by_scanner(stream: bytes, masked: bool, deflate: bool) -> Heard:
    outcome = run(scanner(masked, deflate), [stream])
    controls: list[tuple[int, object]] = []
    for opcode, start, end in outcome.controls:
        content: object = payload(outcome.kept[start:end])
        if opcode is Opcode.CLOSE:
            assert isinstance(content, bytes)
            code = int.from_bytes(content[:2], "big") if content else 1005
            content = (code, content[2:].decode())
        controls.append((int(opcode), content))
    error = outcome.violation.code if outcome.violation else None
    return Heard(outcome.messages, controls, error)


ascii_keys = st.binary(min_size=4, max_size=4).map(lambda key: bytes(byte & 0x7F for byte in key))


@st.composite
def judged_streams(draw: st.DrawFn, masked: bool) -> bytes:
    """Frames with any header at all.

    Payloads and masks are ASCII, and Close payloads good: wsproto judges content, the scanner
    does not. A frame that claims more than it has is the last one, so that no other frame's
    header becomes its content.
    """
    stream = b""
    usual = [FIN | TEXT, FIN | BINARY, TEXT, BINARY, CONTINUATION, FIN | CONTINUATION, FIN | PING]
    firsts = st.one_of(st.sampled_from(usual), st.integers(0, 255))
    for _ in range(draw(st.integers(0, 8))):
        first = draw(firsts)
        content = b"a" * draw(sizes)
        if first & 0x0F == CLOSE:
            content = draw(st.sampled_from([b"", b"\x03\xe8", b"\x0f\xa0bye"]))
        mask = masked if draw(st.integers(0, 9)) else not masked
        short = 7 if len(content) < 126 else 16
        form = draw(st.sampled_from([short] * 9 + [16, 64]))
        claimed = draw(st.sampled_from([len(content)] * 9 + [2**16, 2**62, 2**63, 2**64 - 1]))
        form = 64 if claimed > 65535 else form
        key = draw(ascii_keys)
        stream += bytes([first]) + length_bytes(claimed, mask, form)
        stream += key + masked_payload(content, key) if mask else content
        if claimed != len(content):
            break
    # wsproto judges a header only when it has all of it, and a byte of payload.
    return stream + bytes(20)


@given(st.data(), st.booleans(), st.booleans())
def test_the_scanner_agrees_with_wsproto(data: st.DataObject, masked: bool, deflate: bool) -> None:
    stream = data.draw(judged_streams(masked))
    assert by_scanner(stream, masked, deflate) == by_wsproto(stream, masked, deflate)


@DIRECTIONS
@COMPRESSION
@pytest.mark.parametrize("in_message", [False, True], ids=["outside", "inside"])
def test_wsproto_judges_every_first_byte_alike(
    masked: bool, deflate: bool, in_message: bool
) -> None:
    start = frame(TEXT, b"abc", masked=masked) if in_message else b""
    for first in range(256):
        stream = start + frame(first, masked=masked) + bytes(20)
        assert by_scanner(stream, masked, deflate) == by_wsproto(stream, masked, deflate)


# -- Helpers -----------------------------------------------------------------------------------


@given(st.binary(max_size=125), keys)
@example(b"", b"\0\0\0\0")
def test_payload_is_unmasked(content: bytes, key: bytes) -> None:
    assert payload(frame(FIN | PING, content)) == content
    assert payload(frame(FIN | PING, content, masked=True, key=key)) == content


@given(st.lists(st.lists(sizes, min_size=1, max_size=3), max_size=5), st.booleans(), st.data())
def test_message_ends(parts: list[list[int]], masked: bool, data: st.DataObject) -> None:
    stream = b""
    ends = []
    for sizes_ in parts:
        stream += message(*(b"x" * size for size in sizes_), masked=masked).data
        ends.append(len(stream))
    cut = data.draw(st.integers(0, len(stream)))
    assert list(message_ends(stream[:cut])) == [end for end in ends if end <= cut]


def test_message_ends_with_a_long_length() -> None:
    data = message(b"x" * 65536).data + message(b"x" * 126).data
    assert list(message_ends(data)) == [65546, 65546 + 130]
    for cut in range(16):
        assert list(message_ends(data[: 65546 + cut])) == [65546]
        assert list(message_ends(data[:cut])) == []
