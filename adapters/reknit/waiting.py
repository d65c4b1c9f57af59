"""Non-blocking sockets in trio tasks: during opening handshakes, before the reactor has them."""

import socket

import trio


def plain_socket(stream: trio.SocketStream) -> socket.socket:
    """The stream's non-blocking socket without trio around it; the stream is used up."""
    family, kind = stream.socket.family, stream.socket.type
    plain = socket.socket(family, kind, fileno=stream.socket.detach())
    plain.setblocking(False)
    return plain


async def receive(sock: socket.socket, size: int) -> bytes:
    """Up to `size` bytes; none at the end of the stream. Raises OSError."""
    await trio.lowlevel.checkpoint()  # a peer that never stops sending holds up nobody
    while True:
        try:
            return sock.recv(size)
        except BlockingIOError:
            await trio.lowlevel.wait_readable(sock)


async def send_all(sock: socket.socket, data: bytes) -> None:
    """Write all of it. Raises OSError."""
    while data:
        try:
            data = data[sock.send(data) :]
        except BlockingIOError:
            await trio.lowlevel.wait_writable(sock)
