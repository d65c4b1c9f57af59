"""Payloads, frames and handshakes as text, and back."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from reknit_core.script.phrases import FrameReader, describe, message_frames, padded
from reknit_core.script.scenario import parse_event


@pytest.mark.parametrize(
    ("data", "text"),
    [
        (b"", '""'),
        (b"hello", '"hello"'),
        ("grüße \u2028".encode(), '"gr\\u00fc\\u00dfe \\u2028"'),
        ("grüße".encode(), '"grüße"'),
        (b"\xff\x00", "hex=ff00"),
        (b"...", "size=3"),
        (padded(b"a", 1000), '"a" size=1000'),
        (padded(b"\xff", 1000), "hex=ff size=1000"),
        (b"x" * 65, "size=65 crc=7f5fb567"),
    ],
)
def test_a_payload_is_as_short_as_can_be(data: bytes, text: str) -> None:
    assert describe(data) == text


@given(
    data=st.one_of(
        st.binary(max_size=64), st.builds(padded, st.binary(max_size=32), st.integers(0, 300))
    ),
    binary=st.booleans(),
    parts=st.integers(1, 4),
    compressed=st.booleans(),
    side=st.sampled_from(["client", "server"]),
)
def test_a_message_comes_out_as_it_is_written(
    data: bytes, binary: bool, parts: int, compressed: bool, side: str
) -> None:
    masked = side == "client"
    reader = FrameReader(masked=masked, deflate=True, nonce=b"~")
    [phrase] = reader.feed(
        message_frames(data, binary=binary, masked=masked, parts=parts, compressed=compressed)
    )
    assert not reader.cut
    step = parse_event(f"@0 > {side} {phrase}")
    again = FrameReader(masked=masked, deflate=True, nonce=b"~")
    assert again.feed(b"".join(step.action.pieces)) == [phrase]  # type: ignore[union-attr]


@pytest.mark.parametrize(
    ("data", "phrases"),
    [
        ("8100", ['message ""']),
        ("81", []),
        ("8200 8900 8a0161 8800", ['message binary ""', "ping", 'pong "a"', "close"]),
        ("880203e8", ["close 1000"]),
        ("880503e8627965", ['close 1000 "bye"']),
        ("880161", ['close "a"']),
        ("01016100 8900 800162", None),
        ("0000", ['invalid "unexpected CONTINUATION"']),
        ("0100 8100", ['invalid "unexpected TEXT"']),
        ("8300", ['invalid "Invalid opcode 0x3"']),
        ("8180", ['invalid "client received unexpected masked frame"']),
        ("c100", ['invalid "Reserved bit set unexpectedly"']),
        ("8300 8100", ['invalid "Invalid opcode 0x3"']),
    ],
)
def test_frames_are_told_as_phrases(data: str, phrases: list[str] | None) -> None:
    if phrases is None:
        data, phrases = "010161 8900 800162", ["ping", 'message "ab" in 2 parts']
    reader = FrameReader(masked=False, deflate=False, nonce=b"~~")
    found = [phrase for byte in bytes.fromhex(data) for phrase in reader.feed(bytes([byte]))]
    assert found == phrases


def test_the_proxys_own_pings_are_told_apart() -> None:
    reader = FrameReader(masked=False, deflate=False, nonce=b"~~")
    assert reader.feed(b"\x89\x04~~12" + b"\x8a\x02~~") == ["ping probe", "pong probe"]
    assert reader.probe == b"~~12"
