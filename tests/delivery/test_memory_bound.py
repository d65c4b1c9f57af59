"""A peer that does not read costs the proxy what the bounds say, and no more the second time."""

import sys

import pytest
import trio
from children import LIMIT, children, start_proxy
from memory_run import MB, SIZE, Flood, Victim, measure, resident
from raw_peer import RawServer, raw_client
from wsproto.events import TextMessage

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")

QUEUE = 1 * MB
SLACK = 2 * MB  # what the proxy needs besides; the floods are far larger than both
COUNT = 12_000  # messages of a flood
SLOW = 4_000  # of one that is waited for
SESSIONS = 6


@pytest.mark.parametrize("victim", [Victim.STOPPED_SERVER, Victim.STOPPED_CLIENT])
def test_a_stopped_peer(victim: Victim) -> None:
    options = ("--queue-bytes", str(QUEUE), "--replay-window", "0")
    sizes = trio.run(measure, victim, COUNT, *options)
    assert sizes.held_back[0] < COUNT * SIZE
    assert max(sizes.bound) - sizes.start < QUEUE + SLACK
    assert sizes.bound[1] - sizes.bound[0] < 3 * QUEUE / 4  # a queue that stays would be one more
    assert max(sizes.after) - sizes.start < QUEUE + SLACK


def test_a_slow_peer() -> None:
    async def run() -> None:
        options = ("--queue-bytes", str(QUEUE))
        sizes = await measure(Victim.SLOW_SERVER, SLOW, *options, rounds=1)
        assert max(sizes.bound + sizes.after) - sizes.start < QUEUE + SLACK

    trio.run(run)


def test_peers_that_do_not_read_share_a_budget() -> None:
    """And a session that has done nothing wrong goes on beside them."""

    async def run() -> None:
        server = RawServer()
        with trio.fail_after(LIMIT):
            async with children() as started, trio.open_nursery() as nursery:
                await nursery.start(server.run)
                proxy, port = await start_proxy(started, server.port, "--queue-total", str(QUEUE))
                start = resident(proxy.process)
                floods = []
                for number in range(SESSIONS):
                    client = await nursery.start(_client, port, str(number))
                    floods.append(Flood(client, port, masked=True))
                    nursery.start_soon(floods[-1].run, COUNT)
                for flood in floods:
                    await flood.held_back()
                assert all(flood.sent < COUNT for flood in floods)
                assert resident(proxy.process) - start < QUEUE + SLACK + SESSIONS * 2**18
                await _passes_on(server, port)
                nursery.cancel_scope.cancel()

    trio.run(run)


async def _client(
    port: int, session: str, *, task_status: trio.TaskStatus[object] = trio.TASK_STATUS_IGNORED
) -> None:
    async with raw_client(port, session) as client:
        task_status.started(client)
        await trio.sleep_forever()


async def _passes_on(server: RawServer, port: int) -> None:
    """A new session is served."""
    for _ in range(SESSIONS):
        await server.next()
    async with raw_client(port, "another") as client:
        peer = await server.next()
        for number in range(100):
            await client.send(TextMessage(str(number)))
            assert await peer.receive() == TextMessage(str(number))
