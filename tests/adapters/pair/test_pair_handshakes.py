"""Handshakes and plain requests through a reknit at each side: as through one."""

import asyncio
import json

import pytest
from proxy_pair import open_pair
from raw_websocket import request
from refusals import heads_of_refusals, start_refusing
from socket_bench import Bench, header, socket_test


@socket_test
async def test_a_refusal_comes_as_it_is(bench: Bench) -> None:
    await start_refusing(bench)
    async with open_pair(bench):
        for head in await heads_of_refusals(bench):
            assert head.value("x-connection-id") is None


@socket_test
async def test_a_server_that_is_away_at_first(bench: Bench) -> None:
    """The far one's answer is the client's; or the near one's, where the network is away."""
    options = ("--retry-limit", "1")
    async with open_pair(bench, near=options, far=options) as pair:
        answer = await bench.refused()
        assert answer.status_code in (502, 503)
        assert header(answer, "retry-after") == "1"
        assert json.loads(answer.body or b"")["error"] == "server_unavailable"
        pair.link.cut(away=True)
        answer = await bench.refused()
        assert answer.status_code == 502
        assert b"reset" in (answer.body or b"")
        pair.link.mend()
        await bench.upstream.start()
        await bench.connect()


@pytest.mark.parametrize("trusts", [True, False])
@socket_test
async def test_what_the_server_is_told(bench: Bench, trusts: bool) -> None:
    """The client's own Host; and its address, if the far one believes the near one."""
    await bench.upstream.start()
    far = ("--trust-forwarded", "127.0.0.1") if trusts else ()
    async with open_pair(bench, far=far):
        client = await bench.raw(local="127.0.0.5")
        client.send(
            request("/a%20b?connection_id=me&c=d", "Cookie: k=v", "Origin: https://page.test")
        )
        assert (await client.read_head()).status == 101
        asked = bench.upstream.requests[-1]
        heads = asked.headers
        assert asked.path == "/a%20b?c=d"
        assert heads["host"] == "proxy.test"
        assert heads["cookie"] == "k=v"
        assert heads["origin"] == "https://page.test"
        assert heads["x-connection-id"] == client.head.value("x-connection-id") == "me"
        assert heads.get_all("via") == ["1.1 reknit", "1.1 reknit"]
        assert "x-reconnect" not in heads
        if trusts:
            assert heads["x-forwarded-for"] == "127.0.0.5, 127.0.0.1"
            assert heads["x-forwarded-host"] == "proxy.test"
        else:
            assert heads["x-forwarded-for"] == "127.0.0.1"


@pytest.mark.parametrize(
    ("near", "far", "expected"),
    [
        ("client", "upstream", "127.0.0.1:{server}"),
        ("upstream", "client", "127.0.0.1:{link}"),
        ("shop.example", "client", "shop.example"),
        ("client", "shop.example:81", "shop.example:81"),
    ],
)
@socket_test
async def test_host_in_the_chain(bench: Bench, near: str, far: str, expected: str) -> None:
    await bench.upstream.start()
    async with open_pair(bench, near=("--host", near), far=("--host", far)) as pair:
        await bench.connect()
        port = bench.upstream.port
        host = expected.format(server=port, link=pair.link.port)
        assert bench.upstream.requests[-1].headers["host"] == host


@socket_test
async def test_plain_requests_pass_both(bench: Bench) -> None:
    await bench.raw_upstream.start()
    passing = ("--http", "pass")
    async with open_pair(bench, near=passing, far=(*passing, "--trust-forwarded", "127.0.0.1")):
        client = await bench.raw(local="127.0.0.5")
        for number in range(3):  # on one connection
            body = b"x" * (100_000 * number)
            client.send(
                b"POST /form?a=1 HTTP/1.1\r\nHost: shop.test\r\nCookie: k=v\r\n"
                b"Content-Length: %d\r\n\r\n" % len(body) + body
            )
            server = await bench.raw_upstream.next()
            assert server.head.start == "POST /form?a=1 HTTP/1.1"
            assert server.head.value("host") == "shop.test"
            assert server.head.value("cookie") == "k=v"
            assert (server.head.value("x-forwarded-for") or "").startswith("127.0.0.5")
            assert await server.read_exactly(len(body)) == body
            answer = b"y" * (50_000 * number)
            server.send(
                b"HTTP/1.1 404 Not Here\r\nSet-Cookie: a=b\r\nSet-Cookie: c=d\r\n"
                b"Content-Length: %d\r\n\r\n" % len(answer) + answer
            )
            head = await client.read_head()
            assert head.start == "HTTP/1.1 404 Not Here"
            assert head.values("set-cookie") == ["a=b", "c=d"]
            assert await client.read_exactly(len(answer)) == answer


@socket_test
async def test_a_plain_request_in_a_cut(bench: Bench) -> None:
    """It can't wait, as it may not be repeated: the client is told, and asks again."""
    await bench.raw_upstream.start()
    passing = ("--http", "pass")
    async with open_pair(bench, near=passing, far=passing) as pair:
        client = await bench.raw()
        client.send(b"GET / HTTP/1.1\r\nHost: shop.test\r\n\r\n")
        await bench.raw_upstream.next()
        pair.link.cut(away=True)
        assert (await client.read_head()).status == 502
        client = await bench.raw()
        client.send(b"GET / HTTP/1.1\r\nHost: shop.test\r\n\r\n")
        assert (await client.read_head()).status == 502
        pair.link.mend()
        client = await bench.raw()
        client.send(b"GET / HTTP/1.1\r\nHost: shop.test\r\n\r\n")
        server = await bench.raw_upstream.next()
        server.send(b"HTTP/1.1 204 No Content\r\n\r\n")
        assert (await client.read_head()).status == 204


@socket_test
async def test_a_client_that_counts_counts_through_both(bench: Bench) -> None:
    """It comes back with its id and count to the near one: the far one knows nothing of it."""
    await bench.upstream.start()
    async with open_pair(bench) as pair:
        client, server = await bench.connect("/?connection_id=me"), await bench.upstream.accept()
        await server.send("one")
        assert await client.recv() == "one"
        client.transport.abort()
        await pair.near.reached("client_down")
        pair.link.cut()
        await asyncio.gather(server.send("two"), server.send("three"))
        client = await bench.connect("/?connection_id=me&reconnect_received=1")
        assert header(client.response, "x-reconnect") == "resumed"
        assert [await client.recv(), await client.recv()] == ["two", "three"]
        assert bench.upstream.accepted == 1
