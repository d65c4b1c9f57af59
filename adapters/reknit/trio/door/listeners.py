"""Listening: on an address of the network, or on a Unix socket, which is a file too."""

import socket

import trio

from reknit.settings.addresses import Address, Listen
from reknit.sockets.listening import BACKLOG, listen_unix, remove_dead


async def open_listeners(
    address: Address, *, owner_only: bool = False
) -> list[trio.SocketListener]:
    """Listen on all addresses of a host, or on a Unix socket. Raises OSError.

    The file of a socket that a dead process has left is replaced. `owner_only`: no other user
    may connect through the file.
    """
    if isinstance(address, Listen):
        # trio sets IPV6_V6ONLY: [::] leaves IPv4 to 0.0.0.0, whatever the system's default is.
        return await trio.open_tcp_listeners(address.port, host=address.host, backlog=BACKLOG)
    return wrap_listeners([listen_unix(address.path, owner_only=owner_only)])


def wrap_listeners(sockets: list[socket.socket]) -> list[trio.SocketListener]:
    """Sockets that listen already."""
    return [trio.SocketListener(trio.socket.from_stdlib_socket(sock)) for sock in sockets]


def close_listeners(listeners: list[trio.SocketListener]) -> None:
    """Take no more connections; a socket's file goes too, unless a successor has put its own."""
    for listener in listeners:
        sock = listener.socket
        if sock.fileno() < 0:
            continue  # closed before
        path = sock.getsockname() if sock.family == socket.AF_UNIX else None
        sock.close()
        if path:
            remove_dead(path)
