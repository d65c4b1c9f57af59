"""Connections are cut again and again under load while both processes live: nothing is lost.

Each end sends numbers. What an end's WebSocket stack has received counts as received, also what
its application reads after the connection is gone. A cut takes what its sender's system still
held, which the proxy never had: only an end that counts can send that again.
"""

import asyncio
import itertools

import pytest
from socket_bench import Bench, header, id_of, socket_test
from upstream_server import cut
from websockets.asyncio.connection import Connection
from websockets.exceptions import ConnectionClosed

NUMBERS = 3000
CUTS = 6


class Receiver:
    """The application of an end that lives on while its connections come and go."""

    def __init__(self) -> None:
        self.received: list[int] = []
        self._changed = asyncio.Condition()

    @property
    def newest(self) -> int:
        """The highest number so far."""
        return max(self.received, default=0)

    async def take(self, connection: Connection) -> None:
        """Take all that this connection's stack gets."""
        try:
            async for message in connection:
                async with self._changed:
                    self.received.append(int(message))
                    self._changed.notify_all()
        except ConnectionClosed:
            pass

    async def reach(self, number: int) -> None:
        """Wait until that number, or a higher one, has come."""
        async with self._changed:
            await self._changed.wait_for(lambda: self.received and self.newest >= number)


async def send_numbers(connection: Connection, first: int, last: int) -> None:
    for number in range(first, last + 1):
        await connection.send(str(number))
        if number % 50 == 0:
            await asyncio.sleep(0)


def without_repeats(received: list[int]) -> list[int]:
    return list(dict.fromkeys(received))


@pytest.mark.parametrize("reset", [True, False], ids=["reset", "end of stream"])
@pytest.mark.parametrize("unsteady", ["client", "server"])
@socket_test
async def test_at_least_once_loses_nothing_that_goes_to_an_end_that_is_cut(
    bench: Bench, unsteady: str, reset: bool
) -> None:
    await bench.upstream.start()
    proxy = await bench.proxy("--delivery", "at-least-once", "--retry-limit", "1000")
    client = await bench.connect()
    server = await bench.upstream.accept()
    named = {"x-connection-id": id_of(client)}
    end, sender = (client, server) if unsteady == "client" else (server, client)
    receiver = Receiver()
    sending = bench.spawn(send_numbers(sender, 1, NUMBERS))
    bench.spawn(receiver.take(end))
    for turn in range(1, CUTS + 1):
        await receiver.reach(turn * NUMBERS // (CUTS + 2))
        cut(end, reset=reset)
        if unsteady == "client":
            await proxy.reached("client_down", turn)
            end = await bench.connect("/", named)
        else:
            end = await bench.upstream.accept()
        bench.spawn(receiver.take(end))
    await sending
    await receiver.reach(NUMBERS)
    expected = list(range(1, NUMBERS + 1))
    assert without_repeats(receiver.received) == expected  # nothing is lost or out of order
    starts = sum(b <= a for a, b in itertools.pairwise(receiver.received))
    assert starts <= CUTS  # each return repeats at most one stretch, from one place on


@pytest.mark.parametrize("delivery", ["at-most-once", "at-least-once"])
@socket_test
async def test_a_client_that_counts_gets_and_gives_each_message_exactly_once(
    bench: Bench, delivery: str
) -> None:
    await bench.upstream.start()
    proxy = await bench.proxy("--delivery", delivery, "--replay-window", str(2**20))
    client = await bench.connect()
    server = await bench.upstream.accept()
    connection_id = id_of(client)
    at_server, at_client = Receiver(), Receiver()
    bench.spawn(at_server.take(server))
    bench.spawn(send_numbers(server, 1, NUMBERS))
    sent = 0
    for turn in range(1, CUTS + 2):
        taking = bench.spawn(at_client.take(client))
        until = turn * NUMBERS // (CUTS + 1)
        await send_numbers(client, sent + 1, until)
        await at_client.reach(turn * NUMBERS // (CUTS + 2))
        if turn > CUTS:
            break
        cut(client)
        await taking  # what its stack got before the cut counts too
        await proxy.reached("client_down", turn)
        received = str(len(at_client.received))
        headers = {"x-reconnect-id": connection_id, "x-reconnect-received": received}
        client = await bench.connect("/", headers)
        sent = int(header(client.response, "x-reconnect-received") or 0)
    await at_server.reach(NUMBERS)
    await at_client.reach(NUMBERS)
    expected = list(range(1, NUMBERS + 1))
    assert at_server.received == expected
    assert at_client.received == expected
    assert bench.upstream.accepted == 1


@socket_test
async def test_a_server_that_counts_gets_and_gives_each_message_exactly_once(bench: Bench) -> None:
    at_server, at_client = Receiver(), Receiver()
    bench.upstream.process_response = lambda _, request, response: response.headers.update(
        {"x-reconnect-received": str(len(at_server.received))}
        if "x-reconnect" in request.headers
        else {}
    )
    await bench.upstream.start()
    await bench.proxy("--retry-limit", "1000", "--replay-window", str(2**20))
    client = await bench.connect()
    server = await bench.upstream.accept()
    bench.spawn(at_client.take(client))
    bench.spawn(send_numbers(client, 1, NUMBERS))
    sent = 0
    for turn in range(1, CUTS + 2):
        taking = bench.spawn(at_server.take(server))
        until = turn * NUMBERS // (CUTS + 1)
        await send_numbers(server, sent + 1, until)
        await at_server.reach(turn * NUMBERS // (CUTS + 2))
        if turn > CUTS:
            break
        cut(server)
        await taking
        server = await bench.upstream.accept()
        assert server.request is not None
        sent = int(server.request.headers["x-reconnect-received"])
    await at_server.reach(NUMBERS)
    await at_client.reach(NUMBERS)
    expected = list(range(1, NUMBERS + 1))
    assert at_server.received == expected
    assert at_client.received == expected
