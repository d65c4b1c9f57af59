"""A WebSocket connection byte by byte, for what a proper implementation doesn't do."""

import asyncio
import base64
import hashlib
import json
import socket
import ssl
import struct
from typing import Any, NamedTuple

KEY = "dGhlIHNhbXBsZSBub25jZQ=="
_GUID = "258EAFA5-E914-47DA-95CA-C5AB0DC85B11"
_MASK = bytes((0x37, 0xFA, 0x21, 0x3D))

CONTINUATION, TEXT, BINARY, CLOSE, PING, PONG = 0, 1, 2, 8, 9, 10


class Frame(NamedTuple):
    """A frame as it came."""

    opcode: int
    payload: bytes
    fin: bool = True
    rsv: int = 0

    @property
    def close(self) -> tuple[int | None, str]:
        """The code and the reason of a Close frame."""
        assert self.opcode == CLOSE, self
        code = int.from_bytes(self.payload[:2], "big") if self.payload else None
        return code, self.payload[2:].decode()


def frame(
    opcode: int, payload: bytes = b"", *, masked: bool = True, fin: bool = True, rsv: int = 0
) -> bytes:
    """A frame as bytes; `rsv`: its three reserved bits."""
    first = fin << 7 | rsv << 4 | opcode
    mask_bit = masked << 7
    size = len(payload)
    if size < 126:
        head = bytes((first, mask_bit | size))
    elif size < 65536:
        head = struct.pack("!BBH", first, mask_bit | 126, size)
    else:
        head = struct.pack("!BBQ", first, mask_bit | 127, size)
    if not masked:
        return head + payload
    return head + _MASK + _masked(payload, _MASK)


def close_frame(code: int, reason: str = "", *, masked: bool = True) -> bytes:
    """A Close frame."""
    return frame(CLOSE, code.to_bytes(2, "big") + reason.encode(), masked=masked)


def request(path: str = "/", *headers: str) -> bytes:
    """A valid opening handshake; each header as "name: value"."""
    lines = (
        f"GET {path} HTTP/1.1",
        "Host: proxy.test",
        "Upgrade: websocket",
        "Connection: Upgrade",
        f"Sec-WebSocket-Key: {KEY}",
        "Sec-WebSocket-Version: 13",
        *headers,
    )
    return "\r\n".join((*lines, "", "")).encode()


class Head(NamedTuple):
    """The head of a request or of an answer."""

    start: str
    headers: list[tuple[str, str]]

    @property
    def status(self) -> int:
        """The status code of an answer."""
        return int(self.start.split(" ")[1])

    def values(self, name: str) -> list[str]:
        """All values of a header, in their order."""
        return [value for key, value in self.headers if key == name.lower()]

    def value(self, name: str) -> str | None:
        """A header's only value; None if it isn't there."""
        values = self.values(name)
        assert len(values) < 2, f"{name}: {values}"
        return values[0] if values else None


def parse_head(data: bytes) -> Head:
    """Read a head, blank line included."""
    start, *lines = data.decode("latin-1").removesuffix("\r\n\r\n").split("\r\n")
    pairs = (line.partition(":") for line in lines)
    return Head(start, [(name.lower(), value.strip()) for name, _, value in pairs])


class RawConnection:
    """Either end of a connection."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.head = Head("", [])
        self._reader = reader
        self._writer = writer

    @property
    def socket(self) -> socket.socket:
        """The socket, for its options."""
        sock: socket.socket = self._writer.get_extra_info("socket")
        return sock

    def send(self, data: bytes) -> None:
        """Write bytes, without waiting for them to go out."""
        self._writer.write(data)

    async def drain(self) -> None:
        """Wait until the system has taken most of it."""
        await self._writer.drain()

    async def read_head(self) -> Head:
        """Read the other end's request or answer."""
        self.head = parse_head(await self._reader.readuntil(b"\r\n\r\n"))
        return self.head

    async def read_exactly(self, size: int) -> bytes:
        """So many bytes."""
        return await self._reader.readexactly(size)

    async def read_body(self) -> bytes:
        """The body of an answer, by its Content-Length; the connection must end behind it."""
        length = int(self.head.value("content-length") or 0)
        body = await self._reader.readexactly(length)
        assert await self._reader.read() == b""
        return body

    async def read_json(self) -> Any:
        """The JSON body of an answer."""
        assert self.head.value("content-type") == "application/json"
        return json.loads(await self.read_body())

    def accept(self, *headers: str) -> None:
        """Answer the request that was read with 101."""
        key = self.head.value("sec-websocket-key") or ""
        digest = hashlib.sha1(key.encode() + _GUID.encode(), usedforsecurity=False).digest()
        lines = (
            "HTTP/1.1 101 Switching Protocols",
            "Upgrade: websocket",
            "Connection: Upgrade",
            f"Sec-WebSocket-Accept: {base64.b64encode(digest).decode()}",
            *headers,
        )
        self.send("\r\n".join((*lines, "", "")).encode())

    async def read_frame(self) -> Frame:
        """The next frame, unmasked. Raises IncompleteReadError at the end of the stream."""
        first, second = await self._reader.readexactly(2)
        size = second & 0x7F
        if size == 126:
            (size,) = struct.unpack("!H", await self._reader.readexactly(2))
        elif size == 127:
            (size,) = struct.unpack("!Q", await self._reader.readexactly(8))
        mask = await self._reader.readexactly(4) if second & 0x80 else bytes(4)
        payload = _masked(await self._reader.readexactly(size), mask)
        return Frame(first & 0x0F, payload, bool(first & 0x80), first >> 4 & 7)

    async def read_message(self) -> Frame:
        """The next frame that is no Ping or Pong; Pings are not answered."""
        while (found := await self.read_frame()).opcode in (PING, PONG):
            pass
        return found

    async def read_some(self) -> bytes:
        """What has come; nothing at the end of the stream."""
        return await self._reader.read(65536)

    async def read_all(self) -> bytes:
        """All that still comes until the end of the stream."""
        return await self._reader.read()

    async def start_tls(self, context: ssl.SSLContext) -> None:
        """Speak TLS from now on."""
        await self._writer.start_tls(context, server_hostname="127.0.0.1")

    def end(self) -> None:
        """End our direction of the stream; the other one stays open."""
        self._writer.write_eof()

    async def ended(self) -> None:
        """Wait for the end of the stream, or a reset."""
        try:
            while await self._reader.read(65536):
                pass
        except ConnectionError:
            pass

    def close(self) -> None:
        """End the stream; by TLS with close_notify first, and TCP's end after the other's."""
        self._writer.close()

    def abort(self, *, reset: bool = True) -> None:
        """End the connection at once."""
        if reset and not self._writer.transport.is_closing():
            linger = struct.pack("ii", 1, 0)
            self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
        self._writer.transport.abort()


async def raw_connect(
    port: int,
    receive_buffer: int = 0,
    local: str = "127.0.0.1",
    tls: ssl.SSLContext | None = None,
) -> RawConnection:
    """A connection to a loopback port, on which nothing is said yet.

    `receive_buffer`: bytes that the system takes in before they are read; 0: as it likes.
    `local`: the loopback address to come from.
    """
    sock = socket.socket(proto=socket.IPPROTO_TCP)
    sock.setblocking(False)
    if receive_buffer:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer)
    sock.bind((local, 0))
    await asyncio.get_running_loop().sock_connect(sock, ("127.0.0.1", port))
    name = "127.0.0.1" if tls else None
    return RawConnection(*await asyncio.open_connection(sock=sock, ssl=tls, server_hostname=name))


def _masked(data: bytes, mask: bytes) -> bytes:
    if not data or mask == bytes(4):
        return data
    size = len(data)
    pattern = (mask * (size // 4 + 1))[:size]
    return (int.from_bytes(data, "big") ^ int.from_bytes(pattern, "big")).to_bytes(size, "big")
