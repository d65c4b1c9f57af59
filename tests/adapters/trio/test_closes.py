"""A session that an end closes on purpose: the other end gets the same code and reason."""

import pytest
from raw_websocket import CLOSE, TEXT, Frame, close_frame, frame
from socket_bench import Bench, closed, id_of, socket_test
from upstream_server import cut

FROM = pytest.mark.parametrize("closer", ["client", "server"])
CODES = (
    (1000, "done"),
    (1000, ""),
    (1003, "no binary here"),
    (1007, "not UTF-8"),
    (1008, "policy"),
    (1011, "a bug"),
    (3000, "registered"),
    (4999, "ünïcode, and as long as a Close frame allows" + "!" * 74),
)


@FROM
@socket_test
async def test_the_code_and_the_reason_go_to_the_other_end(bench: Bench, closer: str) -> None:
    await bench.upstream.start()
    proxy = await bench.proxy()
    for number, (code, reason) in enumerate(CODES, 1):
        client = await bench.connect("/", {"x-connection-id": "same"})
        server = await bench.upstream.accept()
        end, other = (client, server) if closer == "client" else (server, client)
        await end.close(code, reason)
        assert await closed(other) == (code, reason)
        assert await closed(end) == (code, reason)
        await proxy.logged("closed by legs_closed", number)
    assert bench.upstream.accepted == len(CODES)


@FROM
@socket_test
async def test_a_close_without_a_code_is_passed_on_without_one(bench: Bench, closer: str) -> None:
    await bench.raw_upstream.start()
    proxy = await bench.proxy()
    client, server = await bench.raw_pair()
    by_client = closer == "client"
    end, other = (client, server) if by_client else (server, client)
    end.send(frame(CLOSE, masked=by_client))
    assert await other.read_message() == Frame(CLOSE, b"")
    other.send(frame(CLOSE, masked=not by_client))
    assert await end.read_message() == Frame(CLOSE, b"")
    await end.ended()
    await other.ended()
    await proxy.reached("closed")


@FROM
@socket_test
async def test_what_was_sent_before_the_close_comes_before_it(bench: Bench, closer: str) -> None:
    await bench.upstream.start()
    await bench.proxy()
    client = await bench.connect()
    server = await bench.upstream.accept()
    end, other = (client, server) if closer == "client" else (server, client)
    messages = [str(number) * 1000 for number in range(500)]
    for message in messages:
        await end.send(message)
    closing = bench.spawn(end.close(1000, "that was all"))
    assert [await other.recv() for _ in messages] == messages
    assert await closed(other) == (1000, "that was all")
    await closing


@socket_test
async def test_what_waits_for_the_server_reaches_it_before_the_clients_close(bench: Bench) -> None:
    await bench.upstream.start()
    proxy = await bench.proxy()
    client = await bench.connect()
    await bench.upstream.accept()
    await bench.upstream.kill()
    await proxy.reached("server_down")
    for number in range(10):
        await client.send(str(number))
    await client.close(4000, "goodbye")
    await bench.upstream.start()
    server = await bench.upstream.accept()
    assert [await server.recv() for _ in range(10)] == [str(number) for number in range(10)]
    assert await closed(server) == (4000, "goodbye")
    await proxy.reached("closed")


@socket_test
async def test_what_waits_for_the_client_reaches_it_before_the_servers_close(bench: Bench) -> None:
    await bench.upstream.start()
    proxy = await bench.proxy()
    client = await bench.connect()
    server = await bench.upstream.accept()
    cut(client)
    await proxy.reached("client_down")
    for number in range(10):
        await server.send(str(number))
    await server.close(4000, "goodbye")
    client = await bench.connect("/", {"x-reconnect-id": id_of(client)})
    assert [await client.recv() for _ in range(10)] == [str(number) for number in range(10)]
    assert await closed(client) == (4000, "goodbye")
    await proxy.reached("closed")


@socket_test
async def test_an_end_with_nothing_owed_is_not_waited_for(bench: Bench) -> None:
    await bench.upstream.start()
    proxy = await bench.proxy("--delivery", "at-most-once")
    client = await bench.connect()
    server = await bench.upstream.accept()
    cut(client)
    await proxy.reached("client_down")
    await server.close(1000, "done")
    await proxy.reached("closed")
    assert (await bench.refused("/", {"x-reconnect-id": id_of(client)})).status_code == 404
    client = await bench.connect()
    await bench.upstream.accept()
    await bench.upstream.kill()
    await proxy.reached("server_down")
    await client.close(1000, "done")
    await proxy.reached("closed", 2)


@pytest.mark.parametrize("closer", ["client", "server"])
@socket_test
async def test_which_codes_mean_lost_is_configurable(bench: Bench, closer: str) -> None:
    await bench.upstream.start()
    proxy = await bench.proxy("--server-retry-codes", "4100", "--client-retry-codes", "4200")
    client = await bench.connect()
    server = await bench.upstream.accept()
    await server.close(4100)
    server = await bench.upstream.accept()
    await client.close(4200)
    await proxy.reached("client_down")
    client = await bench.connect("/", {"x-connection-id": id_of(client)})
    end, other = (client, server) if closer == "client" else (server, client)
    await end.close(1001, "for good")
    assert await closed(other) == (1001, "for good")


@FROM
@socket_test
async def test_an_end_that_does_not_answer_a_close_is_cut_off(bench: Bench, closer: str) -> None:
    await bench.raw_upstream.start()
    proxy = await bench.proxy("--close-timeout", "0.2")
    client, server = await bench.raw_pair()
    by_client = closer == "client"
    end, other = (client, server) if by_client else (server, client)
    other.send(frame(TEXT, b"not listening", masked=not by_client))
    assert await end.read_message() == Frame(TEXT, b"not listening")
    end.send(close_frame(1000, masked=by_client))
    await other.ended()  # the Close is in what is discarded here
    await end.ended()
    await proxy.reached("closed")
