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
