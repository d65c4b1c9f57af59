"""The server behind the proxy while it is attacked: honest, but where a path asks otherwise.

usage: hostile_server.py PORT

Paths below /hostile/ are served by a process of their own, which is given their sockets: so that
it costs the bystander's server nothing. The rest of the path names a behaviour.
"""

import asyncio
import gc
import os
import socket
import sys
from collections.abc import Awaitable, Callable
from contextlib import suppress
from functools import partial

from hostile_traffic import both, drip, floods, huge, send_on, step_back, take
from raw_websocket import RawConnection, close_frame, parse_head
from server import BACKLOG, Listener, Service, Session

PREFIX = "/hostile/"
HEAD_SIZE = 65536  # bytes: more than a request's head has

Behaviour = Callable[[RawConnection], Awaitable[object]]


async def tame(connection: RawConnection) -> None:
    """Take everything."""
    connection.accept()
    await take(connection, masked=False)


async def compressing(connection: RawConnection) -> None:
    """Take everything, compressed too."""
    agreed = "permessage-deflate; server_no_context_takeover; client_no_context_takeover"
    connection.accept(f"Sec-WebSocket-Extensions: {agreed}")
    await take(connection, masked=False)


async def deaf(connection: RawConnection) -> None:
    """Never read."""
    connection.accept()
    await asyncio.Event().wait()


async def flooding(connection: RawConnection, first: bytes, then: bytes) -> None:
    """Send one thing all the time."""
    connection.accept()
    connection.send(first)
    await both(send_on(connection, then), connection, masked=False)


async def impossible(connection: RawConnection) -> None:
    """Announce a message that nobody could take."""
    connection.accept()
    connection.send(huge(1 << 62, masked=False))
    await take(connection, masked=False)


async def endless(connection: RawConnection) -> None:
    """An answer to the handshake that has no end."""
    connection.send(b"HTTP/1.1 101 Switching Protocols\r\n")
    await send_on(connection, b"X-More: of it\r\n" * 1000)


async def slow(connection: RawConnection) -> None:
    """An answer to the handshake at a byte a second."""
    await drip(connection, b"HTTP/1.1 101 Switching Protocols\r\n" * 100)


async def restless(connection: RawConnection) -> None:
    """Accept, and be off again."""
    connection.accept()
    connection.send(close_frame(1012, masked=False))
    await take(connection, masked=False)


BEHAVIOURS: dict[str, Behaviour] = {
    "tame": tame,
    "compressing": compressing,
    "deaf": deaf,
    "impossible": impossible,
    "endless": endless,
    "slow": slow,
    "restless": restless,
    **{
        name: partial(flooding, first=first, then=then)
        for name, (first, then) in floods(masked=False).items()
    },
}


class Sorter(Session):
    """Gives away the connections that ask for a hostile server."""

    __slots__ = ()
    away: socket.socket

    def greet(self, head: str) -> None:
        """Accept it, or give it away."""
        if head.split(" ", 2)[1].startswith(PREFIX):
            socket.send_fds(self.away, [head.encode("latin-1")], [self.socket.fileno()])
            self.close()
        else:
            super().greet(head)


class SortingListener(Listener):
    """Accepts all that wait."""

    __slots__ = ()

    def ready(self, mask: int) -> None:
        """Accept until none is left."""
        with suppress(BlockingIOError, ConnectionAbortedError):
            while True:
                Sorter(self.service, self.socket.accept()[0])


async def misbehave(given: socket.socket) -> None:
    """Serve what is given."""
    loop = asyncio.get_running_loop()
    serving: set[asyncio.Task[None]] = set()
    ended = asyncio.Event()

    def receive() -> None:
        head, descriptors, _, _ = socket.recv_fds(given, HEAD_SIZE, 1)
        if not head:
            ended.set()
            return
        task = asyncio.create_task(serve(head, socket.socket(fileno=descriptors[0])))
        serving.add(task)
        task.add_done_callback(serving.discard)

    loop.add_reader(given, receive)
    await ended.wait()


async def serve(head: bytes, sock: socket.socket) -> None:
    """Be what the path says."""
    connection = RawConnection(*await asyncio.open_connection(sock=sock))
    connection.head = parse_head(head)
    target = connection.head.start.split(" ")[1]
    with suppress(ConnectionError):
        await BEHAVIOURS[target.removeprefix(PREFIX).partition("?")[0]](connection)
    connection.close()


def main(port: int) -> None:
    """Serve until the parent ends it."""
    away, given = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    if not os.fork():
        away.close()
        step_back()
        asyncio.run(misbehave(given))
        return
    given.close()
    gc.disable()
    Sorter.away = away
    service = Service()
    SortingListener(service, socket.create_server(("127.0.0.1", port), backlog=BACKLOG))
    while True:
        service.turn(-1)


if __name__ == "__main__":
    main(int(sys.argv[1]))
