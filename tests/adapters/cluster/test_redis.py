"""The connection to the store, with a real Redis."""

import ssl
from collections.abc import Iterator
from pathlib import Path

import pytest
import trio
from in_trio import in_trio
from patience import LIMIT as PATIENCE
from redis_server import RedisServer, free_port, redis_server
from reknit.cluster.connecting import Access, connect, make_tls
from reknit.cluster.redis import Redis, RedisError
from reknit.settings.cluster import StoreUrl, parse_stores
from tls_files import certificate, write_authority, write_certificate


@pytest.fixture
def server(tmp_path: Path) -> Iterator[RedisServer]:
    with redis_server(tmp_path) as running:
        yield running


def access(server: RedisServer, password: str = "") -> Access:
    return Access(parse_stores(server.url), password)


async def connected(server: RedisServer) -> Redis:
    return (await connect(access(server))).redis


@in_trio
async def test_many_tasks_have_their_own_answers(server: RedisServer) -> None:
    redis = await connected(server)

    async def ask(task: int) -> None:
        for number in range(50):
            text = f"{task} {number}"
            size = number * 1000
            answers = await redis.ask(("ECHO", text), ("ECHO", bytes(size)))
            assert answers == [text.encode(), bytes(size)]

    async with trio.open_nursery() as nursery:
        for task in range(5):
            nursery.start_soon(ask, task)
    redis.close("the test is over")


@in_trio
async def test_one_that_is_given_up_does_not_keep_the_others_waiting(server: RedisServer) -> None:
    redis = await connected(server)
    slow, quick = redis.send([("BLPOP", "nothing", 1)]), redis.send([("ECHO", "x")])
    told = []

    async def wait() -> None:
        told.append(await redis.answers(quick))

    async with trio.open_nursery() as nursery:
        nursery.start_soon(wait)
        with trio.move_on_after(0.05):
            await redis.answers(slow)
    assert told == [[b"x"]]
    redis.close("the test is over")


@in_trio
async def test_more_than_the_sockets_take_at_once(server: RedisServer) -> None:
    redis = await connected(server)
    data = bytes(range(256)) * 40_000
    for _ in range(2):
        assert await redis.ask(("SET", "big", memoryview(data)), ("GET", "big")) == [b"OK", data]
    redis.close("the test is over")


@in_trio
async def test_an_answer_that_is_late_ends_the_connection(server: RedisServer) -> None:
    redis = await connected(server)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(redis.watch)
        with server.stopped(), pytest.raises(RedisError, match=r"^no answer for 0\.5 seconds$"):
            await redis.ask(("ROLE",))
    with pytest.raises(RedisError, match="no answer"):  # and it stays so
        await redis.ask(("ROLE",))
    again = await connected(server)
    server.kill()
    with pytest.raises(RedisError, match=r"it has closed the connection|reset by peer|Broken pipe"):
        await again.ask(("ROLE",))


@in_trio
async def test_a_command_that_fails_says_why(server: RedisServer) -> None:
    redis = await connected(server)
    with pytest.raises(RedisError, match="ERR unknown command"):
        await redis.ask(("ECHO", "x"), ("NONSENSE",))
    assert await redis.ask(("ECHO", "y")) == [b"y"]
    redis.close("the test is over")


@in_trio
async def test_the_one_that_is_the_primary_is_used(tmp_path: Path, server: RedisServer) -> None:
    nobody = free_port()
    with redis_server(tmp_path, "--replicaof", f"127.0.0.1 {server.port}") as replica:
        urls = f"redis://127.0.0.1:{nobody},{replica.url},{server.url}"
        found = await connect(Access(parse_stores(urls)))
        assert found.url.port == server.port
        assert abs(found.ahead) < PATIENCE
        found.redis.close("the test is over")
        text = rf"{replica.url}: it is a replica; redis://127.0.0.1:{nobody}: Connection refused"
        with pytest.raises(RedisError, match=text) as error:
            await connect(Access(parse_stores([replica.url, f"redis://127.0.0.1:{nobody}"])))
        assert not error.value.is_final  # either may become the primary


@in_trio
async def test_users_passwords_and_databases(tmp_path: Path) -> None:
    rule = "reknit on >open-sesame ~reknit:* +role +info +time +select +set +get"
    options = ("--requirepass", "mellon", "--user", *rule.split())
    with redis_server(tmp_path, *options) as server:
        url = f"redis://reknit@127.0.0.1:{server.port}/3"
        redis = (await connect(Access(parse_stores(url), "open-sesame"))).redis
        assert await redis.ask(("SET", "reknit:x", "1")) == [b"OK"]
        with pytest.raises(RedisError, match="NOPERM") as refused:
            await redis.ask(("SET", "other", "1"))
        assert refused.value.is_final
        assert await redis.ask(("GET", "reknit:x")) == [b"1"]
        redis.close("the test is over")
        redis = (await connect(access(server, "mellon"))).redis
        assert await redis.ask(("GET", "reknit:x")) == [None]  # of another database
        redis.close("the test is over")
        with pytest.raises(RedisError, match="doesn't take this user and password"):
            await connect(access(server, "wrong"))
        with pytest.raises(RedisError, match="it wants a password: see REKNIT_CLUSTER_PASSWORD"):
            await connect(access(server))


@in_trio
async def test_a_store_that_may_forget_is_refused(tmp_path: Path) -> None:
    with redis_server(tmp_path, "--maxmemory-policy", "allkeys-lru") as server:
        with pytest.raises(RedisError, match=r"allkeys-lru, .* noeviction is needed") as error:
            await connect(access(server))
        assert error.value.is_final


@in_trio
async def test_a_store_by_tls(tmp_path: Path) -> None:
    files = write_certificate(tmp_path / "cert.pem", certificate("127.0.0.1"))
    ca = write_authority(tmp_path)
    port = free_port()
    options = ("--tls-port", str(port), "--tls-cert-file", files, "--tls-key-file", files)
    more = ("--tls-ca-cert-file", ca, "--tls-auth-clients", "no")
    try:
        running = redis_server(tmp_path, *options, *more)
        running.__enter__()
    except AssertionError:
        pytest.skip("this redis-server has no TLS")
    urls = parse_stores(f"rediss://127.0.0.1:{port}")
    redis = (await connect(Access(urls, tls=make_tls(urls, ca)))).redis
    data = bytes(2**20)
    assert await redis.ask(("SET", "big", data), ("GET", "big")) == [b"OK", data]
    redis.close("the test is over")
    other = make_tls(urls, write_authority(tmp_path, "other"))
    assert isinstance(other, ssl.SSLContext)
    with pytest.raises(RedisError, match="TLS: ") as error:
        await connect(Access(urls, tls=other))
    assert error.value.is_final
    running.__exit__(None, None, None)


def test_urls() -> None:
    (url,) = parse_stores("rediss://some%40user@[::1]:7000/12")
    assert url == StoreUrl("::1", 7000, True, "some@user", 12)
    assert str(url) == "rediss://[::1]:7000"  # without the user, who is nobody's business
    assert parse_stores(["redis://store"]) == (StoreUrl("store"),)
    for wrong in (
        "",
        "store:6379",
        "http://store",
        "redis://",
        "redis://h/x",
        "redis://h:0",
        ["x"],
    ):
        with pytest.raises(ValueError):  # noqa: PT011
            parse_stores(wrong)
