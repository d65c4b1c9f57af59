"""Runs conformance cases between a raw end and an ordinary one, straight and through a proxy."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress

from patience import LIMIT
from proxy_process import ProxyProcess
from raw_websocket import RawConnection, raw_connect, request

from conformance.cases import Case
from conformance.ends import Client, Server
from conformance.player import Play, Seen

AT_ONCE = 16  # cases under way in each way
QUICK = ("--retry-limit", "0", "--client-grace", "0.05")  # a lost end is soon given up
ALONE = "server_no_context_takeover"

Results = dict[str, Seen]
"""What the raw end saw, by the case's name."""


async def against_server(server: Server, cases: list[Case]) -> tuple[Results, Results]:
    """Play a client's cases to a server: straight, and through a proxy."""
    ends: dict[str, asyncio.Future[str]] = {}

    async def play(port: int, path: str, case: Case) -> Seen:
        ends[path] = asyncio.get_running_loop().create_future()
        connection = await raw_connect(port)
        seen = await _play_client(connection, path, case)
        connection.abort()
        if seen.handshake.startswith("101"):
            with suppress(TimeoutError):
                seen.told = await asyncio.wait_for(ends[path], LIMIT)
        return seen

    async with server(lambda path, end: ends[path].set_result(end)) as port:
        return await _both_ways(port, cases, play)


async def _play_client(connection: RawConnection, path: str, case: Case) -> Seen:
    play = Play(case, connection, by_client=True)
    offer = [f"Sec-WebSocket-Extensions: {case.extensions}"] if case.extensions else []
    connection.send(request(path, *offer))
    head = await connection.read_head()
    play.seen.handshake = str(head.status)
    if head.status != 101:
        return play.seen
    play.agree(", ".join(head.values("sec-websocket-extensions")))
    return await play.run()


async def against_client(client: Client, cases: list[Case]) -> tuple[Results, Results]:
    """Play a server's cases to a client: straight, and through a proxy."""
    plays: dict[str, asyncio.Future[Seen]] = {}
    by_path: dict[str, Case] = {}

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        connection = RawConnection(reader, writer)
        path = (await connection.read_head()).start.split(" ")[1]
        seen = await _play_server(connection, by_path[path])
        connection.abort()
        plays[path].set_result(seen)

    async def play(port: int, path: str, case: Case) -> Seen:
        plays[path] = asyncio.get_running_loop().create_future()
        by_path[path] = case
        told = await client(f"ws://127.0.0.1:{port}{path}")
        seen = await plays[path]
        seen.told = told
        return seen

    async with await asyncio.start_server(serve, "127.0.0.1", 0) as listener:
        return await _both_ways(listener.sockets[0].getsockname()[1], cases, play)


async def _play_server(connection: RawConnection, case: Case) -> Seen:
    play = Play(case, connection, by_client=False)
    answer = case.extensions
    offer = ", ".join(connection.head.values("sec-websocket-extensions"))
    if answer.startswith("permessage-deflate") and ALONE in offer:
        answer += f"; {ALONE}"
    connection.accept(*([f"Sec-WebSocket-Extensions: {answer}"] if answer else []))
    play.agree(answer)
    return await play.run()


async def _both_ways(
    port: int, cases: list[Case], play: Callable[[int, str, Case], Awaitable[Seen]]
) -> tuple[Results, Results]:
    """Play all cases to what listens on the port, and to a proxy in front of it."""

    async def play_all(way: str, port: int) -> Results:
        room = asyncio.Semaphore(AT_ONCE)

        async def play_one(number: int, case: Case) -> tuple[str, Seen]:
            async with room:
                return case.name, await play(port, f"/{way}-{number}", case)

        plays = [play_one(number, case) for number, case in enumerate(cases)]
        return dict(await asyncio.gather(*plays))

    async with _proxied(port) as proxy:
        return await asyncio.gather(play_all("straight", port), play_all("proxied", proxy))


@asynccontextmanager
async def _proxied(port: int) -> AsyncIterator[int]:
    """A proxy in front of that port: its own."""
    proxy = await ProxyProcess.start(f"ws://127.0.0.1:{port}", *QUICK)
    try:
        yield proxy.port
    finally:
        assert await proxy.stop() == 0
        assert not any("Traceback" in line for line in proxy.lines)
