"""Connecting to the server."""

import os
import socket

import trio
from reknit_core.upstream import Upstream

from reknit.waiting import plain_socket

DIALS = 64  # at one time: after a server's restart thousands are due, and others want a turn too


class DialError(Exception):
    """There is no connection; says why."""


class Dialler:
    """Connects to the server, within `timeout` seconds each time."""

    def __init__(self, upstream: Upstream, timeout: float) -> None:
        self._upstream = upstream
        self._timeout = timeout
        self._dials = trio.CapacityLimiter(DIALS)

    async def connect(self) -> socket.socket:
        """A new connection, as soon as it is this one's turn. Raises DialError."""
        async with self._dials:
            with trio.move_on_after(self._timeout):
                try:
                    return plain_socket(
                        await trio.open_tcp_stream(self._upstream.host, self._upstream.port)
                    )
                except OSError as error:
                    raise DialError(_explain(error)) from None
        raise DialError(f"no connection in {self._timeout:g} seconds")


def _explain(error: OSError) -> str:
    """What went wrong, of the several addresses that a name can have."""
    causes = getattr(error.__cause__, "exceptions", ())
    cause = next((cause for cause in causes if isinstance(cause, OSError)), error)
    if cause.errno is None or isinstance(cause, socket.gaierror):
        return cause.strerror or str(cause)
    return os.strerror(cause.errno)
