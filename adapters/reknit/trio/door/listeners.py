"""Listening: on an address of the network, or on a Unix socket, which is a file too."""

import socket

import trio

from reknit.settings.addresses import Address, Listen
from reknit.sockets.listening import BACKLOG, listen_unix, remove_dead


async def open_listeners(address: Address, *, owner_only: bool = False) -> list[socket.socket]:
    """Listen on all addresses of a host, or on a Unix socket. Raises OSError.

    The file of a socket that a dead process has left is replaced. `owner_only`: no other user
    may connect through the file.
    """
    if isinstance(address, Listen):
        # trio sets IPV6_V6ONLY: [::] leaves IPv4 to 0.0.0.0, whatever the system's default is.
        opened = await trio.open_tcp_listeners(address.port, host=address.host, backlog=BACKLOG)
        return [_detached(listener.socket) for listener in opened]
    return [listen_unix(address.path, owner_only=owner_only)]


async def open_everywhere(port: int) -> list[socket.socket]:
    """Listen on that port of all addresses. Raises OSError."""
    opened = await trio.open_tcp_listeners(port, backlog=BACKLOG)
    return [_detached(listener.socket) for listener in opened]


def _detached(sock: trio.socket.SocketType) -> socket.socket:
    """The same socket, without trio around it."""
    family, kind = sock.family, sock.type
    plain = socket.socket(family, kind, fileno=sock.detach())
    plain.setblocking(False)
    return plain


def close_listeners(sockets: list[socket.socket]) -> None:
    """Take no more connections; a socket's file goes too, unless a successor has put its own."""
    for sock in sockets:
        if sock.fileno() < 0:
            continue  # closed before
        path = sock.getsockname() if sock.family == socket.AF_UNIX else None
        sock.close()
        if path:
            remove_dead(path)
