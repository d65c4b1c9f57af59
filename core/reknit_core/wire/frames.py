"""The frame scanner: walks RFC 6455 frame headers (section 5.2) and never touches a payload.

It works once per read. A read that holds whole data messages costs one table look-up and one
length per frame, and is passed on as the very object that came in.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from enum import IntEnum
from typing import NamedTuple

from reknit_core.codes import MESSAGE_TOO_BIG, PROTOCOL_ERROR
from reknit_core.wire.wire_forms import FrozenScanner

MAX_CONTROL_FRAME = 2 + 4 + 125  # bytes: header, mask, payload
STEPS = 64  # control frames and fragments in one scan: each costs as much as a read
EASY = 32  # whole messages that cost as much as one of these
WALK = 16384  # bytes of whole messages before it is looked how many they are
LITTLE = 1024  # bytes that are not worth another turn


class Opcode(IntEnum):
    """RFC 6455, section 5.2."""

    CONTINUATION = 0x0
    TEXT = 0x1
    BINARY = 0x2
    CLOSE = 0x8
    PING = 0x9
    PONG = 0xA


@dataclass(frozen=True, slots=True)
class Violation:
    """Why a leg's bytes can't be read on: the close code (RFC 6455, 7.4.1) and a reason."""

    code: int
    reason: str


class ControlFrame(NamedTuple):
    """A control frame in scanned data: where it starts and ends, in bytes.

    `boundary` and `messages`: as the scanner's, of what stands before it.
    """

    opcode: Opcode
    start: int
    end: int
    boundary: int = 0
    messages: int = 0


_NO_CONTROLS: list[ControlFrame] = []  # shared: most sessions stand idle, and memory counts

# What a frame's first byte means. Two tables, as it depends on whether a message is open.
_BAD, _WHOLE, _FIRST, _MIDDLE, _LAST, _CONTROL = range(6)


def _table(*, in_message: bool, deflate: bool) -> bytes:
    table = bytearray([_BAD] * 256)
    for opcode in (Opcode.CLOSE, Opcode.PING, Opcode.PONG):
        table[0x80 | opcode] = _CONTROL
    if in_message:
        table[Opcode.CONTINUATION] = _MIDDLE
        table[0x80 | Opcode.CONTINUATION] = _LAST
        return bytes(table)
    for opcode in (Opcode.TEXT, Opcode.BINARY):
        # RFC 7692, section 6: RSV1 marks a compressed message, on its first frame only.
        for rsv in (0x00, 0x40) if deflate else (0x00,):
            table[rsv | opcode] = _FIRST
            table[0x80 | rsv | opcode] = _WHOLE
    return bytes(table)


_ALIKE = 2  # frames of one size in a row: then it pays to look whether all that follow are

_OPCODES = frozenset(Opcode)
_INSIDE = _table(in_message=True, deflate=False)
_OUTSIDE = {deflate: _table(in_message=False, deflate=deflate) for deflate in (False, True)}


class FrameScanner:
    """Walks one direction's frames and finds where messages end.

    `masked`: whether this direction must be masked. `deflate`: whether permessage-deflate was
    negotiated. `limit`: the largest message in bytes, 125 or more. `nonce`: what the payloads of
    the reader's own Pings begin with: a Pong to one of those may have the wrong mask. After each
    scan():

    * `boundary`: offset after the last frame in the data that leaves no message open, else 0
    * `messages`: how many messages were completed in the data
    * `controls`: the control frames in the data, whole
    * `plain`: the data was whole data messages and nothing else
    * `violation`: set once, when the bytes break the RFC; nothing after is read
    * `behind`: there is more in the data than one scan takes: scan(b"") goes on with it
    """

    __slots__ = (
        "_first",
        "_heads",
        "_held",
        "_limit",
        "_mask",
        "_nonce",
        "_open",
        "_size",
        "_skip",
        "_skip_ends",
        "_stopped",
        "_turn",
        "behind",
        "boundary",
        "controls",
        "messages",
        "plain",
        "violation",
    )

    def __init__(self, *, masked: bool, deflate: bool, limit: int, nonce: bytes = b"") -> None:
        self._mask = 0x80 if masked else 0
        self._first = _OUTSIDE[deflate]
        self._limit = limit
        self._nonce = nonce
        self._held = b""  # a cut header or control frame, completed by the next read
        self._stopped = False  # at a Close frame or a violation
        self._open = False  # inside a fragmented message
        self._size = 0  # bytes of the open message so far
        self._heads = 0  # and of its frames' headers
        self._skip = 0  # payload bytes of the current frame still to come
        self._skip_ends = False  # whether that frame ends its message
        self._turn = STEPS
        self.behind = False
        self.boundary = 0
        self.messages = 0
        self.controls = _NO_CONTROLS
        self.plain = True
        self.violation: Violation | None = None

    @property
    def kept(self) -> int:
        """Bytes that wait here for what comes behind them."""
        return len(self._held)

    def frozen(self) -> FrozenScanner:
        """Where in the stream it stands, as data."""
        return FrozenScanner(
            self._held,
            self._stopped,
            self._open,
            self._size,
            self._heads,
            self._skip,
            self._skip_ends,
            self.behind,
            self.plain,
        )

    def thaw(self, form: FrozenScanner) -> None:
        """Stand where that one stood."""
        self._held = form.held
        self._stopped = form.stopped
        self._open = form.open
        self._size = form.size
        self._heads = form.heads
        self._skip = form.skip
        self._skip_ends = form.skip_ends
        self.behind = form.behind
        self.plain = form.plain

    def scan(self, data: bytes) -> bytes:
        """Read on in the stream and return the data to keep: without a cut header at its end.

        The header comes back with the next scan. After a Close frame or a violation the rest is
        left out. Never raises.
        """
        self.messages = 0
        if self.plain:
            pos = self._walk(data, 0)
            self.boundary = pos
            if pos == len(data):
                return data
        else:
            self.boundary = 0
            self.controls = _NO_CONTROLS
            if self._stopped:
                return b""
            if self._held:
                data = self._held + data
                self._held = b""
            pos = self._skip
            if pos > len(data):
                self._skip = pos - len(data)
                return data
            self._skip = 0
            if pos and self._skip_ends:
                self.messages = 1
                self.boundary = pos
        return self._scan_on(data, pos)

    def _scan_on(self, data: bytes, pos: int) -> bytes:
        """Walk whatever frames there are from `pos` on, as many as one scan takes."""
        size = len(data)
        steps = 0
        while (
            pos + 2 <= size
            and steps < self._turn
            and (self.messages < self._turn * EASY or size - pos < LITTLE)
        ):
            steps += 1
            step = self._step(data, pos, size)
            if step == pos or self._stopped:
                pos = step
                break
            pos = step
            if not self._open and pos < size:
                step = self._walk(data, pos)
                if step > pos:
                    pos = self.boundary = step
        many = self.messages >= self._turn * EASY and size - pos >= LITTLE
        self.behind = (steps == self._turn or many) and pos < size and not self._stopped
        if pos < size and not self._stopped:
            self._held = data[pos:]
        self.plain = not (self._held or self._skip or self._open or self.controls or self._stopped)
        return data[:pos] if pos < size else data

    def _walk(self, data: bytes, pos: int) -> int:
        """The fast path: whole messages with a length of one or three bytes, as many as stand here.

        Returns the offset after them. Those that begin later than `WALK` are for the next walk.
        """
        size = len(data)
        last = min(size - 2, pos + WALK)
        first = self._first
        mask = self._mask
        header = 6 if mask else 2
        messages = 0
        before = alike = 0  # the size of the frame before, and how many of that size in a row
        while pos <= last and first[data[pos]] == _WHOLE:
            length = data[pos + 1] ^ mask
            if length < 126:
                frame = header + length
            elif length == 126 and pos + 4 <= size:
                length = data[pos + 2] << 8 | data[pos + 3]
                if not 126 <= length <= self._limit:
                    break
                frame = header + 2 + length
            else:
                break
            if frame > size - pos:
                break
            messages += 1
            pos += frame
            if frame != before:
                before = frame
                alike = 1
            elif alike < _ALIKE:
                alike += 1
            else:
                alike = 0
                more = _like(data, pos - frame, frame)
                messages += more
                pos += more * frame
        self.messages += messages
        return pos

    def _step(self, data: bytes, pos: int, size: int) -> int:
        """Walk any one frame; return where the walk goes on, or `pos` where it stops."""
        kind = (_INSIDE if self._open else self._first)[data[pos]]
        if kind == _BAD:
            return self._stop(pos, PROTOCOL_ERROR, self._explain(data[pos]))
        length = data[pos + 1] ^ self._mask
        if length > 127:
            if self._is_pardoned(data, pos):
                end = pos + (2 if self._mask else 6) + (length & 0x7F)
                return self._control(data, pos, end) if end <= size else pos
            wrong = "unmasked" if self._mask else "masked"
            return self._stop(pos, PROTOCOL_ERROR, f"{wrong} frame")
        head = pos + (6 if self._mask else 2)
        if length > 125:
            if kind == _CONTROL:
                return self._stop(pos, PROTOCOL_ERROR, "control frame over 125 bytes")
            extended = 2 if length == 126 else 8
            head += extended
            if pos + 2 + extended > size:
                return pos
            length = int.from_bytes(data[pos + 2 : pos + 2 + extended], "big")
            if length >> 63:
                return self._stop(pos, PROTOCOL_ERROR, "length over 63 bits")
            if length < 126 or (extended == 8 and length < 65536):
                return self._stop(pos, PROTOCOL_ERROR, "length not in its shortest form")
        if kind == _CONTROL:
            return self._control(data, pos, head + length) if head + length <= size else pos
        grown = self._size + length
        heads = self._heads + head - pos  # fragments can be empty, and still take room
        if max(grown, heads) > self._limit:
            return self._stop(pos, MESSAGE_TOO_BIG, f"message over {self._limit} bytes")
        if head > size:
            return pos
        ends = kind in (_WHOLE, _LAST)
        self._open = not ends
        self._size = 0 if ends else grown
        self._heads = 0 if ends else heads
        if head + length > size:
            self._skip, self._skip_ends = head + length - size, ends
            return size
        if ends:
            self.messages += 1
            self.boundary = head + length
        return head + length

    def _is_pardoned(self, data: bytes, pos: int) -> bool:
        """Whether that frame with the wrong mask is a Pong to a Ping of the reader's own.

        Some stacks mask, or don't mask, what they send by themselves. Nobody else reads it. So is
        the beginning of one, as far as it has come.
        """
        length = data[pos + 1] & 0x7F
        if not self._nonce or data[pos] != 0x80 | Opcode.PONG or length > 125:
            return False
        end = pos + (2 if self._mask else 6) + length
        said = payload(data[pos:end])[: len(self._nonce)]
        return said == self._nonce or (end > len(data) and self._nonce.startswith(said))

    def _control(self, data: bytes, pos: int, end: int) -> int:
        opcode = Opcode(data[pos] & 0x0F)
        if not self.controls:
            self.controls = []
        self.controls.append(ControlFrame(opcode, pos, end, self.boundary, self.messages))
        if not self._open:
            self.boundary = end
        self._stopped = opcode is Opcode.CLOSE
        return end

    def _stop(self, pos: int, code: int, reason: str) -> int:
        self.violation = Violation(code, reason)
        self._stopped = True
        return pos

    def _explain(self, first: int) -> str:
        opcode = first & 0x0F
        if opcode not in _OPCODES:
            return f"reserved opcode {opcode:#x}"
        if opcode >= Opcode.CLOSE and not first & 0x80:
            return "fragmented control frame"
        if first & 0x70 and (first & 0x30 or self._open or opcode not in (1, 2)):
            return "reserved bit set"
        if self._open:
            return "new message inside a fragmented one"
        if opcode == Opcode.CONTINUATION:
            return "continuation without a message"
        return "compressed frame without permessage-deflate"


def _like(data: bytes, pos: int, frame: int) -> int:
    """How many frames with the same opcode and length follow the one at `pos`, `frame` bytes long.

    Compares one byte of all their headers at a time, which is much faster than to walk.
    """
    room = (len(data) - pos) // frame
    end = pos + room * frame
    for offset in (0, 1, 2, 3) if data[pos + 1] & 0x7F == 126 else (0, 1):
        column = data[pos + offset : end : frame]
        same = len(column) - len(column.lstrip(column[:1]))
        if same < room:
            room = same
            end = pos + room * frame
    return room - 1


def payload(frame: bytes) -> bytes:
    """The unmasked payload of one whole control frame (RFC 6455, 5.3 and 5.5)."""
    if not frame[1] & 0x80:
        return frame[2:]
    return unmask(frame[6:], frame[2:6])


def unmask(data: bytes, key: bytes) -> bytes:
    """A frame's payload without its mask (RFC 6455, 5.3)."""
    size = len(data)
    mask = (key * (size // 4 + 1))[:size]
    return (int.from_bytes(data, "big") ^ int.from_bytes(mask, "big")).to_bytes(size, "big")


def message_ends(data: bytes) -> Iterator[int]:
    """The offsets at which whole messages end in valid data frames that begin with a message.

    For data that a FrameScanner has passed; stops at the first frame that is cut.
    """
    pos = 0
    size = len(data)
    while pos + 2 <= size:
        length = data[pos + 1] & 0x7F
        head = pos + (6 if data[pos + 1] & 0x80 else 2)
        if length > 125:
            extended = 2 if length == 126 else 8
            length = int.from_bytes(data[pos + 2 : pos + 2 + extended], "big")
            head += extended
        final = data[pos] & 0x80
        pos = head + length
        if pos > size:
            return
        if final:
            yield pos
