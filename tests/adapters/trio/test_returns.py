"""The client vanishes and comes back, or both ends do; the server must not notice."""

import json

import pytest
from losses import (
    AFTER,
    AT_MOST_ONCE,
    EARLIER,
    WAITING,
    Lose,
    end_of_stream,
    going_away,
    recv_after,
    reset,
    send_all,
)
from raw_websocket import CONTINUATION, TEXT, Frame, frame, request
from socket_bench import Bench, closed, header, id_of, socket_test
from upstream_server import cut

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
    await proxy.logged("closed by grace_ended")
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
