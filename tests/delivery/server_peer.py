"""The server of a delivery run, on two stacks.

aiohttp answers a Ping when the handler asks for the next message: a Pong proves that everything
before it was handled. websockets reads ahead into a queue and answers at once.

A server that counts has to be done with its earlier connection before it says what it has: what
is left of that connection's queue is still to be handled.
"""

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from typing import Any

from peer import RECEIVED, Peer, say

Stack = Callable[[Peer], Awaitable[int]]
"""Starts to listen; returns the port."""


def aiohttp_stack() -> Stack:
    from aiohttp import WSMsgType, web

    async def listen(peer: Peer) -> int:
        async def handle(request: web.Request) -> web.WebSocketResponse:
            await peer.idle.wait()
            websocket = web.WebSocketResponse(compress=False)
            websocket.headers.update(answer(peer, request.headers))
            await websocket.prepare(request)
            async with peer.serving(websocket.send_str, taken(request.headers)):
                async for message in websocket:
                    if message.type is WSMsgType.TEXT:
                        await peer.handle(message.data)
            return websocket

        app = web.Application()
        app.router.add_get("/", handle)
        runner = web.AppRunner(app)
        await runner.setup()
        site = web.TCPSite(runner, "127.0.0.1", peer.options.port)
        await site.start()
        return int(runner.addresses[0][1])

    return listen


def websockets_stack() -> Stack:
    from websockets.asyncio.server import ServerConnection, serve
    from websockets.exceptions import ConnectionClosed
    from websockets.http11 import Request, Response

    async def listen(peer: Peer) -> int:
        async def respond(_: ServerConnection, request: Request, response: Response) -> None:
            await peer.idle.wait()
            for name, value in answer(peer, request.headers).items():
                response.headers[name] = value

        async def handle(websocket: ServerConnection) -> None:
            assert websocket.request is not None
            headers = websocket.request.headers
            async with peer.serving(websocket.send, taken(headers)):
                try:
                    async for message in websocket:
                        await peer.handle(message)
                except ConnectionClosed:
                    pass

        server = await serve(
            handle,
            "127.0.0.1",
            peer.options.port,
            process_response=respond,
            compression=None,
            ping_interval=None,
        )
        return int(next(iter(server.sockets)).getsockname()[1])

    return listen


STACKS: dict[str, Callable[[], Stack]] = {
    "aiohttp": aiohttp_stack,
    "websockets": websockets_stack,
}


def taken(request: Mapping[str, str]) -> int:
    """How many of this end's messages the proxy has taken."""
    return int(request.get(RECEIVED, 0))


def answer(peer: Peer, request: Mapping[str, str]) -> dict[str, str]:
    """The headers by which a server that counts says how many messages it has handled."""
    if peer.options.counts and request.get("x-reconnect") == "true":
        return {RECEIVED: str(peer.journal.count)}
    return {}


async def serve(peer: Peer, stack: Any) -> None:
    say(f"listening {await stack(peer)}")
    await asyncio.Event().wait()
