"""Nodes with a real store: who dies, who is away, and what is left in the end."""

import asyncio
import signal
from collections.abc import Iterator
from pathlib import Path

import aiohttp
import pytest
from admin_client import ADMIN, Admin
from losses import WAITING, recv_after, send_all
from redis_server import RedisServer, in_cluster, redis_server
from reknit_core.cluster.bookkeeping import Entry, EntryId, Reading
from socket_bench import Bench, header, id_of, socket_test


@pytest.fixture
def redis(tmp_path: Path) -> Iterator[RedisServer]:
    with redis_server(tmp_path) as server:
        yield server


def sessions_in(redis: RedisServer) -> int:
    """How many sessions the store has."""
    found = 0
    for key in redis.keys("book:"):
        reading = Reading()
        for place, (kind, data) in redis.ask("XRANGE", key, "-", "+"):
            reading.read(Entry(EntryId.read(place), kind, data))
        assert not reading.problems
        assert not reading.replay.given_up
        found += len(reading.replay.kept)
    return found


async def sessions_reach(redis: RedisServer, number: int) -> None:
    """Wait until the store has so many sessions."""
    while sessions_in(redis) != number:
        await asyncio.sleep(0.02)


# -- Nodes -------------------------------------------------------------------------------------


async def know_each_other(redis: RedisServer) -> None:
    """Return when each of two nodes has said in a renewal that it knows the other one."""
    while True:
        keys = redis.keys("known:")
        names = [key.rpartition(":")[2].encode() for key in keys]
        lists = [redis.ask("GET", key) or b"" for key in keys]
        if len(names) == 2 and names[1] in lists[0] and names[0] in lists[1]:
            return
        await asyncio.sleep(0.02)


@socket_test
async def test_another_node_has_the_sessions_of_one_that_died(
    bench: Bench, redis: RedisServer, tmp_path: Path
) -> None:
    await bench.upstream.start()
    options = (*in_cluster(redis, tmp_path), "--confirm-after", "600")  # so nothing is confirmed
    first = await bench.proxy(*options)
    clients = [await bench.connect() for _ in range(4)]
    for client in clients:
        await send_all(client, WAITING)
        server = await bench.upstream.accept()
        assert await recv_after(server, [], len(WAITING)) == WAITING
    second = await bench.proxy(*options)
    await know_each_other(redis)
    first.signal(signal.SIGKILL)
    await first.wait()
    bench.proxies.remove(first)
    for book in range(1, len(redis.keys("book:")) + 1):
        await second.logged("sessions? of the book", book)
    for client in clients:
        again = await bench.connect(headers={"x-reconnect-id": id_of(client)})
        assert header(again.response, "x-reconnect") == "resumed"
        assert header(again.response, "x-reconnect-received") == str(len(WAITING))
    for _ in clients:
        server = await bench.upstream.accept()
        assert await recv_after(server, [], len(WAITING)) == WAITING


@socket_test
async def test_a_node_that_slept_writes_nothing_more_once_its_books_are_anothers(
    bench: Bench, redis: RedisServer, tmp_path: Path
) -> None:
    await bench.upstream.start()
    options = in_cluster(redis, tmp_path)
    first = await bench.proxy(*options)
    client = await bench.connect()
    server = await bench.upstream.accept()
    await send_all(client, ["before"])
    assert await server.recv() == "before"
    second = await bench.proxy(*options)
    await know_each_other(redis)
    first.signal(signal.SIGSTOP)
    await client.send("while it sleeps")
    await second.logged("has 1 session of the book")
    first.signal(signal.SIGCONT)
    with pytest.raises(Exception, match="no close frame received or sent"):
        await server.recv()  # cut, with nothing said
    with pytest.raises(Exception, match="no close frame received or sent"):
        await client.recv()
    await bench.connect(headers={"x-reconnect-id": id_of(client)})
    await second.reached("connected")


@socket_test
async def test_a_node_that_stops_leaves_nothing(
    bench: Bench, redis: RedisServer, tmp_path: Path
) -> None:
    await bench.upstream.start()
    proxy = await bench.proxy(*in_cluster(redis, tmp_path))
    client = await bench.connect()
    await client.send("secret")
    await bench.upstream.accept()
    await sessions_reach(redis, 1)
    assert await proxy.stop() == 0
    (tombstone,) = redis.keys()
    ((_, (kind, data)),) = redis.ask("XRANGE", tombstone, "-", "+")
    assert (kind, data) == (b"x", b"")
    assert redis.ask("PTTL", tombstone) > 0


# -- The store ---------------------------------------------------------------------------------


@pytest.mark.parametrize("loss", ["restart", "flush"])
@socket_test
async def test_a_store_that_lost_all_is_written_anew(
    bench: Bench, redis: RedisServer, tmp_path: Path, loss: str
) -> None:
    await bench.upstream.start()
    proxy = await bench.proxy(*in_cluster(redis, tmp_path), *ADMIN)
    client, other = await bench.connect(), await bench.connect()
    server = await bench.upstream.accept()
    await bench.upstream.accept()
    await sessions_reach(redis, 2)
    if loss == "flush":
        redis.ask("FLUSHALL")
        await client.send("goes on")
        assert await server.recv() == "goes on"
    else:
        redis.kill()
        await client.send("goes on")
        assert await server.recv() == "goes on"
        assert "ERROR" in await proxy.logged("can't be used, sessions go on without")
        async with aiohttp.ClientSession() as http:
            admin = await Admin.of(proxy, http)
            assert (await admin.metrics())["reknit_store_trouble"] == 1
            async with http.get(admin.base + "/readyz") as answer:
                assert answer.status == 200
                assert "sessions are not kept" in await answer.text()
            third = await bench.connect()  # begun without the store
            redis.start()
            await proxy.logged("is back")
            assert (await admin.metrics())["reknit_store_trouble"] == 0
            await third.close()
    await sessions_reach(redis, 2)
    await other.send("and so does the other")
    await sessions_reach(redis, 2)


@socket_test
async def test_a_replica_is_used_once_it_is_the_primary(
    bench: Bench, redis: RedisServer, tmp_path: Path
) -> None:
    await bench.upstream.start()
    with redis_server(tmp_path, "--replicaof", f"127.0.0.1 {redis.port}") as replica:
        both = f"{replica.url},{redis.url}"
        proxy = await bench.proxy(*in_cluster(redis, tmp_path, "--cluster", both))
        client = await bench.connect()
        server = await bench.upstream.accept()
        await sessions_reach(redis, 1)
        redis.kill()
        await client.send("goes on")
        assert await server.recv() == "goes on"
        replica.ask("REPLICAOF", "NO", "ONE")
        await proxy.logged("is back")
        await sessions_reach(replica, 1)


@socket_test
async def test_a_store_that_can_not_be_used_is_an_error(
    bench: Bench, redis: RedisServer, tmp_path: Path
) -> None:
    options = in_cluster(redis, tmp_path)
    redis.kill()
    text = f"reknit: can't use the store redis://127.0.0.1:{redis.port}: Connection refused"
    with pytest.raises(AssertionError, match=text):
        await bench.proxy(*options)
