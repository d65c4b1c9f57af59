"""Stream sockets, plain or TLS, in an asyncio task: connecting, and waiting for one.

Tasks wait during opening handshakes; an established socket is a transport's (adapter.py).
"""

import asyncio
import socket
import ssl
from collections.abc import Callable
from functools import partial

from reknit_core.policy.upstream import Upstream
from reknit_core.wire.proxy_header import ProxyHeader

from reknit.settings.addresses import Address, Listen
from reknit.sockets.listening import BACKLOG, listen_unix
from reknit.sockets.poller import READ
from reknit.sockets.proxy_header import read_header
from reknit.sockets.stream_socket import StreamSocket, without_delay
from reknit.sockets.tls import TlsSocket

AGAIN = 0.02  # seconds until a Unix socket is tried again whose queue is full


async def listen(address: Address) -> list[socket.socket]:
    """Listen on all addresses of a host, or on a Unix socket. Raises OSError."""
    sockets: list[socket.socket] = []
    if isinstance(address, Listen):
        for family, place in await _places(address.host, address.port, socket.AI_PASSIVE):
            sockets.append(socket.create_server(place, family=family, backlog=BACKLOG))
    else:
        sockets.append(listen_unix(address.path))
    for sock in sockets:
        sock.setblocking(False)
    return sockets


async def connect(upstream: Upstream, context: ssl.SSLContext | None) -> StreamSocket:
    """A new connection to the server; with TLS if there is a context. Raises OSError."""
    if upstream.socket_path:
        sock = await _connect(socket.AF_UNIX, upstream.socket_path)
    else:
        sock = await _connect_by_name(upstream.host, upstream.port)
    if context is None:
        return sock
    try:
        tls = TlsSocket(sock, context, upstream.host)
        await shake_hands(tls)
    except BaseException:
        sock.close()
        raise
    return tls


async def _connect_by_name(host: str, port: int) -> socket.socket:
    error = OSError("the name has no address")
    for family, place in await _places(host, port, 0):
        try:
            return await _connect(family, place)
        except OSError as problem:
            error = problem
    raise error


async def _connect(family: int, place: tuple[str, int] | str) -> socket.socket:
    sock = socket.socket(family, socket.SOCK_STREAM)
    sock.setblocking(False)
    try:
        if family == socket.AF_UNIX:
            await _connect_unix(sock, place)
        else:
            await asyncio.get_running_loop().sock_connect(sock, place)
    except BaseException:
        sock.close()
        raise
    return without_delay(sock)


async def _connect_unix(sock: socket.socket, place: object) -> None:
    """Its queue may be full, which asyncio takes for a connection that is under way."""
    while True:
        try:
            sock.connect(place)  # type: ignore[arg-type]
        except BlockingIOError:
            await asyncio.sleep(AGAIN)
        else:
            return


async def _places(host: str, port: int, flags: int) -> list[tuple[int, tuple[str, int]]]:
    loop = asyncio.get_running_loop()
    found = await loop.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=flags)
    return [(info[0], info[4]) for info in found]  # type: ignore[misc]  # IPv6 has two more fields


async def shake_hands(tls: TlsSocket) -> None:
    """The TLS handshake. Raises TlsError, or OSError for a connection that breaks."""
    while mask := tls.shake_hands():
        await (wait_readable(tls) if mask == READ else wait_writable(tls))


async def receive(sock: StreamSocket, size: int) -> bytes:
    """Some `size` bytes at most; none at the end of the stream. Raises OSError."""
    while True:
        try:
            return sock.recv(size)
        except BlockingIOError:
            await wait_readable(sock)


async def receive_header(sock: socket.socket, header: ProxyHeader) -> None:
    """All of it, and nothing of what follows. Raises ProxyHeaderError, OSError."""
    while not header.is_complete:
        try:
            read_header(sock, header)
        except BlockingIOError:
            await wait_readable(sock)


async def send_all(sock: StreamSocket, data: bytes) -> None:
    """Write all of it. Raises OSError."""
    while data:
        try:
            data = data[sock.send(data) :]
        except BlockingIOError:
            await wait_writable(sock)


async def wait_readable(sock: StreamSocket) -> None:
    """Return when it can be read."""
    loop = asyncio.get_running_loop()
    await _wait(partial(loop.add_reader, sock.fileno()), loop.remove_reader, sock)


async def wait_writable(sock: StreamSocket) -> None:
    """Return when there is room to write."""
    loop = asyncio.get_running_loop()
    await _wait(partial(loop.add_writer, sock.fileno()), loop.remove_writer, sock)


async def _wait(
    add: Callable[[Callable[[], None]], None], remove: Callable[[int], object], sock: StreamSocket
) -> None:
    ready = asyncio.get_running_loop().create_future()
    add(lambda: None if ready.done() else ready.set_result(None))
    try:
        await ready
    finally:
        remove(sock.fileno())
