"""A scanner and opening handshakes that are under way, as data; what a server is asked."""

from dataclasses import dataclass

from reknit_core.form import Form
from reknit_core.wire.headers import HeaderList


@dataclass(frozen=True, slots=True)
class ServerRequest:
    """The opening handshake that goes to the server."""

    target: str
    host: str
    headers: HeaderList
    subprotocols: tuple[str, ...]
    deflate: str | None
    """The offers for permessage-deflate, as the header's value."""
    lines: bytes = b""
    """What stands in front of `headers`, as `name: value` with a line feed between two of them."""

    @property
    def pinned(self) -> HeaderList:
        """The headers in `lines`."""
        pairs = (line.partition(b": ") for line in self.lines.split(b"\n") if line)
        return tuple((name, value) for name, _, value in pairs)


class FrozenScanner(Form):
    """Where in a frame and a message a peer's stream stands: see FrameScanner."""

    held: bytes
    stopped: bool
    open: bool
    size: int
    heads: int
    skip: int
    skip_ends: bool
    behind: bool
    plain: bool


class FrozenRequest(Form):
    """A client's request that waits for its answer, as it was read: see ClientHandshake."""

    address: str
    head: bytes


class FrozenAnswer(Form):
    """A request to the server, its key, and the answer so far: see ServerHandshake."""

    asked: ServerRequest
    key: bytes
    received: bytes
