"""Either end vanishes and comes back; the other one must not notice."""

import json
from collections.abc import Awaitable, Callable
from http import HTTPStatus

import pytest
from raw_websocket import CONTINUATION, TEXT, Frame, frame, request
from socket_bench import Bench, closed, header, id_of, socket_test
from upstream_server import cut
from websockets.asyncio.connection import Connection
from websockets.asyncio.server import ServerConnection
from websockets.http11 import Request, Response

AT_MOST_ONCE = ("--delivery", "at-most-once")
EARLIER = ["said", "and", "heard"]
WAITING = [f"waiting {number}" for number in range(100)]
AFTER = ["and", "on", "it", "goes"]


async def send_all(connection: Connection, messages: list[str]) -> None:
    for message in messages:
        await connection.send(message)


async def recv_after(connection: Connection, earlier: list[str], count: int) -> list[str]:
    """The next messages, without repeats of earlier ones: at-least-once may begin with some."""
    received: list[str] = []
    while len(received) < count:
        message = str(await connection.recv())
        if received or message not in earlier:
            received.append(message)
    return received


async def reset(connection: Connection) -> None:
    cut(connection)


async def end_of_stream(connection: Connection) -> None:
    cut(connection, reset=False)


async def going_away(connection: Connection) -> None:
    await connection.close(1001, "back soon")


async def service_restart(connection: Connection) -> None:
    await connection.close(1012)


Lose = Callable[[Connection], Awaitable[None]]

# -- The server --------------------------------------------------------------------------------


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
    for wrong in ((), ("Sec-WebSocket-Protocol: a",), ("Sec-WebSocket-Extensions: x",)):
        attempt = await bench.raw_upstream.accept(*wrong)
        assert attempt.head.value("sec-websocket-protocol") == "b"
        await attempt.ended()
    server = await bench.raw_upstream.accept("Sec-WebSocket-Protocol: b")
    assert server.head.value("x-reconnect-attempt") == "4"
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
    assert ("closed", "retries_spent") in proxy.transitions
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
    for count, status in enumerate((401, 403, 404, 410), 1):
        client = await bench.connect(f"/{status}")
        cut(await bench.upstream.accept())
        assert await closed(client) == (1013, f"the server answered {status}")
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


# -- The client --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("lose", "delivery"),
    [
        (reset, "at-most-once"),
        (reset, "at-least-once"),
        (end_of_stream, "at-least-once"),
        (going_away, "at-least-once"),
    ],
)
@socket_test
async def test_the_client_goes_and_comes_back(bench: Bench, lose: Lose, delivery: str) -> None:
    await bench.upstream.start()
    proxy = await bench.proxy("--delivery", delivery)
    client = await bench.connect()
    server = await bench.upstream.accept()
    await send_all(client, EARLIER)
    await send_all(server, EARLIER)
    assert [await client.recv() for _ in EARLIER] == EARLIER
    assert [await server.recv() for _ in EARLIER] == EARLIER
    await lose(client)
    await proxy.reached("client_down")
    await send_all(server, WAITING)
    client = await bench.connect("/", {"x-connection-id": id_of(client)})
    assert header(client.response, "x-reconnect") == "resumed"
    await send_all(server, AFTER)
    expected = WAITING + AFTER
    assert await recv_after(client, EARLIER, len(expected)) == expected
    await send_all(client, AFTER)
    assert [await server.recv() for _ in AFTER] == AFTER
    assert bench.upstream.accepted == 1


@socket_test
async def test_a_client_returns_by_the_id_that_it_was_given(bench: Bench) -> None:
    await bench.upstream.start()
    proxy = await bench.proxy(*AT_MOST_ONCE)
    client = await bench.connect()
    server = await bench.upstream.accept()
    known = id_of(client)
    ways: tuple[tuple[str, dict[str, str]], ...] = (
        ("/", {"X-Connection-Id": known}),
        (f"/?connection_id={known}", {}),
        ("/", {"Cookie": f"connection_id={known}"}),
        ("/", {"X-Reconnect-Id": known}),
        (f"/?reconnect_id={known}", {}),
    )
    for times, (path, headers) in enumerate(ways, 1):
        cut(client)
        await proxy.reached("client_down", times)
        await send_all(server, WAITING)
        client = await bench.connect(path, headers)
        assert id_of(client) == known
        assert [await client.recv() for _ in WAITING] == WAITING
    assert bench.upstream.accepted == 1


@socket_test
async def test_a_message_cut_off_by_the_clients_loss_is_dropped(bench: Bench) -> None:
    await bench.raw_upstream.start()
    proxy = await bench.proxy()
    client, server = await bench.raw_pair("/", "x-connection-id: a")
    fragment = frame(TEXT, b"fragment", fin=False)
    client.send(frame(TEXT, b"whole") + fragment + frame(CONTINUATION, b"cut off")[:-3])
    assert await server.read_message() == Frame(TEXT, b"whole")
    client.abort(reset=False)
    await proxy.reached("client_down")
    client = await bench.raw_client("/", "x-connection-id: a")
    client.send(frame(TEXT, b"anew"))
    assert await server.read_message() == Frame(TEXT, b"anew")


@socket_test
async def test_a_newer_client_takes_the_session_over(bench: Bench) -> None:
    await bench.upstream.start()
    await bench.proxy(*AT_MOST_ONCE)
    named = {"x-connection-id": "a"}
    old = await bench.connect("/", named)
    server = await bench.upstream.accept()
    await old.send("from the old")
    assert await server.recv() == "from the old"
    new = await bench.connect("/", named)
    code, reason = await closed(old)
    assert code == 4409
    assert reason
    await server.send("to the new")
    assert await new.recv() == "to the new"
    await new.send("from the new")
    assert await server.recv() == "from the new"
    assert bench.upstream.accepted == 1


@socket_test
async def test_a_newer_client_takes_over_while_the_session_opens(bench: Bench) -> None:
    await bench.raw_upstream.start()
    await bench.proxy()
    head = request("/", "x-connection-id: a")
    old, new = await bench.raw(), await bench.raw()
    old.send(head)
    server = await bench.raw_upstream.next()
    new.send(head)
    assert (await old.read_head()).status == 409
    assert (await old.read_json())["error"] == "taken_over"
    server.accept()
    assert (await new.read_head()).status == 101


@socket_test
async def test_the_server_is_closed_when_the_client_does_not_return(bench: Bench) -> None:
    await bench.upstream.start()
    proxy = await bench.proxy("--client-grace", "0.2")
    client = await bench.connect()
    server = await bench.upstream.accept()
    cut(client)
    code, reason = await closed(server)
    assert code == 1001
    assert reason
    assert ("closed", "grace_ended") in proxy.transitions
    assert (await bench.refused("/", {"x-reconnect-id": id_of(client)})).status_code == 404


@socket_test
async def test_a_client_that_cannot_speak_the_sessions_subprotocol_is_refused(bench: Bench) -> None:
    bench.upstream.subprotocols = ["chat"]
    await bench.upstream.start()
    proxy = await bench.proxy()
    client = await bench.connect(subprotocols=["chat"])
    server = await bench.upstream.accept()
    cut(client)
    await proxy.reached("client_down")
    named = {"x-connection-id": id_of(client)}
    response = await bench.refused("/", named, subprotocols=["soap"])
    assert response.status_code == 409
    assert json.loads(response.body)["error"] == "cannot_resume"
    client = await bench.connect("/", named, subprotocols=["soap", "chat"])
    assert client.subprotocol == "chat"
    await server.send("still there")
    assert await client.recv() == "still there"


@socket_test
async def test_a_client_that_cannot_decompress_is_refused(bench: Bench) -> None:
    bench.upstream.compression = "deflate"
    await bench.upstream.start()
    proxy = await bench.proxy()
    client = await bench.connect(compression="deflate")
    cut(client)
    await proxy.reached("client_down")
    response = await bench.refused("/", {"x-connection-id": id_of(client)}, compression=None)
    assert response.status_code == 409


# -- Both --------------------------------------------------------------------------------------


@pytest.mark.parametrize("client_first", [True, False], ids=["client first", "server first"])
@pytest.mark.parametrize("client_back", [True, False], ids=["client back", "server back"])
@socket_test
async def test_both_go_and_come_back(bench: Bench, client_first: bool, client_back: bool) -> None:
    await bench.upstream.start()
    proxy = await bench.proxy()
    client = await bench.connect()
    server = await bench.upstream.accept()
    named = {"x-connection-id": id_of(client)}
    if client_first:
        cut(client)
        await proxy.reached("client_down")
        await send_all(server, WAITING)
        await (await server.ping())  # the proxy has taken it all
        await bench.upstream.kill()
    else:
        await bench.upstream.kill()
        await proxy.reached("server_down")
        await send_all(client, WAITING)
        await (await client.ping())
        cut(client)
    await proxy.reached("both_down")
    if client_back:
        client = await bench.connect("/", named)
        await bench.upstream.start()
        server = await bench.upstream.accept()
    else:
        await bench.upstream.start()
        server = await bench.upstream.accept()
        client = await bench.connect("/", named)
    receiver = client if client_first else server
    assert [await receiver.recv() for _ in WAITING] == WAITING
    for sender, receiver in ((client, server), (server, client)):
        await send_all(sender, AFTER)
        assert [await receiver.recv() for _ in AFTER] == AFTER
