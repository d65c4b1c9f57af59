"""A client whose session outlives its connections: each message once, in order, both ways.

For the `websockets` library, which the extra brings: `pip install reknit[client]`.

    async with ResumingClient("ws://proxy.example:9300/chat") as client:
        await client.send("hello")
        async for message in client:
            print(message)

The client counts the messages that it receives, and sends the count when it returns, so that the
proxy continues with the next message. It keeps each message that it has sent until the proxy is
known to have it: a Pong proves this for everything before its Ping, and the proxy's response to a
return says how many messages it has taken. The client sends the later ones again. It keeps at
most `limit` messages; then send() waits. All this holds while the process lives: messages that
the client has read but the program has not used are lost with it.

Where the session is over but the proxy asks for another one (it closes with 1012: it restarts),
and where the session is gone, the client begins a fresh one, unless `fresh` is false. The server
knows nothing of what was before, so `on_open` is told: `recovered` is false, and `unconfirmed`
are the messages that the server may or may not have. They are not sent again.
"""

import asyncio
import random
from collections import deque
from collections.abc import AsyncIterator, Callable
from contextlib import suppress
from types import TracebackType
from typing import Any, NamedTuple

from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import (
    ConnectionClosed,
    ConnectionClosedOK,
    InvalidHandshake,
    InvalidStatus,
)

Message = str | bytes


_RESTARTS = 1012  # the proxy's close code: come back, to another session
_NOT_YOURS, _UNKNOWN, _GAP = 403, 404, 409  # its answers to a client that comes back


class Opened(NamedTuple):
    """A new connection: whether it goes on with the session that was before.

    If it doesn't, `unconfirmed` are the messages of ours that were not confirmed until then.
    """

    recovered: bool
    unconfirmed: list[Message]


class SessionLost(Exception):  # noqa: N818
    """The session has ended, or the proxy can't continue after the message that this client names.

    Or it refuses this client, as its headers are not those that the session began with.
    Or a fresh session has begun before what was to be flushed had arrived.
    """


class ResumingClient:
    """A session at `uri`. Entering connects; leaving sends the rest and ends the session.

    `limit`: messages kept in each direction. `retry`: seconds until the first attempt to return,
    twice as long for each next one, `retry_cap` at most; varied by half. `timeout`: seconds after
    which a silent proxy counts as lost. `fresh`: whether a fresh session follows one that is gone.
    `on_away`: called when the connection is lost. `on_open`: called for each connection, before
    anything comes from it; what came before may still wait for recv(). `options` are passed to
    `websockets.connect`; entering raises its errors.
    """

    def __init__(
        self,
        uri: str,
        *,
        limit: int = 1000,
        retry: float = 0.5,
        retry_cap: float = 15.0,
        timeout: float = 20.0,
        fresh: bool = True,
        on_away: Callable[[], None] | None = None,
        on_open: Callable[[Opened], None] | None = None,
        **options: Any,
    ) -> None:
        self.connection_id = ""
        self.received = 0  # messages from the server
        self.confirmed = 0  # messages of ours that the proxy is known to have
        self.returns = 0
        self.recovered = False  # whether the connection goes on with the session that was before
        self.is_away = False  # whether there is no connection at the moment
        self._uri = uri
        self._limit = limit
        self._retry = retry
        self._retry_cap = retry_cap
        self._attempts = 0  # since the last connection
        self._timeout = timeout
        self._fresh = fresh
        self._on_away = on_away
        self._on_open = on_open
        self._renewals = 0  # sessions that were over, and that a fresh one follows
        self._lost = False  # whether there was one since the last connection
        self._headers: dict[str, str] = options.pop("additional_headers", {})
        self._token = ""
        self._options = options
        self._kept: deque[Message] = deque()  # sent, not confirmed
        self._written = 0  # messages up to the last one that went out on this connection
        self._flushing = False
        self._inbox: asyncio.Queue[Message | None] = asyncio.Queue(limit)
        self._news = asyncio.Event()  # replaced each time that something changes
        self._end: Exception | None = None

    async def __aenter__(self) -> "ResumingClient":
        self._websocket = await self._connect()
        self._task = asyncio.create_task(self._run())
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None
    ) -> None:
        try:
            if error is None:
                with suppress(ConnectionClosed):  # the other end has ended the session
                    await self.flush()
                await self._websocket.close()
        finally:
            self._task.cancel()
            await asyncio.wait((self._task,))
            self._websocket.transport.abort()

    async def send(self, message: Message) -> None:
        """Send a message, now or on a return. Raises what ended the session."""
        if not isinstance(message, str | bytes):
            raise TypeError(f"a message is str or bytes, not {type(message).__name__}")
        while self._end is None and len(self._kept) >= self._limit:
            await self._news.wait()
        if self._end is not None:
            raise self._end
        self._kept.append(message)
        self._notify()

    async def flush(self) -> None:
        """Wait until the proxy has everything that was sent. Raises what ended the session."""
        self._flushing = True
        self._notify()
        renewals = self._renewals
        while self._kept and self._end is None and self._renewals == renewals:
            await self._news.wait()
        self._flushing = False
        if self._kept and self._end is not None:
            raise self._end
        if self._renewals != renewals:
            raise SessionLost("the session was over before all had arrived")

    async def recv(self) -> Message:
        """The next message. Raises ConnectionClosed when the session was ended, or SessionLost."""
        message = await self._inbox.get()
        if message is not None:
            return message
        self._inbox.put_nowait(None)
        assert self._end is not None
        raise self._end

    async def __aiter__(self) -> AsyncIterator[Message]:
        with suppress(ConnectionClosedOK):
            while True:
                yield await self.recv()

    # -- Connections ---------------------------------------------------------------------------

    async def _run(self) -> None:
        try:
            while True:
                await self._converse()
                self._leave()
                if self._lost:
                    await self._pause()  # all clients were told to go: they come one by one
                self._websocket = await self._return()
        except Exception as error:
            self._end = error
            self._notify()
            await self._inbox.put(None)

    async def _connect(self) -> ClientConnection:
        headers = dict(self._headers)
        if self.connection_id:
            headers["x-reconnect-id"] = self.connection_id
            headers["x-reconnect-received"] = str(self.received)
        else:
            headers["x-reconnect"] = "true"  # only who says that it reconnects is waited for
        if self._token:
            headers["x-reconnect-token"] = self._token
        websocket = await connect(
            self._uri, additional_headers=headers, ping_interval=None, **self._options
        )
        assert websocket.response is not None
        told = websocket.response.headers
        self.connection_id = told["x-connection-id"]
        self._token = told.get("x-reconnect-token", self._token)
        self.recovered = told.get("x-reconnect") == "resumed"
        self.returns += self.recovered
        unconfirmed = self._begin_anew() if self._lost else []
        self._confirm(int(told.get("x-reconnect-received", 0)))
        self._written = self.confirmed
        self._attempts = 0
        self.is_away = False
        if self._on_open is not None:
            self._on_open(Opened(self.recovered, unconfirmed))
        return websocket

    def _leave(self) -> None:
        self.is_away = True
        if self._on_away is not None:
            self._on_away()

    def _forget(self) -> None:
        """The session is over: the next connection begins a fresh one."""
        self.connection_id = self._token = ""
        self._lost = True
        self._renewals += 1
        self._notify()

    def _begin_anew(self) -> list[Message]:
        """A fresh session has begun: count from there; returns what the old one leaves behind."""
        unconfirmed = list(self._kept)
        self._kept.clear()
        self.received = self.confirmed = 0
        self._lost = False
        return unconfirmed

    async def _return(self) -> ClientConnection:
        while True:
            try:
                return await self._connect()
            except InvalidStatus as error:
                status = error.response.status_code
                is_return = bool(self.connection_id)
                if is_return and self._fresh and status in (_UNKNOWN, _GAP):
                    self._forget()
                elif is_return and status in (_NOT_YOURS, _UNKNOWN, _GAP):
                    raise SessionLost(error.response.body.decode()) from error
                elif status < 500 and status != 429:
                    raise
            except (OSError, InvalidHandshake, EOFError):
                pass  # not there yet
            await self._pause()

    async def _pause(self) -> None:
        wait = min(self._retry_cap, self._retry * 2 ** min(self._attempts, 30))
        self._attempts += 1
        await asyncio.sleep(wait * random.uniform(0.5, 1.5))  # noqa: S311

    async def _converse(self) -> None:
        """Use one connection until it is lost. Raises ConnectionClosed if it was closed."""
        websocket = self._websocket
        tasks = [asyncio.create_task(each(websocket)) for each in (self._write, self._ask)]
        try:
            while True:
                message = await websocket.recv()
                self.received += 1
                await self._inbox.put(message)
        except ConnectionClosed as closed:
            if closed.rcvd is not None:
                if closed.rcvd.code != _RESTARTS or not self._fresh:
                    raise
                self._forget()
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.wait(tasks)

    async def _write(self, websocket: ClientConnection) -> None:
        """Send what the proxy has not got, then what comes."""
        with suppress(ConnectionClosed):
            while True:
                while self._written < self.confirmed + len(self._kept):
                    await websocket.send(self._kept[self._written - self.confirmed])
                    self._written += 1
                    if self._worth_asking():
                        self._notify()
                await self._news.wait()

    async def _ask(self, websocket: ClientConnection) -> None:
        """Ask the proxy what it has when much is kept; and whether it is there at all."""
        with suppress(ConnectionClosed):
            while True:
                with suppress(TimeoutError):
                    async with asyncio.timeout(self._timeout):
                        while not self._worth_asking():
                            await self._news.wait()
                written = self._written
                try:
                    async with asyncio.timeout(self._timeout):
                        await (await websocket.ping())
                except TimeoutError:
                    websocket.transport.abort()
                    return
                self._confirm(written)

    def _worth_asking(self) -> bool:
        unconfirmed = self._written - self.confirmed
        return unconfirmed > 0 and (self._flushing or unconfirmed >= self._limit // 2)

    def _confirm(self, count: int) -> None:
        """The proxy has the first `count` messages."""
        while self.confirmed < count:
            self._kept.popleft()
            self.confirmed += 1
        self._notify()

    def _notify(self) -> None:
        self._news.set()
        self._news = asyncio.Event()
