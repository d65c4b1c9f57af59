"""Frames as bytes, built without the code under test."""

from dataclasses import dataclass

CONTINUATION, TEXT, BINARY, CLOSE, PING, PONG = 0x0, 0x1, 0x2, 0x8, 0x9, 0xA
FIN, RSV1 = 0x80, 0x40
KEY = b"k3y!"


def masked_payload(payload: bytes, key: bytes) -> bytes:
    return bytes(byte ^ key[index % 4] for index, byte in enumerate(payload))


def length_bytes(length: int, masked: bool, form: int | None = None) -> bytes:
    """The second byte and what follows; `form` is 7, 16 or 64 bits, the shortest if not given."""
    mask = 0x80 if masked else 0
    if form is None:
        form = 7 if length < 126 else 16 if length < 65536 else 64
    if form == 7:
        return bytes([mask | length])
    if form == 16:
        return bytes([mask | 126]) + length.to_bytes(2, "big")
    return bytes([mask | 127]) + length.to_bytes(8, "big")


def frame(
    first: int, payload: bytes = b"", *, masked: bool = False, key: bytes = KEY, length: int = -1
) -> bytes:
    """A frame; `length` claims another length than the payload's."""
    head = bytes([first]) + length_bytes(len(payload) if length < 0 else length, masked)
    return head + (key + masked_payload(payload, key) if masked else payload)


@dataclass(frozen=True)
class Message:
    """A message as its frames."""

    frames: tuple[bytes, ...]

    @property
    def data(self) -> bytes:
        return b"".join(self.frames)


def message(*payloads: bytes, opcode: int = BINARY, masked: bool = False) -> Message:
    """A message in as many fragments as there are payloads."""
    last = len(payloads) - 1
    return Message(
        tuple(
            frame(
                (CONTINUATION if index else opcode) | (FIN if index == last else 0),
                payload,
                masked=masked,
            )
            for index, payload in enumerate(payloads)
        )
    )
