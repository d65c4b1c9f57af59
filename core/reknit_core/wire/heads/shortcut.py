"""The shortcut of an opening handshake: one regular expression for the whole head.

It takes what clients and servers mostly send, and comes to the very result that wsproto and the
checks of handshake.py come to; tests hold the two against each other. None means no more than
that the head is of another shape: wsproto reads or writes it then. It alone refuses who asks for
an upgrade.
"""

import re
from binascii import b2a_base64
from hashlib import sha1

from reknit_core.wire.deflate import NAME as DEFLATE
from reknit_core.wire.headers import HeaderList
from reknit_core.wire.heads.ambiguity import MAX_HEADERS
from reknit_core.wire.heads.outcomes import (
    NO_UPGRADE,
    NOT_HANDED_OVER,
    Accepted,
    Refusal,
    UpgradeRequest,
)
from reknit_core.wire.wire_forms import ServerRequest

# Plain names and values, which can be read in one way only: no `_`, no tab, nothing but ASCII.
_LINES = rb"((?:[A-Za-z0-9-]++: [!-~][ -~]*+\r\n)++)\r\n"
_SPACE_AT_END = b" \r\n"
# A path without dots that climb and without what stands for other characters; any query.
_PATH = rb"/(?![^ ?]*/\.\.)(?!\.\.)[!\"$&-.0->@-\[\]-~/]*+(?:\?[!\"$-~]*+)?+"
_REQUEST = re.compile(rb"GET (" + _PATH + rb") HTTP/1\.1\r\n" + _LINES)
_ANSWER = re.compile(rb"HTTP/1\.1 101 [ -~]*+\r\n" + _LINES)
_WRITTEN = re.compile(rb"(?:GET [!-~]++ HTTP/1\.1|HTTP/1\.1 101 Switching Protocols)\r\n" + _LINES)
_HOST = re.compile(rb"(?:[A-Za-z0-9._-]++|\[[0-9A-Fa-f:.]++\])(?::[0-9]++)?")
_KEY = re.compile(rb"[A-Za-z0-9+/]{22}==")
_NAMES = re.compile(rb"[A-Za-z0-9!#$%&'*+.^_`|~-]++(?:, ?[A-Za-z0-9!#$%&'*+.^_`|~-]++)*+")

_ONCE = frozenset(  # or wsproto says which of them counts, or that none may
    (
        *(b"connection", b"host", b"origin", b"upgrade"),
        *(b"sec-websocket-accept", b"sec-websocket-extensions", b"sec-websocket-key"),
        *(b"sec-websocket-protocol", b"sec-websocket-version"),
        *(b"content-length", b"transfer-encoding"),
    )
)
_BODY = frozenset((b"content-length", b"transfer-encoding"))
_NOT_IN_REQUEST = frozenset((b"host", b"sec-websocket-extensions", b"sec-websocket-protocol"))
_UPGRADES = frozenset((b"upgrade", b"keep-alive, upgrade"))
_NO_UPGRADES = frozenset((b"", b"keep-alive", b"close"))
_GUID = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"  # RFC 6455, section 1.3


def read_request(head: bytes) -> UpgradeRequest | Refusal | None:
    """A client's request; `head`: up to its blank line. NO_UPGRADE if it asks for none."""
    found = _REQUEST.fullmatch(head)
    if found is None:
        return None
    headers: list[tuple[bytes, bytes]] = []
    known = _sort(found[2], _NOT_IN_REQUEST, headers, lower=True)
    if known is None or not _HOST.fullmatch(known.get(b"host", b"")):
        return None
    if b"upgrade" not in known and known.get(b"connection", b"").lower() in _NO_UPGRADES:
        return NO_UPGRADE
    if (
        not _is_upgrade(known)
        or known.get(b"sec-websocket-version") != b"13"
        or not _KEY.fullmatch(known.get(b"sec-websocket-key", b""))
    ):
        return None
    names = known.get(b"sec-websocket-protocol")
    if names is not None and not _NAMES.fullmatch(names):
        return None
    return UpgradeRequest(
        target=found[1].decode("ascii"),
        host=known[b"host"].decode("ascii"),
        headers=tuple(headers),
        subprotocols=_parts(names),
        extensions=_parts(known.get(b"sec-websocket-extensions")),
    )


def read_answer(head: bytes, rest: bytes, asked: ServerRequest, key: bytes) -> Accepted | None:
    """A server's answer to what it was `asked`; `rest`: what follows its `head`."""
    found = _ANSWER.fullmatch(head)
    if found is None:
        return None
    headers: list[tuple[bytes, bytes]] = []
    known = _sort(found[1], NOT_HANDED_OVER, headers, lower=False)
    if (
        known is None
        or not _is_upgrade(known)
        or known.get(b"sec-websocket-accept") != _accept_token(key)
    ):
        return None
    subprotocol = None
    name = known.get(b"sec-websocket-protocol")
    if name is not None:
        subprotocol = name.decode("ascii")
        if subprotocol not in asked.subprotocols:
            return None
    extensions = _parts(known.get(b"sec-websocket-extensions"))
    for extension in extensions:
        if not asked.deflate or extension.partition(";")[0].strip() != DEFLATE:
            return None
    return Accepted(subprotocol, extensions, tuple(headers), rest)


def written_request(request: ServerRequest, key: bytes) -> bytes | None:
    """The request to a server; its headers: without what belongs to one hop."""
    lines = [
        b"GET %b HTTP/1.1\r\nHost: %b" % (request.target.encode(), request.host.encode()),
        b"Upgrade: websocket\r\nConnection: Upgrade",
        b"Sec-WebSocket-Key: %b\r\nSec-WebSocket-Version: 13" % key,
    ]
    size = 6
    if request.subprotocols:
        lines.append(b"Sec-WebSocket-Protocol: " + ", ".join(request.subprotocols).encode())
        size += 1
    if request.deflate:
        lines.append(b"Sec-WebSocket-Extensions: " + request.deflate.encode())
        size += 1
    if request.lines:
        lines.append(request.lines.replace(b"\n", b"\r\n"))
        size += 1 + request.lines.count(b"\n")
    return _finished(lines, size, request.headers)


def written_answer(key: bytes, subprotocol: str | None, headers: HeaderList) -> bytes | None:
    """The 101 answer to a request with that key; `headers`: as in written_request()."""
    lines = [
        b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade",
        b"Sec-WebSocket-Accept: " + _accept_token(key),
    ]
    size = 4
    if subprotocol is not None:
        lines.append(b"Sec-WebSocket-Protocol: " + subprotocol.encode())
        size += 1
    return _finished(lines, size, headers)


def _sort(
    lines: bytes, out: frozenset[bytes], headers: list[tuple[bytes, bytes]], *, lower: bool
) -> dict[bytes, bytes] | None:
    """What a head's lines say of the handshake; all but what is `out` goes into `headers`.

    `lower`: their names in lower case. None: something is there twice, or there is a body.
    """
    if _SPACE_AT_END in lines:
        return None
    known: dict[bytes, bytes] = {}
    split = lines[:-2].split(b"\r\n")
    if len(split) > MAX_HEADERS:
        return None
    for line in split:
        name, _, value = line.partition(b": ")
        key = name.lower()
        if key in _ONCE:
            if key in known or key in _BODY:
                return None
            known[key] = value
            if key in out:
                continue
        headers.append((key if lower else name, value))
    return known


def _is_upgrade(known: dict[bytes, bytes]) -> bool:
    return (
        known.get(b"upgrade", b"").lower() == b"websocket"
        and known.get(b"connection", b"").lower() in _UPGRADES
    )


def _parts(value: bytes | None) -> tuple[str, ...]:
    """The members of a list in a header."""
    if value is None:
        return ()
    return tuple([part.strip() for part in value.decode("ascii").split(",")])


def _accept_token(key: bytes) -> bytes:
    """RFC 6455, 4.2.2."""
    return b2a_base64(sha1(key + _GUID, usedforsecurity=False).digest(), newline=False)


def _finished(lines: list[bytes], size: int, headers: HeaderList) -> bytes | None:
    """A head of so many lines, and these headers, if all in it is plain."""
    lines += [b"%b: %b" % header for header in headers]
    head = b"\r\n".join(lines) + b"\r\n\r\n"
    if head.count(b"\r\n") != size + len(headers) + 1 or _SPACE_AT_END in head:
        return None  # a value that holds another line, or is not to be written
    return head if _WRITTEN.fullmatch(head) else None
