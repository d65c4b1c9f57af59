"""A bench for tests on real sockets: proxies, servers and clients, all cleaned up behind it.

A test is an `async def test_…(bench, …)` under @socket_test.
"""

import asyncio
import functools
import inspect
import ssl
from collections.abc import Awaitable, Callable, Coroutine, Mapping, Sequence
from contextlib import suppress
from typing import Any, Self, TypeVar

from linux import only_on_linux
from patience import LIMIT
from proxy_process import ProxyProcess
from raw_websocket import RawConnection, raw_connect, request
from upstream_server import Port, RawUpstream, Upstream, cut
from websockets.asyncio.client import ClientConnection, connect
from websockets.asyncio.connection import Connection
from websockets.exceptions import ConnectionClosed, InvalidStatus
from websockets.http11 import Response

T = TypeVar("T")

COMES_BACK = "x-reconnect: true"  # only a client that says so is waited for


class Bench:
    """What a test on real sockets needs. The upstream server is for the test to start."""

    def __init__(self) -> None:
        self.proxies: list[ProxyProcess] = []
        self._port = Port()
        self.upstream = Upstream(self._port.number, self._port.listener)
        self.raw_upstream = RawUpstream(self._port.listener)
        self.scheme = "ws"  # of the upstream's URL
        self.tls: ssl.SSLContext | None = None  # of clients
        self._clients: list[ClientConnection] = []
        self._raw_clients: list[RawConnection] = []
        self._tasks: list[asyncio.Task[Any]] = []

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *exception: object) -> None:
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        for client in self._clients:
            cut(client)
            await client.wait_closed()
        for raw in self._raw_clients:
            raw.abort()
        await self.upstream.kill()
        await self.raw_upstream.kill()
        statuses = [await proxy.stop() for proxy in self.proxies]
        self._port.release()
        for proxy in self.proxies:
            print("\n".join(proxy.lines))  # pytest shows it where a test fails
        assert statuses == [0] * len(statuses)
        assert not any("Traceback" in line for proxy in self.proxies for line in proxy.lines)

    def spawn(self, work: Coroutine[Any, Any, T]) -> asyncio.Task[T]:
        """A task that ends with the test, if not before."""
        task = asyncio.create_task(work)
        self._tasks.append(task)
        return task

    async def proxy(
        self, *options: str, host: str = "127.0.0.1", path: str = "", files: int = 0
    ) -> ProxyProcess:
        """Start a proxy for the upstream server; the last one is `bench.proxies[-1]`."""
        upstream = f"{self.scheme}://{host}:{self._port.number}{path}"
        proxy = await ProxyProcess.start(upstream, *options, files=files)
        self.proxies.append(proxy)
        return proxy

    async def connect(
        self, path: str = "/", headers: Mapping[str, str] | None = None, **options: Any
    ) -> ClientConnection:
        """A client of the last proxy. Raises InvalidStatus where it is refused.

        It says that it can come back.
        """
        headers = {"x-reconnect": "true", **(headers or {})}
        client = await connect(
            f"{'wss' if self.tls else 'ws'}://127.0.0.1:{self.proxies[-1].port}{path}",
            additional_headers=headers,
            ssl=self.tls,
            **{
                "compression": None,
                "proxy": None,
                "ping_interval": None,
                "max_size": None,
                "open_timeout": None,
                **options,
            },
        )
        self._clients.append(client)
        return client

    async def refused(
        self, path: str = "/", headers: Mapping[str, str] | None = None, **options: Any
    ) -> Response:
        """The answer to a client that isn't let in."""
        try:
            await self.connect(path, headers, **options)
        except InvalidStatus as error:
            return error.response
        raise AssertionError("the client was not refused")

    async def raw(self, *, receive_buffer: int = 0, local: str = "127.0.0.1") -> RawConnection:
        """A connection to the last proxy, on which nothing is said yet; `local`: from where."""
        if local != "127.0.0.1":
            only_on_linux("another address on loopback")
        client = await raw_connect(self.proxies[-1].port, receive_buffer, local, self.tls)
        self._raw_clients.append(client)
        return client

    async def turned(self, times: int = 10) -> None:
        """The last proxy has looked at its sockets that often: it has answered so many others.

        So it has read all that it wants to read of what was sent to it before.
        """
        for _ in range(times):
            other = await raw_connect(self.proxies[-1].port, tls=self.tls)
            other.send(b"no request\r\n\r\n")
            await other.read_head()
            other.abort()

    async def raw_client(self, path: str = "/", *headers: str) -> RawConnection:
        """A client of the last proxy that has been accepted. It says that it can come back."""
        client = await self.raw()
        client.send(request(path, COMES_BACK, *headers))
        head = await client.read_head()
        assert head.status == 101, head
        return client

    async def raw_pair(
        self, path: str = "/", *headers: str, answer: Sequence[str] = ()
    ) -> tuple[RawConnection, RawConnection]:
        """A client of the last proxy, and the raw server's end; `answer`: headers of its 101.

        The client says that it can come back.
        """
        client = await self.raw()
        client.send(request(path, COMES_BACK, *headers))
        server = await self.raw_upstream.accept(*answer)
        assert (await client.read_head()).status == 101, client.head
        return client, server


def header(response: Response | None, name: str) -> str | None:
    """A header of an answer; None if it isn't there."""
    assert response is not None
    return response.headers.get(name)


def id_of(client: ClientConnection) -> str:
    """The connection id that the proxy told the client."""
    connection_id = header(client.response, "x-connection-id")
    assert connection_id is not None
    return connection_id


async def closed(connection: Connection) -> tuple[int | None, str | None]:
    """The code and reason with which the connection ends; what still comes is discarded."""
    with suppress(ConnectionClosed):
        async for _ in connection:
            pass
    return connection.close_code, connection.close_reason


def socket_test(test: Callable[..., Awaitable[None]]) -> Callable[..., None]:
    """Run an asyncio test with a bench of its own; its other parameters are pytest's."""

    @functools.wraps(test)
    def run(**arguments: Any) -> None:
        asyncio.run(play(arguments))

    async def play(arguments: dict[str, Any]) -> None:
        async with asyncio.timeout(LIMIT), Bench() as bench:
            await test(bench, **arguments)

    signature = inspect.signature(test)
    _, *others = signature.parameters.values()
    run.__signature__ = signature.replace(parameters=others)  # type: ignore[attr-defined]
    return run
