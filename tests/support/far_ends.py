"""Far ends of a proxy's connections that a test leads step by step, in plain calls that wait.

On a real socket they wait for bytes to come, on the network in memory for its clock. Each raises
TimeoutError where nothing comes for as long as a test may take, and EOFError at the stream's end.
"""

import base64
import hashlib
import select
import socket
import struct
from abc import ABC, abstractmethod

from patience import LIMIT
from raw_websocket import Frame, Head, frame, parse_head
from reknit.memory.network import MemoryNetwork, MemorySocket

_GUID = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"
STILL = 0.3  # seconds in which a socket takes nothing: its sender is held back
STEP = 0.01  # seconds that the clock in memory moves on at a time


class FarEnd(ABC):
    """A client, or a server: what it has received and not looked at yet is kept."""

    def __init__(self, *, masked: bool) -> None:
        self._masked = masked  # whether its own frames are
        self._received = b""
        self.head = Head("", [])

    @abstractmethod
    def push(self, data: bytes, patience: float = STILL) -> int:
        """Write until nothing is taken for that time (seconds); how much was taken."""

    @abstractmethod
    def read_some(self) -> bytes:
        """The next bytes. Raises EOFError at the end of the stream or connection."""

    @abstractmethod
    def end(self) -> None:
        """End our direction of the stream."""

    @abstractmethod
    def reset(self) -> None:
        """End the connection by a reset."""

    def send(self, data: bytes) -> None:
        """Write all of it."""
        assert self.push(data) == len(data)

    def say(self, opcode: int, payload: bytes | str) -> None:
        """Send a frame."""
        data = payload.encode() if isinstance(payload, str) else payload
        self.send(frame(opcode, data, masked=self._masked))

    def close(self, code: int, reason: str = "") -> None:
        """Send a Close frame."""
        self.say(8, code.to_bytes(2, "big") + reason.encode())

    def read_head(self) -> Head:
        """The other end's request or answer."""
        while b"\r\n\r\n" not in self._received:
            self._received += self.read_some()
        head, blank, self._received = self._received.partition(b"\r\n\r\n")
        self.head = parse_head(head + blank)
        return self.head

    def accept(self, *headers: str) -> None:
        """Answer the request that was read with 101."""
        key = (self.head.value("sec-websocket-key") or "").encode()
        digest = hashlib.sha1(key + _GUID, usedforsecurity=False).digest()
        lines = (
            "HTTP/1.1 101 Switching Protocols",
            "Upgrade: websocket",
            "Connection: Upgrade",
            f"Sec-WebSocket-Accept: {base64.b64encode(digest).decode()}",
            *headers,
        )
        self.send("\r\n".join((*lines, "", "")).encode())

    def read_exactly(self, size: int) -> bytes:
        """So many bytes."""
        while len(self._received) < size:
            self._received += self.read_some()
        data, self._received = self._received[:size], self._received[size:]
        return data

    def read_frame(self) -> Frame:
        """The next frame, unmasked."""
        first, second = self.read_exactly(2)
        size = second & 0x7F
        if size == 126:
            (size,) = struct.unpack("!H", self.read_exactly(2))
        elif size == 127:
            (size,) = struct.unpack("!Q", self.read_exactly(8))
        mask = self.read_exactly(4) if second & 0x80 else bytes(4)
        payload = bytes(byte ^ mask[at % 4] for at, byte in enumerate(self.read_exactly(size)))
        return Frame(first & 0x0F, payload, bool(first & 0x80), first >> 4 & 7)

    def hear(self) -> bytes:
        """The payload of the next frame, which is a message's only one."""
        found = self.read_frame()
        assert found.opcode in (1, 2), found
        assert found.fin
        return found.payload

    def ended(self) -> None:
        """Wait for the end; whatever still comes is discarded."""
        try:
            while True:
                self.read_some()
        except EOFError:
            pass


class SocketEnd(FarEnd):
    """An end on a real socket."""

    def __init__(self, sock: socket.socket, *, masked: bool) -> None:
        super().__init__(masked=masked)
        sock.settimeout(LIMIT)
        self._socket = sock

    def push(self, data: bytes, patience: float = STILL) -> int:
        view = memoryview(data)
        while view and select.select((), (self._socket,), (), patience)[1]:
            view = view[self._socket.send(view, socket.MSG_DONTWAIT) :]
        return len(data) - len(view)

    def read_some(self) -> bytes:
        try:
            data = self._socket.recv(65536)
        except ConnectionError:
            data = b""
        if not data:
            raise EOFError
        return data

    def end(self) -> None:
        self._socket.shutdown(socket.SHUT_WR)

    def reset(self) -> None:
        linger = struct.pack("ii", 1, 0)
        self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
        self._socket.close()


class MemoryEnd(FarEnd):
    """An end on the network in memory; it reads only while the test waits for something."""

    def __init__(self, network: MemoryNetwork, sock: MemorySocket, *, masked: bool) -> None:
        super().__init__(masked=masked)
        self._network = network
        self._socket = sock
        self._came: list[bytes] = []
        self._over = False
        sock.owner = self
        sock.read(False)

    def push(self, data: bytes, patience: float = STILL) -> int:
        rest, until = data, self._network.now + patience
        while rest and self._network.now <= until:
            taken = self._socket.send(rest)
            rest = rest[taken:]
            if taken:
                until = self._network.now + patience
            self._network.run(self._network.now + STEP)
        return len(data) - len(rest)

    def read_some(self) -> bytes:
        until = self._network.now + LIMIT
        self._socket.read(True)
        while not (self._came or self._over):
            if self._network.now > until:
                raise TimeoutError
            self._network.run(self._network.now + STEP)
        self._socket.read(False)
        if not self._came:
            raise EOFError
        data, self._came = b"".join(self._came), []
        return data

    def end(self) -> None:
        self._socket.end()

    def reset(self) -> None:
        self._socket.reset()

    # -- What the socket says ------------------------------------------------------------------

    def on_data(self, data: bytes) -> None:
        self._came.append(data)

    def on_eof(self) -> None:
        self._over = True

    def on_lost(self, reason: str) -> None:
        self._over = True

    def on_writable(self) -> None:
        pass
