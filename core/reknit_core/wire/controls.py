"""Control frames of the proxy's own, and a peer's Close: built and read by wsproto.

What goes to a server is masked (RFC 6455, 5.3).
"""

from wsproto.frame_protocol import FrameProtocol, ParseFailed

from reknit_core.codes import BAD_GATEWAY, INVALID_DATA, NEVER_SENT
from reknit_core.side import Side
from reknit_core.wire.frames import Violation, payload

# They build frames only, which leaves no state in them.
_TO_SERVER = FrameProtocol(client=True, extensions=[])
_TO_CLIENT = FrameProtocol(client=False, extensions=[])


def ping_frame(to: Side, data: bytes) -> bytes:
    """A Ping to that side."""
    return bytes(_protocol(to).ping(data))


def pong_frame(to: Side, data: bytes) -> bytes:
    """A Pong to that side."""
    return bytes(_protocol(to).pong(data))


def close_frame(to: Side, code: int, reason: str) -> bytes:
    """A Close frame; 1005, and what may not go onto the wire, is sent without a code."""
    if code in NEVER_SENT:
        return bytes(_protocol(to).close())
    return bytes(_protocol(to).close(code, reason))


def read_close(sender: Side, frame: bytes) -> tuple[int, str] | Violation:
    """The code and reason of that side's Close frame; 1005 if it has none."""
    data = payload(frame)
    if data[:2] == BAD_GATEWAY.to_bytes(2, "big"):
        try:
            return BAD_GATEWAY, data[2:].decode()
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
