"""Any bytes in the place of a balancer's PROXY protocol header."""

from collections.abc import Iterable

from reknit_core.policy.forwarded import parse_address
from reknit_core.wire.proxy_header import MOST, SIGNATURE, ProxyHeader, ProxyHeaderError

from reknit.verify.fuzz.choices import pieces

PROXY_HEADER_SEEDS = (
    b"\x00PROXY TCP4 192.0.2.1 198.51.100.7 56324 443\r\nGET / HTTP/1.1\r\n",
    b"\x03PROXY TCP6 2001:db8::1 2001:db8::2 1 65535\r\n\x16\x03\x01",
    b"\x01PROXY UNKNOWN ffff:f...f:ffff 65535\r\n",
    b"\x00" + SIGNATURE + b"\x21\x11\x00\x0c\xc0\0\2\1\xc6\x33\x64\7\xdc\4\1\xbbGET",
    b"\x05" + SIGNATURE + b"\x21\x21\x00\x28" + bytes(36) + b"\x04\x00\x01aGET",
    b"\x00" + SIGNATURE + b"\x20\x00\x00\x00GET",
)


def feed_proxy_header(data: bytes) -> None:
    """However it is cut into reads, the same is taken, and the same is understood."""
    parts = list(pieces(data))
    whole, cut = _read([b"".join(parts)]), _read(parts)
    if whole != cut:
        raise AssertionError(f"{whole} in one read, {cut} in {len(parts)}")
    taken, address = whole
    if taken is not None and taken > MOST:
        raise AssertionError(f"a header of {taken} bytes")
    if address is not None and parse_address(address) is None:
        raise AssertionError(f"no address: {address!r}")


def _read(parts: Iterable[bytes]) -> tuple[int | None, str | None]:
    """How many bytes it has, and whose the connection is; None: it is none, or not complete."""
    header, taken = ProxyHeader(), 0
    try:
        for part in parts:
            number = header.receive_data(part)
            taken += number
            if header.is_complete:
                return taken, header.address
            if number != len(part):
                raise AssertionError("it isn't complete, and does not take all")
    except ProxyHeaderError:
        pass
    return None, None
