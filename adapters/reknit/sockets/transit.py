"""What the system says of the bytes that a socket has taken: how far they have got.

Linux counts what the peer has acknowledged (tcp(7), TCP_INFO) and what it has not (SIOCOUTQ,
which a Unix socket has too: what its peer has not read); macOS and FreeBSD the latter.
"""

import socket
import struct
import sys

from reknit_core.session.transit import Transit

from reknit.sockets.stream import StreamSocket
from reknit.sockets.tls import TlsSocket

if sys.platform == "linux":
    from fcntl import ioctl
    from termios import TIOCOUTQ  # SIOCOUTQ is the same number

_BYTES_ACKED = struct.Struct("=120xQ")  # tcpi_bytes_acked in linux/tcp.h, since Linux 4.1
_SO_NWRITE = 0x1024  # sys/socket.h
_INT = struct.Struct("=i")


def in_transit(sock: StreamSocket) -> Transit | None:
    """How many of this socket's bytes its peer has not acknowledged, and how many it has.

    What TLS holds back counts among the former. None where the system can't be asked.
    """
    held = 0
    if isinstance(sock, TlsSocket):
        held = sock.held
        sock = sock.socket
    if not isinstance(sock, socket.socket):
        return None
    try:
        return Transit(_left(sock) + held, _arrived(sock))
    except OSError:
        return None


def _left(sock: socket.socket) -> int:
    if sys.platform == "linux":
        answer = ioctl(sock.fileno(), TIOCOUTQ, bytes(_INT.size))
    else:
        answer = sock.getsockopt(socket.SOL_SOCKET, _SO_NWRITE, _INT.size)
    return int(_INT.unpack(answer)[0])


def _arrived(sock: socket.socket) -> int | None:
    if sys.platform != "linux" or sock.family == socket.AF_UNIX:
        return None
    info = sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, _BYTES_ACKED.size)
    return int(_BYTES_ACKED.unpack(info)[0]) if len(info) == _BYTES_ACKED.size else None
