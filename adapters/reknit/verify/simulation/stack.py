"""A WebSocket stack for simulated peers: one connection on the in-memory network.

It is a minimal implementation of RFC 6455 of its own, sharing no code with the core, and raises
PeerError for anything that a strict peer would not accept.
"""

from base64 import b64encode
from collections import deque
from collections.abc import Callable
from enum import Enum
from hashlib import sha1
from typing import Protocol

from reknit_core.codes import NO_STATUS

from reknit.memory.network import MemorySocket

TEXT, BINARY, CLOSE, PING, PONG = 1, 2, 8, 9, 10  # opcodes

_KEY = "dGhlIHNhbXBsZSBub25jZQ=="  # RFC 6455, section 1.3
_GUID = "258EAFA5-E914-47DA-95CA-C5AB0DC85B11"
_END = b"\r\n\r\n"
_FINAL = 0x80

Heard = Callable[["Stack", str, dict[str, str]], None]
"""Told of the other end's handshake: its first line, its headers by name in lower case."""


class PeerError(Exception):
    """The proxy sent what a strict peer would not accept."""


class Cut(Enum):
    """How a peer leaves without a closing handshake."""

    END = "end"  # its process ends: what it sent still arrives, then the end of the stream
    RESET = "reset"  # its process is killed: the connection is reset
    BREAK = "break"  # the connection is reset on its way, and both ends see it
    VANISH = "vanish"  # its host is gone: nothing passes any more, and the proxy isn't told


class Application(Protocol):
    """Who uses a Stack."""

    def received(self, message: bytes) -> None:
        """A whole message has arrived."""

    def gone(self, stack: "Stack") -> None:
        """The connection is over."""


class Stack:
    """One WebSocket connection. `mask`: the key of a client's frames; None for a server.

    `heard` must give it an application before the first message comes.
    """

    __slots__ = (
        "_accepted",
        "_arrived",
        "_close_sent",
        "_ends",
        "_handshaking",
        "_heard",
        "_in",
        "_mask",
        "_out",
        "_over",
        "_parts",
        "_refused",
        "_written",
        "application",
        "close_received",
        "dropped",
        "frame",
        "open",
        "pongs",
        "socket",
        "stalled",
    )

    def __init__(self, socket: MemorySocket, heard: Heard, mask: bytes | None = None) -> None:
        self.socket = socket
        self.open = False
        """Whether messages can be sent."""
        self.stalled = False
        """Whether it has ever stopped reading."""
        self.dropped = False
        """Whether the proxy has ended it without a Close, though it was open and did read."""
        self.close_received: tuple[int, str] | None = None
        self.pongs: list[bytes] = []
        self.frame = (0, 0)
        """Where the last frame that was read stands in all that has come (bytes)."""
        self.application: Application | None = None
        self._heard = heard
        self._mask = mask
        self._handshaking = True
        self._in = b""
        self._arrived = 0
        self._parts: list[bytes] = []  # of a fragmented message
        self._out = b""  # what the socket has not taken yet
        self._written = 0
        self._ends: deque[int] = deque()  # where messages end in what was written
        self._accepted = 0  # the last such end that the proxy has read
        self._close_sent = False
        self._refused = False
        self._over = False
        socket.owner = self

    # -- What the application does -------------------------------------------------------------

    def request(self, target: str, headers: dict[str, str]) -> None:
        """A client's part of the opening handshake."""
        lines = [f"GET {target} HTTP/1.1", "Host: proxy", "Upgrade: websocket"]
        lines += ["Connection: Upgrade", "Sec-WebSocket-Version: 13", f"Sec-WebSocket-Key: {_KEY}"]
        self._say(lines, headers)

    def answer(self, request: dict[str, str], headers: dict[str, str]) -> None:
        """A server's part: accept that request, with these headers beside the handshake's."""
        accept = _accept(request["sec-websocket-key"])
        lines = ["HTTP/1.1 101 Switching Protocols", "Upgrade: websocket", "Connection: Upgrade"]
        self._say(lines, {"Sec-WebSocket-Accept": accept, **headers})
        self.open = True

    def refuse(self, status: int) -> None:
        """A server's part: refuse with that HTTP status."""
        self._say([f"HTTP/1.1 {status} No", "Content-Length: 0", "Connection: close"], {})
        self._refused = True

    def send(self, messages: list[bytes], fragments: int = 1, *, is_text: bool = True) -> list[int]:
        """Send these messages in one write, each in that many frames.

        Returns where each of them ends in all that was sent on this connection (bytes).
        """
        data = bytearray()
        ends = []
        for message in messages:
            size = -(-len(message) // fragments)
            for index in range(fragments):
                part = message[index * size : (index + 1) * size]
                final = _FINAL if index == fragments - 1 else 0
                opcode = 0 if index else TEXT if is_text else BINARY
                data += self._frame(final | opcode, part)
            ends.append(self._written + len(data))
        self._ends += ends
        self._write(bytes(data))
        return ends

    def ping(self, payload: bytes) -> None:
        """Send a Ping; the answers gather in `pongs`."""
        self._write(self._frame(_FINAL | PING, payload))

    def close(self, code: int, reason: str = "") -> None:
        """Begin the closing handshake."""
        self.open = False
        self._send_close(code.to_bytes(2, "big") + reason.encode())

    def cut(self, how: Cut) -> None:
        """Leave without a closing handshake."""
        self.open = False
        match how:
            case Cut.BREAK:
                self.socket.cut()
                return  # on_lost() follows
            case Cut.END:
                self.socket.close()
            case Cut.RESET:
                self.socket.reset()
            case Cut.VANISH:
                self.socket.vanish()
                self.socket.close()
        self._end()

    def read(self, wanted: bool) -> None:
        """Stop reading, or go on."""
        self.stalled = self.stalled or not wanted
        self.socket.read(wanted)

    @property
    def waiting(self) -> int:
        """Bytes that the socket has not taken yet."""
        return len(self._out)

    @property
    def unaccepted(self) -> int:
        """Bytes from the end of the last message that the proxy has wholly read."""
        while self._ends and self._ends[0] <= self.socket.accepted:
            self._accepted = self._ends.popleft()
        return self._written - self._accepted if self._ends else 0

    @property
    def unread(self) -> int:
        """Bytes on their way to this end, and those of a message that is not complete."""
        return self.socket.unread + len(self._in) + sum(map(len, self._parts))

    # -- What the socket tells -----------------------------------------------------------------

    def on_data(self, data: bytes) -> None:
        """Bytes were read."""
        self._in += data
        self._arrived += len(data)
        if self._handshaking:
            head, end, rest = self._in.partition(_END)
            if not end:
                return
            self._handshaking = False
            self._in = rest
            self._read_head(head)
        if not self._refused:
            self._read_frames()

    def on_eof(self) -> None:
        """The proxy has ended its stream."""
        self._drop()
        self.socket.close()
        self._end()

    def on_lost(self, reason: str) -> None:
        """The connection was reset."""
        self._drop()
        self._end()

    def on_writable(self) -> None:
        """The socket has room again."""
        self._flush()

    # -- In ------------------------------------------------------------------------------------

    def _read_head(self, head: bytes) -> None:
        line, *fields = head.decode("latin-1").split("\r\n")
        headers = {}
        for field in fields:
            name, _, value = field.partition(":")
            headers[name.strip().lower()] = value.strip()
        if self._mask is not None and line.split()[1] != "101":
            self._refused = True  # what follows is no frame
        elif self._mask is not None:
            if headers.get("sec-websocket-accept") != _accept(_KEY):
                raise PeerError(f"a wrong Sec-WebSocket-Accept in {headers}")
            self.open = True
        self._heard(self, line, headers)

    def _read_frames(self) -> None:
        data = self._in
        size = len(data)
        before = self._arrived - size
        pos = 0
        while size - pos >= 2 and self.socket.open and self.close_received is None:
            first, second = data[pos], data[pos + 1]
            length = second & 0x7F
            start = pos + 2
            if length > 125:
                extended = 2 if length == 126 else 8
                length = int.from_bytes(data[start : start + extended], "big")
                start += extended
            if (second & 0x80 == 0) != (self._mask is not None):
                raise PeerError("a client's frame must be masked, a server's must not")
            if second & 0x80:
                start += 4
            if start + length > size:
                break
            payload = data[start : start + length]
            if second & 0x80:
                payload = _masked(payload, data[start - 4 : start])
            self.frame = (before + pos, before + start + length)
            pos = start + length
            self._read_frame(first, payload)
        self._in = data[pos:]

    def _read_frame(self, first: int, payload: bytes) -> None:
        opcode = first & 0x0F
        if opcode in (TEXT, BINARY, 0):
            if (opcode == 0) != bool(self._parts) or first & 0x70:
                raise PeerError(f"a frame that begins with {first:#x} must not stand here")
            if first & _FINAL:
                message = b"".join([*self._parts, payload]) if self._parts else payload
                self._parts = []
                assert self.application is not None
                self.application.received(message)
            else:
                self._parts.append(payload)
        elif opcode == PING:
            if not self._close_sent:
                self._write(self._frame(_FINAL | PONG, payload))
        elif opcode == PONG:
            self.pongs.append(payload)
        elif opcode == CLOSE:
            code = int.from_bytes(payload[:2], "big") if payload else NO_STATUS
            self.close_received = (code, payload[2:].decode())
            self.open = False
            self._send_close(payload[:2])
        else:
            raise PeerError(f"opcode {opcode} is none that anyone has sent")

    # -- Out -----------------------------------------------------------------------------------

    def _say(self, lines: list[str], headers: dict[str, str]) -> None:
        lines = [*lines, *(f"{name}: {value}" for name, value in headers.items())]
        self._write("\r\n".join(lines).encode() + _END)

    def _frame(self, first: int, payload: bytes) -> bytes:
        length = len(payload)
        mask = self._mask
        flag = 0x80 if mask else 0
        if length < 126:
            head = bytes((first, flag | length))
        elif length < 65536:
            head = bytes((first, flag | 126)) + length.to_bytes(2, "big")
        else:
            head = bytes((first, flag | 127)) + length.to_bytes(8, "big")
        return head + mask + _masked(payload, mask) if mask else head + payload

    def _send_close(self, payload: bytes) -> None:
        if not self._close_sent:
            self._close_sent = True
            self._write(self._frame(_FINAL | CLOSE, payload))
        self._flush()

    def _write(self, data: bytes) -> None:
        self._written += len(data)
        if self._out:
            self._out += data
        else:
            taken = self.socket.send(data)
            self._out = data[taken:]

    def _flush(self) -> None:
        if self._out:
            self._out = self._out[self.socket.send(self._out) :]
        server = self._mask is None
        if server and self._close_sent and self.close_received and not self._out:
            self.socket.close()  # the server closes first (RFC 6455, section 7.1.1)
            self._end()

    def _drop(self) -> None:
        self.dropped = self.open and not self.stalled
        self.open = False

    def _end(self) -> None:
        if not self._over:
            self._over = True
            if self.application is not None:
                self.application.gone(self)


def _accept(key: str) -> str:
    """Sec-WebSocket-Accept for that Sec-WebSocket-Key (RFC 6455, section 4.2.2)."""
    return b64encode(sha1((key + _GUID).encode(), usedforsecurity=False).digest()).decode()


def _masked(payload: bytes, key: bytes) -> bytes:
    size = len(payload)
    mask = (key * (size // 4 + 1))[:size]
    return (int.from_bytes(payload, "big") ^ int.from_bytes(mask, "big")).to_bytes(size, "big")
