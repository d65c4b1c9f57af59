"""The server vanishes and comes back; the client must not notice."""

from http import HTTPStatus

import pytest
from losses import (
    AFTER,
    EARLIER,
    WAITING,
    Lose,
    end_of_stream,
    going_away,
    recv_after,
    reset,
    send_all,
    service_restart,
)
from raw_websocket import CONTINUATION, TEXT, Frame, frame
from socket_bench import Bench, closed, id_of, socket_test
from upstream_server import cut
from websockets.asyncio.server import ServerConnection
from websockets.http11 import Request, Response


@pytest.mark.parametrize(
    ("lose", "delivery"),
    [
        (reset, "at-most-once"),
        (reset, "at-least-once"),
        (end_of_stream, "at-least-once"),
        (going_away, "at-least-once"),
        (service_restart, "at-least-once"),
    ],
)
@socket_test
async def test_the_server_goes_and_comes_back(bench: Bench, lose: Lose, delivery: str) -> None:
    await bench.upstream.start()
    proxy = await bench.proxy("--delivery", delivery)
    client = await bench.connect("/path?a=1", {"x-custom": "1"})
    server = await bench.upstream.accept()
    await send_all(client, EARLIER)
    await send_all(server, EARLIER)
    assert [await client.recv() for _ in EARLIER] == EARLIER
    assert [await server.recv() for _ in EARLIER] == EARLIER
    await lose(server)
    await bench.upstream.kill()
    await proxy.reached("server_down")
    await send_all(client, WAITING)
    await bench.upstream.start()
    server = await bench.upstream.accept()
    await send_all(client, AFTER)
    expected = WAITING + AFTER
    assert await recv_after(server, EARLIER, len(expected)) == expected
    await send_all(server, AFTER)
    assert [await client.recv() for _ in AFTER] == AFTER
    first, *_, last = bench.upstream.requests
    assert last.path == first.path == "/path?a=1"
    assert last.headers["x-custom"] == "1"
    assert last.headers["x-connection-id"] == first.headers["x-connection-id"] == id_of(client)
    assert last.headers["x-reconnect"] == "true"
    assert int(last.headers["x-reconnect-attempt"]) >= 1


@socket_test
async def test_the_attempts_to_reach_a_server_are_counted(bench: Bench) -> None:
    refusals = 0

    def refuse(connection: ServerConnection, seen: Request) -> Response | None:
        nonlocal refusals
        if "x-reconnect" in seen.headers and refusals < 3:
            refusals += 1
            return connection.respond(HTTPStatus.SERVICE_UNAVAILABLE, "starting\n")
        return None

    bench.upstream.process_request = refuse
    await bench.upstream.start()
    proxy = await bench.proxy("--retry-reset", "0")
    client = await bench.connect()
    cut(await bench.upstream.accept())
    server = await bench.upstream.accept()
    await send_all(client, AFTER)
    assert [await server.recv() for _ in AFTER] == AFTER
    cut(server)
    server = await bench.upstream.accept()
    attempts = [seen.headers.get("x-reconnect-attempt") for seen in bench.upstream.requests]
    assert attempts == [None, "1", "2", "3", "4", "1"]
    await proxy.reached("connected", 3)


@socket_test
async def test_reconnect_info_is_kept_and_sent_back(bench: Bench) -> None:
    await bench.raw_upstream.start()
    await bench.proxy()
    client, server = await bench.raw_pair(answer=("X-Reconnect-Info: shard 7",))
    server.abort()
    server = await bench.raw_upstream.accept()
    assert server.head.value("x-reconnect-info") == "shard 7"
    server.abort()
    server = await bench.raw_upstream.accept("X-Reconnect-Info: shard 8")
    assert server.head.value("x-reconnect-info") == "shard 7"
    server.abort()
    server = await bench.raw_upstream.accept()
    assert server.head.value("x-reconnect-info") == "shard 8"
    client.send(frame(TEXT, b"still here"))
    assert await server.read_message() == Frame(TEXT, b"still here")


@socket_test
async def test_the_subprotocol_stays_the_same_on_a_reconnect(bench: Bench) -> None:
    await bench.raw_upstream.start()
    await bench.proxy()
    client, server = await bench.raw_pair(
        "/", "Sec-WebSocket-Protocol: a, b", answer=("Sec-WebSocket-Protocol: b",)
    )
    assert server.head.value("sec-websocket-protocol") == "a, b"
    server.abort()
    asked = "b, a"  # then, at once, for less
    for wrong in ((), ("Sec-WebSocket-Protocol: a",), ("Sec-WebSocket-Extensions: x",)):
        attempt = await bench.raw_upstream.accept(*wrong)
        assert attempt.head.value("sec-websocket-protocol") == asked
        await attempt.ended()
        asked = "b"
    server = await bench.raw_upstream.accept("Sec-WebSocket-Protocol: b")
    assert server.head.value("x-reconnect-attempt") == "3"
    client.send(frame(TEXT, b"still b"))
    assert await server.read_message() == Frame(TEXT, b"still b")


@socket_test
async def test_spent_retries_end_the_session(bench: Bench) -> None:
    await bench.upstream.start()
    proxy = await bench.proxy("--retry-limit", "3", "--retry-interval", "0.01")
    client = await bench.connect()
    await bench.upstream.accept()
    await bench.upstream.kill()
    code, reason = await closed(client)
    assert code == 1013
    assert reason
    await proxy.logged("closed by retries_spent")
    await proxy.logged("failed: ", 3)
    assert sum("failed: " in line for line in proxy.lines) == 3
    assert (await bench.refused("/", {"x-reconnect-id": id_of(client)})).status_code == 404


@socket_test
async def test_a_final_refusal_ends_the_retries_at_once(bench: Bench) -> None:
    refusals = 0

    def refuse(connection: ServerConnection, seen: Request) -> Response | None:
        nonlocal refusals
        if "x-reconnect" not in seen.headers:
            return None
        refusals += 1
        return connection.respond(int(seen.path[1:]), "no\n")

    bench.upstream.process_request = refuse
    await bench.upstream.start()
    await bench.proxy("--retry-limit", "1000")
    for count, status in enumerate((400, 401, 403, 410), 1):
        client = await bench.connect(f"/{status}")
        cut(await bench.upstream.accept())
        assert await closed(client) == (1012, f"the server answered {status}")
        assert refusals == count


@socket_test
async def test_a_message_cut_off_by_the_servers_loss_is_dropped(bench: Bench) -> None:
    await bench.raw_upstream.start()
    await bench.proxy()
    client, server = await bench.raw_pair()
    whole = frame(TEXT, b"whole", masked=False)
    fragment = frame(TEXT, b"fragment", fin=False, masked=False)
    server.send(whole + fragment + frame(CONTINUATION, b"cut off", masked=False)[:-3])
    assert await client.read_message() == Frame(TEXT, b"whole")
    server.abort(reset=False)
    server = await bench.raw_upstream.accept()
    server.send(frame(TEXT, b"anew", masked=False))
    assert await client.read_message() == Frame(TEXT, b"anew")
