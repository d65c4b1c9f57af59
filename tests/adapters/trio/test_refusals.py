"""A server that refuses, is late or can't be reached: what the client gets."""

import json
from http import HTTPStatus

import pytest
from raw_websocket import TEXT, Frame, frame, request
from refusals import REFUSALS, heads_of_refusals, start_refusing
from socket_bench import Bench, header, socket_test
from websockets.asyncio.server import ServerConnection
from websockets.http11 import Request, Response


@socket_test
async def test_a_servers_refusal_is_passed_on(bench: Bench) -> None:
    await start_refusing(bench)
    proxy = await bench.proxy()
    await heads_of_refusals(bench)
    await proxy.reached("closed", len(REFUSALS))


@socket_test
async def test_a_refusal_comes_as_it_was_written(bench: Bench) -> None:
    """Once, however large it is, and whatever becomes of the server behind its head."""
    await bench.raw_upstream.start()
    await bench.proxy("--connect-timeout", "1")
    head = (
        b"HTTP/1.1 426 Not Like This\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
        b"Sec-WebSocket-Version: 13, 14\r\nSET-cookie: a\r\nSet-Cookie: b\r\n"
    )
    for length, says, ends in (
        (5_000_000, bytes(5_000_000), False),
        (10, b"too little", True),
        (10, b"late", False),
    ):
        client = await bench.raw()
        client.send(request())
        server = await bench.raw_upstream.next()
        server.send(head + b"Content-Length: %d\r\n\r\n" % length + says)
        if ends:
            server.close()
        got, _, body = (await client.read_all()).partition(b"\r\n\r\n")
        assert body == says[: 2**20]
        assert got.split(b"\r\n") == [
            *(b"HTTP/1.1 426 Not Like This", b"Sec-WebSocket-Version: 13, 14"),
            *(b"SET-cookie: a", b"Set-Cookie: b", b"Upgrade: websocket"),
            b"content-length: %d" % len(body),
            b"connection: close, upgrade",
        ]
    assert bench.raw_upstream.count == 3


@socket_test
async def test_the_id_of_a_refused_session_is_free_again(bench: Bench) -> None:
    answers = [HTTPStatus.UNAUTHORIZED]

    def refuse(connection: ServerConnection, _: Request) -> Response | None:
        return connection.respond(answers.pop(), "no\n") if answers else None

    bench.upstream.process_request = refuse
    await bench.upstream.start()
    proxy = await bench.proxy()
    named = {"x-connection-id": "a"}
    assert (await bench.refused("/", named)).status_code == 401
    await proxy.reached("closed")
    client = await bench.connect("/", named)
    assert header(client.response, "x-reconnect") == "new"


@pytest.mark.parametrize("limit", [0, 2])
@socket_test
async def test_a_server_that_cannot_be_reached_is_502(bench: Bench, limit: int) -> None:
    proxy = await bench.proxy("--retry-limit", str(limit), "--retry-interval", "0.01")
    response = await bench.refused()
    assert response.status_code == 502
    assert int(response.headers["retry-after"]) > 0
    assert json.loads(response.body)["error"] == "server_unavailable"
    await proxy.logged("failed: ", limit + 1)
    assert sum("failed: " in line for line in proxy.lines) == limit + 1


@socket_test
async def test_a_server_that_does_not_accept_in_time_is_503(bench: Bench) -> None:
    await bench.raw_upstream.start()
    await bench.proxy("--handshake-wait", "0.2")
    response = await bench.refused()
    assert response.status_code == 503
    assert int(response.headers["retry-after"]) > 0
    assert json.loads(response.body)["error"] == "server_unavailable"


@socket_test
async def test_every_address_of_the_servers_name_is_tried(bench: Bench) -> None:
    """Mostly, localhost is ::1 too, where nobody listens."""
    await bench.upstream.start()
    await bench.proxy("--retry-limit", "0", "--host", "upstream", host="localhost")
    await bench.connect()
    assert bench.upstream.accepted == 1


@socket_test
async def test_a_client_waits_for_a_server_that_is_late(bench: Bench) -> None:
    proxy = await bench.proxy()
    connecting = bench.spawn(bench.connect())
    await proxy.logged("attempt 2 failed")
    assert not connecting.done()
    await bench.upstream.start()
    client = await connecting
    await client.send("here at last")
    server = await bench.upstream.accept()
    assert await server.recv() == "here at last"
    assert server.request is not None
    assert "x-reconnect" not in server.request.headers


@socket_test
async def test_a_server_that_hangs_up_or_begins_to_answer_is_tried_again(bench: Bench) -> None:
    await bench.raw_upstream.start()
    await bench.proxy()
    client = await bench.raw()
    client.send(request())
    hanging_up = await bench.raw_upstream.next()
    hanging_up.abort()
    cut_off = await bench.raw_upstream.next()
    cut_off.send(b"HTTP/1.1 101 Switching")
    cut_off.abort()
    server = await bench.raw_upstream.accept()
    assert (await client.read_head()).status == 101
    server.send(frame(TEXT, b"hello", masked=False))
    assert await client.read_message() == Frame(TEXT, b"hello")


@socket_test
async def test_the_number_of_sessions_is_limited(bench: Bench) -> None:
    await bench.upstream.start()
    proxy = await bench.proxy("--session-limit", "1")
    client = await bench.connect()
    response = await bench.refused()
    assert response.status_code == 503
    assert int(response.headers["retry-after"]) > 0
    await client.close()
    await proxy.reached("closed")
    await bench.connect()
