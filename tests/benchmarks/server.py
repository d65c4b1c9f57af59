"""The server behind the proxies: it checks what it gets, and answers each message with the same.

usage: server.py PORT [SECONDS before it listens]

A client's first message is a note that says what will come: the size of the messages, the number
of the first, and the flow. As the messages are known, a reply needs no copy of the request: it is
the same message of the server's own ring. The server also keeps the times of the handshakes,
which a client can ask for.
"""

import base64
import gc
import hashlib
import re
import socket
import sys
from contextlib import suppress
from math import inf
from time import perf_counter, sleep

from endpoint import Endpoint, Loop, Readable
from messages import READ_SIZE, MessageError, messages
from speech import speech

GUID = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"
BACKLOG = 4096


class Service(Loop):
    """The server's loop and what it counts: the time of each handshake, as perf_counter says."""

    def __init__(self) -> None:
        super().__init__()
        self.handshakes: list[float] = []
        self.listening = perf_counter()


class Listener(Readable):
    """Accepts all that wait."""

    __slots__ = ("service",)

    def __init__(self, service: Service, sock: socket.socket) -> None:
        super().__init__(service, sock)
        self.service = service

    def ready(self, mask: int) -> None:
        """Accept until none is left."""
        with suppress(BlockingIOError, ConnectionAbortedError):
            while True:
                Session(self.service, self.socket.accept()[0])


class Session(Endpoint):
    """One connection, by default one that only answers Pings."""

    __slots__ = ("count", "flow", "service")

    def __init__(self, service: Service, sock: socket.socket) -> None:
        super().__init__(service, sock)
        self.service = service
        self.flow = ""
        self.count = 0

    def greet(self, head: str) -> None:
        """Accept the opening handshake."""
        key = re.search(r"\r\nsec-websocket-key:[ \t]*(\S+)", head, re.IGNORECASE)
        if key is None:
            raise MessageError("no WebSocket handshake")
        digest = hashlib.sha1(key[1].encode() + GUID, usedforsecurity=False).digest()
        accept = base64.b64encode(digest)
        self.extras.append(
            b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
            b"Sec-WebSocket-Accept: " + accept + b"\r\n\r\n"
        )
        self.service.handshakes.append(perf_counter())

    def noted(self, content: dict[str, object]) -> None:
        """Do what the loader asks for."""
        match content:
            case {"flow": str(flow), "size": int(size), "first": int(first), "read": int(read)}:
                self._plan(flow, size, first, read, str(content.get("speech", "")))
                self.send_note({"ready": True})
            case {"do": "go"}:
                self.due = inf
                self.flush()
            case {"do": "stop"}:
                self.stop_sending()
                self.send_note({"sent": self.total_sent()})
            case {"do": "count"}:
                self.send_note({"received": self.count})
            case {"do": "statistics"}:
                service = self.service
                self.send_note(
                    {
                        "listening": service.listening,
                        "handshakes": service.handshakes,
                        "longest": service.longest,
                    }
                )
            case _:
                raise MessageError(f"unknown note {content}")

    def _plan(self, flow: str, size: int, first: int, read: int, name: str) -> None:
        known = messages(size, name)
        self.speech = speech(name)
        self.flow, self.limit, self.count = flow, min(read, READ_SIZE), 0
        self.receiver.expect(known.masked, known.asked, first)
        self.send_ring(known.plain, first)

    def received(self, count: int) -> None:
        """Messages came: answer them, or only count them."""
        self.count += count
        if self.flow == "echo":
            self.due += count * self.ring.frame

    def ended(self, reason: str) -> None:
        """Nothing is kept of a connection."""


def main(port: int, delay: float = 0) -> None:
    """Serve until the parent ends it."""
    gc.disable()
    sleep(delay)
    listening = socket.create_server(("127.0.0.1", port), backlog=BACKLOG)
    service = Service()
    Listener(service, listening)
    while True:
        service.turn(-1)


if __name__ == "__main__":
    main(int(sys.argv[1]), *map(float, sys.argv[2:]))
