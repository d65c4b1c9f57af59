"""The proxy's own beginning and end: signals, exit status, a port in use."""

import asyncio
import signal
import sys

import pytest
from socket_bench import Bench, closed, socket_test
from upstream_server import cut
from websockets.asyncio.connection import Connection

SIGNALS = [signal.SIGTERM, signal.SIGINT]


@pytest.mark.parametrize("number", SIGNALS, ids=lambda number: number.name)
@socket_test
async def test_a_signal_ends_every_session(bench: Bench, number: signal.Signals) -> None:
    await bench.upstream.start()
    proxy = await bench.proxy()
    clients: list[Connection] = []
    servers: list[Connection] = []
    for _ in range(3):
        clients.append(await bench.connect())
        servers.append(await bench.upstream.accept())
    cut(clients.pop())  # a session without its client ends too
    await proxy.reached("client_down")
    proxy.signal(number)
    for client in clients:
        assert await closed(client) == (1012, "the proxy restarts")
    for server in servers:
        assert await closed(server) == (1001, "the proxy restarts")
    await proxy.logged("drained: 0 sessions cut, 0 messages lost")
    assert await proxy.wait() == 0
    with pytest.raises(OSError, match=r"Connect|refused"):
        await bench.connect()


@socket_test
async def test_ends_that_do_not_answer_do_not_delay_the_end(bench: Bench) -> None:
    """Neither does a client whose handshake is under way, nor a server that is away."""
    await bench.raw_upstream.start()
    proxy = await bench.proxy("--close-timeout", "0.2")
    client, server = await bench.raw_pair()
    shaking_hands = await bench.raw()
    shaking_hands.send(b"GET / HTTP/1.1\r\n")
    waiting, gone = await bench.raw_pair()
    gone.abort()
    await proxy.reached("server_down")
    await bench.raw_upstream.next()  # a reconnect that is not answered
    proxy.signal(signal.SIGTERM)
    assert (await client.read_message()).close[0] == 1012
    assert (await server.read_message()).close[0] == 1001
    assert (await waiting.read_message()).close[0] == 1012
    assert await proxy.wait() == 0
    await shaking_hands.ended()


@socket_test
async def test_a_client_that_waits_for_the_server_is_refused(bench: Bench) -> None:
    proxy = await bench.proxy()
    refused = bench.spawn(bench.refused())
    await proxy.logged("attempt 0 failed")
    proxy.signal(signal.SIGTERM)
    assert (await refused).status_code == 503
    assert await proxy.wait() == 0


@socket_test
async def test_a_second_signal_ends_it_at_once(bench: Bench) -> None:
    await bench.raw_upstream.start()
    proxy = await bench.proxy("--close-timeout", "60")
    client, _ = await bench.raw_pair()
    proxy.signal(signal.SIGTERM)
    assert (await client.read_message()).close[0] == 1012
    proxy.signal(signal.SIGTERM)
    assert await proxy.wait() == 0
    await proxy.logged("WARNING drained: 1 session cut, 0 messages lost")
    await client.ended()


@socket_test
async def test_a_port_in_use_is_one_line(bench: Bench) -> None:
    proxy = await bench.proxy()
    listen = f"127.0.0.1:{proxy.port}"
    command = (sys.executable, "-c", "from reknit.cli.main import main; main()")
    process = await asyncio.create_subprocess_exec(
        *command, "serve", "ws://127.0.0.1:9", "--listen", listen, stderr=asyncio.subprocess.PIPE
    )
    _, output = await process.communicate()
    assert process.returncode == 1
    (line,) = output.decode().splitlines()
    assert listen in line
    assert "in use" in line
