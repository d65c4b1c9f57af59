"""What the proxy uses of a socket, which TLS has too."""

from socket import SHUT_WR
from typing import Protocol

from reknit_core import Socket

DISCARDED = 64 * 1024  # bytes a read


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


def has_ended(sock: StreamSocket) -> bool:
    """Read what comes behind our end of the stream, for nothing; whether that was the peer's."""
    try:
        return not sock.recv(DISCARDED)
    except (BlockingIOError, InterruptedError):
        return False
    except OSError:
        return True
