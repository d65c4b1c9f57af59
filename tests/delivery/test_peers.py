"""Peers that answer Pings late, seldom or never, and one that is strict about them: Node's ws."""

import json
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress

import pytest
import trio
from children import HERE, LIMIT, Child, children, start_proxy
from node import skip_without_ws
from patience import patience
from raw_peer import RawPeer, RawServer, numbered, raw_client
from wsproto.events import Ping, Pong, TextMessage

TIMEOUT = patience(1.5)  # seconds; who lives must answer sooner, also on a busy machine
OPTIONS = (
    *("--heartbeat-interval", str(TIMEOUT), "--heartbeat-timeout", str(TIMEOUT)),
    *("--confirm-after", "0.02", "--retry-interval", "0.02", "--client-grace", "30"),
)
COUNT = 20


class Reader:
    """Reads from a peer until its connection ends; answers the Pings that `answers` says."""

    def __init__(self, peer: RawPeer, answers: Callable[[int], bool]) -> None:
        self.peer = peer
        self.numbers: list[int] = []
        self.pings = 0
        self._answers = answers

    async def run(self) -> None:
        """Until the end of the stream."""
        while event := await self.peer.receive():
            match event:
                case TextMessage():
                    self.numbers.append(int(event.data))
                case Ping():
                    self.pings += 1
                    if self._answers(self.pings):
                        await self.peer.send(event.response())

    async def have(self, count: int) -> list[int]:
        """Wait until that many messages have come; returns their numbers."""
        while len(self.numbers) < count:
            await trio.sleep(0.01)
        return self.numbers


def always(_: int) -> bool:
    return True


def never(_: int) -> bool:
    return False


async def chatter(peer: RawPeer) -> None:
    """Send something often, for as long as that goes."""
    with suppress(trio.BrokenResourceError, trio.ClosedResourceError):
        while True:
            await peer.send(TextMessage("0"))
            await trio.sleep(TIMEOUT / 10)


async def send_numbers(peer: RawPeer, first: int = 1) -> None:
    for number in range(first, first + COUNT):
        await peer.send(TextMessage(str(number)))


async def stream_numbers(peer: RawPeer, count: int, size: int) -> None:
    """From 0 on, with a moment in between for others."""
    for first in range(0, count, 100):
        await peer.send_frames(numbered(range(first, first + 100), size, masked=True))
        await trio.sleep(0.004)


@asynccontextmanager
async def proxied(*options: str) -> AsyncIterator[tuple[RawServer, int, trio.Nursery]]:
    """A raw server behind a proxy; the proxy's port."""
    server = RawServer()
    with trio.fail_after(LIMIT):
        async with children() as started, trio.open_nursery() as nursery:
            await nursery.start(server.run)
            _, port = await start_proxy(started, server.port, *(options or OPTIONS))
            yield server, port, nursery
            nursery.cancel_scope.cancel()


@pytest.mark.parametrize(("chatty", "pings"), [(False, 1), (True, 2)])
def test_a_server_that_answers_no_ping_is_lost_and_confirms_nothing(
    *, chatty: bool, pings: int
) -> None:
    async def run() -> None:
        async with proxied() as (server, port, nursery), raw_client(port) as client:
            nursery.start_soon(Reader(client, always).run)
            first = Reader(await server.next(), never)
            if chatty:
                nursery.start_soon(chatter, first.peer)
            await send_numbers(client)
            await first.run()
            assert first.numbers == [*range(1, COUNT + 1)]
            assert first.pings == pings
            second = Reader(await server.next(), always)
            nursery.start_soon(second.run)
            assert await second.have(COUNT) == first.numbers

    trio.run(run)


def test_a_client_that_answers_no_ping_is_lost_and_confirms_nothing() -> None:
    async def run() -> None:
        async with proxied() as (server, port, nursery):
            async with raw_client(port) as client:
                peer = await server.next()
                nursery.start_soon(Reader(peer, always).run)
                first = Reader(client, never)
                await send_numbers(peer)
                await first.run()
            assert first.numbers == [*range(1, COUNT + 1)]
            assert first.pings == 1
            async with raw_client(port) as client:
                second = Reader(client, always)
                nursery.start_soon(second.run)
                assert await second.have(COUNT) == first.numbers

    trio.run(run)


def test_an_answer_to_only_the_latest_ping_confirms_all() -> None:
    async def run() -> None:
        async with proxied() as (server, port, nursery), raw_client(port) as client:
            nursery.start_soon(Reader(client, always).run)
            first = Reader(await server.next(), lambda ping: ping > 1)
            nursery.start_soon(chatter, first.peer)
            nursery.start_soon(first.run)
            await send_numbers(client)
            while first.pings < 2:
                await trio.sleep(0.01)
            await trio.sleep(3 * TIMEOUT)  # it is not given up for the first Ping
            assert first.numbers == [*range(1, COUNT + 1)]
            await first.peer.stream.aclose()
            second = Reader(await server.next(), always)
            nursery.start_soon(second.run)
            await send_numbers(client, COUNT + 1)
            assert await second.have(COUNT) == [*range(COUNT + 1, 2 * COUNT + 1)]

    trio.run(run)


def test_pings_of_the_proxy_do_not_pile_up() -> None:
    """Its next Ping comes after the answer to the last one, however much is sent in between."""

    async def run() -> None:
        async with proxied() as (server, port, nursery), raw_client(port) as client:
            nursery.start_soon(Reader(client, always).run)
            peer = await server.next()
            nursery.start_soon(stream_numbers, client, 5000, 200)
            pings = messages = 0
            unanswered = None
            while messages < 5000:
                match await peer.receive():
                    case TextMessage():
                        messages += 1
                        if unanswered is not None and messages % 500 == 0:
                            await peer.send(unanswered)
                            unanswered = None
                    case Ping() as ping:
                        assert unanswered is None
                        pings += 1
                        unanswered = Pong(ping.payload)
            assert pings > 4

    trio.run(run)


def test_an_echo_that_fills_both_queues_goes_on() -> None:
    """Each side's Pong then stands behind messages that have nowhere to go."""

    async def echo(peer: RawPeer) -> None:
        while event := await peer.receive():
            match event:
                case TextMessage():
                    await peer.send(event)
                case Ping():
                    await peer.send(event.response())

    async def run() -> None:
        options = (*OPTIONS, "--queue-bytes", "100000", "--confirm-bytes", "20000")
        async with proxied(*options) as (server, port, nursery), raw_client(port) as client:
            nursery.start_soon(echo, await server.next())
            reader = Reader(client, always)
            nursery.start_soon(reader.run)
            await stream_numbers(client, 6000, 1000)
            assert await reader.have(6000) == [*range(6000)]

    trio.run(run)


# -- Node's ws ---------------------------------------------------------------------------------

FLOOD = 15_000  # messages of 1000 bytes: more than all buffers on the way hold
STALLED = 5_000  # messages to the server while it can't send
STREAMED = 1_000  # and when it can again, until it has got more Pings than it allows to pend
SIZE = 200  # bytes of each
ALLOWED = 60  # pending Pongs


async def seen_by(server: Child) -> dict[str, int]:
    asked = server.count("seen") + 1
    await server.order("what did you see?")
    seen: dict[str, int] = json.loads((await server.said("seen", asked)).partition(" ")[2])
    return seen


async def flooded(server: Child) -> None:
    """Wait until it has sent all of the flood, as far as that goes."""
    while not (await seen_by(server))["flooded"]:
        await trio.sleep(0.01)


@asynccontextmanager
async def node_server() -> AsyncIterator[tuple[Child, int]]:
    """A server on Node's ws: the process, and a proxy's port in front of it."""
    async with children() as started:
        server = await started.start("node", str(HERE / "node_ws_server.mjs"), "0")
        port = int((await server.said("listening")).split()[1])
        yield server, port


def test_node_ws_never_has_many_pongs_pending() -> None:
    skip_without_ws()

    async def run() -> None:
        with trio.fail_after(LIMIT):
            async with (
                node_server() as (server, port),
                children() as started,
                trio.open_nursery() as nursery,
            ):
                _, proxy = await start_proxy(started, port, "--confirm-bytes", "2000")
                async with raw_client(proxy) as client:
                    await client.send(TextMessage(f"flood {FLOOD}"))
                    await flooded(server)  # nothing is read: that fills every buffer
                    await stream_numbers(client, STALLED, SIZE)
                    reader = Reader(client, always)
                    nursery.start_soon(reader.run)
                    assert await reader.have(FLOOD) == [*range(FLOOD)]
                    while (seen := await seen_by(server))["pings"] <= ALLOWED:
                        await stream_numbers(client, STREAMED, SIZE)
                    assert seen["connections"] == 1
                    assert seen["lost"] == 0
                    assert seen["pending"] <= 1
                nursery.cancel_scope.cancel()

    trio.run(run)


def test_node_ws_does_end_a_connection_with_many_pongs_pending() -> None:
    """What the test before this one guards against."""
    skip_without_ws()

    async def run() -> None:
        with trio.fail_after(LIMIT):
            async with node_server() as (server, port), raw_client(port) as client:
                await client.send(TextMessage(f"flood {FLOOD}"))
                await flooded(server)
                with suppress(trio.BrokenResourceError):  # it may end before all are sent
                    for _ in range(100):
                        await client.send(Ping(b"one of many"))
                while not (seen := await seen_by(server))["lost"]:
                    await trio.sleep(0.05)
                assert seen["pending"] == ALLOWED

    trio.run(run)
