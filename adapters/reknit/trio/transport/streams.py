"""Stream sockets, plain or TLS: what they have in common, and waiting for one in a trio task.

Tasks wait during opening handshakes; an established socket is the reactor's.
"""

import socket
from collections.abc import Iterable
from typing import Protocol

import trio
from reknit_core.queue.stream import Buffer


class StreamSocket(Protocol):
    """The part of a non-blocking socket's interface that the proxy uses.

    Each method raises OSError where a socket does, BlockingIOError where it would have to wait.
    """

    def fileno(self) -> int:
        """The descriptor to wait for."""

    def recv(self, size: int, /) -> bytes:
        """Bytes that have come, some `size` at most; none at the peer's end of the stream."""

    def send(self, data: Buffer, /) -> int:
        """How many of these bytes were taken: the next call goes on behind them."""

    def sendmsg(self, buffers: Iterable[Buffer], /) -> int:
        """The same, of all these buffers one behind the other."""

    def shutdown(self, how: int, /) -> None:
        """With SHUT_WR: end this direction of the stream; what still comes can be read."""

    def close(self) -> None:
        """End both directions now."""


def plain_socket(stream: trio.SocketStream) -> socket.socket:
    """The stream's non-blocking socket without trio around it; the stream is used up."""
    family, kind = stream.socket.family, stream.socket.type
    plain = socket.socket(family, kind, fileno=stream.socket.detach())
    plain.setblocking(False)
    return plain


async def receive(sock: StreamSocket, size: int) -> bytes:
    """Some `size` bytes at most; none at the end of the stream. Raises OSError."""
    await trio.lowlevel.checkpoint()  # a peer that never stops sending holds up nobody
    while True:
        try:
            return sock.recv(size)
        except BlockingIOError:
            await trio.lowlevel.wait_readable(sock)


async def send_all(sock: StreamSocket, data: bytes) -> None:
    """Write all of it. Raises OSError."""
    while data:
        try:
            data = data[sock.send(data) :]
        except BlockingIOError:
            await trio.lowlevel.wait_writable(sock)
