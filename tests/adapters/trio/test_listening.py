"""Several addresses are listened on at once, and each takes what it says."""

import asyncio
import re
import socket
from pathlib import Path

import pytest
from socket_bench import Bench, socket_test
from succession import Succession
from websockets.asyncio.client import connect, unix_connect
from websockets.asyncio.connection import Connection

HAS_IPV6 = socket.has_dualstack_ipv6()


def free_port() -> int:
    with socket.create_server(("", 0)) as sock:
        return int(sock.getsockname()[1])


async def exchange(bench: Bench, client: Connection) -> None:
    server = await bench.upstream.accept()
    await client.send("there")
    assert await server.recv() == "there"
    await client.close()


def ports(lines: list[str]) -> list[tuple[str, int]]:
    """Where the log says that clients are listened for."""
    found = (re.search(r"INFO listening on (\S+):(\d+) for ", line) for line in lines)
    return [(match[1], int(match[2])) for match in found if match]


@pytest.mark.skipif(not HAS_IPV6, reason="needs IPv6")
@socket_test
async def test_both_families_on_one_port_before_and_after_a_takeover(
    bench: Bench, tmp_path: Path
) -> None:
    await bench.upstream.start()
    port, path = free_port(), str(tmp_path / "clients")
    everywhere = ("--listen", f"0.0.0.0:{port}", "--listen", f"[::]:{port},unix:{path}")
    proxy = Succession(f"ws://127.0.0.1:{bench.upstream.port}", *everywhere)
    await proxy.begin()
    bench.proxies.append(proxy)
    await proxy.logged("listening on", 3)
    for reign in range(3):
        for host in ("127.0.0.1", "[::1]"):
            await exchange(bench, await connect(f"ws://{host}:{port}", proxy=None))
        await exchange(bench, await unix_connect(path))
        assert ports(proxy.lines) == [("0.0.0.0", port), ("[::]", port)] * (reign + 1)
        if reign < 2:
            await proxy.restart()
            await proxy.logged("listening on", 3 * (reign + 2))
    assert await bench.proxies.pop().stop() == 0
    assert not Path(path).exists()


@pytest.mark.skipif(not HAS_IPV6, reason="needs IPv6")
@socket_test
async def test_all_of_ipv6_takes_no_ipv4(bench: Bench) -> None:
    proxy = await bench.proxy("--listen", "[::]:0")
    with pytest.raises(ConnectionRefusedError):
        await asyncio.open_connection("127.0.0.1", proxy.port)
    _, writer = await asyncio.open_connection("::1", proxy.port)
    writer.close()


@socket_test
async def test_where_one_is_taken_none_is_listened_on(bench: Bench, tmp_path: Path) -> None:
    path = tmp_path / "clients"
    with socket.create_server(("127.0.0.1", 0)) as taken:
        address = f"127.0.0.1:{taken.getsockname()[1]}"
        with pytest.raises(AssertionError, match=f"reknit: can't listen on {address}: "):
            await bench.proxy("--listen", f"unix:{path}", "--listen", address)
    assert not path.exists()
