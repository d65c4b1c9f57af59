"""Reading a PROXY protocol header, and nothing of what follows it."""

import socket

from reknit_core.wire.proxy_header import LINE, ProxyHeader


def read_header(sock: socket.socket, header: ProxyHeader) -> None:
    """Read on until it is complete.

    Raises BlockingIOError where there is no more of it yet, ProxyHeaderError, or OSError.
    """
    while not header.is_complete:
        data = sock.recv(LINE, socket.MSG_PEEK)
        if not data:
            raise ConnectionResetError
        sock.recv(header.receive_data(data))
