"""The client of a delivery run, on two stacks. It comes back into its session when it is cut.

As for servers: aiohttp answers a Ping when its application asks for the next message, websockets
reads ahead. The proxy's greeting (`reconnect_hello`) says how many messages it has taken.
"""

import asyncio
import json
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass
from typing import Any

from peer import RECEIVED, Peer, Send

SESSION = "delivery"
RETRY = 0.02  # seconds between attempts to connect


@dataclass(frozen=True, slots=True)
class Connection:
    """What a stack gives: how to send, and what comes."""

    send: Send
    messages: AsyncIterator[str]


Stack = Callable[[str], AbstractAsyncContextManager[Connection]]
"""Connects to a URL. Raises OSError when that fails; its messages end with the connection."""


def aiohttp_stack() -> Stack:
    from aiohttp import ClientError, ClientSession, ClientWebSocketResponse, WSMsgType

    async def messages(websocket: ClientWebSocketResponse) -> AsyncIterator[str]:
        async for message in websocket:
            if message.type is WSMsgType.TEXT:
                yield message.data

    @asynccontextmanager
    async def connect(url: str) -> AsyncIterator[Connection]:
        async with ClientSession() as session:
            try:
                websocket = await session.ws_connect(url)
            except ClientError as error:
                raise OSError(str(error)) from error
            yield Connection(websocket.send_str, messages(websocket))

    return connect


def websockets_stack() -> Stack:
    from websockets.asyncio.client import ClientConnection
    from websockets.asyncio.client import connect as connect_to
    from websockets.exceptions import ConnectionClosed, WebSocketException

    async def messages(websocket: ClientConnection) -> AsyncIterator[str]:
        try:
            async for message in websocket:
                assert isinstance(message, str)
                yield message
        except ConnectionClosed:
            pass

    @asynccontextmanager
    async def connect(url: str) -> AsyncIterator[Connection]:
        try:
            websocket = await connect_to(url, compression=None, ping_interval=None, proxy=None)
        except WebSocketException as error:
            raise OSError(str(error)) from error
        try:
            yield Connection(websocket.send, messages(websocket))
        finally:
            websocket.transport.abort()

    return connect


STACKS: dict[str, Callable[[], Stack]] = {
    "aiohttp": aiohttp_stack,
    "websockets": websockets_stack,
}


async def serve(peer: Peer, stack: Any) -> None:
    query = f"connection_id={SESSION}&reconnect_hello=1"
    while True:
        if peer.options.counts:
            query = f"connection_id={SESSION}&reconnect_hello=1"
            query += f"&reconnect_received={peer.journal.count}"
        try:
            async with stack(f"ws://127.0.0.1:{peer.options.port}/?{query}") as connection:
                await converse(peer, connection)
        except OSError:
            pass
        await asyncio.sleep(RETRY)


async def converse(peer: Peer, connection: Connection) -> None:
    """Serve one connection until it ends."""
    hello = await anext(connection.messages, None)
    if hello is None:
        return
    async with peer.serving(connection.send, int(json.loads(hello).get(RECEIVED, 0))):
        async for text in connection.messages:
            await peer.handle(text)
