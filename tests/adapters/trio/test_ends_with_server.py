"""Sessions that end with their server: clients begin anew, and wait at the door while one dials."""

import asyncio
import json
import signal

import pytest
from node import skip_without_ws
from raw_websocket import RawConnection, request
from socket_bench import COMES_BACK, Bench, closed, socket_test
from upstream_server import cut
from websockets.asyncio.client import ClientConnection, connect

END = ("--on-server-loss", "end")
WAITING = 12
SOCKET_IO = "/socket.io/?EIO=4&transport=websocket"
RECONNECTING = """
const WebSocket = require("ws");
let attempts = 0;
(function begin() {
  attempts += 1;
  const socket = new WebSocket(process.argv[1]);
  socket.on("open", () => socket.send(`attempt ${attempts}`));
  socket.on("message", () => process.exit(0));
  socket.on("error", () => {});
  socket.on("close", () => setTimeout(begin, 10));
})();
"""


async def exchange(client: ClientConnection, bench: Bench) -> None:
    """The client reaches a server of its own."""
    server = await bench.upstream.accept()
    await server.send("welcome")
    assert await client.recv() == "welcome"


async def wait_at_the_door(bench: Bench, number: int) -> list[RawConnection]:
    """So many raw clients, who have asked for a session; the server is known to be away."""
    proxy = bench.proxies[-1]
    before = sum("asks for a session" in line for line in proxy.lines)
    clients = []
    for count in range(number):
        client = await bench.raw()
        client.send(request("/", COMES_BACK))
        clients.append(client)
        await proxy.logged("asks for a session", before + count + 1)
        await proxy.logged("attempt 0 failed")
    return clients


@pytest.mark.parametrize(("options", "path"), [(END, "/"), ((), SOCKET_IO)], ids=["end", "dialect"])
@socket_test
async def test_clients_begin_anew_and_their_first_attempt_succeeds(
    bench: Bench, options: tuple[str, ...], path: str
) -> None:
    await bench.upstream.start()
    proxy = await bench.proxy(*options)
    clients = [await bench.connect(path) for _ in range(WAITING)]
    await proxy.reached("connected", WAITING)
    await bench.upstream.kill()
    for client in clients:
        assert await closed(client) == (1012, "the server was lost")
        await bench.upstream.accept()
    again = [bench.spawn(bench.connect(path)) for _ in range(WAITING)]
    await proxy.logged("asks for a session", 2 * WAITING)
    await proxy.logged("attempt 0 failed")
    assert not any(task.done() for task in again)
    await bench.upstream.start()
    for client in await asyncio.gather(*again):
        await client.send("hello")
    for _ in again:
        server = await bench.upstream.accept()
        assert await server.recv() == "hello"


@socket_test
async def test_one_dials_for_all_and_the_server_sets_the_pace(bench: Bench) -> None:
    """It dies once more while they are let in."""
    proxy = await bench.proxy(*END)
    clients = await wait_at_the_door(bench, WAITING)
    server = bench.raw_upstream
    await server.start()
    scout = await server.next()
    await bench.turned()
    assert server.count == 1
    scout.accept()
    following = [await server.next(), await server.next()]
    await bench.turned()
    assert server.count == 3
    misses = sum("failed" in line for line in proxy.lines)
    await server.kill()
    for _ in following:
        misses += 1
    await proxy.logged("failed", misses)
    await bench.turned()
    await server.start()
    before = server.count
    scout = await server.next()
    await bench.turned()
    assert server.count == before + 1
    scout.accept()
    for _ in range(WAITING - 2):
        await server.accept()
    assert [(await client.read_head()).status for client in clients] == [101] * WAITING


@socket_test
async def test_who_hangs_up_while_waiting_keeps_nobody_waiting(bench: Bench) -> None:
    proxy = await bench.proxy(*END)
    clients = await wait_at_the_door(bench, 4)
    for place, gone in enumerate((clients[2], clients[0])):  # one that waits, the one that dials
        gone.abort()
        await proxy.reached("closed", place + 1)
    await bench.upstream.start()
    for client in (clients[1], clients[3]):
        assert (await client.read_head()).status == 101
    await bench.turned()
    assert bench.upstream.accepted == 2


@socket_test
async def test_who_waits_counts_as_a_connection(bench: Bench) -> None:
    proxy = await bench.proxy(*END, "--connection-limit", "3")
    clients = await wait_at_the_door(bench, 3)
    more = await bench.raw()
    more.send(request())
    assert (await more.read_head()).status == 503
    clients.pop().abort()
    await proxy.reached("closed")
    (late,) = await wait_at_the_door(bench, 1)
    await bench.upstream.start()
    for client in (*clients, late):
        assert (await client.read_head()).status == 101


@socket_test
async def test_who_waits_is_told_when_the_proxy_stops(bench: Bench) -> None:
    proxy = await bench.proxy(*END, "--drain-time", "0.3")
    clients = await wait_at_the_door(bench, 3)
    proxy.signal(signal.SIGTERM)
    for client in clients:
        head = await client.read_head()
        assert head.status == 503
        assert json.loads(await client.read_body())["error"] == "shutting_down"
    assert await proxy.wait() == 0


@socket_test
async def test_a_client_that_reconnects_by_itself(bench: Bench) -> None:
    await bench.upstream.start()
    await bench.proxy(*END)
    uri = f"ws://127.0.0.1:{bench.proxies[-1].port}"
    attempts = 0
    async for client in connect(uri, proxy=None):
        attempts += 1
        await exchange(client, bench)
        if attempts == 3:
            await client.close()
            break
        await bench.upstream.kill()
        assert (await closed(client))[0] == 1012
        await bench.upstream.start()


@socket_test
async def test_a_client_of_node_that_reconnects_by_itself(bench: Bench) -> None:
    skip_without_ws()
    await bench.upstream.start()
    proxy = await bench.proxy(*END)
    uri = f"ws://127.0.0.1:{proxy.port}"
    node = await asyncio.create_subprocess_exec("node", "-e", RECONNECTING, uri)
    server = await bench.upstream.accept()
    assert await server.recv() == "attempt 1"
    await bench.upstream.kill()
    await proxy.logged("attempt 0 failed")
    await bench.upstream.start()
    server = await bench.upstream.accept()
    assert await server.recv() == "attempt 2"
    await server.send("enough")
    assert await node.wait() == 0


@socket_test
async def test_one_server_that_drops_a_client_is_not_away(bench: Bench) -> None:
    await bench.upstream.start()
    proxy = await bench.proxy(*END)
    one, other = await bench.connect(), await bench.connect()
    cut(await bench.upstream.accept())
    code = (await closed(one))[0]
    assert code == 1012
    await exchange(other, bench)
    await exchange(await bench.connect(), bench)
    assert not any("failed" in line for line in proxy.lines)
