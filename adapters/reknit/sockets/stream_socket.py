"""What the proxy uses of a socket, which TLS has too."""

from collections.abc import Iterable
from typing import Protocol

from reknit_core import Buffer


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
