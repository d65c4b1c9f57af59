"""A server that counts what it has received, and says so when a session's proxy dials again."""

import asyncio

from websockets.asyncio.server import Server, ServerConnection, serve
from websockets.exceptions import ConnectionClosed
from websockets.http11 import Request, Response


class Session:
    """What the server knows of one session: what has come, and what it has to say."""

    def __init__(self) -> None:
        self.received: list[str] = []
        self.said: list[str] = []
        self.written = 0
        self.returns = 0
        self._done = asyncio.Event()
        self._done.set()
        self._news = asyncio.Event()

    def say(self, message: str) -> None:
        """Send it, now or on a later connection."""
        self.said.append(message)
        self._news.set()

    async def end_old(self) -> None:
        """Wait until all that the old connection has brought is received."""
        await self._done.wait()

    async def serve(self, connection: ServerConnection, taken: int) -> None:
        """Converse; the proxy has taken the first `taken` messages."""
        self._done.clear()
        self.written = taken
        writer = asyncio.create_task(self._write(connection))
        try:
            async for message in connection:
                self.received.append(str(message))
        except ConnectionClosed:
            pass
        finally:
            writer.cancel()
            self._done.set()

    async def _write(self, connection: ServerConnection) -> None:
        while True:
            while self.written < len(self.said):
                await connection.send(self.said[self.written])
                self.written += 1
            self._news.clear()
            await self._news.wait()


class CountingServer:
    """Listens on a free port. `sessions` by connection id."""

    def __init__(self) -> None:
        self.sessions: dict[str, Session] = {}
        self.port = 0

    async def start(self) -> Server:
        """Listen."""
        server = await serve(
            self._handle,
            "127.0.0.1",
            0,
            process_response=self._answer,
            compression=None,
            ping_interval=None,
        )
        self.port = next(iter(server.sockets)).getsockname()[1]
        return server

    def session(self, name: str) -> Session:
        """The session of that id."""
        return self.sessions.setdefault(name, Session())

    async def _answer(
        self, connection: ServerConnection, request: Request, response: Response
    ) -> None:
        session = self.session(request.headers["x-connection-id"])
        await session.end_old()
        if "x-reconnect" in request.headers:
            session.returns += 1
            response.headers["x-reconnect-received"] = str(len(session.received))

    async def _handle(self, connection: ServerConnection) -> None:
        assert connection.request is not None
        headers = connection.request.headers
        taken = int(headers.get("x-reconnect-received", 0))
        await self.session(headers["x-connection-id"]).serve(connection, taken)
