"""What the system says of the bytes that a socket has taken: how far they have got.

Linux counts what the peer has acknowledged (tcp(7), TCP_INFO) and what it has not (SIOCOUTQ,
which a Unix socket has too: what its peer has not read), macOS the latter.
"""

import socket
import struct
import sys

from reknit_core import Transit

from reknit.sockets.stream_socket import StreamSocket
from reknit.sockets.tls import TlsSocket

if sys.platform == "linux":
    from fcntl import ioctl
    from termios import TIOCOUTQ  # SIOCOUTQ is the same number

# Linux, linux/tcp.h: tcpi_last_ack_recv (milliseconds), and since 4.1 tcpi_bytes_acked.
_TCP_INFO = struct.Struct("=56xI60xQ")
_SO_NWRITE = 0x1024  # macOS, sys/socket.h
_INT = struct.Struct("=i")


def in_transit(sock: StreamSocket) -> Transit | None:
    """How many of this socket's bytes its peer has not acknowledged, and how many it has.

    What TLS holds back counts among the former. None where the system can't be asked.
    """
    held = 0
    if isinstance(sock, TlsSocket):
        held = sock.held
        sock = sock.socket
    if not isinstance(sock, socket.socket) or sys.platform not in ("linux", "darwin"):
        return None
    try:
        arrived, quiet = _acknowledged(sock)
        return Transit(_left(sock) + held, arrived, quiet)
    except OSError:
        return None


def _left(sock: socket.socket) -> int:
    if sys.platform == "linux":
        answer = ioctl(sock.fileno(), TIOCOUTQ, bytes(_INT.size))
    else:
        answer = sock.getsockopt(socket.SOL_SOCKET, _SO_NWRITE, _INT.size)
    return int(_INT.unpack(answer)[0])


def _acknowledged(sock: socket.socket) -> tuple[int | None, float | None]:
    """How many bytes are, and how long ago that was said (seconds)."""
    if sys.platform != "linux" or sock.family == socket.AF_UNIX:
        return None, None
    info = sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, _TCP_INFO.size)
    if len(info) < _TCP_INFO.size:
        return None, None
    last_ack_recv, bytes_acked = _TCP_INFO.unpack(info)
    return bytes_acked, last_ack_recv / 1000
