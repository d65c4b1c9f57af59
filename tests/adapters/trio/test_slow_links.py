"""Slow is not dead: what the system still has to deliver stands in front of the Ping."""

import asyncio

import pytest
from half_open import drop_packets, needs_packet_filter
from patience import LIMIT
from proxy_process import ProxyProcess
from raw_websocket import PING, PONG, TEXT, Frame, RawConnection, close_frame, frame
from slow_link import SHAPED, SlowLink, again_where_links_stand_still, on_a_shaped_link
from socket_bench import Bench, closed, socket_test

QUICK = ("--heartbeat-interval", "0.4", "--heartbeat-timeout", "0.4")
RATE = 200_000  # bytes a second
BIG = bytes(900_000)  # takes ten time-outs and more

DELIVERIES = pytest.mark.parametrize("delivery", ["at-most-once", "at-least-once"])


@DELIVERIES
@pytest.mark.parametrize("slow", ["client", "server"])
@again_where_links_stand_still
@socket_test
async def test_a_large_message_arrives_on_a_slow_link(
    bench: Bench, slow: str, delivery: str
) -> None:
    await bench.upstream.start()
    options = (*QUICK, "--delivery", delivery)
    if slow == "client":
        proxy = await bench.proxy(*options)
        async with SlowLink(proxy.port, "down", RATE) as link:
            client = await bench.connect(host="127.0.0.1", port=link.port)
            server = await bench.upstream.accept()
            await server.send(BIG)
            assert await client.recv() == BIG
            await client.send("more")
            assert await server.recv() == "more"
    else:
        async with SlowLink(bench.upstream.port, "up", RATE) as link:
            proxy = await ProxyProcess.start(f"ws://127.0.0.1:{link.port}", *options)
            bench.proxies.append(proxy)
            client = await bench.connect()
            server = await bench.upstream.accept()
            await client.send(BIG)
            assert await server.recv() == BIG
            await server.send("more")
            assert await client.recv() == "more"
    assert not any(state.endswith("down") for state, _ in proxy.transitions[:2])


@again_where_links_stand_still
@socket_test
async def test_a_session_that_ends_waits_for_a_slow_client(bench: Bench) -> None:
    await bench.upstream.start()
    proxy = await bench.proxy(*QUICK, "--close-timeout", "0.4")
    async with SlowLink(proxy.port, "down", RATE) as link:
        client = await bench.connect(host="127.0.0.1", port=link.port)
        server = await bench.upstream.accept()
        await server.send(BIG)
        ended = bench.spawn(closed(server))
        await server.close(3000, "done")
        assert await client.recv() == BIG
        assert await closed(client) == (3000, "done")
        await ended


@needs_packet_filter
@socket_test
async def test_a_client_that_vanishes_in_a_large_message_is_found(bench: Bench) -> None:
    """Its system acknowledges nothing any more: what is left for it is no life."""
    await bench.upstream.start()
    proxy = await bench.proxy(*QUICK)
    client = await bench.connect()
    server = await bench.upstream.accept()
    drop_packets(client.transport.get_extra_info("socket"))
    await server.send(BIG)
    await proxy.logged("client_down by client_lost: no sign of life")


@socket_test
async def test_a_client_that_hangs_in_a_large_message_is_found(bench: Bench) -> None:
    """Its system answers, but takes no more."""
    await bench.raw_upstream.start()
    proxy = await bench.proxy(*QUICK)
    _, server = await bench.raw_pair()  # nothing reads the client's end
    server.send(frame(2, BIG * 10, masked=False))
    bench.spawn(message_of(server))  # it answers Pings
    await proxy.logged("client_down by client_lost: no sign of life")


def test_on_a_shaped_loopback() -> None:
    on_a_shaped_link("test_slow_links:shaped", "480kbit")


@socket_test
async def shaped(bench: Bench) -> None:
    """A client behind 480 kbit/s gets 300 KB in some five seconds, in one piece."""
    await bench.upstream.start()
    proxy = await bench.proxy(*QUICK)
    client = await bench.connect(local_addr=(SHAPED, 0))
    server = await bench.upstream.accept()
    await server.send(BIG[:300_000])
    assert await client.recv() == BIG[:300_000]
    assert [state for state, _ in proxy.transitions] == ["connected"]


# -- A Close behind what is never confirmed --------------------------------------------------------


@socket_test
async def test_a_close_is_answered_at_once_whatever_waits_to_be_confirmed(bench: Bench) -> None:
    """The client answers no Ping, as most stacks once they have sent a Close."""
    await bench.raw_upstream.start()
    await bench.proxy("--queue-bytes", "1000", "--close-timeout", "50")
    client, server = await bench.raw_pair()
    client.send(frame(TEXT, b"c" * 3000))
    assert (await message_of(server)).payload == b"c" * 3000
    for _ in range(2):
        server.send(frame(TEXT, b"s" * 3000, masked=False))
        assert (await message_of(client, answer=False)).payload == b"s" * 3000
    client.send(close_frame(1000, "bye"))
    assert (await message_of(server)).close == (1000, "bye")
    server.send(close_frame(1000, "bye", masked=False))
    async with asyncio.timeout(LIMIT):
        assert (await message_of(client, answer=False)).close == (1000, "bye")


async def message_of(end: RawConnection, *, answer: bool = True) -> Frame:
    """The next message or Close."""
    while (found := await end.read_frame()).opcode in (PING, PONG):
        if answer and found.opcode == PING:
            end.send(frame(PONG, found.payload, masked=False))
    return found


@socket_test
async def test_a_client_that_does_not_mask_its_pongs_stays(bench: Bench) -> None:
    await bench.raw_upstream.start()
    proxy = await bench.proxy(*QUICK)
    client, server = await bench.raw_pair()
    for number in range(3):
        server.send(frame(TEXT, b"%d" % number, masked=False))
        assert (await message_of(client, answer=False)).payload == b"%d" % number
        ping = await client.read_frame()
        assert ping.opcode == PING
        client.send(frame(PONG, ping.payload, masked=False))
        client.send(frame(TEXT, b"masked"))
        assert (await message_of(server)).payload == b"masked"
    assert [state for state, _ in proxy.transitions] == ["connected"]
    client.send(frame(PONG, b"another", masked=False))
    assert (await message_of(client, answer=False)).close[0] == 1002
