"""PROXY protocol headers, by the specification and beside another implementation."""

import struct

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from proxyprotocol import ProxyProtocol, ProxyProtocolSyntaxError
from proxyprotocol.v1 import ProxyProtocolV1
from proxyprotocol.v2 import ProxyProtocolV2
from reknit.verify.fuzz.proxy_header import PROXY_HEADER_SEEDS, feed_proxy_header
from reknit_core.wire.proxy_header import LINE, MOST, SIGNATURE, ProxyHeader, ProxyHeaderError

V4 = bytes([192, 0, 2, 1, 198, 51, 100, 7]) + struct.pack(">HH", 56324, 443)
V6 = bytes.fromhex("20010db8" + "00" * 11 + "01") + bytes(16) + struct.pack(">HH", 1, 2)


def second(command: int, family: int, body: bytes) -> bytes:
    return SIGNATURE + bytes([command, family]) + struct.pack(">H", len(body)) + body


def read(data: bytes) -> str | None:
    """Whose the connection is; what follows the header stays."""
    header = ProxyHeader()
    assert header.receive_data(data + b"GET /") == len(data)
    assert header.is_complete
    assert header.read == data
    return header.address


@pytest.mark.parametrize(
    ("header", "address"),
    [
        (b"PROXY TCP4 192.0.2.1 198.51.100.7 56324 443\r\n", "192.0.2.1"),
        (b"PROXY TCP6 2001:DB8:0::1 ::1 0 65535\r\n", "2001:db8::1"),
        (b"PROXY UNKNOWN\r\n", None),
        (b"PROXY UNKNOWN anything at all\r\n", None),
        (b"PROXY TCP6 " + b"ffff:" * 7 + b"ffff " + b"ffff:" * 7 + b"ffff 65535 65535\r\n", 0),
        (second(0x21, 0x11, V4), "192.0.2.1"),
        (second(0x21, 0x21, V6), "2001:db8::1"),
        (second(0x21, 0x11, V4 + b"\x04\x00\x02ab"), "192.0.2.1"),
        (second(0x21, 0x11, V4 + bytes(MOST - 28)), "192.0.2.1"),
        (second(0x20, 0x00, b""), None),
        (second(0x20, 0x11, V4), None),
        (second(0x21, 0x00, b""), None),
        (second(0x21, 0x31, bytes(216)), None),
        (second(0x21, 0x12, V4), None),
    ],
)
def test_good_ones(header: bytes, address: str | int | None) -> None:
    assert read(header) == (":".join(["ffff"] * 8) if address == 0 else address)


@pytest.mark.parametrize(
    ("data", "why"),
    [
        (b"GET / HTTP/1.1\r\n", "it begins otherwise"),
        (b"\x16\x03\x01", "it begins otherwise"),
        (b"PROXZ", "it begins otherwise"),
        (b"PROXY TCP4 192.0.2.1 198.51.100.7 56324\r\n", "malformed"),
        (b"PROXY TCP4 192.0.2.1  198.51.100.7 56324 443\r\n", "malformed"),
        (b"PROXY TCP4 2001:db8::1 2001:db8::1 1 1\r\n", "malformed"),
        (b"PROXY TCP4 192.0.2.01 198.51.100.7 1 1\r\n", "malformed"),
        (b"PROXY TCP6 fe80::1%eth0 fe80::1 1 1\r\n", "malformed"),
        (b"PROXY TCP4 192.0.2.1 198.51.100.7 1 65536\r\n", "malformed"),
        (b"PROXY TCP4 192.0.2.1 198.51.100.7 -1 1\r\n", "malformed"),
        (b"PROXY UDP4 192.0.2.1 198.51.100.7 1 1\r\n", "malformed"),
        (b"PROXY TCP4 192.0.2.\xb2 198.51.100.7 1 1\r\n", "malformed"),
        (b"PROXY UNKNOWN" + bytes(LINE), f"more than {LINE} bytes"),
        (second(0x11, 0x11, V4), "version and command are 0x11"),
        (second(0x22, 0x11, V4), "version and command are 0x22"),
        (second(0x21, 0x11, V4[:-1]), "too short"),
        (second(0x21, 0x21, V4), "too short"),
        (second(0x21, 0x11, bytes(MOST)), f"{MOST} at most"),
    ],
)
def test_bad_ones(data: bytes, why: str) -> None:
    with pytest.raises(ProxyHeaderError, match=why):
        ProxyHeader().receive_data(data)


@given(st.binary(max_size=300))
@example(PROXY_HEADER_SEEDS[4])
def test_any_bytes_in_any_pieces(data: bytes) -> None:
    feed_proxy_header(data)


CHANGES = st.lists(st.tuples(st.integers(0, 60), st.integers(0, 255)), max_size=4)


@given(st.sampled_from(PROXY_HEADER_SEEDS), st.integers(0, 9), CHANGES)
def test_headers_with_faults(seed: bytes, cut: int, changes: list[tuple[int, int]]) -> None:
    data = bytearray([cut]) + seed[1:]
    for place, byte in changes:
        data[place % len(data)] = byte
    feed_proxy_header(bytes(data))


@given(st.sampled_from(PROXY_HEADER_SEEDS), CHANGES)
def test_another_implementation_understands_the_same(
    seed: bytes, changes: list[tuple[int, int]]
) -> None:
    """What is taken here is understood by it as the same; it takes more."""
    data = bytearray(seed[1:])
    for place, byte in changes:
        data[place % len(data)] = byte
    header = ProxyHeader()
    try:
        header.receive_data(bytes(data))
    except ProxyHeaderError:
        return
    if not header.is_complete:
        return
    understood = by_another(header.read)
    if header.address is not None:
        assert understood == header.address
    else:
        assert understood is None or not header.read.startswith((b"P", SIGNATURE + b"\x21\x11"))


def by_another(data: bytes) -> str | None:
    other: ProxyProtocol = ProxyProtocolV1()
    if data.startswith(SIGNATURE):
        other = ProxyProtocolV2()
        size = {0x11: 12, 0x21: 36}.get(data[13], 0)  # what follows it reads too, and may refuse
        data = data[:14] + struct.pack(">H", size) + data[16 : 16 + size]
    try:
        peer = other.unpack(data).peername
    except (ProxyProtocolSyntaxError, ValueError, KeyError):
        return None
    return peer[0] if isinstance(peer, tuple) else None
