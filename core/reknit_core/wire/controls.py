"""Control frames of the proxy's own, and a peer's Close: built and read by wsproto.

What goes to a server is masked (RFC 6455, 5.3). Each session has two Close frames, so that what
many of them say is built once, and plain ones are read here; wsproto alone refuses one.
"""

from functools import lru_cache

from wsproto.frame_protocol import CloseReason, FrameProtocol, ParseFailed

from reknit_core.codes import BAD_GATEWAY, INVALID_DATA, NEVER_SENT, NO_STATUS
from reknit_core.side import Side
from reknit_core.wire.frames import Violation, payload, unmask

# They build frames only, which leaves no state in them.
_TO_SERVER = FrameProtocol(client=True, extensions=[])
_TO_CLIENT = FrameProtocol(client=False, extensions=[])

# Codes that wsproto takes, and gives back as they are (RFC 6455, 7.4).
_PLAIN_CODES = frozenset((*map(int, CloseReason), *range(3000, 5000))) - NEVER_SENT
_REMEMBERED = 64  # Close frames: when many sessions end at once, they say the same


def ping_frame(to: Side, data: bytes) -> bytes:
    """A Ping to that side."""
    return bytes(_protocol(to).ping(data))


def pong_frame(to: Side, data: bytes) -> bytes:
    """A Pong to that side."""
    return bytes(_protocol(to).pong(data))


def close_frame(to: Side, code: int, reason: str, mask: bytes = b"") -> bytes:
    """A Close frame; 1005, and what may not go onto the wire, is sent without a code.

    `mask`: that of one to a server: four bytes that nobody can know before; else wsproto draws it.
    """
    if to is Side.SERVER and not mask:
        return _built(_TO_SERVER, code, reason)
    frame = _unmasked_close(code, reason)
    if to is Side.CLIENT:
        return frame
    return bytes((frame[0], frame[1] | 0x80)) + mask + unmask(frame[2:], mask)


@lru_cache(maxsize=_REMEMBERED)
def _unmasked_close(code: int, reason: str) -> bytes:
    return _built(_TO_CLIENT, code, reason)


def _built(protocol: FrameProtocol, code: int, reason: str) -> bytes:
    if code in NEVER_SENT:
        return bytes(protocol.close())
    return bytes(protocol.close(code, reason))


def read_close(sender: Side, frame: bytes) -> tuple[int, str] | Violation:
    """The code and reason of that side's Close frame; 1005 if it has none."""
    data = payload(frame)
    if not data:
        return NO_STATUS, ""
    code = int.from_bytes(data[:2], "big")
    reason = data[2:]
    if code in _PLAIN_CODES and reason.isascii():
        return code, reason.decode()
    if code == BAD_GATEWAY:
        try:
            return BAD_GATEWAY, reason.decode()
        except UnicodeDecodeError:
            return Violation(INVALID_DATA, "bad Close frame: the reason is not UTF-8")
    protocol = FrameProtocol(client=sender is Side.SERVER, extensions=[])
    protocol.receive_bytes(frame)
    try:
        content = next(protocol.received_frames()).payload
    except ParseFailed as error:
        return Violation(int(error.code), f"bad Close frame: {error}")
    assert isinstance(content, tuple)  # so for every Close
    return int(content[0]), str(content[1] or "")


def _protocol(to: Side) -> FrameProtocol:
    return _TO_SERVER if to is Side.SERVER else _TO_CLIENT
