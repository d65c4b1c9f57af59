"""Slow and hostile peers: what the proxy does with them, and a bystander who doesn't notice.

Each attack runs beside a session whose messages must all arrive, in order. What it costs is
measured by tests/benchmarks/hostile.py.
"""

import asyncio
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from itertools import count

import aiohttp
import pytest
from admin_client import Admin
from patience import patience
from raw_websocket import (
    BINARY,
    CONTINUATION,
    PING,
    PONG,
    TEXT,
    Frame,
    RawConnection,
    close_frame,
    frame,
    request,
)
from socket_bench import Bench, socket_test

ADMIN = ("--admin", "127.0.0.1:0")
FLOOD = 3000  # frames: many times what one turn takes
KIB = 1024


@asynccontextmanager
async def bystander(bench: Bench) -> AsyncIterator[None]:
    """A session in which messages go to and fro all the time, one after the other."""
    client, server = await bench.raw_pair()
    rounds = 0

    async def talk() -> None:
        nonlocal rounds
        for number in count():
            for here, there, masked in ((client, server, True), (server, client, False)):
                here.send(frame(TEXT, b"%d" % number, masked=masked))
                assert await there.read_message() == Frame(TEXT, b"%d" % number)
            rounds += 1

    talking = bench.spawn(talk())
    yield
    before = rounds
    while rounds < before + 10:
        await asyncio.sleep(0)
        assert not talking.done(), talking.exception()
    talking.cancel()


async def refused(client: RawConnection) -> int:
    status = (await client.read_head()).status
    await client.ended()
    return status


# -- Handshakes --------------------------------------------------------------------------------


@socket_test
async def test_slow_handshakes_get_408_and_their_places_are_free_again(bench: Bench) -> None:
    await bench.raw_upstream.start()
    await bench.proxy("--request-timeout", str(patience(3)), "--connection-limit", "101")
    async with bystander(bench):
        clients = [await bench.raw() for _ in range(100)]
        assert await refused(await bench.raw()) == 503
        answers = [bench.spawn(refused(client)) for client in clients]
        for byte in request()[:20]:
            for client in clients[::2]:  # the others say nothing at all
                if not answers[0].done():
                    client.send(bytes((byte,)))
            await asyncio.sleep(0.02)
        assert Counter(await asyncio.gather(*answers)) == {408: 100}
        for client in clients:
            client.abort()
        while await is_full(bench):
            pass


@socket_test
async def test_what_strangers_cause_is_said_seldom_and_each_kind_for_itself(bench: Bench) -> None:
    proxy = await bench.proxy("--request-timeout", "0.3", "--log-level", "info")
    kinds = {
        "400 bad_request": b"no request\r\n\r\n",
        "426 upgrade_required": b"GET / HTTP/1.1\r\nHost: x\r\n\r\n",
        "404 unknown_session": request("/", "X-Reconnect-Id: gone"),
        "408 request_timeout": b"GET /",
    }
    for what in kinds.values():
        clients = [await bench.raw() for _ in range(9)]
        for client in clients:
            client.send(what)
        await asyncio.gather(*(refused(client) for client in clients))
    for kind in kinds:
        await proxy.logged(f"INFO client 127.0.0.1 refused: {kind}.*; 8 so far")
        assert sum(kind in line for line in proxy.lines) == 4, kind  # at 1, 2, 4 and 8


async def is_full(bench: Bench) -> bool:
    client = await bench.raw()
    client.send(b"no request\r\n\r\n")
    return await refused(client) == 503


@socket_test
async def test_who_was_kept_out_is_counted(bench: Bench) -> None:
    await bench.raw_upstream.start()
    proxy = await bench.proxy(*ADMIN, "--address-connections", "1", "--allow-origin", "a.test")
    async with bystander(bench), aiohttp.ClientSession() as http:
        for _ in range(3):
            assert await refused(await bench.raw()) == 429
        page = await bench.raw(local="127.0.0.2")
        page.send(request("/", "Origin: https://b.test"))
        assert await refused(page) == 403
        seen = await (await Admin.of(proxy, http)).metrics()
        assert seen["reknit_refused_total{why=address_connections}"] == 3
        assert seen["reknit_refused_total{why=origin_not_allowed}"] == 1
        assert seen["reknit_handshakes_total{status=429}"] == 3
        assert seen["reknit_connections"] in (1, 2)  # the page's may not be closed yet


@socket_test
async def test_strangers_by_the_hundred_leave_a_session_alone(bench: Bench) -> None:
    await bench.raw_upstream.start()
    proxy = await bench.proxy()
    named = "X-Connection-Id: known"
    owner, server = await bench.raw_pair("/", named, "Authorization: Bearer owner")
    async with bystander(bench):
        for _ in range(10):
            strangers = [await bench.raw() for _ in range(30)]
            for stranger in strangers:
                stranger.send(request("/", named, "Authorization: Bearer other"))
            answers = await asyncio.gather(*map(refused, strangers))
            assert Counter(answers) == {403: 30}
    owner.send(frame(TEXT, b"mine"))
    assert await server.read_message() == Frame(TEXT, b"mine")
    await proxy.reached("connected", 2)
    assert [state for state, _ in proxy.transitions] == ["connected"] * 2


@socket_test
async def test_takeovers_by_the_hundred_leave_one_connection_and_nothing_lost(bench: Bench) -> None:
    await bench.raw_upstream.start()
    proxy = await bench.proxy(*ADMIN)
    named = "X-Connection-Id: known"
    client, server = await bench.raw_pair("/", named)
    async with bystander(bench), aiohttp.ClientSession() as http:
        for number in range(200):
            server.send(frame(TEXT, b"%d" % number, masked=False))
            older, client = client, await bench.raw_client("/", named)
            assert (await client.read_message()).payload in (b"0", b"%d" % number)
            while (found := await older.read_message()).opcode == TEXT:
                pass
            assert found.close[0] == 4409
            older.abort()
        admin = await Admin.of(proxy, http)
        while (await admin.metrics())["reknit_connections"] > 2:
            pass
    assert bench.raw_upstream.count == 2


# -- Frames ------------------------------------------------------------------------------------


def floods(*, masked: bool) -> dict[str, tuple[bytes, Counter[int]]]:
    """By name: what is sent, and the frames that arrive of it."""

    def many(opcode: int, size: int = 0) -> bytes:
        return frame(opcode, b"x" * size, masked=masked) * FLOOD

    part = frame(CONTINUATION, b"x", masked=masked, fin=False)
    begin = frame(TEXT, masked=masked, fin=False)
    end = frame(CONTINUATION, masked=masked)
    ping = frame(PING, b"x", masked=masked)
    return {
        "Pings": (many(PING), Counter({PING: FLOOD})),
        "large Pings": (many(PING, 125), Counter({PING: FLOOD})),
        "Pongs": (many(PONG), Counter({PONG: FLOOD})),
        "empty messages": (many(TEXT), Counter({TEXT: FLOOD})),
        "fragments": (begin + part * FLOOD + end, Counter({TEXT: 1, CONTINUATION: FLOOD + 1})),
        "Pings between fragments": (
            begin + (part + ping) * FLOOD + end,
            Counter({TEXT: 1, CONTINUATION: FLOOD + 1, PING: FLOOD}),
        ),
    }


@pytest.mark.parametrize("what", floods(masked=True))
@pytest.mark.parametrize("sender", ["client", "server"])
@socket_test
async def test_a_flood_of_small_frames_passes_whole(bench: Bench, sender: str, what: str) -> None:
    await bench.raw_upstream.start()
    proxy = await bench.proxy("--delivery", "at-most-once")
    client, server = await bench.raw_pair()
    here, there = (client, server) if sender == "client" else (server, client)
    flood, expected = floods(masked=sender == "client")[what]
    last = frame(TEXT, b"last", masked=sender == "client")
    async with bystander(bench):
        here.send(flood + last)
        found: Counter[int] = Counter()
        while found != expected + Counter({TEXT: 1}):
            found[(await there.read_frame()).opcode] += 1
    await proxy.reached("connected", 2)
    assert [state for state, _ in proxy.transitions] == ["connected"] * 2


@pytest.mark.parametrize("sender", ["client", "server"])
@socket_test
async def test_what_was_sent_before_a_close_arrives_before_it(bench: Bench, sender: str) -> None:
    """Also where the end comes with it, and what is left takes many turns to read."""
    await bench.raw_upstream.start()
    await bench.proxy("--delivery", "at-most-once")
    client, server = await bench.raw_pair()
    masked = sender == "client"
    here, there = (client, server) if masked else (server, client)
    part = frame(TEXT, b"x", masked=masked, fin=False) + frame(CONTINUATION, masked=masked)
    here.send(part * FLOOD + close_frame(4000, "done", masked=masked))
    here.end()
    for _ in range(FLOOD):
        assert await there.read_message() == Frame(TEXT, b"x", fin=False)
        assert await there.read_message() == Frame(CONTINUATION, b"")
    assert (await there.read_message()).close == (4000, "done")


@pytest.mark.parametrize("sender", ["client", "server"])
@socket_test
async def test_a_message_of_2_to_the_62_ends_its_session_only(bench: Bench, sender: str) -> None:
    await bench.raw_upstream.start()
    await bench.proxy()
    client, server = await bench.raw_pair()
    masked = sender == "client"
    here = client if masked else server
    async with bystander(bench):
        here.send(bytes((0x82, masked << 7 | 127)) + (1 << 62).to_bytes(8, "big") + bytes(4))
        assert (await client.read_message()).close[0] == 1009
        assert (await server.read_message()).close[0] == 1009


@socket_test
async def test_a_message_a_byte_at_a_time_arrives_whole(bench: Bench) -> None:
    await bench.raw_upstream.start()
    await bench.proxy()
    client, server = await bench.raw_pair()
    async with bystander(bench):
        for byte in frame(BINARY, b"y" * 300):
            client.send(bytes((byte,)))
            await asyncio.sleep(0)
        assert await server.read_message() == Frame(BINARY, b"y" * 300)


@socket_test
async def test_messages_that_never_end_fill_no_more_than_the_bound(bench: Bench) -> None:
    """Who holds on to the memory is lost in time, and it is free for others."""
    await bench.raw_upstream.start()
    total = 1024 * KIB
    quick = ("--heartbeat-interval", str(patience(1)), "--heartbeat-timeout", str(patience(1)))
    proxy = await bench.proxy(*ADMIN, *quick, "--queue-total", str(total), "--client-grace", "0")
    clients = [(await bench.raw_pair())[0] for _ in range(10)]
    async with aiohttp.ClientSession() as http:
        admin = await Admin.of(proxy, http)
        header = bytes((0x82, 0xFF)) + (15 * KIB * KIB).to_bytes(8, "big") + bytes(4)
        for client in clients:
            client.send(header + bytes(5 * KIB * KIB))
        most = 0.0
        while "both_down" not in (state for state, _ in proxy.transitions):
            most = max(most, (await admin.metrics())["reknit_held_bytes"])
        assert total / 2 < most < total + 10 * 160 * KIB
        await proxy.reached("closed", 10)
        assert (await admin.metrics())["reknit_held_bytes"] == 0


@socket_test
async def test_pings_of_one_who_does_not_read_wait_and_are_all_answered(bench: Bench) -> None:
    """While the server is away the proxy answers, as far as its client reads the answers."""
    await bench.raw_upstream.start()
    proxy = await bench.proxy("--heartbeat-interval", "0")
    client = await bench.raw(receive_buffer=4096)
    client.send(request())
    await bench.raw_upstream.accept()
    await client.read_head()
    await bench.raw_upstream.kill()
    await proxy.reached("server_down")
    number = 60_000  # their answers are more than all buffers hold
    sending = bench.spawn(send_in_parts(client, frame(PING, b"x" * 100) * number))
    await bench.turned()
    assert not sending.done()
    for _ in range(number):
        assert await client.read_frame() == Frame(PONG, b"x" * 100)
    await sending
    client.send(frame(PING, b"and now?"))
    assert await client.read_frame() == Frame(PONG, b"and now?")


async def send_in_parts(connection: RawConnection, data: bytes) -> None:
    for at in range(0, len(data), 65536):
        connection.send(data[at : at + 65536])
        await connection.drain()


# -- Servers -----------------------------------------------------------------------------------


@pytest.mark.parametrize("answer", ["endless", "slow", "none"])
@socket_test
async def test_an_answer_that_never_ends_is_given_up(bench: Bench, answer: str) -> None:
    await bench.raw_upstream.start()
    await bench.proxy("--retry-limit", "0", "--connect-timeout", str(patience(1)))
    async with bystander(bench):
        client = await bench.raw()
        client.send(request())
        server = await bench.raw_upstream.next()
        if answer != "none":
            server.send(b"HTTP/1.1 101 Switching Protocols\r\n")
        if answer == "endless":
            bench.spawn(send_in_parts(server, b"X-More: of it\r\n" * 10**6))
        answered = bench.spawn(refused(client))
        while answer == "slow" and not answered.done():
            server.send(b"X")
            await asyncio.sleep(0.05)
        assert await answered == 502


@socket_test
async def test_a_server_that_leaves_again_at_once_is_tried_so_often_only(bench: Bench) -> None:
    await bench.raw_upstream.start()
    await bench.proxy("--retry-limit", "3", "--retry-reset", "60")
    async with bystander(bench):
        client = await bench.raw()
        client.send(request())
        for _ in range(4):
            server = await bench.raw_upstream.accept()
            server.send(close_frame(1012, masked=False))
        assert (await client.read_head()).status == 101
        assert (await client.read_message()).close[0] == 1013
        assert bench.raw_upstream.count == 5
