"""Exact resume: a peer that says what it has received goes on with the very next message."""

import json

import pytest
from raw_websocket import TEXT, RawConnection, frame
from socket_bench import Bench, header, id_of, socket_test
from upstream_server import cut
from websockets.asyncio.connection import Connection


async def send_numbers(connection: Connection, start: int, end: int) -> None:
    for number in range(start, end + 1):
        await connection.send(str(number))


async def recv_numbers(connection: Connection, start: int, end: int) -> None:
    expected = [str(number) for number in range(start, end + 1)]
    assert [await connection.recv() for _ in expected] == expected


async def read_numbers(connection: RawConnection, start: int, end: int) -> None:
    for number in range(start, end + 1):
        assert int((await connection.read_message()).payload) == number


def send_raw_numbers(connection: RawConnection, start: int, end: int, *, masked: bool) -> None:
    for number in range(start, end + 1):
        connection.send(frame(TEXT, b"%d" % number, masked=masked))


async def proxy_has_taken(connection: Connection) -> None:
    """Wait until what was sent before has reached the proxy, or the other end behind it."""
    await (await connection.ping())


# -- A client that counts ----------------------------------------------------------------------


@socket_test
async def test_a_client_that_counts_gets_the_next_message(bench: Bench) -> None:
    await bench.upstream.start()
    proxy = await bench.proxy()
    client = await bench.connect()
    server = await bench.upstream.accept()
    await send_numbers(server, 1, 30)
    await recv_numbers(client, 1, 30)
    named = {"x-connection-id": id_of(client)}
    last = 30
    # What has been received may lie before what the proxy holds to be confirmed, or after it.
    for times, received in enumerate((30, 12, 12, 29, 0, 30), 1):
        cut(client)
        await proxy.reached("client_down", times)
        await send_numbers(server, last + 1, last + 5)
        last += 5
        client = await bench.connect("/", {**named, "x-reconnect-received": str(received)})
        await recv_numbers(client, received + 1, last)
    assert bench.upstream.accepted == 1


@socket_test
async def test_a_client_is_told_how_much_the_proxy_has_taken(bench: Bench) -> None:
    await bench.upstream.start()
    proxy = await bench.proxy()
    client = await bench.connect()
    assert header(client.response, "x-reconnect") == "new"
    assert header(client.response, "x-reconnect-received") is None
    server = await bench.upstream.accept()
    named = {"x-connection-id": id_of(client)}
    taken = 0
    for times in range(1, 4):
        await send_numbers(client, taken + 1, taken + 10)
        await recv_numbers(server, taken + 1, taken + 10)
        taken += 10
        cut(client)
        await proxy.reached("client_down", times)
        client = await bench.connect("/", named)
        assert header(client.response, "x-reconnect") == "resumed"
        assert header(client.response, "x-reconnect-received") == str(taken)


@socket_test
async def test_a_browser_is_told_in_a_message(bench: Bench) -> None:
    """A page sees no headers of a WebSocket's handshake: it asks for a greeting."""
    await bench.upstream.start()
    proxy = await bench.proxy()
    client = await bench.connect("/?reconnect_hello=1")
    server = await bench.upstream.accept()
    hello = json.loads(await client.recv())
    assert hello == {"x-connection-id": id_of(client), "x-reconnect": "new"}
    await send_numbers(server, 1, 10)
    await recv_numbers(client, 1, 10)
    await send_numbers(client, 1, 3)
    await recv_numbers(server, 1, 3)
    cut(client)
    await proxy.reached("client_down")
    await send_numbers(server, 11, 20)
    resume = f"/?reconnect_id={hello['x-connection-id']}&reconnect_received=8&reconnect_hello=1"
    client = await bench.connect(resume)
    assert json.loads(await client.recv()) == {
        "x-connection-id": hello["x-connection-id"],
        "x-reconnect": "resumed",
        "x-reconnect-received": "3",
    }
    await recv_numbers(client, 9, 20)  # the greeting does not count
    await send_numbers(client, 4, 6)
    await recv_numbers(server, 4, 6)


@socket_test
async def test_a_count_that_cannot_be_gone_on_from_is_refused(bench: Bench) -> None:
    await bench.upstream.start()
    proxy = await bench.proxy("--replay-window", "10000")
    client = await bench.connect()
    server = await bench.upstream.accept()
    named = {"x-connection-id": id_of(client)}
    for number in range(1, 31):  # one by one: the window's edge is as fine as the proxy's reads
        await server.send(f"{number:1000}")
        assert int(await client.recv()) == number
    cut(client)
    await proxy.reached("client_down")
    client = await bench.connect("/", {**named, "x-reconnect-received": "30"})
    cut(client)
    await proxy.reached("client_down", 2)
    for impossible in (0, 15, 31, 10**18):
        response = await bench.refused("/", {**named, "x-reconnect-received": str(impossible)})
        assert response.status_code == 409
        assert json.loads(response.body)["error"] == "cannot_resume"
    client = await bench.connect("/", {**named, "x-reconnect-received": "25"})
    await send_numbers(server, 31, 40)
    for number in range(26, 41):
        assert int(await client.recv()) == number


@socket_test
async def test_a_session_that_is_attached_is_not_disturbed_by_a_wrong_count(bench: Bench) -> None:
    await bench.upstream.start()
    await bench.proxy()
    client = await bench.connect()
    server = await bench.upstream.accept()
    named = {"x-connection-id": id_of(client), "x-reconnect-received": "5"}
    assert (await bench.refused("/", named)).status_code == 409
    await send_numbers(server, 1, 5)
    await recv_numbers(client, 1, 5)


@socket_test
async def test_a_new_session_starts_at_its_first_message_whatever_was_counted(bench: Bench) -> None:
    await bench.upstream.start()
    await bench.proxy()
    client = await bench.connect("/", {"x-connection-id": "a", "x-reconnect-received": "7"})
    server = await bench.upstream.accept()
    assert header(client.response, "x-reconnect") == "new"
    await send_numbers(server, 1, 5)
    await recv_numbers(client, 1, 5)


# -- A server that counts ----------------------------------------------------------------------


@socket_test
async def test_a_server_that_counts_gets_the_next_message(bench: Bench) -> None:
    await bench.raw_upstream.start()
    proxy = await bench.proxy()
    client, server = await bench.raw_pair()
    send_raw_numbers(client, 1, 30, masked=True)
    await read_numbers(server, 1, 30)
    send_raw_numbers(server, 1, 3, masked=False)
    await read_numbers(client, 1, 3)
    last = 30
    for times, received in enumerate((30, 12, 29, 0), 1):
        server.abort()
        await proxy.reached("server_down", times)
        send_raw_numbers(client, last + 1, last + 5, masked=True)
        last += 5
        server = await bench.raw_upstream.accept(f"x-reconnect-received: {received}")
        assert server.head.value("x-reconnect-received") == "3"
        await read_numbers(server, received + 1, last)


@socket_test
async def test_a_server_that_claims_too_much_ends_the_session(bench: Bench) -> None:
    await bench.raw_upstream.start()
    await bench.proxy()
    for claim in ("4", "-1", "three", str(10**30)):
        client, server = await bench.raw_pair()
        send_raw_numbers(client, 1, 3, masked=True)
        await read_numbers(server, 1, 3)
        server.abort()
        server = await bench.raw_upstream.accept(f"x-reconnect-received: {claim}")
        code, reason = (await client.read_message()).close
        assert code == 4410
        assert claim[:10] in reason
        await server.ended()


@socket_test
async def test_the_servers_count_is_not_shown_to_clients(bench: Bench) -> None:
    await bench.raw_upstream.start()
    await bench.proxy()
    client, _ = await bench.raw_pair(answer=("x-reconnect-received: 0",))
    assert client.head.value("x-reconnect-received") is None


# -- What a full queue dropped -----------------------------------------------------------------


@socket_test
async def test_a_returning_client_is_told_what_was_dropped(bench: Bench) -> None:
    await bench.upstream.start()
    proxy = await bench.proxy("--overflow-to-client", "drop-oldest", "--queue-messages", "10")
    client = await bench.connect()
    server = await bench.upstream.accept()
    cut(client)
    await proxy.reached("client_down")
    for number in range(1, 36):
        await server.send(str(number))
        await proxy_has_taken(server)
    client = await bench.connect("/", {"x-connection-id": id_of(client)})
    dropped = int(header(client.response, "x-reconnect-dropped") or 0)
    assert 25 <= dropped < 35
    await recv_numbers(client, dropped + 1, 35)
    await proxy.logged(r"queue full: \d+ to the client dropped")


@pytest.mark.parametrize("overflow", ["drop-oldest", "drop-newest"])
@socket_test
async def test_no_more_is_dropped_than_the_bounds_ask_for(bench: Bench, overflow: str) -> None:
    await bench.raw_upstream.start()
    proxy = await bench.proxy("--overflow-to-client", overflow, "--queue-messages", "10")
    client, server = await bench.raw_pair("/", "x-connection-id: a")
    client.abort()
    await proxy.reached("client_down")
    server.send(b"".join(frame(TEXT, b"%d" % number, masked=False) for number in range(1, 36)))
    await proxy.logged("queue full")
    client = await bench.raw_client("/", "x-connection-id: a")
    dropped = int(client.head.value("x-reconnect-dropped") or 0)
    assert 25 <= dropped < 35
    first = dropped + 1 if overflow == "drop-oldest" else 1
    await read_numbers(client, first, first + 34 - dropped)


@socket_test
async def test_a_full_queue_can_end_the_session(bench: Bench) -> None:
    await bench.raw_upstream.start()
    proxy = await bench.proxy("--overflow-to-client", "close", "--queue-messages", "10")
    client, server = await bench.raw_pair()
    client.abort()
    await proxy.reached("client_down")
    send_raw_numbers(server, 1, 11, masked=False)
    code, reason = (await server.read_message()).close
    assert code == 4413
    assert reason
