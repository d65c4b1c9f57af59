"""What sessions held goes back to the system when they have ended: Linux with glibc keeps it."""

import platform
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from far_ends import SocketEnd
from linux import only_on_linux
from patience import LIMIT
from raw_websocket import BINARY, frame
from raw_websocket import request as handshake

SESSIONS = 64
MESSAGE = frame(BINARY, b"x" * 65536)
MESSAGES = 16  # of a session, which keeps them all: its client may ask for them once more
WINDOW = MESSAGES * len(MESSAGE)  # bytes
HELD = SESSIONS * WINDOW

PROGRAM = """
import sys, {loop}
from reknit.{loop} import open_proxy
from reknit_core.policy.policy import Delivery, Policy
from reknit_core.policy.upstream import Upstream

async def serve():
    port, window = map(int, sys.argv[1:])
    policy = Policy(delivery=Delivery.AT_MOST_ONCE, replay_window=window, heartbeat_interval=0.0)
    async with open_proxy(policy, Upstream("127.0.0.1", port)) as proxy:
        print(proxy.addresses[0].port, flush=True)
        await {wait}(sys.stdin.read)

{loop}.run({serve})
"""
LOOPS = {
    "asyncio": ("asyncio.to_thread", "serve()"),
    "trio": ("trio.to_thread.run_sync", "serve"),
}


@pytest.fixture(params=LOOPS)
def proxy(
    request: pytest.FixtureRequest, listener: socket.socket
) -> Iterator[subprocess.Popen[str]]:
    """A process with a proxy, which says its port."""
    wait, serve = LOOPS[request.param]
    program = PROGRAM.format(loop=request.param, wait=wait, serve=serve)
    port = listener.getsockname()[1]
    with subprocess.Popen(
        [sys.executable, "-c", program, str(port), str(WINDOW)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as process:
        yield process
        process.kill()


@pytest.fixture
def listener() -> Iterator[socket.socket]:
    """Where the server listens."""
    with socket.create_server(("127.0.0.1", 0)) as listening:
        listening.settimeout(LIMIT)
        yield listening


def resident(process: subprocess.Popen[str]) -> int:
    """Bytes of a process that are in memory."""
    pages = Path(f"/proc/{process.pid}/statm").read_text().split()[1]
    return int(pages) * 4096


def session(port: int, listener: socket.socket) -> tuple[SocketEnd, SocketEnd]:
    """A client and its server, after messages that the proxy keeps."""
    client = SocketEnd(socket.create_connection(("127.0.0.1", port)), masked=True)
    client.send(handshake())
    server = SocketEnd(listener.accept()[0], masked=False)
    server.read_head()
    server.accept()
    client.read_head()
    for _ in range(MESSAGES):
        client.send(MESSAGE)
        assert server.read_exactly(len(MESSAGE)) == MESSAGE
    return client, server


def test_what_ended_sessions_held_goes_back_to_the_system(
    proxy: subprocess.Popen[str], listener: socket.socket
) -> None:
    only_on_linux("/proc")
    if platform.libc_ver()[0] != "glibc":
        pytest.skip("needs glibc: other C libraries give memory back by themselves")
    assert proxy.stdout is not None
    port = int(proxy.stdout.readline())
    before = resident(proxy)
    ended = [session(port, listener) for _ in range(SESSIONS)]
    lasting = session(port, listener)  # above all others in the heap
    assert resident(proxy) - before > HELD * 0.9  # some of it was free before, and resident
    for client, server in ended:
        client.close(1000)
        assert server.read_frame().close == (1000, "")
        server.close(1000)
        client.ended()
        client.reset()
        server.reset()
    until = time.monotonic() + LIMIT
    while resident(proxy) - before > HELD / 2:
        assert time.monotonic() < until, "it keeps what it has no use for"
        time.sleep(0.01)
    for end in lasting:
        end.reset()
