"""Puts the admin listener's parts together."""

import os
import socket
from collections.abc import Callable, Iterable

import trio
from reknit_core.counters import Histogram
from reknit_core.proxy.admission import Admission

from reknit.admin import health
from reknit.admin.calls import SessionCalls
from reknit.admin.feed import Feed
from reknit.admin.guard import Guard
from reknit.admin.lag import measure_lag
from reknit.admin.metrics.collector import Metrics
from reknit.admin.old_names import with_paths_before
from reknit.admin.page import Page
from reknit.admin.requests import RequestCalls
from reknit.admin.router import Route, Router
from reknit.admin.server import Server
from reknit.settings.addresses import Address, Listen, UnixPath, is_loopback
from reknit.state.store import Store
from reknit.trio.door.listeners import close_listeners
from reknit.trio.reactor import Reactor
from reknit.trio.sessions import Sessions
from reknit.trio.transport.certificates import Certificates


class Admin:
    """Tells and steers what these sessions do.

    `is_ready`: whether new sessions are taken. `drain`: stop taking any, and send those away that
    there are. `untold`: how many events a hook has lost. `requests`: whether peers may be asked.
    `store`: where the sessions are kept. `certificates`: those that the proxy shows.
    `tell_about`: what this proxy is, for the live page.
    """

    def __init__(
        self,
        sessions: Sessions,
        admission: Admission,
        reactor: Reactor,
        is_ready: Callable[[], bool],
        drain: Callable[[], None],
        untold: Callable[[], int] | None = None,
        *,
        requests: bool = False,
        store: Store | None = None,
        certificates: Certificates | None = None,
        tell_about: Callable[[], dict[str, object]] = dict,
    ) -> None:
        self._lag = Histogram()
        self.feed = Feed(sessions, self._lag, tell_about)
        viewers = self.feed.count_viewers
        self.metrics = Metrics(sessions, admission, self._lag, untold, store, certificates, viewers)
        self.calls = (
            *SessionCalls(sessions, reactor).routes(),
            *RequestCalls(sessions, reactor, is_allowed=requests).routes(),
        )
        """The routes of what is asked about single sessions."""
        self._routes = (
            *Page().routes(),
            *self.feed.routes(),
            *health.routes(is_ready, lambda: sessions.contexts.lacks_server, drain, store),
            *self.metrics.routes(),
            *self.calls,
        )

    async def run(self, listeners: list[socket.socket], token: str | None) -> None:
        """Answer on these listeners until cancelled, then close them.

        Without a token they must be private.
        """
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self.keep_time)
            await answer_on(listeners, token, self._routes)

    async def keep_time(self) -> None:
        """Look what is to be looked at again and again, until cancelled."""
        async with trio.open_nursery() as nursery:
            nursery.start_soon(measure_lag, self._lag)
            nursery.start_soon(self.feed.run)


async def answer_on(
    listeners: list[socket.socket], token: str | None, routes: Iterable[Route]
) -> None:
    """Answer by these routes until cancelled, then close the listeners.

    Without a token they must be private.
    """
    over_tcp = any(listener.family != socket.AF_UNIX for listener in listeners)
    guard = Guard(token, loopback=token is None and over_tcp)
    server = Server(Router(with_paths_before(routes), guard), guard.knows)
    wrapped = [
        trio.SocketListener(trio.socket.from_stdlib_socket(listener)) for listener in listeners
    ]
    try:
        await trio.serve_listeners(server.serve, wrapped)
    finally:
        close_listeners(listeners)


def is_private(listeners: list[socket.socket]) -> bool:
    """Whether only this machine can connect."""
    return all(
        isinstance(where, UnixPath) or is_loopback(where.host)
        for where in map(address_of, listeners)
    )


def address_of(listener: socket.socket) -> Address:
    """Where it listens."""
    name = listener.getsockname()
    if listener.family == socket.AF_UNIX:
        return UnixPath(os.fsdecode(name))
    return Listen(*name[:2])
