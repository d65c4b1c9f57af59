"""Who is let in, on real sockets: limits by address and overall, origins, proxies in front."""

import asyncio

import pytest
from patience import patience
from raw_websocket import TEXT, Frame, RawConnection, frame, request
from socket_bench import Bench, socket_test

OTHER = "127.0.0.2"  # another address on loopback (Linux)


async def refused(client: RawConnection) -> tuple[int, str, str | None]:
    """The status, the error and Retry-After of a refusal."""
    head = await client.read_head()
    return head.status, (await client.read_json())["error"], head.value("retry-after")


async def let_in_at_last(bench: Bench) -> RawConnection:
    """A client that tries until its address has room again."""
    while True:
        client = await bench.raw()
        client.send(request())
        head = await client.read_head()
        if head.status == 101:
            return client
        assert head.status == 429
        await asyncio.sleep(0.01)


@socket_test
async def test_pages_of_other_origins_are_refused(bench: Bench) -> None:
    await bench.upstream.start()
    options = ("--allow-origin", "https://a.test", "--allow-origin", "*.b.test,localhost:*")
    proxy = await bench.proxy(*options, "--log-level", "info")
    for origin in ("https://a.test", "http://x.b.test", "http://localhost:3000"):
        await bench.raw_client("/", f"Origin: {origin}")
    await bench.raw_client("/")
    for origin in ("http://a.test", "https://b.test", "null", "https://a.test.evil.test"):
        client = await bench.raw()
        client.send(request("/", f"Origin: {origin}"))
        assert await refused(client) == (403, "origin_not_allowed", None), origin
    assert bench.upstream.accepted == 4
    await proxy.logged("refused: 403 origin_not_allowed; 4 so far")
    await proxy.logged("origin_not_allowed", 3)
    assert sum("origin_not_allowed" in line for line in proxy.lines) == 3  # at 1, 2 and 4


@socket_test
async def test_open_connections_are_limited_by_address(bench: Bench) -> None:
    await bench.raw_upstream.start()
    await bench.proxy("--address-connections", "2", "--retry-limit", "0")
    client, server = await bench.raw_pair()
    in_handshake = await bench.raw()
    late = await bench.raw()  # is answered before it has said anything
    assert await refused(late) == (429, "address_connections", "5")
    late = await bench.raw()
    late.send(request())
    assert await refused(late) == (429, "address_connections", "5")
    other = await bench.raw(local=OTHER)
    other.send(request())
    await bench.raw_upstream.accept()
    assert (await other.read_head()).status == 101
    client.send(frame(TEXT, b"still here"))
    assert await server.read_message() == Frame(TEXT, b"still here")
    in_handshake.send(request())
    await bench.raw_upstream.accept()
    assert (await in_handshake.read_head()).status == 101


@pytest.mark.parametrize("end", ["silent", "cut", "malformed", "slow", "reset", "closed"])
@socket_test
async def test_whoever_has_gone_is_not_counted(bench: Bench, end: str) -> None:
    await bench.upstream.start()
    await bench.proxy("--address-connections", "1", "--request-timeout", str(patience(1)))
    match end:
        case "silent":
            (await bench.raw()).abort(reset=False)
        case "cut":
            client = await bench.raw()
            client.send(request()[:30])
            client.abort(reset=True)
        case "malformed":
            client = await bench.raw()
            client.send(b"hello\r\n\r\n")
            await client.ended()
            client.abort(reset=False)
        case "slow":
            client = await bench.raw()
            assert (await client.read_head()).status == 408
            client.abort(reset=False)
        case _:
            (await bench.raw_client()).abort(reset=end == "reset")
    await let_in_at_last(bench)
    assert (await refused(await bench.raw()))[0] == 429


@socket_test
async def test_handshakes_are_limited_by_address(bench: Bench) -> None:
    await bench.upstream.start()
    proxy = await bench.proxy("--address-rate", "0.01", "--log-level", "info")
    await bench.raw_client()
    for _ in range(5):
        client = await bench.raw()
        client.send(request())
        status, error, after = await refused(client)
        assert (status, error) == (429, "address_rate")
        assert 90 < int(after or "") <= 100
    other = await bench.raw(local=OTHER)
    other.send(request())
    assert (await other.read_head()).status == 101
    await proxy.logged("refused: 429 address_rate; 4 so far")
    await proxy.logged("refused: 429", 3)
    assert sum("refused: 429" in line for line in proxy.lines) == 3  # at 1, 2 and 4


@socket_test
async def test_connections_are_limited_overall(bench: Bench) -> None:
    await bench.upstream.start()
    await bench.proxy("--connection-limit", "2")
    client = await bench.connect()
    silent = await bench.raw(local=OTHER)
    late = await bench.raw()
    late.send(request())
    assert await refused(late) == (503, "connection_limit", "5")
    await client.send("still here")
    assert await (await bench.upstream.accept()).recv() == "still here"
    silent.send(request())
    assert (await silent.read_head()).status == 101


@socket_test
async def test_silent_strangers_do_not_keep_clients_out(bench: Bench) -> None:
    await bench.upstream.start()
    proxy = await bench.proxy("--connection-limit", "4", "--request-timeout", "60")
    client = await bench.connect()
    silent = await bench.raw()
    slow = await bench.raw()
    slow.send(request()[:9])
    refusing = await bench.raw()
    refusing.send(b"no request\r\n\r\n")
    assert (await refusing.read_head()).status == 400  # and doesn't close
    for other in (silent, slow, refusing):
        while True:  # the first ones come too early: a second must have passed
            late = await bench.raw(local=OTHER)
            late.send(request())
            if (await late.read_head()).status == 101:
                break
            await late.ended()
        await other.ended()
    await client.send("still here")
    assert await (await bench.upstream.accept()).recv() == "still here"
    await proxy.logged("WARNING client 127.0.0.1 gave way: it asked for nothing; 2 so far")


@socket_test
async def test_a_flood_over_the_limit_ends_in_answers_and_closed_connections(bench: Bench) -> None:
    """More than are waited for at one time: all are closed, and a session goes on meanwhile."""
    await bench.raw_upstream.start()
    options = ("--address-connections", "1", "--close-timeout", "30", "--log-level", "info")
    proxy = await bench.proxy(*options)
    client, server = await bench.raw_pair()
    flood = [await bench.raw() for _ in range(300)]
    ended = asyncio.gather(*(connection.ended() for connection in flood))
    for _ in range(20):
        client.send(frame(TEXT, b"hello"))
        assert await server.read_message() == Frame(TEXT, b"hello")
    await ended
    await proxy.logged("refused: 429 address_connections; 256 so far")
    await proxy.logged("refused: 429", 9)
    assert sum("refused: 429" in line for line in proxy.lines) == 9  # at 1, 2, 4, …, 256


# -- A proxy in front --------------------------------------------------------------------------


@socket_test
async def test_what_a_trusted_proxy_says_of_its_client_goes_on_to_the_server(bench: Bench) -> None:
    await bench.raw_upstream.start()
    await bench.proxy("--trust-forwarded", "127.0.0.1,10.0.0.0/8")
    said = (
        "X-Forwarded-For: 6.6.6.6, 192.0.2.1",
        "X-Forwarded-For: 10.1.1.1",
        "X-Forwarded-Proto: https",
        "X-Forwarded-Host: shop.test",
        "X-Forwarded-Port: 443",
        "Forwarded: for=6.6.6.6",
    )
    _, server = await bench.raw_pair("/", *said)
    assert server.head.value("x-forwarded-for") == "6.6.6.6, 192.0.2.1, 10.1.1.1, 127.0.0.1"
    assert server.head.value("x-forwarded-proto") == "https"
    assert server.head.value("x-forwarded-host") == "shop.test"
    assert server.head.value("x-forwarded-port") == "443"
    assert server.head.value("forwarded") is None
    stranger = await bench.raw(local=OTHER)
    stranger.send(request("/", *said))
    server = await bench.raw_upstream.next()
    assert server.head.value("x-forwarded-for") == OTHER
    assert server.head.value("x-forwarded-proto") == "http"
    assert server.head.value("x-forwarded-host") == "proxy.test"
    assert server.head.value("x-forwarded-port") is None


@socket_test
async def test_behind_a_trusted_proxy_each_client_has_its_own_limit(bench: Bench) -> None:
    await bench.upstream.start()
    await bench.proxy("--trust-forwarded", "127.0.0.1", "--address-connections", "1")
    await bench.raw_client("/", "X-Forwarded-For: 192.0.2.1")
    await bench.raw_client("/", "X-Forwarded-For: 192.0.2.1, 192.0.2.2")
    client = await bench.raw()
    client.send(request("/", "X-Forwarded-For: 192.0.2.3, 192.0.2.1"))
    assert await refused(client) == (429, "address_connections", "5")
