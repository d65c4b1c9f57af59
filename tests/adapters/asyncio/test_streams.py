"""Connecting under asyncio."""

import asyncio
import socket
from pathlib import Path

from reknit.asyncio.streams import connect
from reknit_core.policy.upstream import Upstream


def test_a_full_queue_of_a_unix_socket_is_waited_for(tmp_path: Path) -> None:
    """The system says so at once, which asyncio takes for a connection that is under way."""

    async def run(server: socket.socket, upstream: Upstream) -> None:
        first = await connect(upstream, None)
        second = asyncio.create_task(connect(upstream, None))
        done, _ = await asyncio.wait([second], timeout=0.1)
        assert not done
        server.accept()[0].close()
        sock = await second
        taken, _ = server.accept()
        sock.send(b"there")
        assert taken.recv(5) == b"there"
        for each in (first, sock, taken):
            each.close()

    with socket.socket(socket.AF_UNIX) as server:
        server.bind(str(tmp_path / "server"))
        server.listen(0)
        asyncio.run(run(server, Upstream("localhost", 0, socket_path=str(tmp_path / "server"))))
