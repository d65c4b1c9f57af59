"""A request of the proxy's own on a live session, and the peer's reply, which the other end misses.

The request is put into the stream between two messages, as a control frame would be. While it is
open the peer's messages are looked at: the first one that is JSON with the expected fields is cut
out. A message that is not complete waits until it can be judged; all others pass as they are.
Without an open request no payload is ever looked at.
"""

import zlib
from collections.abc import Iterator, Mapping

import msgspec
from wsproto.frame_protocol import FrameProtocol

from reknit_core.wire.frames import STEPS, ControlFrame, FrameScanner, message_ends, unmask

WITHOUT_END = 1 << 62  # steps in one scan
MAX_REPLY = 256 * 1024  # bytes: a larger message, also when inflated, is none

Scalar = str | int | float | bool | None
Expected = Mapping[str, Scalar]
"""What a reply has: values by the paths of their fields, as `result.id`. All must be there."""

_FLUSHED = b"\x00\x00\xff\xff"  # RFC 7692, section 7.2.2
_COMPRESSED = 0x40  # RSV1 (RFC 7692, section 6)
_MISSING = object()


def request_frame(text: str, *, masked: bool) -> bytes:
    """The request as a text message; `masked`: it goes to the server."""
    return bytes(FrameProtocol(client=masked, extensions=[]).send_data(text))


class InbandScanner(FrameScanner):
    """Scans as FrameScanner does, from where `before` stands, and cuts the expected reply out."""

    __slots__ = ("_expected", "reply")

    def __init__(self, before: FrameScanner, expected: Expected) -> None:
        super().__init__(masked=False, deflate=False, limit=0)
        self._mask = before._mask
        self._first = before._first
        self._limit = before._limit
        self._nonce = before._nonce
        self._held = before._held
        self._open = before._open
        self._size = before._size
        self._heads = before._heads
        self._skip = before._skip
        self._skip_ends = before._skip_ends
        self.behind = before.behind
        self._turn = WITHOUT_END  # it has to see a message whole
        self._expected: Expected | None = expected
        self.plain = False
        self.reply: bytes | None = None

    @property
    def is_open(self) -> bool:
        """Whether nobody has closed the request yet."""
        return self._expected is not None

    def close(self) -> None:
        """Look no more: the reply is taken, or nobody waits for it."""
        self._expected = None
        self._turn = STEPS

    def scan(self, data: bytes) -> bytes:
        """As FrameScanner.scan(), without the reply, and without what can't be judged yet."""
        begun = self._open or self._skip > 0  # in a message that was passed on in part
        skip = self._skip
        skip_ends = self._skip_ends
        kept = super().scan(data)
        if self._expected is None or (begun and not self.messages):
            return kept
        places, rest = self._take_out(kept)
        found, self.controls = self.controls, []
        self.boundary = self.messages = 0
        self.plain = False
        passed: list[bytes] = []
        start = done = 0
        for end in _ends(rest, skip, skip_ends):
            while (
                done < len(places) and places[done] < end
            ):  # it stood before that message, or in it
                self._put_back(kept, found[done], passed)
                done += 1
            message = rest[start:end]
            start = end
            if begun or not self._is_reply(message):
                passed.append(message)
                self.boundary += len(message)
                self.messages += 1
            begun = False
        for control in found[done:]:
            self._put_back(kept, control, passed)
        cut = rest[start:]
        if self.reply is None and len(cut) <= MAX_REPLY:
            self._keep_back(cut)
            cut = b""
        return b"".join(passed) + cut

    def _take_out(self, data: bytes) -> tuple[list[int], bytes]:
        """The data without its control frames, and where in it each of them stood."""
        places: list[int] = []
        rest: list[bytes] = []
        size = pos = 0
        for control in self.controls:
            rest.append(data[pos : control.start])
            size += control.start - pos
            places.append(size)
            pos = control.end
        return places, b"".join((*rest, data[pos:]))

    def _put_back(self, data: bytes, control: ControlFrame, passed: list[bytes]) -> None:
        """Let a control frame of the data follow what is passed on so far: whole messages."""
        frame = data[control.start : control.end]
        start, end = self.boundary, self.boundary + len(frame)
        self.controls.append(ControlFrame(control.opcode, start, end, start, self.messages))
        passed.append(frame)
        self.boundary = end

    def _keep_back(self, cut: bytes) -> None:
        """Read this beginning of a message again, with the next data."""
        self._held = cut + self._held
        self._open = False
        self._size = self._heads = self._skip = 0

    def _is_reply(self, message: bytes) -> bool:
        """Whether this is the first message that fits; then keep what it says."""
        if self.reply is not None or self._expected is None or len(message) > MAX_REPLY:
            return False
        content = _content(message)
        if content is None or not _fits(content, self._expected):
            return False
        self.reply = content
        return True


def _ends(data: bytes, skip: int, skip_ends: bool) -> Iterator[int]:
    """Where messages end in data that begins with the last `skip` bytes of a frame."""
    if skip and skip_ends:
        yield skip
    for end in message_ends(data[skip:]):
        yield skip + end


def _content(message: bytes) -> bytes | None:
    """What a whole message says, whatever its frames; None if that is too much, or broken."""
    parts: list[bytes] = []
    pos = 0
    while pos < len(message):
        masked = message[pos + 1] & 0x80
        length = message[pos + 1] & 0x7F
        pos += 2
        if length > 125:
            extended = 2 if length == 126 else 8
            length = int.from_bytes(message[pos : pos + extended], "big")
            pos += extended
        key = b""
        if masked:
            key = message[pos : pos + 4]
            pos += 4
        part = message[pos : pos + length]
        parts.append(unmask(part, key) if masked else part)
        pos += length
    content = b"".join(parts)
    return _inflate(content) if message[0] & _COMPRESSED else content


def _inflate(data: bytes) -> bytes | None:
    inflater = zlib.decompressobj(wbits=-15)
    try:
        content = inflater.decompress(data + _FLUSHED, MAX_REPLY)
    except zlib.error:
        return None
    return None if inflater.unconsumed_tail else content


def _fits(content: bytes, expected: Expected) -> bool:
    try:
        document = msgspec.json.decode(content)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return False
    return all(_is_at(document, path, value) for path, value in expected.items())


def _is_at(document: object, path: str, value: Scalar) -> bool:
    """Whether that value stands there; to JSON true is not 1."""
    found = document
    for name in path.split("."):
        found = found.get(name, _MISSING) if isinstance(found, dict) else _MISSING
    return found == value and isinstance(found, bool) is isinstance(value, bool)
