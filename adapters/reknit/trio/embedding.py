"""A proxy in a program of one's own, under trio; `reknit serve` is one of them."""

import socket
import ssl
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager

import trio
from reknit_core.policy.policy import Policy
from reknit_core.proxy.view import SessionView
from reknit_core.servers import Upstreams, as_upstreams

from reknit.observe.dialects import load_dialects
from reknit.settings.addresses import Address, Listen, address_of
from reknit.trio.door.listeners import open_listeners
from reknit.trio.proxy import Proxy
from reknit.trio.transport.certificates import Certificates

ANYWHERE = Listen("127.0.0.1", 0)


class TrioProxy:
    """A proxy that runs. It begins to stop when `stop` is set."""

    def __init__(self, proxy: Proxy, listeners: list[socket.socket], stop: trio.Event) -> None:
        self._proxy = proxy
        self._stop = stop
        self._stopped = trio.Event()
        self._names = [listener.getsockname() for listener in listeners]

    @property
    def addresses(self) -> list[Address]:
        """Where it listens."""
        return [address_of(name) for name in self._names]

    @property
    def sessions(self) -> list[SessionView]:
        """Every session that is not closed, as it is now."""
        return [SessionView.of(context) for context in self._proxy.sessions.contexts]

    async def drain(self, seconds: float = 0.0) -> None:
        """Take no new sessions, and send those that there are away over so many seconds.

        Meanwhile clients still come back to theirs. Returns when all connections are closed, or
        those that are left have had the policy's `close_timeout`.
        """
        self._proxy.drain.take(seconds)
        self._stop.set()
        await self.wait_stopped()

    async def wait_stopped(self) -> None:
        """Return when it has stopped."""
        await self._stopped.wait()

    async def _run(self, listeners: list[socket.socket]) -> None:
        await self._proxy.run(listeners, self._stop)
        self._stopped.set()


@asynccontextmanager
async def running(
    proxy: Proxy, listeners: list[socket.socket], stop: trio.Event
) -> AsyncIterator[TrioProxy]:
    """Run a proxy; in the end wait until it has stopped."""
    async with trio.open_nursery() as nursery:
        opened = TrioProxy(proxy, listeners, stop)
        nursery.start_soon(opened._run, listeners)
        yield opened


@asynccontextmanager
async def open_proxy(
    policy: Policy,
    upstream: Upstreams,
    listen: Address = ANYWHERE,
    *,
    tls: ssl.SSLContext | None = None,
    upstream_tls: ssl.SSLContext | None = None,
    dialects: Iterable[object] = (),
) -> AsyncIterator[TrioProxy]:
    """A proxy that runs inside of the `async with`, in any thread's trio.

    It takes no signals, and leaves the garbage collection and the limit of open files as they
    are. In the end sessions are closed at once; drain() before that sends them away in time.
    `upstream`: the server, or several. `tls`: how clients speak TLS. `upstream_tls`: how a server
    does, for `wss://`; None: as Python does by default. `dialects`: the program's own
    (`reknit_core.Dialect`), which `policy.dialect` chooses from too. Raises OSError, DialectError
    or PolicyError (both a ValueError).
    """
    certificates = Certificates()
    certificates.for_clients = tls
    upstreams = as_upstreams(upstream)
    if any(each.secure for each in upstreams):
        certificates.for_server = upstream_tls or ssl.create_default_context()
    known = load_dialects(policy, dialects)
    proxy = Proxy(policy, upstreams, certificates, dialects=known)
    listeners = await open_listeners(listen)
    async with running(proxy, listeners, trio.Event()) as opened:
        yield opened
        await opened.drain()
