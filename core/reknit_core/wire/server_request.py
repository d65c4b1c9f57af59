"""What the server is asked."""

from dataclasses import dataclass

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
