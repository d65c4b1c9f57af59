"""What the proxy uses of a socket, which TLS has too."""

import os
import socket
import struct
from contextlib import suppress
from socket import SHUT_WR
from typing import Protocol

from reknit_core import Socket

DISCARDED = 64 * 1024  # bytes a read
_AT_ONCE = struct.pack("ii", 1, 0)  # linger for no time
NOTSENT = 16 * 1024  # bytes that the system takes before the last are on their way

_NOTSENT_LOWAT = getattr(socket, "TCP_NOTSENT_LOWAT", None)  # Linux, and macOS from Python 3.12


class StreamSocket(Socket, Protocol):
    """The part of a non-blocking socket's interface that the proxy uses.

    Each method raises OSError where a socket does, BlockingIOError where it would have to wait.
    """

    def fileno(self) -> int:
        """The descriptor to wait for."""

    def shutdown(self, how: int, /) -> None:
        """With SHUT_WR: end this direction of the stream; what still comes can be read."""

    def close(self) -> None:
        """End both directions now."""


def part_with(sock: StreamSocket, farewell: bytes, *, lingers: bool) -> bool:
    """Say farewell, if there is room; whether it is to be closed only when the peer has ended.

    That is so if it `lingers` and the peer is still there: this direction is ended then.
    """
    try:
        if farewell:
            sock.send(farewell)
        if lingers:
            sock.shutdown(SHUT_WR)
    except OSError:
        return False  # the peer is gone already
    return lingers


def cut(sock: StreamSocket) -> None:
    """When it is closed, which is to be done next, its peer sees a broken connection."""
    with suppress(OSError), socket.socket(fileno=os.dup(sock.fileno())) as same:
        same.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _AT_ONCE)


def has_ended(sock: StreamSocket) -> bool:
    """Read what comes behind our end of the stream, for nothing; whether that was the peer's."""
    try:
        return not sock.recv(DISCARDED)
    except (BlockingIOError, InterruptedError):
        return False
    except OSError:
        return True


def without_delay(sock: socket.socket) -> socket.socket:
    """The socket, that sends what it is given at once, and takes no more than it can send soon.

    What the system has taken can no longer be given to another connection.
    """
    try:
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        if _NOTSENT_LOWAT is not None:
            sock.setsockopt(socket.IPPROTO_TCP, _NOTSENT_LOWAT, NOTSENT)
    except OSError:
        pass  # a Unix socket has no such options, and needs none
    return sock
