"""A request of the proxy's own on a live session, and the peer's reply, which the other end misses.

The request is put into the stream between two messages, as a control frame would be. While it is
open the peer's messages are looked at: the first one that is JSON with the expected fields is cut
out. A message that is not complete waits until it can be judged; all others pass as they are.
Without an open request no payload is ever looked at.
"""

from collections.abc import Mapping
from contextlib import suppress

import msgspec
from wsproto.frame_protocol import FrameProtocol

from reknit_core.wire.frames import FrameScanner
from reknit_core.wire.messages import Allowance, MessageScanner, UnseenError, content

MAX_REPLY = 256 * 1024  # bytes: a larger message, also when inflated, is none

Scalar = str | int | float | bool | None
Expected = Mapping[str, Scalar]
"""What a reply has: values by the paths of their fields, as `result.id`. All must be there."""

_MISSING = object()


def request_frame(text: str, *, masked: bool) -> bytes:
    """The request as a text message; `masked`: it goes to the server."""
    return bytes(FrameProtocol(client=masked, extensions=[]).send_data(text))


class InbandScanner(MessageScanner):
    """Scans on from where `before` stands, and cuts the expected reply out."""

    __slots__ = ("_expected", "reply")

    def __init__(self, before: FrameScanner, expected: Expected) -> None:
        super().__init__(masked=False, deflate=False, limit=0, seen=MAX_REPLY)
        self.go_on_from(before)
        self._expected: Expected | None = expected
        self.reply: bytes | None = None

    @property
    def is_open(self) -> bool:
        """Whether nobody has closed the request yet."""
        return self._expected is not None

    def close(self) -> None:
        """Look no more: the reply is taken, or nobody waits for it."""
        self._expected = None
        if not self._sees():
            self._read_again()

    def scan(self, data: bytes) -> bytes:
        """As MessageScanner.scan(), and as FrameScanner.scan() when nothing is looked at."""
        if self._expected is None and not self._sees():
            return FrameScanner.scan(self, data)
        return super().scan(data)

    def _sees(self) -> bool:
        return super()._sees() or (self._expected is not None and self.reply is None)

    def _becomes(self, message: bytes, start: int) -> bytes:
        if self._expected is not None and self.reply is None:
            with suppress(UnseenError):
                said = content(message, MAX_REPLY, Allowance(MAX_REPLY))
                if _fits(said, self._expected):
                    self.reply = said
                    return b""
        return super()._becomes(message, start)


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
