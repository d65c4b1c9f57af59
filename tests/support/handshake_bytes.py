"""Opening handshakes as bytes, built without the code under test."""

import base64
import hashlib
import re

CRLF = b"\r\n"
KEY = b"dGhlIHNhbXBsZSBub25jZQ=="  # RFC 6455, section 1.3
ACCEPT = b"s3pPLMBiTxaQ9kYGzzhZRbK+xOo="
NEEDED = {
    b"Host": b"client.example",
    b"Upgrade": b"websocket",
    b"Connection": b"Upgrade",
    b"Sec-WebSocket-Key": KEY,
    b"Sec-WebSocket-Version": b"13",
}


def request(
    *extra: bytes,
    line: bytes = b"GET / HTTP/1.1",
    without: bytes = b"",
    **replaced: bytes,
) -> bytes:
    """A client's request; a keyword replaces a needed header's value: `host=b"x"`."""
    values = {name.lower().replace(b"-", b"_").decode(): name for name in NEEDED}
    needed = dict(NEEDED)
    needed.pop(without, None)
    for keyword, value in replaced.items():
        needed[values[keyword]] = value
    lines = [line, *(name + b": " + value for name, value in needed.items()), *extra]
    return CRLF.join(lines) + CRLF * 2


def accept_token(sent: bytes) -> bytes:
    """The token that answers this request (RFC 6455, 4.2.2)."""
    match = re.search(rb"(?i)\r\nsec-websocket-key: (\S+)\r\n", sent)
    assert match is not None
    digest = hashlib.sha1(match[1] + b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11").digest()
    return base64.b64encode(digest)


def accepting(
    sent: bytes, *extra: bytes, line: bytes = b"HTTP/1.1 101 Switching Protocols"
) -> bytes:
    """A server's 101 answer to this request."""
    token = accept_token(sent)
    needed = (b"Upgrade: websocket", b"Connection: Upgrade", b"Sec-WebSocket-Accept: " + token)
    return CRLF.join((line, *needed, *extra)) + CRLF * 2


def header_values(head: bytes, name: bytes) -> list[bytes]:
    """The values of a header in a request's or answer's head, in order."""
    found = []
    for line in head.split(CRLF * 2)[0].split(CRLF)[1:]:
        key, _, value = line.partition(b": ")
        if key.lower() == name.lower():
            found.append(value)
    return found
