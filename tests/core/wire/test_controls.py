"""Close frames: what is built and read here in short is what wsproto builds and reads."""

import pytest
from frame_bytes import CLOSE, FIN
from frame_bytes import frame as frame_of
from hypothesis import example, given
from hypothesis import strategies as st
from reknit_core.codes import BAD_GATEWAY, NEVER_SENT
from reknit_core.side import Side
from reknit_core.wire.controls import close_frame, read_close
from reknit_core.wire.frames import Violation, payload
from wsproto.frame_protocol import FrameProtocol, ParseFailed

codes = st.integers(995, 1020) | st.integers(2995, 5005) | st.integers(0, 65535)


def by_wsproto(frame: bytes, *, masked: bool) -> tuple[int, str] | int:
    """The code and reason that wsproto reads, or the code by which it refuses them."""
    protocol = FrameProtocol(client=not masked, extensions=[])
    protocol.receive_bytes(frame)
    try:
        code, reason = next(protocol.received_frames()).payload
    except ParseFailed as error:
        return int(error.code)
    return int(code), reason or ""


@given(
    st.builds(
        lambda code, reason: code.to_bytes(2, "big") + reason,
        codes.filter(lambda code: code != BAD_GATEWAY),  # which wsproto doesn't know
        st.text(max_size=30).map(str.encode) | st.binary(max_size=123),
    )
    | st.binary(max_size=2),
    st.booleans(),
)
@example(b"", True)
@example(b"\x03", False)
@example(b"\x03\xe8", True)
def test_a_close_is_read_as_wsproto_reads_it(data: bytes, from_client: bool) -> None:
    frame = frame_of(FIN | CLOSE, data, masked=from_client)
    read = read_close(Side.CLIENT if from_client else Side.SERVER, frame)
    told = read.code if isinstance(read, Violation) else read
    assert told == by_wsproto(frame, masked=from_client)
    if isinstance(read, tuple):
        assert type(read[0]) is int


@pytest.mark.parametrize("side", Side)
@given(codes, st.text(max_size=130))
@example(1000, "")
@example(1001, "\u2603" * 50)
def test_a_close_is_built_as_wsproto_builds_it(side: Side, code: int, reason: str) -> None:
    built = FrameProtocol(client=False, extensions=[]).close(
        *((None, None) if code in NEVER_SENT else (code, reason))
    )
    for mask in (b"", b"mask"):
        frame = close_frame(side, code, reason, mask)
        assert payload(frame) == payload(bytes(built))
        assert frame[0] == built[0]
        assert frame[1] == built[1] | 0x80 * (side is Side.SERVER)
        assert mask in frame[2:6] or side is Side.CLIENT


def test_no_two_close_frames_to_a_server_have_one_mask() -> None:
    keys = {close_frame(Side.SERVER, 1000, "bye")[2:6] for _ in range(8)}
    assert len(keys) > 1
