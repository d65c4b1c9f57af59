"""A scanner that sees messages whole, and asks what becomes of each.

The beginning of one that is not complete waits here. One that is too large to be seen passes as
it is, from there on.
"""

import zlib
from collections.abc import Iterator
from typing import Protocol

from wsproto.frame_protocol import FrameProtocol

from reknit_core.dialect.speech import Message
from reknit_core.side import Side
from reknit_core.wire.frames import ControlFrame, FrameScanner, Opcode, message_ends, unmask
from reknit_core.wire.wire_forms import FrozenScanner

_FLUSHED = b"\x00\x00\xff\xff"  # RFC 7692, section 7.2.2
_SMALL = 4096  # bytes that are cheaper to copy than to keep apart
_FINAL = 0x80  # RFC 6455, section 5.2
_COMPRESSED = 0x40  # RSV1 (RFC 7692, section 6)
TURN = 128 * 1024  # bytes of messages heard in one scan: the others wait for the next one
GROWTH = 64  # bytes that are decompressed for each one that comes, in the long run
_GROWS = f"compressed messages that grow more than {GROWTH}-fold, over and over,"


class Listener(Protocol):
    """Who says what becomes of a peer's messages."""

    def hear(self, message: Message, start: int, size: int) -> Message | None:
        """What passes in the message's place; None: nothing.

        `start`: the bytes that pass before it, of what is scanned now. `size`: its own, if it
        passes as it is.
        """

    def miss(self, why: str) -> None:
        """A message passes that can't be seen: what it is, for people."""


class UnseenError(ValueError):
    """A message can't be seen; the text says what it is."""


class Allowance:
    """How much of a peer's messages is decompressed: `most` bytes at once, then GROWTH-fold.

    A few kilobytes can become megabytes, and milliseconds of work: a peer that goes on and on with
    such messages is not followed.
    """

    __slots__ = ("_left", "_most")

    def __init__(self, most: int) -> None:
        self._most = most
        self._left = most

    def inflate(self, data: bytes) -> bytes:
        """What a compressed payload says. Raises UnseenError."""
        self._left = left = min(self._most, self._left + len(data) * GROWTH)
        inflater = zlib.decompressobj(wbits=-15)
        try:
            said = inflater.decompress(data + _FLUSHED, left or 1)  # 0: no bound
        except zlib.error:
            raise UnseenError("a message that can't be decompressed") from None
        self._left -= len(said)
        if inflater.unconsumed_tail:
            at_once = f"{too_large(self._most)}, when decompressed,"
            raise UnseenError(at_once if left == self._most else _GROWS)
        return said


class MessageScanner(FrameScanner):
    """Scans as FrameScanner does, and lets a listener say what becomes of each message.

    `seen`: bytes; a larger message, also when decompressed, passes unseen.
    """

    __slots__ = ("_allowance", "_heard", "_kept", "_kept_size", "_listener", "_seen", "_unseen")

    def __init__(
        self,
        *,
        masked: bool,
        deflate: bool,
        limit: int,
        seen: int,
        nonce: bytes = b"",
        listener: Listener | None = None,
    ) -> None:
        super().__init__(masked=masked, deflate=deflate, limit=limit, nonce=nonce)
        self.plain = False  # no read passes as it came
        self._seen = seen
        self._allowance = Allowance(seen)
        self._heard = 0  # bytes of messages, in one scan
        self._listener = listener
        self._kept: list[bytes] = []  # the beginning of a message, without control frames
        self._kept_size = 0
        self._unseen = False  # inside a message of which a part was passed on

    @property
    def kept(self) -> int:
        """Bytes that wait here for what comes behind them."""
        return len(self._held) + self._kept_size

    def go_on_from(self, before: FrameScanner) -> None:
        """Stand where that one stands, in place of it."""
        self._mask = before._mask
        self._first = before._first
        self._limit = before._limit
        self._nonce = before._nonce
        self._held = before._held
        self._stopped = before._stopped
        self._open = before._open
        self._size = before._size
        self._heads = before._heads
        self._skip = before._skip
        self._skip_ends = before._skip_ends
        self.behind = before.behind
        if isinstance(before, MessageScanner):
            self._seen = before._seen
            self._allowance = before._allowance
            self._listener = before._listener
            self._kept = before._kept
            self._kept_size = before._kept_size
            self._unseen = before._unseen
        else:
            self._unseen = before._open or before._skip > 0

    def frozen(self) -> FrozenScanner:
        """Where in the stream it stands, as data: what is kept is to be read again."""
        self._read_again()
        return super().frozen()

    def thaw(self, form: FrozenScanner) -> None:
        """Stand where that one stood."""
        super().thaw(form)
        self.plain = False
        self._unseen = form.open or form.skip > 0

    def scan(self, data: bytes) -> bytes:
        """As FrameScanner.scan(), without what is left out, and what isn't complete yet."""
        skip = self._skip
        skip_ends = self._skip_ends
        if self._held:
            data, self._held = self._held + data, b""
        passed = super().scan(data)
        self.plain = False
        if self._unseen and not self.messages:
            return passed
        if not self.messages and not self.controls:
            return self._keep(passed)
        return self._pass_each(passed, data, skip, skip_ends=skip_ends)

    def _sees(self) -> bool:
        """Whether messages are looked at."""
        return self._listener is not None

    def _becomes(self, message: bytes, start: int) -> bytes:
        """What passes in that message's place; b"": nothing."""
        listener = self._listener
        if listener is None:
            return message
        try:
            told = content(message, self._seen, self._allowance)
        except UnseenError as error:
            listener.miss(str(error))
            return message
        self._heard += len(told)
        said = Message(told, message[0] & 0x0F == Opcode.TEXT)
        passes = listener.hear(said, start, len(message))
        if passes is said:
            return message
        side = Side.SERVER if self._mask else Side.CLIENT
        return b"" if passes is None else message_frame(side, passes)

    def _keep(self, part: bytes) -> bytes:
        """Keep back more of a message that is not complete, or all of it is too much."""
        if self._kept_size + len(part) <= self._seen and self._sees():
            kept = self._kept
            if kept and len(kept[-1]) + len(part) <= _SMALL:  # many objects take more than bytes
                kept[-1] += part
            elif part:
                kept.append(part)
            self._kept_size += len(part)
            return b""
        self._unseen = bool(self._kept) or bool(part)
        if self._listener is not None:
            self._listener.miss(too_large(self._seen))
        return self._take_kept(part)

    def _read_again(self) -> None:
        """Begin with what is kept when more comes."""
        if self._kept:
            self._held = self._take_kept(self._held)
            self._open = self._skip_ends = False
            self._size = self._heads = self._skip = 0

    def _take_kept(self, part: bytes) -> bytes:
        """What is kept, and that behind it."""
        if not self._kept:
            return part
        whole = b"".join((*self._kept, part))
        self._kept = []
        self._kept_size = 0
        return whole

    def _pass_each(self, data: bytes, read: bytes, skip: int, *, skip_ends: bool) -> bytes:
        """Let each message become what it does, with the control frames in their places.

        `read`: what the data is the beginning of.
        """
        before = self._kept_size
        places, rest = self._take_out(data)
        found, self.controls = self.controls, []
        if not self.messages and not self._unseen:  # what is kept is looked at when it ends
            self.boundary = 0
            return self._pass_controls(data, found) + self._keep(rest)
        rest = self._take_kept(rest)
        if not self._unseen:  # `rest` begins where a message does
            skip = 0
        self.boundary = self.messages = self._heard = 0
        passed: list[bytes] = []
        start = size = done = 0
        for end in _ends(rest, skip, skip_ends=skip_ends):
            if self._heard >= TURN:
                self._wait(read[start - before + sum(map(_size, found[:done])) :])
                return b"".join(passed)
            while done < len(places) and before + places[done] < end:  # in it, or before it
                self._put_back(data, found[done], passed)
                done += 1
            message = rest[start:end]
            start = end
            if self._unseen:
                self._unseen = False
            else:
                message = self._becomes(message, size)
            if message:
                passed.append(message)
                size += len(message)
                self.boundary += len(message)
                self.messages += 1
        passed.append(self._pass_controls(data, found[done:]))
        if start < len(rest):
            passed.append(rest[start:] if self._unseen else self._keep(rest[start:]))
        return b"".join(passed)

    def _wait(self, rest: bytes) -> None:
        """Let the next scan begin with this, which begins where a message does."""
        self._held = rest
        self._stopped = self._open = self._skip_ends = False
        self._size = self._heads = self._skip = 0
        self.violation = None
        self.behind = True

    def _pass_controls(self, data: bytes, found: list[ControlFrame]) -> bytes:
        """Those control frames of the data, behind what is passed on so far."""
        passed: list[bytes] = []
        for control in found:
            self._put_back(data, control, passed)
        return b"".join(passed)

    def _take_out(self, data: bytes) -> tuple[list[int], bytes]:
        """The data without its control frames, and where in it each of them stood."""
        if not self.controls:
            return [], data
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


def _size(control: ControlFrame) -> int:
    return control.end - control.start


def message_frame(to: Side, message: Message) -> bytes:
    """A message to that side in one frame; what goes to a server is masked (RFC 6455, 5.3)."""
    protocol = FrameProtocol(client=to is Side.SERVER, extensions=[])
    frame = protocol.send_data(message.data)
    if message.is_text:  # which the client says: it need not be UTF-8
        frame[0] = _FINAL | Opcode.TEXT
    return bytes(frame)


def _ends(data: bytes, skip: int, *, skip_ends: bool) -> Iterator[int]:
    """Where messages end in data that begins with the last `skip` bytes of a frame."""
    if skip and skip_ends:
        yield skip
    for end in message_ends(data[skip:]):
        yield skip + end


def too_large(most: int) -> str:
    """What a message is that can't be seen, for people."""
    return f"a message of more than {most:,} bytes"


def content(message: bytes, most: int, allowance: Allowance) -> bytes:
    """What a whole message says, whatever its frames. Raises UnseenError.

    `most`: bytes of it that may be looked at. `allowance`: of what it says, if it is compressed.
    """
    if len(message) > most:
        raise UnseenError(too_large(most))
    if message[0] & (_FINAL | _COMPRESSED) == _FINAL:  # mostly: one frame, as it is
        length = message[1] & 0x7F
        start = 2 if length < 126 else 4 if length == 126 else 10
        if message[1] & 0x80:
            return unmask(message[start + 4 :], message[start : start + 4])
        return message[start:]
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
    whole = b"".join(parts)
    return allowance.inflate(whole) if message[0] & _COMPRESSED else whole
