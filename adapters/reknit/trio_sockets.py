"""The reference adapter: trio owns what has a beginning and an end.

The listener, dialling, signals and shutdown are trio tasks; established sockets belong to the
reactor. Nothing is decided here: the core says what to do.
"""

import gc
import os
import signal
import socket
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from functools import partial
from logging import DEBUG, ERROR, INFO, WARNING
from typing import TYPE_CHECKING

import trio
from reknit_core.admission import Admission, Guest
from reknit_core.commands import Dial, Dropped, Transitioned
from reknit_core.contexts import Contexts
from reknit_core.events import ClientConnected, DialFailed, ServerConnected, Side
from reknit_core.handshake import ClientHandshake, Refusal, UpgradeRequest
from reknit_core.policy import Policy
from reknit_core.upstream import Upstream

from reknit import systemd
from reknit.config import Config
from reknit.dialler import DialError, Dialler
from reknit.draining import Drain
from reknit.file_limit import raise_file_limit
from reknit.handover import Doors, give, take
from reknit.listener import Listener, close_listeners, open_listeners, wrap_listeners
from reknit.logs import tell
from reknit.options import AdminAddress
from reknit.reactor import Link, Reactor
from reknit.restart import Restarts, TakeoverSocket, open_takeover_socket, predecessor
from reknit.sessions import Sessions
from reknit.takeover import Channel, Newcomer

if TYPE_CHECKING:
    from reknit.event_hook import EventHook


class Proxy:
    """Brings listener, dialler and reactor together for the sessions.

    `records`: whether each session keeps what it went through lately.
    """

    def __init__(self, policy: Policy, upstream: Upstream, *, records: bool = False) -> None:
        self.sessions = Sessions(Contexts(policy, upstream, os.urandom), records=records)
        self.admission = Admission(policy)
        self.reactor = Reactor(
            self._start_dial, self._report, self.sessions.forget, self.admission.leave
        )
        self.listener = Listener(
            policy, self.admission, self.sessions.contexts.counters, self._enter
        )
        self._dialler = Dialler(upstream, policy.connect_timeout)
        self._nursery: trio.Nursery | None = None
        self.drain = Drain(self.sessions, self.reactor, policy.drain_time, policy.close_timeout)
        self.inherited: list[tuple[socket.socket, Newcomer]] = []
        """Clients that another process has begun to shake hands with."""

    def is_ready(self) -> bool:
        """Whether new sessions are taken."""
        return not self.sessions.contexts.is_draining

    async def run(self, listeners: list[trio.SocketListener], stop: trio.Event) -> None:
        """Serve the listeners until `stop` is set, then send every session away.

        Meanwhile clients still come back to their sessions; new ones are refused.
        """
        try:
            async with trio.open_nursery() as self._nursery:
                self._nursery.start_soon(self.reactor.run)
                self._go_on(self._nursery)
                self._nursery.start_soon(self.listener.run, listeners, self._nursery)
                await stop.wait()
                self.sessions.contexts.is_draining = True
                await self.drain.run()
                self._nursery.cancel_scope.cancel()
        finally:
            close_listeners(listeners)

    def _go_on(self, clients: trio.Nursery) -> None:
        """Nothing was written or dialled yet for what another process has given: now it is."""
        now = trio.current_time()
        for link in self.sessions:
            try:
                self.reactor.settle(link, now)
            except Exception:
                self.reactor.abandon(link)
        for sock, newcomer in self.inherited:
            guest = self.admission.readmit(newcomer.address)
            self.listener.welcome(sock, guest, newcomer.begun, clients)
        self.inherited = []

    async def retire(self, stop: trio.Event) -> None:
        """Another process has taken over: stop once the sessions that could not move are over."""
        self.sessions.contexts.is_draining = True
        await self.sessions.wait_empty()
        stop.set()

    # -- Clients -------------------------------------------------------------------------------

    def _enter(
        self,
        sock: socket.socket,
        guest: Guest,
        handshake: ClientHandshake,
        request: UpgradeRequest,
    ) -> Refusal | None:
        now = trio.current_time()
        context = self.sessions.contexts.connect(handshake, request, now)
        if isinstance(context, Refusal):
            return context
        link = self.sessions.link(context, now)
        if link.recent is not None:
            link.recent.note_event(ClientConnected(handshake), now)
        try:
            self.reactor.settle(link, now)  # an older client's socket goes first
            self.reactor.attach(link, Side.CLIENT, sock, now, guest)
        except Exception:
            self.reactor.abandon(link)
        return None

    # -- The server ----------------------------------------------------------------------------

    def _start_dial(self, link: Link, dial: Dial) -> None:
        assert self._nursery is not None
        link.dial = trio.CancelScope()
        self._nursery.start_soon(self._dial, link, dial, link.dial)

    async def _dial(self, link: Link, dial: Dial, scope: trio.CancelScope) -> None:
        try:
            await self._connect(link, dial, scope)
        except Exception:
            self.reactor.abandon(link)

    async def _connect(self, link: Link, dial: Dial, scope: trio.CancelScope) -> None:
        sock = None
        reason = ""
        with scope:
            await trio.sleep_until(dial.at)
            text = "%(session)s dials, attempt %(attempt)d"
            tell(DEBUG, "dial", text, session=link.label, attempt=dial.attempt)
            try:
                sock = await self._dialler.connect()
            except DialError as error:
                reason = str(error)
        now = trio.current_time()
        if scope.cancel_called:
            if sock is not None:
                sock.close()
        elif sock is not None:
            link.handle(ServerConnected(dial.generation), now)
            self.reactor.attach(link, Side.SERVER, sock, now)
        else:
            tell(
                INFO,
                "dial_failed",
                "%(session)s attempt %(attempt)d failed: %(reason)s",
                session=link.label,
                state=link.context.state.value,
                attempt=dial.attempt,
                reason=reason,
            )
            link.handle(DialFailed(dial.generation, reason), now)
            self.reactor.settle(link, now)

    def _report(self, link: Link, change: Transitioned | Dropped) -> None:
        if isinstance(change, Dropped):
            tell(
                WARNING,
                "dropped",
                "%(session)s queue full: %(total)d to the %(side)s dropped",
                session=link.label,
                state=link.context.state.value,
                side=change.side.value,
                total=change.total,
            )
            return
        tell(
            INFO,
            "transition",
            "%(session)s %(state)s by %(trigger)s" + (": %(reason)s" if change.reason else ""),
            session=link.label,
            state=change.state.value,
            trigger=change.trigger.value,
            reason=change.reason,
        )


@contextmanager
def _stop_on_signals(
    proxy: Proxy, drain: Callable[[], None], nursery: trio.Nursery
) -> Iterator[None]:
    """SIGTERM drains; SIGINT or a second one ends all sessions at once; then another cuts them."""

    async def wait() -> None:
        is_stopping = False
        async for number in signals:
            tell(INFO, "signal", "got %(name)s", name=signal.Signals(number).name)
            if is_stopping and proxy.drain.is_hurried:
                nursery.cancel_scope.cancel()
            elif is_stopping or number == signal.SIGINT:
                proxy.drain.hurry()
            is_stopping = True
            drain()

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


class ListenError(Exception):
    """An address can't be listened on; says which and why."""


async def _listen(
    opening: Awaitable[list[trio.SocketListener]], address: AdminAddress
) -> list[trio.SocketListener]:
    try:
        return await opening
    except OSError as error:
        raise ListenError(f"can't listen on {address}: {error.strerror or error}") from None


async def serve(
    config: Config, *, task_status: trio.TaskStatus[int] = trio.TASK_STATUS_IGNORED
) -> None:
    """Run a proxy until it is told to stop, or until another process has taken over.

    Takes over from a running process if there is one. Reports its port (0: any free one) when it
    listens. Raises ListenError or TakeoverError.
    """
    _collect_garbage_rarely()
    proxy = Proxy(config.policy, config.upstream, records=config.admin is not None)
    hook = _make_hook(config)
    channel = predecessor(config.takeover)
    if channel is not None:
        raise_file_limit(config.policy.session_limit)  # its sockets are to come
    doors, takeover_socket = await _open_doors(config, proxy, channel)
    stop = trio.Event()

    def drain() -> None:
        systemd.notify(systemd.STOPPING)
        stop.set()

    run_admin = _prepare_admin(config, proxy, drain, hook, doors.admin)
    host, port = doors.clients[0].socket.getsockname()[:2]
    serving_admin = trio.CancelScope()

    async def serve_admin() -> None:
        if run_admin is not None:
            with serving_admin:
                await run_admin()

    def hand_over(channel: Channel) -> None:
        give(proxy, doors, channel)
        serving_admin.cancel()
        nursery.start_soon(proxy.retire, stop)

    async with trio.open_nursery() as nursery:
        if hook is not None:
            nursery.start_soon(hook.run)
        nursery.start_soon(serve_admin)
        await nursery.start(Restarts(hand_over, takeover_socket).run)
        with _stop_on_signals(proxy, drain, nursery):
            tell(
                INFO,
                "listening",
                "listening on %(host)s port %(port)d for %(upstream)s",
                host=host,
                port=port,
                upstream=config.upstream.authority,
            )
            if channel is None:
                raise_file_limit(config.policy.session_limit)
            systemd.notify(systemd.READY)
            task_status.started(port)
            await proxy.run(doors.clients, stop)
            if hook is not None:
                await hook.finish()
            nursery.cancel_scope.cancel()


async def _open_doors(
    config: Config, proxy: Proxy, channel: Channel | None
) -> tuple[Doors, TakeoverSocket | None]:
    """Where to listen: as the process before did, as systemd says, or as configured."""
    if channel is not None:
        doors = take(proxy, channel)
        if not _may_serve_admin(config, doors.admin):
            close_listeners(doors.admin)
            doors.admin = []
    else:
        doors = Doors(wrap_listeners(systemd.listening_sockets()))
    if not doors.clients:
        listen = config.listen
        doors.clients = await _listen(open_listeners(listen.host, listen.port), listen)
    if config.admin is not None and not doors.admin:
        try:
            doors.admin = await _listen(_open_admin(config.admin), config.admin)
        except ListenError as error:
            if channel is None:
                raise
            tell(ERROR, "no_admin", "no admin listener: %(reason)s", reason=str(error))
    return doors, open_takeover_socket(config.takeover, must=channel is None)


# What is not asked for is not imported: it would cost time and memory.


def _make_hook(config: Config) -> "EventHook | None":
    if config.on_event is None:
        return None
    from reknit.event_hook import EventHook

    return EventHook(config.on_event)


def _open_admin(address: AdminAddress) -> Awaitable[list[trio.SocketListener]]:
    from reknit.admin.listener import open_listeners

    return open_listeners(address)


def _may_serve_admin(config: Config, listeners: list[trio.SocketListener]) -> bool:
    """Whether what the process before had opened, with its settings, is right with these."""
    if config.admin is None or not listeners:
        return False
    from reknit.admin.listener import is_private

    return config.admin_token is not None or is_private(listeners)


def _prepare_admin(
    config: Config,
    proxy: Proxy,
    drain: Callable[[], None],
    hook: "EventHook | None",
    listeners: list[trio.SocketListener],
) -> Callable[[], Awaitable[None]] | None:
    if not listeners:
        return None
    from reknit.admin.listener import Admin, address_of

    count_lost = None if hook is None else hook.count_lost
    admin = Admin(
        proxy.sessions,
        proxy.reactor,
        proxy.is_ready,
        drain,
        count_lost,
        requests=config.admin_requests,
    )
    shown = str(address_of(listeners[0]))
    tell(INFO, "admin_listening", "admin listening on %(address)s", address=shown)
    return partial(admin.run, listeners, config.admin_token)
