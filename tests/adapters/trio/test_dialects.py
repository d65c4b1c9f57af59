"""A session whose protocol is known: its server dies, and the next one hears what it must."""

import json
from collections.abc import Awaitable
from pathlib import Path

import pytest
from socket_bench import Bench, closed, socket_test
from websockets.asyncio.server import ServerConnection

PROTOCOL = "graphql-transport-ws"


def said(kind: str, name: str = "", **more: object) -> str:
    return json.dumps({"type": kind, **({"id": name} if name else {}), **more})


async def next_from(connection: Awaitable[object]) -> dict[str, object]:
    text = await connection
    assert isinstance(text, str)
    document = json.loads(text)
    assert isinstance(document, dict)
    return document


async def begin(server: ServerConnection) -> None:
    """What such a server does at first."""
    assert await next_from(server.recv()) == {"type": "connection_init"}
    await server.send(said("connection_ack"))


@pytest.mark.parametrize("compression", [None, "deflate"])
@socket_test
async def test_subscriptions_live_on(bench: Bench, compression: str | None) -> None:
    bench.upstream.subprotocols = [PROTOCOL]
    bench.upstream.compression = compression
    await bench.upstream.start()
    proxy = await bench.proxy()
    client = await bench.connect(subprotocols=[PROTOCOL], compression=compression)
    server = await bench.upstream.accept()
    await client.send(said("connection_init"))
    await begin(server)
    assert await next_from(client.recv()) == {"type": "connection_ack"}
    subscribe = said("subscribe", "1", payload={"query": "subscription{a}"})
    await client.send(subscribe)
    assert await server.recv() == subscribe
    for number in range(10):
        await server.send(said("next", "1", payload=number))
        assert (await next_from(client.recv()))["payload"] == number
        await bench.upstream.kill()
        await proxy.reached("server_down", times=number + 1)
        await client.send(said("ping"))
        assert await next_from(client.recv()) == {"type": "pong"}
        await bench.upstream.start()
        server = await bench.upstream.accept()
        await begin(server)
        assert await server.recv() == subscribe
    await server.send(said("next", "1", payload="last"))
    assert (await next_from(client.recv()))["payload"] == "last"
    await proxy.reached("reopening", times=10)


@pytest.mark.parametrize("durable", [False, True])
@socket_test
async def test_a_client_that_has_forgotten_its_session_gets_a_server_that_knows_nothing(
    bench: Bench, tmp_path: Path, *, durable: bool
) -> None:
    bench.upstream.subprotocols = [PROTOCOL]
    await bench.upstream.start()
    options = ["--delivery", "at-most-once"]  # nothing old comes twice
    if durable:
        options += ["--state-dir", str(tmp_path)]
    proxy = await bench.proxy(*options)
    headers = {"x-connection-id": "forgetful"}
    servers: list[ServerConnection] = []
    for number in range(3):
        client = await bench.connect(headers=headers, subprotocols=[PROTOCOL])
        await client.send(said("connection_init"))
        server = await bench.upstream.accept()
        servers.append(server)
        if number:
            assert await closed(servers[-2]) == (1001, "the client begins anew")
        assert server.request is not None
        assert "x-reconnect" not in server.request.headers
        await begin(server)
        assert await next_from(client.recv()) == {"type": "connection_ack"}
        await client.send(said("subscribe", str(number), payload={"query": "subscription{a}"}))
        assert (await next_from(server.recv()))["id"] == str(number)
        await server.send(said("next", str(number), payload=number))
        assert (await next_from(client.recv()))["payload"] == number
        client.transport.abort()
        await proxy.reached("client_down", times=number + 1)
    await bench.upstream.kill()
    await bench.upstream.start()
    server = await bench.upstream.accept()
    await begin(server)
    assert (await next_from(server.recv()))["id"] == "2"


@socket_test
async def test_a_large_result_and_one_that_is_too_large(bench: Bench) -> None:
    bench.upstream.subprotocols = [PROTOCOL]
    await bench.upstream.start()
    proxy = await bench.proxy()
    client = await bench.connect(subprotocols=[PROTOCOL], max_size=None)
    server = await bench.upstream.accept()
    await client.send(said("connection_init"))
    await begin(server)
    assert await next_from(client.recv()) == {"type": "connection_ack"}
    for size in (10**6, 5 * 10**6):
        await server.send(said("next", "1", payload="x" * size))
        assert len(str((await next_from(client.recv()))["payload"])) == size
        await bench.upstream.kill()
        if size == 10**6:
            await bench.upstream.start()
            server = await bench.upstream.accept()
            await begin(server)
            await proxy.reached("reopening")
    assert await closed(client) == (1012, "the server was lost")
    await proxy.logged("a message of more than 4,194,304 bytes could not be followed")


@socket_test
async def test_a_server_that_does_not_answer(bench: Bench) -> None:
    bench.upstream.subprotocols = [PROTOCOL]
    await bench.upstream.start()
    await bench.proxy("--connect-timeout", "0.5")
    client = await bench.connect(subprotocols=[PROTOCOL])
    server = await bench.upstream.accept()
    await client.send(said("connection_init"))
    await begin(server)
    assert await next_from(client.recv()) == {"type": "connection_ack"}
    await bench.upstream.kill()
    await bench.upstream.start()
    server = await bench.upstream.accept()
    assert await next_from(server.recv()) == {"type": "connection_init"}
    reason = "the server did not answer in time what it was told"
    assert await closed(client) == (1012, reason)


@socket_test
async def test_where_nothing_can_be_told_the_client_begins_anew(bench: Bench) -> None:
    await bench.upstream.start()
    await bench.proxy()
    client = await bench.connect("/socket.io/?EIO=4&transport=websocket")
    await bench.upstream.accept()
    await bench.upstream.kill()
    assert await closed(client) == (1012, "the server was lost")
