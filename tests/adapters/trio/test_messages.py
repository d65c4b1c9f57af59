"""Messages between a `websockets` client and a `websockets` server, through the proxy."""

import pytest
from raw_websocket import BINARY, PING, PONG, TEXT, Frame, frame, request
from socket_bench import Bench, header, id_of, socket_test
from upstream_server import cut
from websockets.asyncio.connection import Connection

COMPRESSION = pytest.mark.parametrize("compression", [None, "deflate"], ids=["plain", "deflate"])

MESSAGES: tuple[str | bytes, ...] = (
    "text",
    "",
    b"binary",
    b"",
    bytes(range(256)),
    "ünïcode \N{SNOWMAN} \N{PILE OF POO}",
    "x" * 125,
    "x" * 126,
    b"y" * 65535,
    b"y" * 65536,
    "a\N{SNOWMAN}" * (2**20 // 4),
    bytes(range(256)) * (3 * 2**20 // 256),
)


@COMPRESSION
@socket_test
async def test_messages_of_every_kind_pass_in_both_directions(
    bench: Bench, compression: str | None
) -> None:
    bench.upstream.compression = compression
    await bench.upstream.start()
    await bench.proxy()
    client = await bench.connect(compression=compression)
    server = await bench.upstream.accept()
    for sender, receiver in ((client, server), (server, client)):
        for message in MESSAGES:
            await sender.send(message)
            assert await receiver.recv() == message


@socket_test
async def test_many_messages_keep_their_order(bench: Bench) -> None:
    await bench.upstream.start()
    await bench.proxy()
    client = await bench.connect()
    server = await bench.upstream.accept()
    expected = [str(number) for number in range(2000)]
    for sender, receiver in ((client, server), (server, client)):
        for message in expected[:1000]:
            await sender.send(message)
        received = [await receiver.recv() for _ in range(500)]
        for message in expected[1000:]:
            await sender.send(message)
        received += [await receiver.recv() for _ in range(1500)]
        assert received == expected


@COMPRESSION
@socket_test
async def test_fragments_stay_as_they_are(bench: Bench, compression: str | None) -> None:
    bench.upstream.compression = compression
    await bench.upstream.start()
    await bench.proxy()
    client = await bench.connect(compression=compression)
    server = await bench.upstream.accept()
    fragments = ["one", "", "three" * 30000, "4"]
    for sender, receiver in ((client, server), (server, client)):
        await sender.send(fragments)
        received = [part async for part in receiver.recv_streaming()]
        # `websockets` ends a fragmented message with an empty frame of its own
        assert [part for part in received if part] == [part for part in fragments if part]
        assert len(received) > 3


def compressions(connection: Connection) -> list[str]:
    return [extension.name for extension in connection.protocol.extensions]


@socket_test
async def test_compression_is_agreed_on_so_that_each_message_stands_alone(bench: Bench) -> None:
    bench.upstream.compression = "deflate"
    await bench.upstream.start()
    await bench.proxy()
    client = await bench.connect(compression="deflate")
    server = await bench.upstream.accept()
    assert compressions(client) == compressions(server) == ["permessage-deflate"]
    assert server.request is not None
    offer = server.request.headers["Sec-WebSocket-Extensions"]
    assert "server_no_context_takeover" in offer
    answer = header(client.response, "Sec-WebSocket-Extensions")
    assert answer is not None
    assert "server_no_context_takeover" in answer
    assert "client_no_context_takeover" in answer


@pytest.mark.parametrize(
    ("client_side", "server_side"),
    [("deflate", None), (None, "deflate")],
    ids=["server ignores it", "client does not offer it"],
)
@socket_test
async def test_no_compression_unless_both_ends_want_it(
    bench: Bench, client_side: str | None, server_side: str | None
) -> None:
    bench.upstream.compression = server_side
    await bench.upstream.start()
    await bench.proxy()
    client = await bench.connect(compression=client_side)
    server = await bench.upstream.accept()
    assert compressions(client) == compressions(server) == []
    assert header(client.response, "Sec-WebSocket-Extensions") is None
    await client.send("x" * 1000)
    assert await server.recv() == "x" * 1000
    await server.send(b"y" * 1000)
    assert await client.recv() == b"y" * 1000


@socket_test
async def test_compressed_messages_go_to_another_connection(bench: Bench) -> None:
    bench.upstream.compression = "deflate"
    await bench.upstream.start()
    proxy = await bench.proxy("--delivery", "at-most-once")
    client = await bench.connect(compression="deflate")
    server = await bench.upstream.accept()
    for number in range(5):  # so that a context taken over would be needed
        await client.send(f"again and again and again {number}")
        await server.send(f"and again and again and again {number}")
        await server.recv()
        await client.recv()
    await bench.upstream.kill()
    await proxy.reached("server_down")
    waiting = [f"again and again and again {number}" for number in range(50)]
    for message in waiting:
        await client.send(message)
    await bench.upstream.start()
    server = await bench.upstream.accept()
    assert [await server.recv() for _ in waiting] == waiting
    cut(client)
    await proxy.reached("client_down")
    for message in waiting:
        await server.send(message)
    client = await bench.connect(headers={"x-connection-id": id_of(client)}, compression="deflate")
    assert [await client.recv() for _ in waiting] == waiting


@socket_test
async def test_pings_and_pongs_pass_from_end_to_end(bench: Bench) -> None:
    await bench.raw_upstream.start()
    await bench.proxy("--confirm-after", "60")
    client, server = await bench.raw_pair()
    for sender, receiver, masked in ((client, server, True), (server, client, False)):
        for opcode in (PING, PONG):
            sender.send(frame(opcode, b"who is it?", masked=masked))
            assert await receiver.read_frame() == Frame(opcode, b"who is it?")


@socket_test
async def test_a_ping_between_fragments_does_not_disturb_the_message(bench: Bench) -> None:
    await bench.raw_upstream.start()
    await bench.proxy("--confirm-after", "60")
    client, server = await bench.raw_pair()
    client.send(frame(BINARY, b"a", fin=False) + frame(PING, b"!") + frame(0, b"b", fin=True))
    received = [await server.read_frame() for _ in range(3)]
    assert Frame(PING, b"!") in received
    received.remove(Frame(PING, b"!"))
    assert received == [Frame(BINARY, b"a", fin=False), Frame(0, b"b")]


@socket_test
async def test_pings_are_answered_in_the_place_of_an_end_that_is_away(bench: Bench) -> None:
    await bench.upstream.start()
    proxy = await bench.proxy()
    client = await bench.connect()
    server = await bench.upstream.accept()
    await bench.upstream.kill()
    await proxy.reached("server_down")
    await (await client.ping(b"still there?"))
    await bench.upstream.start()
    server = await bench.upstream.accept()
    cut(client)
    await proxy.reached("client_down")
    await (await server.ping(b"and you?"))


@socket_test
async def test_frames_sent_before_the_handshake_is_done_arrive(bench: Bench) -> None:
    """A client need not wait for its 101, and a server's first message may follow its own."""
    await bench.raw_upstream.start()
    await bench.proxy()
    client = await bench.raw()
    client.send(request() + frame(TEXT, b"early"))
    server = await bench.raw_upstream.next()
    server.accept()
    server.send(frame(TEXT, b"early too", masked=False))
    assert (await client.read_head()).status == 101
    assert await client.read_message() == Frame(TEXT, b"early too")
    assert await server.read_message() == Frame(TEXT, b"early")


@socket_test
async def test_sessions_do_not_mix(bench: Bench) -> None:
    await bench.upstream.start()
    await bench.proxy()
    pairs = []
    for number in range(20):
        client = await bench.connect(f"/{number}")
        pairs.append((client, await bench.upstream.accept()))
    for round_ in range(5):
        for number, (client, server) in enumerate(pairs):
            await client.send(f"to server {number} {round_}")
            await server.send(f"to client {number} {round_}")
    for number, (client, server) in enumerate(pairs):
        assert server.request is not None
        assert server.request.path == f"/{number}"
        for round_ in range(5):
            assert await client.recv() == f"to client {number} {round_}"
            assert await server.recv() == f"to server {number} {round_}"
