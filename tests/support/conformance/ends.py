"""The ordinary ends that conformance cases are played to: they send each message back.

Servers and clients on `websockets` and `aiohttp`, and a server on Node's `ws`.
"""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from pathlib import Path

from aiohttp import ClientError, ClientSession, WSMsgType, web
from aiohttp.client_ws import ClientWebSocketResponse
from websockets.asyncio.client import connect
from websockets.asyncio.connection import Connection
from websockets.asyncio.server import ServerConnection, serve
from websockets.exceptions import ConnectionClosed, InvalidHandshake

Told = Callable[[str, str], None]
"""Called with a connection's path, and what its program is told of its end."""


# -- websockets --------------------------------------------------------------------------------


async def _echo_websockets(connection: Connection) -> str:
    try:
        async for message in connection:
            await connection.send(message)
    except ConnectionClosed:
        pass
    await connection.wait_closed()
    return f"{connection.close_code} {connection.close_reason}".rstrip()


@asynccontextmanager
async def websockets_server(told: Told) -> AsyncIterator[int]:
    async def handle(connection: ServerConnection) -> None:
        end = await _echo_websockets(connection)
        assert connection.request is not None
        told(connection.request.path, end)

    async with serve(handle, "127.0.0.1", 0, ping_interval=None, max_size=None) as server:
        yield next(iter(server.sockets)).getsockname()[1]


async def websockets_client(url: str) -> str:
    try:
        async with connect(url, proxy=None, ping_interval=None, max_size=None) as connection:
            return await _echo_websockets(connection)
    except InvalidHandshake:
        return "no handshake"


# -- aiohttp -----------------------------------------------------------------------------------


async def _echo_aiohttp(socket: web.WebSocketResponse | ClientWebSocketResponse) -> str:
    try:
        async for message in socket:
            if message.type is WSMsgType.TEXT:
                await socket.send_str(message.data)
            elif message.type is WSMsgType.BINARY:
                await socket.send_bytes(message.data)
    except ConnectionError:
        pass
    return f"{socket.close_code}"


@asynccontextmanager
async def aiohttp_server(told: Told) -> AsyncIterator[int]:
    async def handle(request: web.Request) -> web.WebSocketResponse:
        socket = web.WebSocketResponse(max_msg_size=0)
        await socket.prepare(request)
        told(request.path, await _echo_aiohttp(socket))
        return socket

    application = web.Application()
    application.router.add_get("/{case}", handle)
    runner = web.AppRunner(application, access_log=None)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    try:
        yield runner.addresses[0][1]
    finally:
        await runner.cleanup()


async def aiohttp_client(url: str) -> str:
    try:
        async with (
            ClientSession() as session,
            session.ws_connect(url, compress=15, max_msg_size=0) as socket,
        ):
            return await _echo_aiohttp(socket)
    except ClientError:
        return "no handshake"


# -- ws ----------------------------------------------------------------------------------------


@asynccontextmanager
async def node_server(told: Told) -> AsyncIterator[int]:
    script = Path(__file__).with_name("node.mjs")
    process = await asyncio.create_subprocess_exec(
        "node", script, stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE
    )
    assert process.stdin is not None
    assert process.stdout is not None
    port = int(await process.stdout.readline())

    async def listen(output: asyncio.StreamReader) -> None:
        async for line in output:
            path, _, end = line.decode().rstrip("\n").partition(" ")
            told(path, end.rstrip())

    listening = asyncio.create_task(listen(process.stdout))
    try:
        yield port
    finally:
        process.stdin.close()
        await process.wait()
        await listening


Server = Callable[[Told], AbstractAsyncContextManager[int]]
Client = Callable[[str], Awaitable[str]]
