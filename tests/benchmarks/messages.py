"""What is sent and how it is checked: a ring of messages that both ends know beforehand.

Both ends build the frames of a case once. A sender sends slices of them, a receiver compares
what it reads with what must come next: one comparison a read while the stream is as expected,
one a message where a Ping stands between two, and a real parser for the rest (a frame with
another mask). So every
byte is checked, and a loader in Python keeps up with proxies written in C.
"""

import json
from collections.abc import Iterable
from enum import IntEnum
from functools import lru_cache

from speech import PLAIN, Speech, speech

READ_SIZE = 262144  # bytes; the most that is read or written in one call
RING_BYTES = 1 << 20
MASK = bytes.fromhex("37fa213d")
NOTE = b'{"note": '  # what a note has in it, and no other message
FILLER = b"the quick brown fox jumps over a lazy dog; "


class Opcode(IntEnum):
    """The opcodes in use here; all messages are text."""

    TEXT = 1
    CLOSE = 8
    PING = 9
    PONG = 10


class MessageError(Exception):
    """Something else came than what must come next."""


def frame(opcode: Opcode, payload: bytes, *, masked: bool) -> bytes:
    """A whole frame; `masked` as a client's must be."""
    size, bit = len(payload), 0x80 if masked else 0
    if size < 126:
        header = bytes((0x80 | opcode, bit | size))
    elif size < 65536:
        header = bytes((0x80 | opcode, bit | 126)) + size.to_bytes(2, "big")
    else:
        header = bytes((0x80 | opcode, bit | 127)) + size.to_bytes(8, "big")
    return header + MASK + _xor(payload, MASK) if masked else header + payload


def note(content: dict[str, object], speech: Speech = PLAIN, *, masked: bool) -> bytes:
    """A message between loader and server about the run itself, as a frame."""
    payload = speech.notes(0, json.dumps({"note": content}).encode())
    return frame(Opcode.TEXT, payload, masked=masked)


def _xor(payload: bytes, mask: bytes) -> bytes:
    size = len(payload)
    key = mask * (size // 4 + 1)
    number = int.from_bytes(payload, "big") ^ int.from_bytes(key[:size], "big")
    return number.to_bytes(size, "big")


def _parse(data: bytes, at: int) -> tuple[int, bytes, int] | None:
    """Opcode, payload and end of the frame at `at`; None if it isn't complete."""
    if len(data) < at + 2:
        return None
    first, second = data[at], data[at + 1]
    if first & 0xF0 != 0x80:
        raise MessageError(f"a frame begins with byte {first:#04x}")
    size, start = second & 0x7F, at + 2
    if size > 125:
        wide = 2 if size == 126 else 8
        size, start = int.from_bytes(data[start : start + wide], "big"), start + wide
    key = b""
    if second & 0x80:
        key, start = data[start : start + 4], start + 4
    if len(data) < start + size:
        return None
    payload = data[start : start + size]
    return first & 15, _xor(payload, key) if key else payload, start + size


class Ring:
    """The frames of one direction, end to end; a receiver or sender goes round it."""

    def __init__(self, frames: Iterable[bytes] = ()) -> None:
        whole = list(frames)
        joined = b"".join(whole)
        self.frame = len(whole[0]) if whole else 1  # bytes of one frame; all have the same
        self.length = len(joined) or 1
        # Longer by one read, so that what comes next is always in one piece.
        self.data = joined + (joined * (READ_SIZE // len(joined) + 1))[:READ_SIZE] if whole else b""
        self.view = memoryview(self.data)


class Messages:
    """All messages with `size` bytes (8 or more) of content: its number, and its own filler.

    `asked` and `answered`: those of a client and of the server, `masked` and `plain` as rings.
    """

    def __init__(self, size: int, speech: Speech = PLAIN) -> None:
        self.count = max(8, min(4096, RING_BYTES // size))
        contents = [_payload(number, size) for number in range(self.count)]
        self.asked = [speech.asks(*each) for each in enumerate(contents)]
        self.answered = [speech.answers(*each) for each in enumerate(contents)]
        self.plain = Ring(frame(Opcode.TEXT, each, masked=False) for each in self.answered)
        self.masked = Ring(frame(Opcode.TEXT, each, masked=True) for each in self.asked)


def _payload(number: int, size: int) -> bytes:
    start = number % len(FILLER)
    return (b"%08d" % number + (FILLER * (size // len(FILLER) + 2))[start:])[:size]


@lru_cache
def messages(size: int, name: str = "") -> Messages:
    """The messages of this size in the speech of that name, made once a process."""
    return Messages(size, speech(name))


NOTHING = Ring()


class Receiver:
    """Checks one direction of one connection.

    `asides` holds what came besides the expected messages, as opcode and payload: control
    frames, and notes.
    """

    __slots__ = ("_data", "_frame", "_held", "_length", "_payloads", "_position", "asides")

    def __init__(self) -> None:
        self.asides: list[tuple[int, bytes]] = []
        self._held = b""
        self._payloads: list[bytes] = []
        self._data, self._frame, self._length = NOTHING.data, 1, 1
        self._position = 0

    def expect(self, ring: Ring, payloads: list[bytes], first: int) -> None:
        """From now on these messages must come, beginning with number `first`."""
        self._payloads = payloads
        self._data, self._frame, self._length = ring.data, ring.frame, ring.length
        self._position = first * ring.frame

    def receive(self, data: bytes) -> int:
        """Check what was read, at most READ_SIZE bytes; how many messages it completed.

        Raises MessageError.
        """
        position = self._position
        if not self._held and self._data.startswith(data, position):
            end = position + len(data)
            self._position = end % self._length
            return end // self._frame - position // self._frame
        data, self._held = self._held + data, b""
        return self._receive_mixed(data)

    def _receive_mixed(self, data: bytes) -> int:
        """Check expected messages with control frames between them."""
        position, frame = self._position, self._frame
        done = at = 0
        while at < len(data):
            into = position % frame
            if not into and data[at] & 8:
                parsed = _parse(data, at)
                if parsed is None:
                    break
                opcode, payload, at = parsed
                self.asides.append((opcode, payload))
                continue
            end = min(len(data), at + frame - into)
            if not self._data.startswith(data[at:end], position):
                self._position = position
                return done + self._parse_all(data[at:])
            position = (position + end - at) % self._length
            done += into + end - at == frame
            at = end
        self._position, self._held = position, data[at:]
        return done

    def _parse_all(self, data: bytes) -> int:
        number = self._position // self._frame
        start = number * self._frame
        # What was compared is not kept: it was the same as the ring.
        data = self._data[start : self._position] + data
        done = at = 0
        while (parsed := _parse(data, at)) is not None:
            opcode, payload, at = parsed
            if opcode >= 8 or NOTE in payload[:64]:
                self.asides.append((opcode, payload))
                continue
            expected = self._payloads[number] if self._payloads else b""
            if opcode != Opcode.TEXT or payload != expected:
                raise MessageError(f"expected {_brief(expected)}, got {_brief(payload)}")
            number = (number + 1) % len(self._payloads)
            done += 1
        self._position, self._held = number * self._frame, data[at:]
        if self._held and self._data.startswith(self._held, self._position):
            self._position = (self._position + len(self._held)) % self._length
            self._held = b""
        return done


def _brief(payload: bytes) -> str:
    return f"{len(payload)} bytes {payload[:16]!r}…" if payload else "nothing"
