"""What a balancer says in front of a connection: whose it is (PROXY protocol, versions 1 and 2).

    version 1:  PROXY TCP4 192.0.2.1 198.51.100.7 56324 443, and the end of a line
    version 2:  12 bytes that no other protocol begins with | version and command | family |
                length, 2 bytes | addresses and ports | more, which is skipped

Source: https://www.haproxy.org/download/3.0/doc/proxy-protocol.txt
"""

import struct
from ipaddress import IPv4Address, IPv6Address

SIGNATURE = b"\r\n\r\n\0\r\nQUIT\n"
LINE = 107  # bytes of a header of version 1 at most (section 2.1)
MOST = 16384  # bytes of one of version 2: what stands behind the addresses may be long

_WORD = b"PROXY "
_HEAD = struct.Struct(">12sBBH")
_LOCAL, _PROXY = 0x20, 0x21
_TCP4, _TCP6 = 0x11, 0x21  # TCP over IPv4, over IPv6
_SIZES = {_TCP4: 12, _TCP6: 36}  # bytes of both addresses and both ports


class ProxyHeaderError(ValueError):
    """What comes is no such header: why, for people."""


class ProxyHeader:
    """A header as it comes in. Bytes behind it are not taken: they are the connection's own."""

    __slots__ = ("address", "is_complete", "read")

    def __init__(self) -> None:
        self.read = b""
        """What was taken so far."""
        self.is_complete = False
        self.address: str | None = None
        """Whose the connection is, once that is known; None: the balancer's own."""

    def receive_data(self, data: bytes) -> int:
        """Bytes have come: how many of them belong to the header.

        Raises ProxyHeaderError.
        """
        before = len(self.read)
        known = self.read + data
        begun = known[: len(SIGNATURE)]
        if begun == SIGNATURE[: len(begun)]:
            end = self._binary(known)
        elif known[: len(_WORD)] == _WORD[: len(known)]:
            end = self._line(known)
        else:
            raise ProxyHeaderError("it begins otherwise")
        self.is_complete = end is not None
        self.read = known if end is None else known[:end]
        return len(self.read) - before

    def _line(self, known: bytes) -> int | None:
        """Where it ends; None: it has not."""
        end = known.find(b"\r\n", 0, LINE)
        if end < 0:
            if len(known) >= LINE:
                raise ProxyHeaderError(f"its line has more than {LINE} bytes")
            return None
        words = known[len(_WORD) : end].split(b" ")
        if words[0] != b"UNKNOWN":
            self.address = _source(words)
        return end + 2

    def _binary(self, known: bytes) -> int | None:
        """Where it ends; None: it has not."""
        if len(known) < _HEAD.size:
            return None
        _, command, family, size = _HEAD.unpack_from(known)
        end: int = _HEAD.size + size
        if command not in (_LOCAL, _PROXY):
            raise ProxyHeaderError(f"its version and command are {command:#04x}")
        if end > MOST:
            raise ProxyHeaderError(f"it has {end} bytes; {MOST} at most are allowed")
        if command == _PROXY and size < _SIZES.get(family, 0):
            raise ProxyHeaderError("it is too short for its addresses")
        if len(known) < end:
            return None
        if command == _PROXY and family == _TCP4:
            self.address = str(IPv4Address(known[16:20]))
        elif command == _PROXY and family == _TCP6:
            self.address = str(IPv6Address(known[16:32]))
        return end


def _source(words: list[bytes]) -> str:
    """The client's address, by the words of a line of version 1."""
    try:
        kind, source, target, *ports = (word.decode("ascii") for word in words)
        make = {"TCP4": IPv4Address, "TCP6": IPv6Address}[kind]
        both = make(source), make(target)
        if "%" in source + target or len(ports) != 2 or not all(map(_is_port, ports)):
            raise ValueError
    except (KeyError, ValueError):
        raise ProxyHeaderError("its line is malformed") from None
    return str(both[0])


def _is_port(text: str) -> bool:
    return text.isdecimal() and len(text) <= 5 and int(text) <= 65535


def begins_like_one(data: bytes) -> bool:
    """Whether bytes that should be another protocol's begin like such a header."""
    return data.startswith((_WORD, SIGNATURE))
