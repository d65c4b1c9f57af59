"""Peers that fall silent without closing anything are found, and are told from quiet ones."""

import asyncio
import signal
from contextlib import suppress

import pytest
from half_open import drop_packets, needs_packet_filter
from message_flood import Flood, receive_flood
from patience import patience
from raw_websocket import PING, PONG, TEXT, Frame, RawConnection, frame, request
from socket_bench import Bench, id_of, socket_test
from upstream_server import cut
from websockets.asyncio.connection import Connection

SILENCE = patience(2)  # seconds; who lives must answer sooner, also on a busy machine
QUICK = ("--heartbeat-interval", "0.1", "--heartbeat-timeout", str(SILENCE))


class Living:
    """What a living peer does, whatever its application is busy with: it answers Pings."""

    def __init__(self, bench: Bench, connection: RawConnection, *, masked: bool) -> None:
        self.messages: asyncio.Queue[Frame] = asyncio.Queue()
        self._connection = connection
        self._masked = masked
        bench.spawn(self._answer())

    async def _answer(self) -> None:
        with suppress(asyncio.IncompleteReadError, ConnectionError):
            while True:
                found = await self._connection.read_frame()
                if found.opcode == PING:
                    self._connection.send(frame(PONG, found.payload, masked=self._masked))
                else:
                    self.messages.put_nowait(found)

    def say(self, text: bytes) -> None:
        """Send a text message."""
        self._connection.send(frame(TEXT, text, masked=self._masked))


@pytest.mark.parametrize("delivery", ["at-most-once", "at-least-once"])
@pytest.mark.parametrize("silent", ["client", "server"])
@socket_test
async def test_a_peer_that_answers_nothing_is_lost(
    bench: Bench, silent: str, delivery: str
) -> None:
    await bench.raw_upstream.start()
    proxy = await bench.proxy(*QUICK, "--delivery", delivery)
    client, server = await bench.raw_pair("/", "x-connection-id: a")
    if silent == "client":
        living = Living(bench, server, masked=False)
        await proxy.logged("client_down by client_lost: no sign of life")
        back = Living(bench, await bench.raw_client("/", "x-connection-id: a"), masked=True)
        await client.ended()
    else:
        living = Living(bench, client, masked=True)
        await proxy.logged("server_down by server_lost: no sign of life")
        back = Living(bench, await bench.raw_upstream.accept(), masked=False)
        await server.ended()
    living.say(b"alive")
    back.say(b"back")
    assert await living.messages.get() == Frame(TEXT, b"back")
    assert await back.messages.get() == Frame(TEXT, b"alive")
    assert not any(state == "both_down" for state, _ in proxy.transitions)


@needs_packet_filter
@pytest.mark.parametrize("cut_off", ["client", "server"])
@socket_test
async def test_a_half_open_connection_is_found(bench: Bench, cut_off: str) -> None:
    await bench.upstream.start()
    proxy = await bench.proxy(*QUICK)
    client = await bench.connect()
    server = await bench.upstream.accept()
    lost, other = (client, server) if cut_off == "client" else (server, client)
    await other.send("received")
    assert await lost.recv() == "received"
    drop_packets(lost.transport.get_extra_info("socket"))
    waiting = [f"not acknowledged {number}" for number in range(10)]
    for message in waiting:  # into the half-open connection, as far as the proxy knows
        await other.send(message)
    await proxy.logged(f"{cut_off}_down by {cut_off}_lost: no sign of life")
    if cut_off == "client":
        named = {"x-connection-id": id_of(client), "x-reconnect-received": "1"}
        back = await bench.connect("/", named)
        assert [await back.recv() for _ in waiting] == waiting
    else:
        returned = await bench.upstream.accept()
        received = [await returned.recv() for _ in waiting]
        if received[0] == "received":  # its confirmation may have been cut off too
            received = [*received[1:], await returned.recv()]
        assert received == waiting
    assert not any(state == "both_down" for state, _ in proxy.transitions)


@socket_test
async def test_quiet_peers_are_not_lost(bench: Bench) -> None:
    """`websockets` answers Pings by itself; a raw peer that only sends is alive as well."""
    await bench.upstream.start()
    proxy = await bench.proxy(*QUICK)
    client = await bench.connect()
    server = await bench.upstream.accept()
    await asyncio.sleep(1.5 * SILENCE)  # it is the silence that is tested
    await client.send("still here")
    assert await server.recv() == "still here"
    await proxy.reached("connected")
    assert proxy.transitions == [("connected", "server_accepted")]


@socket_test
async def test_time_in_which_the_proxy_stands_still_does_not_count(bench: Bench) -> None:
    await bench.upstream.start()
    proxy = await bench.proxy(*QUICK)
    client = await bench.connect()
    server = await bench.upstream.accept()
    proxy.signal(signal.SIGSTOP)
    await asyncio.sleep(1.5 * SILENCE)
    proxy.signal(signal.SIGCONT)
    await client.send("still here")
    assert await server.recv() == "still here"
    await server.send("me too")
    assert await client.recv() == "me too"
    await proxy.reached("connected")
    assert proxy.transitions == [("connected", "server_accepted")]


@socket_test
async def test_no_heartbeat_if_it_is_turned_off(bench: Bench) -> None:
    await bench.raw_upstream.start()
    proxy = await bench.proxy("--heartbeat-interval", "0", "--heartbeat-timeout", "0.05")
    client, server = await bench.raw_pair()
    await asyncio.sleep(0.3)  # silence, which must have no effect
    client.send(frame(TEXT, b"hello"))
    assert await server.read_frame() == Frame(TEXT, b"hello")
    await proxy.reached("connected")
    assert proxy.transitions == [("connected", "server_accepted")]


@socket_test
async def test_the_proxys_own_pongs_are_not_passed_on(bench: Bench) -> None:
    await bench.raw_upstream.start()
    await bench.proxy("--heartbeat-interval", "0.05", "--confirm-after", "0")
    client, server = await bench.raw_pair()
    server.send(frame(TEXT, b"to be confirmed", masked=False))
    assert await client.read_frame() == Frame(TEXT, b"to be confirmed")
    own: list[bytes] = []
    while len(own) < 3:
        ping = await client.read_frame()
        assert ping.opcode == PING
        own.append(ping.payload)
        client.send(frame(PONG, ping.payload))
    assert len(set(own)) == 3
    client.send(frame(TEXT, b"a message") + frame(PONG, b"unasked for"))
    seen = []
    while (found := await server.read_frame()) != Frame(PONG, b"unasked for"):
        if found.opcode != PING:  # the proxy's own
            seen.append(found)
    assert seen == [Frame(TEXT, b"a message")]


@pytest.mark.parametrize("away", ["client", "server"])
@socket_test
async def test_an_end_that_the_proxy_does_not_read_is_not_lost(bench: Bench, away: str) -> None:
    """Its Pong waits behind messages that the proxy has no room for: that is no silence."""
    await bench.upstream.start()
    proxy = await bench.proxy(*QUICK, "--queue-bytes", str(256 * 1024))
    client = await bench.connect()
    server = await bench.upstream.accept()
    if away == "client":
        cut(client)
    else:
        await bench.upstream.kill()
    await proxy.reached(f"{away}_down")
    flood = Flood(bench, server if away == "client" else client)
    await flood.held_back()
    await asyncio.sleep(1.5 * SILENCE)
    assert not any(state == "both_down" for state, _ in proxy.transitions)
    if away == "client":
        back: Connection = await bench.connect("/", {"x-connection-id": id_of(client)})
    else:
        await bench.upstream.start()
        back = await bench.upstream.accept()
    await receive_flood(back)


@socket_test
async def test_a_slow_reader_that_keeps_reading_is_not_lost(bench: Bench) -> None:
    await bench.upstream.start()
    proxy = await bench.proxy(*QUICK)
    client = await bench.raw()
    client.send(request())
    server = await bench.upstream.accept()
    assert (await client.read_head()).status == 101
    Flood(bench, server)
    received = 0
    while received < 1080:
        found = await client.read_frame()
        if found.opcode == PING:
            client.send(frame(PONG, found.payload))
            continue
        received += 1
        if received > 1000:  # quick at first, so that the system makes its buffers large
            await asyncio.sleep(SILENCE / 50)  # so it takes longer than the heartbeat's limit
    await proxy.reached("connected")
    assert proxy.transitions == [("connected", "server_accepted")]
