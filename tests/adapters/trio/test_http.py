"""Plain requests through the proxy on real sockets, between what sessions there are."""

import asyncio
import signal
import socket
from collections.abc import AsyncIterator
from pathlib import Path

import aiohttp
import pytest
from admin_client import ADMIN, Admin
from aiohttp import web
from patience import patience
from proxy_process import ProxyProcess
from raw_websocket import RawConnection, request
from socket_bench import Bench, header, socket_test
from succession import Succession
from tls_files import (
    certificate,
    client_context,
    server_context,
    write_authority,
    write_certificate,
)

HOST = "127.0.0.1"
PASS = ("--http", "pass")
BIG = 64 * 2**20  # bytes: far more than the proxy and all sockets may hold
ROOM = 16 * 2**20  # bytes by which the proxy may grow
PIECE = bytes(range(256)) * 1024


def plain(path: str = "/", *headers: str, method: str = "GET") -> bytes:
    """A request that is no WebSocket upgrade."""
    return "\r\n".join((f"{method} {path} HTTP/1.1", "Host: proxy.test", *headers, "", "")).encode()


def answer(body: bytes = b"", *headers: str) -> bytes:
    """What a server says."""
    lines = ("HTTP/1.1 200 OK", f"Content-Length: {len(body)}", *headers, "", "")
    return "\r\n".join(lines).encode() + body


async def exchange(client: RawConnection, server: RawConnection, body: bytes = b"") -> None:
    """The server's answer reaches the client, whose connection stays open."""
    server.send(answer(body))
    assert (await client.read_head()).status == 200
    assert client.head.value("connection") is None
    assert await client.read_exactly(len(body)) == body


class Sending:
    """Sends BIG bytes from the moment it is made; `task` ends when all is taken."""

    def __init__(self, bench: Bench, connection: RawConnection) -> None:
        self._sent = 0
        self._bench = bench
        self._connection = connection
        self.task = bench.spawn(self._run())

    async def _run(self) -> None:
        for self._sent in range(BIG // len(PIECE)):
            self._connection.send(PIECE)
            await self._connection.drain()

    async def held_back(self) -> None:
        """Wait until it gets no further, however often the proxy looks at its sockets."""
        before = -1
        while before < self._sent:
            before = self._sent
            await self._bench.turned()
        assert not self.task.done(), "all was taken"


async def receive_big(connection: RawConnection) -> None:
    """Take BIG bytes, which must be those that were sent."""
    for _ in range(BIG // len(PIECE)):
        assert await connection.read_exactly(len(PIECE)) == PIECE


# -- One after the other -----------------------------------------------------------------------


@socket_test
async def test_other_requests_are_refused_unless_they_are_to_be_passed(bench: Bench) -> None:
    await bench.raw_upstream.start()
    proxy = await bench.proxy("--log-level", "info")
    client = await bench.raw()
    client.send(plain())
    assert (await client.read_head()).status == 426
    assert client.head.value("upgrade") == "websocket"
    body = await client.read_json()
    assert body["error"] == "upgrade_required"
    assert "with `--http pass` it also passes other requests" in str(body["message"])
    await proxy.logged(r"426 upgrade_required \(--http pass would pass its request to the server\)")
    assert bench.raw_upstream.count == 0


@socket_test
async def test_requests_and_an_upgrade_on_one_connection(bench: Bench) -> None:
    await bench.raw_upstream.start()
    await bench.proxy(*PASS, path="/base")
    client = await bench.raw()
    client.send(plain("/one?a=b", "Content-Length: 2", method="POST") + b"hi" + plain("/two"))
    first = await bench.raw_upstream.next()
    assert first.head.start == "POST /base/one?a=b HTTP/1.1"
    assert first.head.value("host") == "proxy.test"
    assert first.head.value("x-forwarded-for") == HOST
    assert await first.read_exactly(2) == b"hi"
    await exchange(client, first, b"one")
    second = await bench.raw_upstream.next()
    assert second.head.start == "GET /base/two HTTP/1.1"
    await exchange(client, second, b"two")
    client.send(request("/three"))
    third = await bench.raw_upstream.accept()
    assert third.head.start == "GET /base/three HTTP/1.1"
    assert (await client.read_head()).status == 101
    third.send(b"\x81\x02hi")
    assert (await client.read_message()).payload == b"hi"


@socket_test
async def test_aiohttp_on_both_ends(bench: Bench) -> None:
    async def echo(asked: web.Request) -> web.StreamResponse:
        told = web.StreamResponse(headers={"x-method": asked.method})
        await told.prepare(asked)
        async for piece in asked.content.iter_any():
            await told.write(piece)
        return told

    async def pieces() -> AsyncIterator[bytes]:
        for _ in range(20):
            yield PIECE

    app = web.Application(client_max_size=0)
    app.router.add_route("*", "/{path:.*}", echo)
    runner = web.AppRunner(app)
    await runner.setup()
    await web.SockSite(runner, bench.raw_upstream.listener()).start()
    proxy = await bench.proxy(*PASS)
    base = f"http://{HOST}:{proxy.port}/"
    async with aiohttp.ClientSession() as http:
        for data in (b"", b"x", PIECE):
            async with http.post(base, data=data) as response:
                assert (response.status, await response.read()) == (200, data)
        async with http.put(base, data=pieces(), expect100=True) as response:
            assert response.headers["x-method"] == "PUT"
            assert await response.read() == PIECE * 20
        async with http.head(base) as response:
            assert response.headers["x-method"] == "HEAD"
    await runner.cleanup()


# -- Large bodies, and ends that don't read ----------------------------------------------------


@pytest.mark.parametrize("way", ["up", "down"])
@socket_test
async def test_a_large_body_never_sits_in_memory(bench: Bench, way: str) -> None:
    """Not while it passes, nor while its receiver doesn't read."""
    await bench.raw_upstream.start()
    proxy = await bench.proxy(*PASS)
    client = await bench.raw(receive_buffer=65536)
    before = proxy.memory()
    if way == "up":
        client.send(plain("/", f"Content-Length: {BIG}", method="PUT"))
        server = await bench.raw_upstream.next()
        sending, receiver = Sending(bench, client), server
    else:
        client.send(plain())
        server = await bench.raw_upstream.next()
        server.send(f"HTTP/1.1 200 OK\r\nContent-Length: {BIG}\r\n\r\n".encode())
        sending, receiver = Sending(bench, server), client
        await client.read_head()
    await sending.held_back()
    assert proxy.memory() - before < ROOM
    await receive_big(receiver)
    await sending.task
    if way == "up":
        await exchange(client, server)
    assert proxy.memory() - before < ROOM


@socket_test
async def test_a_passing_body_holds_up_no_session(bench: Bench) -> None:
    await bench.raw_upstream.start()
    await bench.proxy(*PASS)
    client, server = await bench.raw_pair()
    loader = await bench.raw()
    loader.send(plain())
    source = await bench.raw_upstream.next()
    source.send(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
    source.send(b"1\r\nx\r\n" * 200_000 + b"0\r\n\r\n")  # some seconds of work
    loading = bench.spawn(loader.read_all())
    for number in range(20):
        server.send(b"\x81\x02%02d" % number)
        assert (await client.read_message()).payload == b"%02d" % number
    assert not loading.done()


# -- What goes wrong ---------------------------------------------------------------------------


@socket_test
async def test_while_the_server_is_down_and_when_it_is_back(bench: Bench) -> None:
    proxy = await bench.proxy(*PASS, *ADMIN)
    client = await bench.raw()
    client.send(plain("/secret?token=secret"))
    assert (await client.read_head()).status == 502
    assert client.head.value("retry-after") == "1"
    assert b"server_unavailable" in await client.read_exactly(
        int(client.head.value("content-length") or 0)
    )
    await bench.raw_upstream.start()
    client.send(plain())
    await exchange(client, await bench.raw_upstream.next())
    await proxy.logged("INFO plain request of client 127.0.0.1 failed: .*Connection refused")
    assert not any("secret" in line for line in proxy.lines)
    async with aiohttp.ClientSession() as http:
        metrics = await (await Admin.of(proxy, http)).metrics()
    assert metrics["reknit_requests_total{status=502}"] == 1
    assert metrics["reknit_requests_total{status=200}"] == 1


@socket_test
async def test_a_server_that_does_not_answer(bench: Bench) -> None:
    await bench.raw_upstream.start()
    await bench.proxy(*PASS, "--http-timeout", "0.2")
    client = await bench.raw()
    client.send(plain())
    server = await bench.raw_upstream.next()
    assert (await client.read_head()).status == 504
    await server.ended()


@socket_test
async def test_an_answer_that_comes_before_the_body_ends(bench: Bench) -> None:
    await bench.raw_upstream.start()
    await bench.proxy(*PASS)
    client = await bench.raw()
    client.send(plain("/", f"Content-Length: {BIG}", method="PUT"))
    sending = Sending(bench, client)
    server = await bench.raw_upstream.next()
    server.send(answer(b"enough"))
    server.close()
    assert (await client.read_head()).status == 200
    assert client.head.value("connection") == "close"
    assert await client.read_exactly(6) == b"enough"
    await asyncio.wait([sending.task])  # it ends, or the connection does


@pytest.mark.parametrize("when", ["waiting", "sending", "receiving"])
@socket_test
async def test_when_the_client_goes_so_does_the_servers_connection(bench: Bench, when: str) -> None:
    await bench.raw_upstream.start()
    await bench.proxy(*PASS)
    client = await bench.raw()
    body = ("Content-Length: 9",) if when == "sending" else ()
    client.send(plain("/", *body))
    server = await bench.raw_upstream.next()
    if when == "receiving":
        server.send(answer(b"")[:-2].replace(b"0", b"9") + b"\r\nhalf")
        await client.read_head()
    client.abort(reset=when == "receiving")
    await server.ended()


@socket_test
async def test_a_connection_without_a_next_request_is_closed(bench: Bench) -> None:
    await bench.raw_upstream.start()
    proxy = await bench.proxy(*PASS, "--request-timeout", str(patience(1)))
    client = await bench.raw()
    client.send(plain())
    await exchange(client, await bench.raw_upstream.next())
    assert await client.read_all() == b""
    client = await bench.raw()
    client.send(plain())
    await exchange(client, await bench.raw_upstream.next())
    client.send(plain()[:9])
    assert (await client.read_head()).status == 408
    assert not any("Traceback" in line for line in proxy.lines)


@socket_test
async def test_limits_count_requests_and_origins_are_for_sessions(bench: Bench) -> None:
    await bench.raw_upstream.start()
    evil = "Origin: https://evil.test"
    await bench.proxy(*PASS, "--address-rate", "2", "--allow-origin", "good.test")
    client = await bench.raw()
    for _ in range(2):
        client.send(plain("/", evil))
        await exchange(client, await bench.raw_upstream.next())
    client.send(plain("/", evil))
    assert (await client.read_head()).status == 429
    assert client.head.value("connection") == "close"


@socket_test
async def test_a_proxy_in_front_sends_requests_of_several_clients(bench: Bench) -> None:
    await bench.raw_upstream.start()
    await bench.proxy(*PASS, "--address-connections", "1", "--trust-forwarded", HOST)
    client = await bench.raw()
    for address in ("192.0.2.1", "192.0.2.2", "192.0.2.1"):
        client.send(plain("/", f"X-Forwarded-For: {address}"))
        server = await bench.raw_upstream.next()
        assert server.head.value("x-forwarded-for") == f"{address}, {HOST}"
        await exchange(client, server)


@socket_test
async def test_a_request_with_an_ambiguous_body_reaches_no_server(bench: Bench) -> None:
    await bench.raw_upstream.start()
    await bench.proxy(*PASS)
    both = ("Content-Length: 5", "Transfer-Encoding: chunked")
    client = await bench.raw()
    client.send(plain("/", *both, method="POST") + b"0\r\n\r\n" + plain("/smuggled"))
    assert (await client.read_head()).status == 400
    await client.read_json()
    client = await bench.raw()
    client.send(plain("/", both[1], method="POST") + b"5\r\nhelloX" + plain("/smuggled"))
    assert (await client.read_head()).status == 400
    await client.read_json()
    assert bench.raw_upstream.count <= 1  # the second one's head has gone on


# -- TLS and Unix sockets ----------------------------------------------------------------------


@socket_test
async def test_tls_on_both_legs(bench: Bench, tmp_path: Path) -> None:
    bench.scheme = "wss"
    bench.raw_upstream.tls = server_context(certificate(HOST))
    bench.tls = client_context()
    await bench.raw_upstream.start()
    authority = write_authority(tmp_path)
    file = write_certificate(tmp_path / "cert.pem", certificate(HOST))
    await bench.proxy(*PASS, "--upstream-ca", authority, "--tls-cert", file)
    client = await bench.raw()
    for _ in range(2):
        client.send(plain("/", "Content-Length: 200000", method="PUT") + bytes(200_000))
        server = await bench.raw_upstream.next()
        assert server.head.value("x-forwarded-proto") == "https"
        assert await server.read_exactly(200_000) == bytes(200_000)
        await exchange(client, server, bytes(300_000))
    client.send(request())
    await bench.raw_upstream.accept()
    assert (await client.read_head()).status == 101


@socket_test
async def test_unix_sockets_on_both_legs(bench: Bench, tmp_path: Path) -> None:
    front, back = tmp_path / "front", tmp_path / "back"
    listener = socket.socket(socket.AF_UNIX)
    listener.bind(str(back))
    bench.raw_upstream.listener = lambda: listener
    await bench.raw_upstream.start()
    proxy = await ProxyProcess.start(f"ws+unix:{back}:/base", "--listen", f"unix:{front}", *PASS)
    bench.proxies.append(proxy)
    client = RawConnection(*await asyncio.open_unix_connection(str(front)))
    client.send(plain("/here"))
    server = await bench.raw_upstream.next()
    assert server.head.start == "GET /base/here HTTP/1.1"
    assert server.head.value("host") == "proxy.test"
    await exchange(client, server, b"there")
    client.abort(reset=False)


# -- The end of a process ----------------------------------------------------------------------


@socket_test
async def test_a_proxy_that_drains_lets_requests_end(bench: Bench) -> None:
    await bench.raw_upstream.start()
    proxy = await bench.proxy(*PASS, "--drain-time", "3600", "--request-timeout", "3600")
    idle, busy = await bench.raw(), await bench.raw()
    idle.send(plain())
    await exchange(idle, await bench.raw_upstream.next())
    busy.send(plain())
    server = await bench.raw_upstream.next()
    proxy.signal(signal.SIGTERM)
    assert await idle.read_all() == b""
    refused = await bench.refused()
    assert (refused.status_code, header(refused, "retry-after")) == (503, "1")
    late = await bench.raw()
    late.send(plain())
    for client, other in ((late, await bench.raw_upstream.next()), (busy, server)):
        other.send(answer(b"done"))
        assert (await client.read_head()).status == 200
        assert client.head.value("connection") == "close"
        assert await client.read_body() == b"done"
    assert await proxy.wait() == 0


@socket_test
async def test_a_proxy_that_has_drained_says_what_it_cut(bench: Bench) -> None:
    await bench.raw_upstream.start()
    proxy = await bench.proxy(*PASS, "--close-timeout", "0.2")
    client = await bench.raw()
    client.send(plain())
    server = await bench.raw_upstream.next()
    proxy.signal(signal.SIGTERM)
    await server.ended()
    assert await client.read_all() == b""
    assert await proxy.wait() == 0
    await proxy.logged("WARNING 1 plain requests cut")


@socket_test
async def test_a_takeover_with_requests_on_their_way(bench: Bench) -> None:
    """What has begun ends in the old process; connections between two requests go on in the new."""
    await bench.raw_upstream.start()
    hasty = ("--drain-time", "0", "--close-timeout", "0.05")  # but what is on its way is awaited
    proxy = Succession(f"ws://{HOST}:{bench.upstream.port}", *PASS, *hasty)
    await proxy.begin()
    bench.proxies.append(proxy)
    idle, begun, busy = [await bench.raw() for _ in range(3)]
    for client in (idle, begun):
        client.send(plain())
        await exchange(client, await bench.raw_upstream.next())
    begun.send(plain("/begun")[:20])
    busy.send(plain("/busy", "Content-Length: 4", method="POST") + b"ha")
    server = await bench.raw_upstream.next()
    assert await server.read_exactly(2) == b"ha"

    await proxy.restart()
    busy.send(b"lf")
    assert await server.read_exactly(2) == b"lf"
    server.send(answer(b"done"))
    assert (await busy.read_head()).status == 200
    assert busy.head.value("connection") == "close"
    assert await busy.read_body() == b"done"
    begun.send(plain("/begun")[20:])
    server = await bench.raw_upstream.next()
    assert server.head.start == "GET /begun HTTP/1.1"
    await exchange(begun, server)
    idle.send(request())
    await bench.raw_upstream.accept()
    assert (await idle.read_head()).status == 101
