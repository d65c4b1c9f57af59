"""The reference adapter: trio owns what has a beginning and an end.

The listener, dialling, signals and shutdown are trio tasks; established sockets belong to the
reactor. Nothing is decided here: the core says what to do.
"""

import gc
import hashlib
import logging
import os
import signal
import socket
from collections.abc import Iterator
from contextlib import contextmanager

import trio
from reknit_core.admission import Admission, Guest
from reknit_core.commands import Dial, Dropped, Transitioned
from reknit_core.contexts import Contexts
from reknit_core.events import DialFailed, ServerConnected, Shutdown, Side
from reknit_core.handshake import ClientHandshake, Refusal, UpgradeRequest, refusal
from reknit_core.policy import Policy
from reknit_core.upstream import Upstream

from reknit.dialler import DialError, Dialler
from reknit.listener import Listener, close_listeners, open_listeners
from reknit.reactor import Link, Reactor

LOG = logging.getLogger("reknit")

GOING_AWAY = 1001


class Proxy:
    """The sessions; brings listener, dialler and reactor together for them."""

    def __init__(self, policy: Policy, upstream: Upstream) -> None:
        self._policy = policy
        self._upstream = upstream
        self._contexts = Contexts(policy, upstream, os.urandom)
        self._admission = Admission(policy)
        self._reactor = Reactor(self._start_dial, self._report, self._forget, self._admission.leave)
        self._links: dict[int, Link] = {}  # by the context's id()
        self._label_key = os.urandom(16)
        self._listener = Listener(policy, self._admission, self._enter)
        self._dialler = Dialler(upstream, policy.connect_timeout)
        self._nursery: trio.Nursery | None = None
        self._stopping = False

    async def run(self, listeners: list[trio.SocketListener], stop: trio.Event) -> None:
        """Serve the listeners until `stop` is set, then end every session with 1001."""
        try:
            async with trio.open_nursery() as self._nursery:
                self._nursery.start_soon(self._reactor.run)
                async with trio.open_nursery() as accepting:
                    accepting.start_soon(self._listener.run, listeners, self._nursery)
                    await stop.wait()
                    accepting.cancel_scope.cancel()
                self._stopping = True
                close_listeners(listeners)
                await self._end_sessions()
                self._nursery.cancel_scope.cancel()
        finally:
            close_listeners(listeners)

    async def _end_sessions(self) -> None:
        now = trio.current_time()
        links = list(self._links.values())
        LOG.info("stopping: %d sessions", len(links))
        for link in links:
            link.context.handle(Shutdown(GOING_AWAY, "the proxy is going away"), now)
            self._reactor.settle(link, now)
        with trio.move_on_after(self._policy.close_timeout):
            await self._reactor.wait_idle()

    # -- Clients -------------------------------------------------------------------------------

    def _enter(
        self,
        sock: socket.socket,
        guest: Guest,
        handshake: ClientHandshake,
        request: UpgradeRequest,
    ) -> Refusal | None:
        if self._stopping:
            return refusal(503, "shutting_down", "the proxy is going away")
        now = trio.current_time()
        context = self._contexts.connect(handshake, request, now)
        if isinstance(context, Refusal):
            return context
        link = self._links.get(id(context))
        if link is None:
            link = self._links[id(context)] = Link(context, self._label(context.connection_id))
        try:
            self._reactor.settle(link, now)  # an older client's socket goes first
            self._reactor.attach(link, Side.CLIENT, sock, now, guest)
        except Exception:
            self._reactor.abandon(link)
        return None

    def _label(self, connection_id: str) -> str:
        """How a session is called in the log: its id is a secret."""
        digest = hashlib.blake2s(connection_id.encode(), key=self._label_key, digest_size=4)
        return digest.hexdigest()

    # -- The server ----------------------------------------------------------------------------

    def _start_dial(self, link: Link, dial: Dial) -> None:
        assert self._nursery is not None
        link.dial = trio.CancelScope()
        self._nursery.start_soon(self._dial, link, dial, link.dial)

    async def _dial(self, link: Link, dial: Dial, scope: trio.CancelScope) -> None:
        try:
            await self._connect(link, dial, scope)
        except Exception:
            self._reactor.abandon(link)

    async def _connect(self, link: Link, dial: Dial, scope: trio.CancelScope) -> None:
        sock = None
        reason = ""
        with scope:
            await trio.sleep_until(dial.at)
            LOG.debug("%s dials, attempt %d", link.label, dial.attempt)
            try:
                sock = await self._dialler.connect()
            except DialError as error:
                reason = str(error)
        now = trio.current_time()
        if scope.cancel_called:
            if sock is not None:
                sock.close()
        elif sock is not None:
            link.context.handle(ServerConnected(dial.generation), now)
            self._reactor.attach(link, Side.SERVER, sock, now)
        else:
            LOG.info("%s attempt %d failed: %s", link.label, dial.attempt, reason)
            link.context.handle(DialFailed(dial.generation, reason), now)
            self._reactor.settle(link, now)

    def _report(self, link: Link, change: Transitioned | Dropped) -> None:
        if isinstance(change, Dropped):
            side = change.side.value
            LOG.warning("%s queue full: %d to the %s dropped", link.label, change.total, side)
            return
        LOG.info(
            "%s %s by %s%s",
            link.label,
            change.state.value,
            change.trigger.value,
            f": {change.reason}" if change.reason else "",
        )

    def _forget(self, link: Link) -> None:
        self._contexts.forget(link.context)
        self._links.pop(id(link.context), None)


@contextmanager
def _stop_on_signals(stop: trio.Event, nursery: trio.Nursery) -> Iterator[None]:
    """SIGINT and SIGTERM stop the proxy cleanly, a second one at once."""

    async def wait() -> None:
        async for number in signals:
            LOG.info("got %s", signal.Signals(number).name)
            if stop.is_set():
                nursery.cancel_scope.cancel()
            stop.set()

    with trio.open_signal_receiver(signal.SIGINT, signal.SIGTERM) as signals:
        nursery.start_soon(wait)
        yield


def _collect_garbage_rarely() -> None:
    """Full collections walk every session, and would stall the loop when there are thousands.

    A session leaves no cycles behind when it ends; young garbage is collected as before.
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(5_000, 5, 10_000)


async def serve(
    policy: Policy,
    upstream: Upstream,
    host: str,
    port: int,
    *,
    task_status: trio.TaskStatus[int] = trio.TASK_STATUS_IGNORED,
) -> None:
    """Run a proxy on `host`:`port` (0: any free one) until SIGINT or SIGTERM.

    Reports the port when it listens. Raises OSError if it can't listen there.
    """
    listeners = await open_listeners(host, port)
    _collect_garbage_rarely()
    bound = listeners[0].socket.getsockname()[1]
    stop = trio.Event()
    async with trio.open_nursery() as nursery:
        with _stop_on_signals(stop, nursery):
            LOG.info("listening on %s port %d for %s", host, bound, upstream.authority)
            task_status.started(bound)
            await Proxy(policy, upstream).run(listeners, stop)
            nursery.cancel_scope.cancel()
