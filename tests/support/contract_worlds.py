"""One proxy on each adapter, its server and its clients, for tests that must hold on all of them.

A real adapter runs in a thread of its own; the test is the far ends.
"""

import asyncio
import concurrent.futures
import socket
import threading
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Coroutine
from functools import partial
from random import Random
from typing import Any, TypeVar

import pytest
import reknit.asyncio
import reknit.trio
import trio
from far_ends import STEP, FarEnd, MemoryEnd, SocketEnd
from patience import LIMIT
from raw_websocket import request
from reknit.memory.adapter import MemoryProxy
from reknit.memory.network import MemoryNetwork, MemorySocket
from reknit.settings.addresses import Listen
from reknit_core.lifecycle import State
from reknit_core.policy.policy import Delivery, GraceFor, Policy
from reknit_core.policy.upstream import Upstream
from reknit_core.proxy.view import SessionView
from upstream_server import Port

T = TypeVar("T")

PROXY, SERVER = ("proxy", 80), ("server", 80)


def policy(**values: Any) -> Policy:
    """Quick, and without a word of the proxy's own in between."""
    quick = {
        "delivery": Delivery.AT_MOST_ONCE,
        "heartbeat_interval": 0.0,
        "retry_interval": 0.05,
        "retry_jitter": 0.0,
        "client_grace": 20.0,
        "grace_for": GraceFor.ALL,
        "close_timeout": 2.0,
        "queue_bytes": 64 * 1024,
    }
    return Policy(**(quick | values))


class World(ABC):
    """A proxy, and who connects to it and is dialled by it."""

    @abstractmethod
    def connect(self) -> FarEnd:
        """A client's connection, on which nothing is said yet."""

    @abstractmethod
    def listen(self) -> None:
        """The server can be reached from now on; at first it can't."""

    @abstractmethod
    def refuse(self) -> None:
        """It no longer can; its connections stay."""

    @abstractmethod
    def dialled(self) -> FarEnd:
        """The server's end of the next connection."""

    @abstractmethod
    def sessions(self) -> list[SessionView]:
        """What the proxy says of its sessions."""

    @abstractmethod
    def pass_time(self, seconds: float) -> None:
        """Let that time pass."""

    @abstractmethod
    def drain(self) -> None:
        """Begin to send all sessions away at once."""

    @abstractmethod
    def close(self) -> None:
        """Leave nothing behind."""

    def client(self, path: str = "/", *headers: str) -> FarEnd:
        """A client that asks for a session."""
        client = self.connect()
        client.send(request(path, *headers))
        return client

    def server(self, *headers: str) -> FarEnd:
        """The server's end of the next connection, which it has accepted."""
        server = self.dialled()
        server.read_head()
        server.accept(*headers)
        return server

    def pair(self, *headers: str) -> tuple[FarEnd, FarEnd]:
        """A client and a server with a session between them."""
        self.listen()
        client = self.client("/", *headers)
        server = self.server()
        assert client.read_head().status == 101
        return client, server

    def until(self, state: State | None) -> None:
        """Wait until the one session is in that state; None: until there is none."""
        until = time.monotonic() + LIMIT
        while [view.state for view in self.sessions()] != ([state] if state else []):
            assert time.monotonic() < until, f"never {state}: {self.sessions()}"
            self.pass_time(STEP)


class MemoryWorld(World):
    """All of it on a network in memory, whose clock moves while a test waits."""

    def __init__(self, policy: Policy) -> None:
        self._network = MemoryNetwork(Random(1))
        self._proxy = self.proxy(self._network, policy)
        self._waiting: list[MemorySocket] = []

    def proxy(self, network: MemoryNetwork, policy: Policy) -> MemoryProxy:
        return MemoryProxy(network, PROXY, policy, Upstream(*SERVER))

    def connect(self) -> FarEnd:
        found: list[MemorySocket | str] = []
        self._network.dial(PROXY, LIMIT, found.append)
        return MemoryEnd(self._network, self._await(found), masked=True)

    def _await(self, found: list[Any]) -> MemorySocket:
        until = self._network.now + LIMIT
        while not found:
            if self._network.now > until:
                raise TimeoutError
            self.pass_time(STEP)
        assert isinstance(found[0], MemorySocket)
        sock: MemorySocket = found.pop(0)
        return sock

    def listen(self) -> None:
        def accept(sock: MemorySocket) -> None:
            self._ends.append(MemoryEnd(self._network, sock, masked=False))

        self._ends: list[MemoryEnd] = []
        self._network.listen(SERVER, accept)

    def refuse(self) -> None:
        self._network.refuse(SERVER)

    def dialled(self) -> FarEnd:
        until = self._network.now + LIMIT
        while not self._ends:
            if self._network.now > until:
                raise TimeoutError
            self.pass_time(STEP)
        return self._ends.pop(0)

    def sessions(self) -> list[SessionView]:
        return [SessionView.of(context) for context in self._proxy.contexts]

    def pass_time(self, seconds: float) -> None:
        self._network.run(self._network.now + seconds)

    def drain(self) -> None:
        self._proxy.stop()

    def close(self) -> None:
        pass


class SocketWorld(World):
    """A real adapter, in a thread of its own."""

    def __init__(self, policy: Policy) -> None:
        self._port = Port()
        self._listener: socket.socket | None = None
        self._ends: list[socket.socket] = []
        self._opened: concurrent.futures.Future[tuple[int, Callable[[], None]]] = (
            concurrent.futures.Future()
        )
        upstream = Upstream("127.0.0.1", self._port.number)
        self._thread = threading.Thread(target=self._run, args=(policy, upstream))
        self._thread.start()
        self._number, self._stop = self._opened.result(LIMIT)

    def _run(self, policy: Policy, upstream: Upstream) -> None:
        try:
            self.run(partial(self._serve, policy, upstream))
        except BaseException as error:
            if self._opened.done():
                raise
            self._opened.set_exception(error)

    @abstractmethod
    def run(self, serve: Callable[[], Coroutine[Any, Any, None]]) -> None:
        """Run that in the adapter's loop."""

    @abstractmethod
    async def _serve(self, policy: Policy, upstream: Upstream) -> None:
        """Open the proxy, and keep it open until it is to be closed."""

    @abstractmethod
    def call(self, what: Callable[[], T]) -> T:
        """Call that in the loop's thread."""

    def connect(self) -> FarEnd:
        sock = socket.create_connection(("127.0.0.1", self._number))
        self._ends.append(sock)
        return SocketEnd(sock, masked=True)

    def listen(self) -> None:
        self._listener = self._port.listener()
        self._listener.settimeout(LIMIT)
        self._listener.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 65536)
        self._listener.listen()

    def refuse(self) -> None:
        if self._listener is not None:
            self._listener.close()

    def dialled(self) -> FarEnd:
        assert self._listener is not None
        sock, _ = self._listener.accept()
        self._ends.append(sock)
        return SocketEnd(sock, masked=False)

    def pass_time(self, seconds: float) -> None:
        time.sleep(seconds)

    def close(self) -> None:
        self._stop()
        for end in self._ends:
            end.close()
        self.refuse()
        self._thread.join(LIMIT)
        self._port.release()
        assert not self._thread.is_alive()


class TrioWorld(SocketWorld):
    """The trio adapter."""

    def run(self, serve: Callable[[], Coroutine[Any, Any, None]]) -> None:
        trio.run(serve)

    async def _serve(self, policy: Policy, upstream: Upstream) -> None:
        self._token = trio.lowlevel.current_trio_token()
        closing, self._draining = trio.Event(), trio.Event()
        async with trio.open_nursery() as nursery:
            async with reknit.trio.open_proxy(policy, upstream) as self._proxy:
                (address,) = self._proxy.addresses
                assert isinstance(address, Listen)
                self._opened.set_result((address.port, lambda: self.call(closing.set)))
                nursery.start_soon(self._drain)
                await closing.wait()
            nursery.cancel_scope.cancel()

    async def _drain(self) -> None:
        await self._draining.wait()
        await self._proxy.drain()

    def call(self, what: Callable[[], T]) -> T:
        return trio.from_thread.run_sync(what, trio_token=self._token)

    def sessions(self) -> list[SessionView]:
        return self.call(lambda: self._proxy.sessions)

    def drain(self) -> None:
        self.call(self._draining.set)


class AsyncioWorld(SocketWorld):
    """The asyncio adapter."""

    def run(self, serve: Callable[[], Coroutine[Any, Any, None]]) -> None:
        asyncio.run(serve())

    async def _serve(self, policy: Policy, upstream: Upstream) -> None:
        self._loop = asyncio.get_running_loop()
        closing = asyncio.Event()
        async with reknit.asyncio.open_proxy(policy, upstream) as self._proxy:
            (address,) = self._proxy.addresses
            assert isinstance(address, Listen)
            self._opened.set_result((address.port, lambda: self.call(closing.set)))
            await closing.wait()

    def call(self, what: Callable[[], T]) -> T:
        async def wrapped() -> T:
            return what()

        return asyncio.run_coroutine_threadsafe(wrapped(), self._loop).result(LIMIT)

    def sessions(self) -> list[SessionView]:
        return self.call(lambda: self._proxy.sessions)

    def drain(self) -> None:
        asyncio.run_coroutine_threadsafe(self._proxy.drain(), self._loop)


class UvloopWorld(AsyncioWorld):
    """The asyncio adapter on uvloop."""

    def __init__(self, policy: Policy) -> None:
        self._uvloop = pytest.importorskip("uvloop", reason="uvloop is not installed")
        super().__init__(policy)

    def run(self, serve: Callable[[], Coroutine[Any, Any, None]]) -> None:
        self._uvloop.run(serve())


WORLDS: dict[str, type[World]] = {
    "memory": MemoryWorld,
    "trio": TrioWorld,
    "asyncio": AsyncioWorld,
    "uvloop": UvloopWorld,
}
