"""Connecting to the server."""

import os
import socket

import trio
from reknit_core.policy.upstream import Upstream
from reknit_core.wire.reasons import reason_of

from reknit.sockets.stream_socket import StreamSocket
from reknit.sockets.tls import TlsError, TlsSocket
from reknit.trio.transport.certificates import Certificates
from reknit.trio.transport.streams import plain_socket, shake_hands

DIALS = 64  # at one time: after a server's restart thousands are due, and others want a turn too


class DialError(Exception):
    """There is no connection; says why. `answered`: the server is there, but its TLS failed."""

    def __init__(self, reason: str, *, answered: bool = False) -> None:
        super().__init__(reason)
        self.answered = answered


class Dialler:
    """Connects to the server, within `timeout` seconds each time."""

    def __init__(self, upstream: Upstream, certificates: Certificates, timeout: float) -> None:
        self._upstream = upstream
        self._certificates = certificates
        self._timeout = timeout
        self._dials = trio.CapacityLimiter(DIALS)

    async def connect(self) -> StreamSocket:
        """A new connection, as soon as it is this one's turn. Raises DialError."""
        async with self._dials:
            with trio.move_on_after(self._timeout):
                try:
                    return await self._secure(plain_socket(await self._open()))
                except OSError as error:
                    answered = isinstance(error, TlsError) and error.answered
                    raise DialError(_explain(error), answered=answered) from None
        raise DialError(f"no connection in {self._timeout:g} seconds")

    async def _open(self) -> trio.SocketStream:
        upstream = self._upstream
        if upstream.socket_path:
            return await trio.open_unix_socket(upstream.socket_path)
        return await trio.open_tcp_stream(upstream.host, upstream.port)

    async def _secure(self, sock: socket.socket) -> StreamSocket:
        """The same connection, with TLS if the upstream's URL says so."""
        context = self._certificates.for_server
        if context is None:
            return sock
        try:
            secured = TlsSocket(sock, context, self._upstream.host)
            await shake_hands(secured)
        except BaseException:
            sock.close()
            raise
        return secured


def _explain(error: OSError) -> str:
    """What went wrong, of the several addresses that a name can have."""
    causes = getattr(error.__cause__, "exceptions", ())
    cause = next((cause for cause in causes if isinstance(cause, OSError)), error)
    if cause.errno is None or isinstance(cause, socket.gaierror):
        return reason_of(cause)
    return os.strerror(cause.errno)
