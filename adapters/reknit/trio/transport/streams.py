"""Stream sockets, plain or TLS, in a trio task: waiting for one.

Tasks wait during opening handshakes; an established socket is the reactor's.
"""

import socket

import trio

from reknit.sockets.stream_socket import StreamSocket
from reknit.sockets.tls import RECORD, TlsSocket


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


async def shake_hands(tls: TlsSocket) -> None:
    """The TLS handshake. Raises TlsError, or OSError for a connection that breaks."""
    while True:
        done = tls.handshake()
        await send_all(tls.socket, tls.outgoing())
        if done:
            return
        tls.feed(await receive(tls.socket, RECORD))
