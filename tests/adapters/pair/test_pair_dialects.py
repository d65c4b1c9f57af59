"""A protocol that both proxies of a pair know: neither tells a server what it has heard."""

import json
import signal

import pytest
from bad_link import BadLink
from proxy_pair import open_pair
from proxy_process import ProxyProcess
from socket_bench import Bench, socket_test
from upstream_server import Port
from websockets.asyncio.connection import Connection

PROTOCOL = "graphql-transport-ws"


def said(kind: str, name: str = "", **more: object) -> str:
    return json.dumps({"type": kind, **({"id": name} if name else {}), **more})


SUBSCRIBE = said("subscribe", "1", payload={"query": "subscription{a}"})


async def subscribe(client: Connection, server: Connection) -> None:
    await client.send(said("connection_init"))
    assert await server.recv() == said("connection_init")
    await server.send(said("connection_ack"))
    assert await client.recv() == said("connection_ack")
    await client.send(SUBSCRIBE)
    assert await server.recv() == SUBSCRIBE


async def told_again(bench: Bench) -> Connection:
    """A new server connection, which hears who has subscribed."""
    server = await bench.upstream.accept()
    assert json.loads(await server.recv()) == {"type": "connection_init"}
    await server.send(said("connection_ack"))
    assert await server.recv() == SUBSCRIBE
    return server


async def passes(client: Connection, server: Connection, number: int) -> None:
    """The next thing that each hears is this."""
    await server.send(said("next", "1", payload=number))
    assert json.loads(await client.recv())["payload"] == number
    await client.send(said("subscribe", f"q{number}", payload={"query": "{a}"}))
    assert json.loads(await server.recv())["id"] == f"q{number}"
    await server.send(said("complete", f"q{number}"))
    assert json.loads(await client.recv()) == {"type": "complete", "id": f"q{number}"}


@pytest.mark.parametrize("compression", [None, "deflate"])
@socket_test
async def test_cuts_and_kills(bench: Bench, compression: str | None) -> None:
    bench.upstream.subprotocols = [PROTOCOL]
    bench.upstream.compression = compression
    await bench.upstream.start()
    async with open_pair(bench) as pair:
        client = await bench.connect(subprotocols=[PROTOCOL], compression=compression)
        server: Connection = await bench.upstream.accept()
        await subscribe(client, server)
        for number in range(4):
            await passes(client, server, number)
            await pair.cut(away=True)
            await client.send(said("ping"))
            assert json.loads(await client.recv()) == {"type": "pong"}  # in its server's place
            if number % 2:
                await bench.upstream.kill()
                await pair.far.reached("both_down", (number + 1) // 2)
                await bench.upstream.start()
                server = await told_again(bench)
            pair.link.mend()
            await server.send(said("next", "1", payload="after"))
            assert json.loads(await client.recv())["payload"] == "after"
            if not number % 2:
                await bench.upstream.kill()
                await bench.upstream.start()
                server = await told_again(bench)
        assert bench.upstream.accepted == 5


@socket_test
async def test_a_far_one_that_has_lost_everything(bench: Bench) -> None:
    """Then the near one tells the new server."""
    bench.upstream.subprotocols = [PROTOCOL]
    await bench.upstream.start()
    port = Port()
    try:
        listen = ("--listen", f"127.0.0.1:{port.number}")
        far = await bench.proxy(*listen)
        async with BadLink(port.number) as link:
            near = await ProxyProcess.start(f"ws://127.0.0.1:{link.port}")
            bench.proxies.append(near)
            client = await bench.connect(subprotocols=[PROTOCOL])
            server: Connection = await bench.upstream.accept()
            await subscribe(client, server)
            await passes(client, server, 1)
            bench.proxies.remove(far)
            far.signal(signal.SIGKILL)
            await far.wait()
            bench.proxies.insert(
                0, await ProxyProcess.start(f"ws://127.0.0.1:{bench.upstream.port}", *listen)
            )
            server = await told_again(bench)
            await passes(client, server, 2)
    finally:
        port.release()
