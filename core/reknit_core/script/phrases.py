"""What goes over a connection, as short phrases, and back: `message "hello"`, `close 1000 "bye"`.

A payload is a JSON string or `hex=00ff`. `size=N` pads it with dots up to N bytes, so that a
long payload is short to write and can still be told from others: `"a" size=1000`. A long payload
of any other form is told by its size and a checksum. Frames are read by wsproto, which is an
implementation of its own: what the core sends is held against it.
"""

import json
import zlib

from wsproto.extensions import Extension
from wsproto.frame_protocol import (
    CloseReason,
    FrameDecoder,
    FrameProtocol,
    ParseFailed,
    RsvBits,
)
from wsproto.frame_protocol import Opcode as WireOpcode

from reknit_core.wire.frames import Opcode

_PAD = b"."
_LONG = 64  # bytes: a longer payload is not written out
_HEAD = 32  # bytes: a longer head of a padded payload is not written out
_DOTS = 8  # as many at its end mean that a payload is padded
_MASK = b"\x37\xfa\x21\x3d"  # RFC 6455, section 5.7; any key will do, a fixed one repeats
_FLUSHED = b"\x00\x00\xff\xff"  # RFC 7692, section 7.2.1


# -- Payloads ----------------------------------------------------------------------------------


def quote(data: bytes) -> str:
    """A payload written out."""
    try:
        text = data.decode()
    except UnicodeDecodeError:
        return f"hex={data.hex()}"
    return json.dumps(text, ensure_ascii=not text.isprintable())


def describe(data: bytes) -> str:
    """A payload as short as can be."""
    head = data.rstrip(_PAD)
    if data and not head:
        return f"size={len(data)}"
    if len(head) <= _HEAD and len(data) - len(head) >= _DOTS:
        return f"{quote(head)} size={len(data)}"
    if len(data) <= _LONG:
        return quote(data)
    return f"size={len(data)} crc={zlib.crc32(data):08x}"


def padded(head: bytes, size: int) -> bytes:
    """A payload of `size` bytes that begins with `head`."""
    return head.ljust(size, _PAD)


# -- Frames out of a peer ----------------------------------------------------------------------


def frame(
    opcode: Opcode, payload: bytes, *, masked: bool, final: bool = True, compressed: bool = False
) -> bytes:
    """One frame (RFC 6455, section 5.2)."""
    first = opcode | (0x80 if final else 0) | (0x40 if compressed else 0)
    size = len(payload)
    mask_bit = 0x80 if masked else 0
    if size < 126:
        head = bytes((first, mask_bit | size))
    elif size < 1 << 16:
        head = bytes((first, mask_bit | 126)) + size.to_bytes(2, "big")
    else:
        head = bytes((first, mask_bit | 127)) + size.to_bytes(8, "big")
    if not masked:
        return head + payload
    key = (_MASK * (size // 4 + 1))[:size]
    mixed = int.from_bytes(payload, "big") ^ int.from_bytes(key, "big")
    return head + _MASK + mixed.to_bytes(size, "big")


def message_frames(
    payload: bytes, *, binary: bool, masked: bool, parts: int = 1, compressed: bool = False
) -> bytes:
    """One message in that many frames of about the same size."""
    if compressed:
        payload = _deflate(payload)
    cuts = [len(payload) * part // parts for part in range(parts + 1)]
    frames = []
    for part in range(parts):
        opcode = Opcode.BINARY if binary else Opcode.TEXT
        frames.append(
            frame(
                Opcode.CONTINUATION if part else opcode,
                payload[cuts[part] : cuts[part + 1]],
                masked=masked,
                final=part == parts - 1,
                compressed=compressed and part == 0,
            )
        )
    return b"".join(frames)


def close_payload(code: int | None, reason: bytes) -> bytes:
    """What a Close frame carries (RFC 6455, section 5.5.1)."""
    return b"" if code is None else code.to_bytes(2, "big") + reason


def _deflate(payload: bytes) -> bytes:
    compressor = zlib.compressobj(wbits=-15)
    return (compressor.compress(payload) + compressor.flush(zlib.Z_SYNC_FLUSH))[: -len(_FLUSHED)]


# -- Frames into a peer ------------------------------------------------------------------------


class FrameReader:
    """Reads one direction's frames and tells each whole message and control frame as a phrase.

    `masked`: whether they must be masked. `deflate`: whether permessage-deflate was agreed on.
    `nonce`: what the payloads of the proxy's own Pings begin with.
    """

    def __init__(self, *, masked: bool, deflate: bool, nonce: bytes) -> None:
        self._bits = _Bits()
        self._decoder = FrameDecoder(not masked, [self._bits] if deflate else [])
        self._nonce = nonce
        self._payload = b""  # of the frame that is not complete
        self._opcode: WireOpcode | None = None  # its opcode
        self._message: list[bytes] = []  # the frames of the message that is not complete
        self._kind: WireOpcode | None = None  # text or binary, while a message is open
        self._compressed = False
        self._broken = False
        self.probe: bytes | None = None
        """The payload of the proxy's last own Ping."""

    @property
    def cut(self) -> bool:
        """Whether a frame or a message has begun and not ended."""
        decoder = self._decoder
        inside = decoder.header is not None or len(decoder.buffer) > 0 or self._kind is not None
        return inside and not self._broken

    def feed(self, data: bytes) -> list[str]:
        """Read on; `invalid` is the last phrase, where the bytes break RFC 6455."""
        phrases: list[str] = []
        if self._broken:
            return phrases
        self._decoder.receive_bytes(data)
        try:
            while (part := self._decoder.process_buffer()) is not None:
                assert isinstance(part.payload, bytes)
                self._opcode = self._opcode or part.opcode
                self._payload += part.payload
                if part.frame_finished:
                    phrases += self._frame(self._opcode, final=part.message_finished)
                    self._opcode, self._payload = None, b""
        except (ParseFailed, zlib.error) as error:
            self._broken = True
            phrases.append(f"invalid {json.dumps(str(error))}")
        return phrases

    def _frame(self, opcode: WireOpcode, *, final: bool) -> list[str]:
        payload = self._payload
        if opcode.iscontrol():
            return [self._control(opcode, payload)]
        if (opcode is WireOpcode.CONTINUATION) is (self._kind is None):
            raise ParseFailed(f"unexpected {opcode.name}")
        if self._kind is None:
            self._kind, self._compressed = opcode, self._bits.compressed
        self._message.append(payload)
        if not final:
            return []
        phrase = self._whole(self._kind)
        self._kind, self._message = None, []
        return [phrase]

    def _whole(self, kind: WireOpcode) -> str:
        content = b"".join(self._message)
        words = ["message"]
        if self._compressed:
            content = zlib.decompressobj(wbits=-15).decompress(content + _FLUSHED)
        if kind is WireOpcode.BINARY:
            words.append("binary")
        words.append(describe(content))
        if len(self._message) > 1:
            words.append(f"in {len(self._message)} parts")
        if self._compressed:
            words.append("compressed")
        return " ".join(words)

    def _control(self, opcode: WireOpcode, payload: bytes) -> str:
        if opcode is WireOpcode.CLOSE:
            if not payload:
                return "close"
            if len(payload) == 1:
                return f"close {quote(payload)}"
            reason = f" {quote(payload[2:])}" if payload[2:] else ""
            return f"close {int.from_bytes(payload[:2], 'big')}{reason}"
        name = opcode.name.lower()
        if payload.startswith(self._nonce):
            if opcode is WireOpcode.PING:
                self.probe = payload
            return f"{name} probe"
        return f"{name} {quote(payload)}" if payload else name


class _Bits(Extension):
    """Allows RSV1 and notes it, so that a compressed message can be told from another."""

    name = "permessage-deflate"
    compressed = False

    def offer(self) -> bool:
        return True

    def frame_inbound_header(
        self,
        proto: FrameDecoder | FrameProtocol,
        opcode: WireOpcode,
        rsv: RsvBits,
        payload_length: int,
    ) -> CloseReason | RsvBits:
        if opcode not in (WireOpcode.TEXT, WireOpcode.BINARY):
            return RsvBits(False, False, False)
        self.compressed = rsv.rsv1
        return RsvBits(True, False, False)
