"""What one hostile client may do on a real socket, and that it costs no one else anything."""

import signal
from collections import Counter
from contextlib import suppress

from raw_websocket import CLOSE, PING, TEXT, frame, request
from socket_bench import Bench, socket_test

NO_UPGRADE = b"GET / HTTP/1.1\r\nHost: a\r\n\r\n"
FLOOD = 3000  # Pings: many more than a system takes buffers in one write


@socket_test
async def test_a_refused_client_that_resets_ends_only_itself(bench: Bench) -> None:
    """The refusal finds a broken connection; the bench sees to it that nothing is raised."""
    await bench.raw_upstream.start()
    await bench.proxy()
    client, server = await bench.raw_pair()
    for _ in range(10):
        rude = await bench.raw()
        rude.send(NO_UPGRADE[:-2])
        polite = await bench.raw()
        polite.send(NO_UPGRADE)
        assert (await polite.read_head()).status == 426  # so the earlier one is accepted too
        rude.send(NO_UPGRADE[-2:])
        rude.abort()
    client.send(frame(TEXT, b"still here"))
    assert (await server.read_message()).payload == b"still here"


@socket_test
async def test_a_flood_of_pings_costs_no_connection(bench: Bench) -> None:
    await bench.raw_upstream.start()
    proxy = await bench.proxy()
    client, server = await bench.raw_pair()
    client.send(frame(PING) * FLOOD + frame(TEXT, b"after it"))
    found = Counter([(await server.read_frame()).opcode for _ in range(FLOOD + 1)])
    assert found == {PING: FLOOD, TEXT: 1}  # a message may overtake Pings of the same read
    await proxy.reached("connected")
    assert [state for state, _ in proxy.transitions] == ["connected"]


@socket_test
async def test_a_handshake_finished_during_the_shutdown_begins_nothing(bench: Bench) -> None:
    """It gets 503, or no answer; never a session that is cut off."""
    await bench.upstream.start()
    proxy = await bench.proxy("--close-timeout", "1")
    late = await bench.raw()
    late.send(request()[:-2])
    holding = await bench.raw_client()  # by not answering the Close
    proxy.signal(signal.SIGTERM)
    assert (await holding.read_message()).opcode == CLOSE
    late.send(request()[-2:])
    with suppress(EOFError, ConnectionError):
        assert (await late.read_head()).status == 503
    assert await proxy.wait() == 0
    assert [state for state, _ in proxy.transitions].count("connected") == 1
