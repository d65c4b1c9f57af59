"""What the proxy uses of a socket, which TLS has too."""

from typing import Protocol

from reknit_core import Socket


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
