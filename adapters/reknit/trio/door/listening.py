"""Listening: on an address of the network, or on a Unix socket, which is a file too."""

import os
import socket
from pathlib import Path

import trio

from reknit.settings.addresses import Address, Listen

BACKLOG = 4096  # connections that may wait to be accepted
OWNER_ONLY = 0o177  # a umask


async def open_listeners(
    address: Address, *, owner_only: bool = False
) -> list[trio.SocketListener]:
    """Listen on all addresses of a host, or on a Unix socket. Raises OSError.

    The file of a socket that a dead process has left is replaced. `owner_only`: no other user
    may connect through the file.
    """
    if isinstance(address, Listen):
        return await trio.open_tcp_listeners(address.port, host=address.host, backlog=BACKLOG)
    _remove_dead(address.path)
    sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    before = os.umask(OWNER_ONLY) if owner_only else None
    try:
        sock.bind(address.path)
        sock.listen(BACKLOG)
    except OSError:
        sock.close()
        raise
    finally:
        if before is not None:
            os.umask(before)
    return wrap_listeners([sock])


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
            _remove_dead(path)


def _remove_dead(path: str) -> None:
    """Remove the file of a socket to which nobody listens."""
    if not Path(path).is_socket():
        return
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        probe.setblocking(False)  # a process that is busy is alive
        try:
            probe.connect(path)
        except ConnectionRefusedError:
            Path(path).unlink(missing_ok=True)
        except OSError:
            pass  # if it is in the way, binding will say so
