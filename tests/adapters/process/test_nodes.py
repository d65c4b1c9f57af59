"""Three processes that are one proxy, with a Redis: clients come to any of them."""

import asyncio
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest
from proxy_process import ProxyProcess
from redis_server import RedisServer, in_cluster, redis_server
from socket_bench import Bench, closed, id_of, socket_test
from tls_files import certificate, client_context, write_authority, write_certificate
from websockets.asyncio.client import ClientConnection
from websockets.asyncio.server import ServerConnection


@pytest.fixture
def redis(tmp_path: Path) -> Iterator[RedisServer]:
    with redis_server(tmp_path) as server:
        yield server


async def nodes(
    bench: Bench, redis: RedisServer, folder: Path, *options: str
) -> list[ProxyProcess]:
    """Three of them."""
    given = in_cluster(redis, folder, *options)
    found = list(await asyncio.gather(*[bench.proxy(*given) for _ in range(3)]))
    await asyncio.sleep(0.5)  # each has seen the others
    return found


def go_to(bench: Bench, node: ProxyProcess) -> None:
    """That is the one to which clients come."""
    bench.proxies.remove(node)
    bench.proxies.append(node)


async def talk(client: ClientConnection, server: ServerConnection, text: str) -> None:
    """What was not confirmed may come once more."""
    await client.send(text)
    while await server.recv() != text:
        pass
    await server.send(text)
    while await client.recv() != text:
        pass


@pytest.mark.parametrize("named", [True, False])
@socket_test
async def test_clients_come_back_to_any_node(
    bench: Bench, tmp_path: Path, redis: RedisServer, named: bool
) -> None:
    await bench.upstream.start()
    all_of_them = await nodes(bench, redis, tmp_path)
    a, b, c = all_of_them
    go_to(bench, a)
    pairs = []
    for number in range(20):
        headers = {"x-connection-id": f"user-{number}"} if named else {}
        client = await bench.connect(headers=headers)
        pairs.append((client, id_of(client), await bench.upstream.accept()))
    for number, (client, _, server) in enumerate(pairs):
        await talk(client, server, f"a {number}")
    assert len(redis.keys("session")) == 20

    for node in (b, c, a):
        go_to(bench, node)
        for number, (client, name, server) in enumerate(pairs):
            await client.close(code=1001)
            client = await bench.connect(headers={"x-reconnect-id": name})
            pairs[number] = client, name, server
            await talk(client, server, f"{node.port} {number}")
    for client, _, server in pairs:
        await client.close()
        assert (await closed(server))[0] == 1000
    go_to(bench, b)
    assert (await bench.refused(headers={"x-reconnect-id": pairs[0][1]})).status_code == 404
    (await bench.connect()), (await bench.upstream.accept())  # something to write down


@socket_test
async def test_a_client_waits_while_its_dead_nodes_sessions_are_claimed(
    bench: Bench, tmp_path: Path, redis: RedisServer
) -> None:
    await bench.upstream.start()
    a, b, _ = await nodes(bench, redis, tmp_path)
    go_to(bench, a)
    client = await bench.connect(headers={"x-connection-id": "one"})
    server = await bench.upstream.accept()
    await talk(client, server, "before")
    go_to(bench, b)
    elsewhere = await bench.connect(headers={"x-connection-id": "one"})  # as a second window
    await talk(elsewhere, server, "still")

    a.signal(signal.SIGKILL)
    assert await a.wait() == -signal.SIGKILL
    bench.proxies.remove(a)
    await closed(elsewhere)
    again = asyncio.create_task(bench.connect(headers={"x-reconnect-id": "one"}))
    server = await bench.upstream.accept()

    await talk(await again, server, "after")


@socket_test
async def test_links_between_nodes_speak_tls_and_clients_too(
    bench: Bench, tmp_path: Path, redis: RedisServer
) -> None:
    ca = write_authority(tmp_path, "nodes")
    link = write_certificate(tmp_path / "node.pem", certificate("node", ca="nodes"))
    own = write_certificate(tmp_path / "own.pem", certificate("127.0.0.1"))
    bench.tls = client_context()
    await bench.upstream.start()
    a, b, _ = await nodes(
        bench,
        redis,
        tmp_path,
        *("--tls-cert", own, "--node-cert", link, "--node-ca", ca),
    )
    go_to(bench, a)
    client = await bench.connect(headers={"x-connection-id": "one"})
    server = await bench.upstream.accept()
    await talk(client, server, "x" * 100_000)
    go_to(bench, b)

    client = await bench.connect(headers={"x-reconnect-id": "one"})

    await talk(client, server, "y" * 100_000)
