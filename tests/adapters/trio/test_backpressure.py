"""A reader that doesn't read: the proxy stays small, its sender waits, nobody else notices."""

import pytest
from message_flood import FLOOD, Flood, receive_flood
from socket_bench import Bench, id_of, socket_test
from upstream_server import cut

SMALL = 20000  # messages of a few bytes
QUEUE = 256 * 1024
ROOM = 24 * 2**20  # bytes by which the proxy may grow: far less than the flood


@pytest.mark.parametrize("sender", ["server", "client"])
@socket_test
async def test_a_reader_that_does_not_read_holds_its_sender_back(bench: Bench, sender: str) -> None:
    await bench.upstream.start()
    proxy = await bench.proxy("--queue-bytes", str(QUEUE), "--heartbeat-interval", "0")
    client = await bench.connect()
    server = await bench.upstream.accept()
    end, reader = (server, client) if sender == "server" else (client, server)
    before = proxy.memory()
    flood = Flood(bench, end)
    await flood.held_back()
    assert proxy.memory() - before < ROOM
    assert flood.sent < FLOOD / 2

    other_client = await bench.connect()
    other_server = await bench.upstream.accept()
    for number in range(100):
        await other_client.send(str(number))
        assert await other_server.recv() == str(number)
        await other_server.send(str(number))
        assert await other_client.recv() == str(number)

    await receive_flood(reader)
    await flood.task
    assert proxy.memory() - before < ROOM


@socket_test
async def test_a_session_without_its_client_holds_the_server_back(bench: Bench) -> None:
    await bench.upstream.start()
    proxy = await bench.proxy("--queue-bytes", str(QUEUE), "--heartbeat-interval", "0")
    client = await bench.connect()
    server = await bench.upstream.accept()
    cut(client)
    await proxy.reached("client_down")
    flood = Flood(bench, server)
    await flood.held_back()
    client = await bench.connect("/", {"x-connection-id": id_of(client)})
    await receive_flood(client)
    await flood.task


@socket_test
async def test_many_small_messages_wait_in_little_memory(bench: Bench) -> None:
    await bench.upstream.start()
    proxy = await bench.proxy()
    client = await bench.connect()
    await bench.upstream.accept()
    await bench.upstream.kill()
    await proxy.reached("server_down")
    before = proxy.memory()
    for number in range(SMALL):
        await client.send(str(number))
    await (await client.ping())
    assert proxy.memory() - before < SMALL * 200
    await bench.upstream.start()
    server = await bench.upstream.accept()
    for number in range(SMALL):
        assert await server.recv() == str(number)
