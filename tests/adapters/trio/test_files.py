"""No more open files: a client is told so, nothing spins, and there is room again afterwards."""

import asyncio
import os
import sys

import pytest
from raw_websocket import TEXT, Frame, RawConnection, frame, request
from socket_bench import Bench, socket_test

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="lowers a limit of Linux")

FILES = 130  # 100 of them are the proxy's own: room for 15 sessions
ROOM = 15


async def refused(client: RawConnection) -> tuple[int, str]:
    head = await client.read_head()
    assert head.value("retry-after") == "5"
    return head.status, (await client.read_json())["error"]


async def let_in_at_last(bench: Bench) -> RawConnection:
    while True:
        client = await bench.raw()
        client.send(request())
        if (await client.read_head()).status == 101:
            return client
        await asyncio.sleep(0.01)


@socket_test
async def test_the_limits_are_no_higher_than_files_allow(bench: Bench) -> None:
    await bench.upstream.start()
    proxy = await bench.proxy("--client-grace", "0", files=FILES)
    await proxy.logged(rf"up to {ROOM} sessions at one time, by the system's limit of {FILES} open")
    clients = [await bench.raw_client() for _ in range(ROOM)]
    for _ in range(3):
        late = await bench.raw()
        late.send(request())
        assert await refused(late) == (503, "connection_limit")
    clients.pop().abort()
    clients.append(await let_in_at_last(bench))
    assert not any("can't accept" in line for line in proxy.lines)


@socket_test
async def test_where_no_file_is_left_clients_are_refused_and_sessions_go_on(bench: Bench) -> None:
    """Something else in the process may take them: here the limit falls while it runs."""
    await bench.raw_upstream.start()
    proxy = await bench.proxy("--log-level", "info")
    client, server = await bench.raw_pair()
    proxy.limit_files(proxy.open_files)
    for _ in range(5):
        late = await bench.raw()
        late.send(request())
        assert await refused(late) == (503, "connection_limit")
        client.send(frame(TEXT, b"still here"))
        assert await server.read_message() == Frame(TEXT, b"still here")
    await proxy.logged("can't accept a connection", 3)
    found = [line for line in proxy.lines if "can't accept a connection" in line]
    assert [line.rpartition("; ")[2] for line in found] == ["1 so far", "2 so far", "4 so far"]
    used = proxy.processor_seconds
    await asyncio.sleep(0.3)  # nobody comes: nothing is to be done
    assert proxy.processor_seconds - used < 0.1
    proxy.limit_files(1000)
    await bench.raw_pair()


@socket_test
async def test_where_no_file_is_left_for_the_server_it_is_tried_again(bench: Bench) -> None:
    """One file is left: it is the client's, and the server's connection finds none."""
    await bench.upstream.start()
    proxy = await bench.proxy()
    proxy.limit_files(proxy.open_files + 1)
    client = await bench.raw()
    client.send(request())
    await proxy.logged("attempt [0-9]+ failed: " + os.strerror(24))
    proxy.limit_files(1000)
    assert (await client.read_head()).status == 101
