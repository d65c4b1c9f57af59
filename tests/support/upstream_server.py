"""Servers for the proxy to dial: one on `websockets`, one that speaks raw bytes.

Both can be killed and started again on the same port, which stays theirs in between.
"""

import asyncio
import socket
import ssl
import struct
from collections.abc import Callable, Sequence
from typing import Any

from raw_websocket import RawConnection
from websockets.asyncio.connection import Connection
from websockets.asyncio.server import Server, ServerConnection, serve
from websockets.http11 import Request, Response

ProcessRequest = Callable[[ServerConnection, Request], Response | None]
ProcessResponse = Callable[[ServerConnection, Request, Response], Response | None]


def cut(connection: Connection, *, reset: bool = True) -> None:
    """End a connection without a Close frame: by a reset, or by the end of the stream."""
    if reset and not connection.transport.is_closing():
        sock = connection.transport.get_extra_info("socket")
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    connection.transport.abort()


class Port:
    """A loopback port that nobody else gets, and that refuses while nobody listens."""

    def __init__(self) -> None:
        self._holder = self._bind(0)
        self.number: int = self._holder.getsockname()[1]

    def listener(self) -> socket.socket:
        """A socket to listen with."""
        return self._bind(self.number)

    def release(self) -> None:
        """Let go of the port."""
        self._holder.close()

    @staticmethod
    def _bind(number: int) -> socket.socket:
        sock = socket.socket(proto=socket.IPPROTO_TCP)  # else asyncio sets no TCP_NODELAY
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        sock.bind(("127.0.0.1", number))
        return sock


class Upstream:
    """A `websockets` server. Every connection that it accepts waits for accept()."""

    def __init__(self, port: int, listener: Callable[[], socket.socket]) -> None:
        self.port = port
        self.accepted = 0
        self.requests: list[Request] = []
        self.subprotocols: Sequence[Any] | None = None
        self.compression: str | None = None
        self.tls: ssl.SSLContext | None = None
        self.process_request: ProcessRequest | None = None
        self.process_response: ProcessResponse | None = None
        self._listener = listener
        self._server: Server | None = None
        self._connections: asyncio.Queue[ServerConnection] = asyncio.Queue()
        self._alive: set[ServerConnection] = set()

    async def start(self) -> None:
        """Listen."""
        self._server = await serve(
            self._handle,
            sock=self._listener(),
            subprotocols=self.subprotocols,
            compression=self.compression,
            process_request=self._request,
            process_response=self.process_response,
            ping_interval=None,
            max_size=None,
            ssl=self.tls,
        )

    async def accept(self) -> ServerConnection:
        """The next connection."""
        return await self._connections.get()

    async def kill(self, *, reset: bool = True) -> None:
        """As when the process dies: no Close frame, no listener any more."""
        if self._server is None:
            return
        server, self._server = self._server, None
        server.close(close_connections=False)
        for connection in list(self._alive):
            cut(connection, reset=reset)
        await server.wait_closed()

    def _request(self, connection: ServerConnection, request: Request) -> Response | None:
        self.requests.append(request)
        return self.process_request(connection, request) if self.process_request else None

    async def _handle(self, connection: ServerConnection) -> None:
        self.accepted += 1
        self._alive.add(connection)
        self._connections.put_nowait(connection)
        await connection.wait_closed()
        self._alive.discard(connection)


class RawUpstream:
    """A server of bytes: the test writes what it answers."""

    def __init__(self, listener: Callable[[], socket.socket]) -> None:
        self.tls: ssl.SSLContext | None = None
        self.listener = listener
        self._server: asyncio.Server | None = None
        self._connections: asyncio.Queue[RawConnection] = asyncio.Queue()
        self._all: list[RawConnection] = []

    @property
    def count(self) -> int:
        """How many connections there have been."""
        return len(self._all)

    async def start(self) -> None:
        """Listen."""
        self._server = await asyncio.start_server(
            self._connected, sock=self.listener(), ssl=self.tls
        )

    async def accept(self, *headers: str) -> RawConnection:
        """The next connection, with its request read and accepted."""
        connection = await self.next()
        connection.accept(*headers)
        return connection

    async def next(self) -> RawConnection:
        """The next connection, with its request read."""
        connection = await self._connections.get()
        await connection.read_head()
        return connection

    async def kill(self) -> None:
        """No connection and no listener any more."""
        if self._server is not None:
            self._server.close()
            for connection in self._all:
                connection.abort()
            await self._server.wait_closed()
            self._server = None

    def _connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        connection = RawConnection(reader, writer)
        self._all.append(connection)
        self._connections.put_nowait(connection)
