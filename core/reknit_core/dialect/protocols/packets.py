"""MQTT control packets in a stream of bytes (MQTT 3.1.1 and 5, section 2): cut out, read, built.

Over WebSocket a packet may span messages, and a message may hold several (section 6).
"""

from enum import IntEnum
from typing import NamedTuple

from reknit_core.dialect.byte_stream import MAX_UNIT, Cut, MalformedError, StreamReader


class Kind(IntEnum):
    """Section 2.1.2 (5) and 2.2.1 (3.1.1): the first four bits of a packet."""

    CONNECT = 1
    CONNACK = 2
    PUBLISH = 3
    PUBACK = 4
    PUBREC = 5
    PUBREL = 6
    PUBCOMP = 7
    SUBSCRIBE = 8
    SUBACK = 9
    UNSUBSCRIBE = 10
    UNSUBACK = 11
    PINGREQ = 12
    PINGRESP = 13
    DISCONNECT = 14
    AUTH = 15


class Packet(NamedTuple):
    """A packet: its first byte, and what follows its length; `whole`: all its bytes.

    Of one too large to be kept there is only the first byte.
    """

    first: int
    body: bytes
    whole: bytes

    @property
    def kind(self) -> int:
        """One of Kind, or 0."""
        return self.first >> 4

    @property
    def qos(self) -> int:
        """Of a PUBLISH."""
        return self.first >> 1 & 3


class PacketReader(StreamReader[Packet]):
    """Cuts packets out of one direction's bytes."""

    __slots__ = ()

    def cut(self, data: bytes, pos: int) -> Cut[Packet]:
        """The packet that begins there; of a large one only the first byte is told.

        Raises MalformedError.
        """
        found = _length(data, pos + 1)
        if found is None:
            return Cut(None, None)
        start, size = found
        end = start + size
        if end - pos > MAX_UNIT:
            return Cut(end, Packet(data[pos], b"", b""))
        if end > len(data):
            return Cut(end, None)
        return Cut(end, Packet(data[pos], data[start:end], data[pos:end]))


def packet(first: int, body: bytes) -> bytes:
    """A packet of that first byte and body."""
    return bytes((first,)) + _variable(len(body)) + body


def properties(body: bytes, pos: int) -> tuple[int, frozenset[int]]:
    """Where the properties end that begin there, and which there are (5, section 2.2.2).

    Raises MalformedError.
    """
    found = _length(body, pos)
    if found is None or found[0] + found[1] > len(body):
        raise MalformedError
    pos, size = found
    end = pos + size
    there = set()
    while pos < end:
        there.add(body[pos])
        pos = _property_end(body, body[pos], pos + 1)
    if pos != end:
        raise MalformedError
    return end, frozenset(there)


# Section 2.2.2.2: the properties that are no strings, by the bytes of their values.
_SIZES = {
    **dict.fromkeys((0x01, 0x17, 0x19, 0x24, 0x25, 0x28, 0x29, 0x2A), 1),
    **dict.fromkeys((0x13, 0x21, 0x22, 0x23), 2),
    **dict.fromkeys((0x02, 0x11, 0x18, 0x27), 4),
}
_SUBSCRIPTION_IDENTIFIER = 0x0B
_USER_PROPERTY = 0x26


def _property_end(body: bytes, identifier: int, pos: int) -> int:
    """Where the value of a property ends."""
    if identifier in _SIZES:
        return pos + _SIZES[identifier]
    if identifier == _SUBSCRIPTION_IDENTIFIER:
        found = _length(body, pos)
        if found is None:
            raise MalformedError
        return found[0]
    end = text_end(body, pos)
    return text_end(body, end) if identifier == _USER_PROPERTY else end


def number(body: bytes, pos: int) -> int:
    """A two byte integer. Raises MalformedError."""
    if pos + 2 > len(body):
        raise MalformedError
    return int.from_bytes(body[pos : pos + 2], "big")


def text_end(body: bytes, pos: int) -> int:
    """Where a string ends that begins there, with its length. Raises MalformedError."""
    end = pos + 2 + number(body, pos)
    if end > len(body):
        raise MalformedError
    return end


def _length(data: bytes, pos: int) -> tuple[int, int] | None:
    """A variable byte integer (2.2.3): where it ends, and what it is; None: not there yet."""
    size = 0
    for place in range(4):
        if pos + place >= len(data):
            return None
        byte = data[pos + place]
        size |= (byte & 0x7F) << 7 * place
        if not byte & 0x80:
            return pos + place + 1, size
    raise MalformedError


def _variable(size: int) -> bytes:
    encoded = bytearray()
    while True:
        size, byte = size >> 7, size & 0x7F
        encoded.append(byte | (0x80 if size else 0))
        if not size:
            return bytes(encoded)
