"""Unix sockets on both legs, and the files that they are."""

import asyncio
import socket
from pathlib import Path

import pytest
from proxy_process import ProxyProcess
from socket_bench import Bench, closed, socket_test
from upstream_server import Upstream
from websockets.asyncio.client import ClientConnection, unix_connect


def listen_on(path: Path) -> socket.socket:
    path.unlink(missing_ok=True)
    sock = socket.socket(socket.AF_UNIX)
    sock.bind(str(path))
    return sock


async def start(bench: Bench, upstream: str, path: Path, *options: str) -> ProxyProcess:
    proxy = await ProxyProcess.start(upstream, "--listen", f"unix:{path}", *options)
    bench.proxies.append(proxy)
    return proxy


async def connect(path: Path, **headers: str) -> ClientConnection:
    return await unix_connect(
        str(path),
        "ws://proxy.test/here",
        additional_headers={name.replace("_", "-"): value for name, value in headers.items()},
        proxy=None,
    )


@socket_test
async def test_both_legs_on_unix_sockets(bench: Bench, tmp_path: Path) -> None:
    front, back = tmp_path / "front.sock", tmp_path / "back.sock"
    upstream = Upstream(0, lambda: listen_on(back))
    await upstream.start()
    proxy = await start(bench, f"ws+unix:{back}:/base", front)
    client = await connect(front, x_forwarded_for="192.0.2.1")
    server = await upstream.accept()
    (seen,) = upstream.requests
    assert seen.path == "/base/here"
    assert seen.headers["host"] == "proxy.test"
    assert seen.headers["x-forwarded-host"] == "proxy.test"
    assert "x-forwarded-for" not in seen.headers
    await client.send("there")
    assert await server.recv() == "there"
    await upstream.kill()
    await proxy.reached("server_down")
    await upstream.start()
    server = await upstream.accept()
    await server.send("back")
    assert await client.recv() == "back"
    await client.close()
    assert (await closed(server))[0] == 1000
    assert await proxy.stop() == 0
    assert not front.exists()
    await upstream.kill()


@socket_test
async def test_the_file_of_a_dead_process_is_replaced(bench: Bench, tmp_path: Path) -> None:
    path = tmp_path / "front.sock"
    listen_on(path).close()
    await start(bench, "ws://127.0.0.1:1", path)
    with pytest.raises(AssertionError, match="Address already in use"):
        await start(bench, "ws://127.0.0.1:1", path)
    _, writer = await asyncio.open_unix_connection(path)  # the first is still there
    writer.close()


@socket_test
async def test_a_successors_file_stays(bench: Bench, tmp_path: Path) -> None:
    path = tmp_path / "front.sock"
    proxy = await start(bench, "ws://127.0.0.1:1", path)
    with listen_on(path) as successor:
        successor.listen()
        await proxy.stop()
        assert path.is_socket()


@socket_test
async def test_a_file_that_is_no_socket_stays(bench: Bench, tmp_path: Path) -> None:
    path = tmp_path / "precious"
    path.write_text("content")
    with pytest.raises(AssertionError, match="can't listen on unix:"):
        await start(bench, "ws://127.0.0.1:1", path)
    assert path.read_text() == "content"
