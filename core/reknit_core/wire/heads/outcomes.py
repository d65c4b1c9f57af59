"""What an opening handshake comes to, on either leg."""

import json
from dataclasses import dataclass

from reknit_core.wire.headers import HeaderList


@dataclass(frozen=True, slots=True)
class UpgradeRequest:
    """A client's valid opening handshake. `headers`: names in lower case."""

    target: str
    host: str
    headers: HeaderList
    subprotocols: tuple[str, ...]
    extensions: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Refusal:
    """An HTTP answer other than 101, its headers and its `reason` phrase as they were written.

    `close`: the code and reason for a browser that asks to be told in its stead: it can't read a
    status, only a Close frame. `error`: what is wrong, in one word; empty in a server's answer.
    """

    status: int
    headers: HeaderList
    body: bytes
    close: tuple[int, str] | None = None
    error: str = ""
    reason: bytes = b""


NOT_HANDED_OVER = frozenset(  # of an answer's headers: what they say is in Accepted otherwise
    (
        *(b"connection", b"upgrade", b"sec-websocket-accept"),
        *(b"sec-websocket-extensions", b"sec-websocket-protocol"),
    )
)


@dataclass(frozen=True, slots=True)
class Accepted:
    """A server's valid 101 answer; `rest` are the bytes that follow it."""

    subprotocol: str | None
    extensions: tuple[str, ...]
    headers: HeaderList
    rest: bytes


@dataclass(frozen=True, slots=True)
class Failed:
    """A server's answer that is no valid handshake; `cut`: its end is missing.

    `reason`: for people, without anything that a peer may want to keep secret.
    """

    reason: str
    cut: bool = False


def refusal(status: int, error: str, message: str, headers: HeaderList = ()) -> Refusal:
    """An answer of the proxy's own, with a JSON body for programs and people."""
    body = json.dumps({"error": error, "message": message}).encode() + b"\n"
    return Refusal(status, ((b"content-type", b"application/json"), *headers), body, error=error)


NO_UPGRADE = refusal(  # what a request gets that is no handshake at all
    426,
    "upgrade_required",
    "this is a WebSocket proxy: it takes WebSocket upgrade requests of HTTP/1.1 only; with "
    "`--http pass` it also passes other requests to the server, as Socket.IO's polling",
    ((b"upgrade", b"websocket"),),
)
