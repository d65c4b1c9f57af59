"""`reknit serve` as a process: where it listens, signals, and what stands beside the proxy."""

import gc
import signal
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import contextmanager
from functools import partial
from logging import ERROR, INFO
from typing import TYPE_CHECKING

import trio
from reknit_core.policy.upstream import Upstream

from reknit.observe.logs import tell
from reknit.process import systemd
from reknit.process.file_limit import fit_to_files, tell_room
from reknit.process.handover import Doors, give, take
from reknit.process.restart import Restarts, TakeoverSocket, open_takeover_socket, predecessor
from reknit.process.takeover import Channel
from reknit.settings.addresses import Address
from reknit.settings.config import Config
from reknit.settings.options import Staying
from reknit.state.directory import StateDir
from reknit.trio.door.listening import close_listeners, open_listeners, wrap_listeners
from reknit.trio.embedding import running
from reknit.trio.proxy import Proxy
from reknit.trio.transport.certificates import CertificateError, Certificates

if TYPE_CHECKING:
    from reknit.observe.event_hook import EventHook


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
    opening: Awaitable[list[trio.SocketListener]], address: Address
) -> list[trio.SocketListener]:
    try:
        return await opening
    except OSError as error:
        raise ListenError(f"can't listen on {address}: {error.strerror or error}") from None


@contextmanager
def _reload_on_hangup(certificates: Certificates, nursery: trio.Nursery) -> Iterator[None]:
    """SIGHUP reads the certificates again, for new connections. Without any it ends the process."""

    async def wait(signals: AsyncIterator[int]) -> None:
        async for _ in signals:
            try:
                certificates.reload()
                tell(INFO, "certificates_read", "read the certificates again")
            except CertificateError as error:
                text = "the certificates stay as they were: %(reason)s"
                tell(ERROR, "certificates_bad", text, reason=str(error))

    if not certificates.reloadable:
        yield
        return
    with trio.open_signal_receiver(signal.SIGHUP) as signals:
        nursery.start_soon(wait, signals)
        yield


async def serve(
    config: Config, *, task_status: trio.TaskStatus[int] = trio.TASK_STATUS_IGNORED
) -> None:
    """Run a proxy until it is told to stop, or until another process has taken over.

    Takes over from a running process if there is one. Reports its port (0: a Unix socket's) when
    it listens. Raises CertificateError, ListenError, StateError or TakeoverError.
    """
    certificates = Certificates(config.tls, secure_upstream=config.upstream.secure)
    _collect_garbage_rarely()
    records = config.admin is not None
    policy = fit_to_files(config.policy)
    state = None if config.state_dir is None else StateDir(config.state_dir, config.state_sync)
    proxy = Proxy(policy, config.upstream, certificates, records=records, state=state)
    hook = _make_hook(config)
    channel = predecessor(config.takeover)
    doors, takeover_socket = await _open_doors(config, proxy, channel)
    stop = trio.Event()

    def drain() -> None:
        systemd.notify(systemd.STOPPING)
        stop.set()

    run_admin = _prepare_admin(config, proxy, drain, hook, doors.admin)
    serving_admin = trio.CancelScope()

    async def serve_admin() -> None:
        if run_admin is not None:
            with serving_admin:
                await run_admin()

    state_name = "" if proxy.store is None else proxy.store.name

    def hand_over(channel: Channel) -> None:
        give(proxy, doors, channel)
        if proxy.store is not None:
            proxy.store.close(remove=False)
        serving_admin.cancel()
        nursery.start_soon(proxy.retire, stop, config.takeover_tls is Staying.KEEP)

    async with trio.open_nursery() as nursery:
        if hook is not None:
            nursery.start_soon(hook.run)
        nursery.start_soon(serve_admin)
        await nursery.start(Restarts(hand_over, takeover_socket, state_name).run)
        with (
            _stop_on_signals(proxy, drain, nursery),
            _reload_on_hangup(certificates, nursery),
        ):
            port = _tell_listening(doors.clients[0], config.upstream)
            tell_room(config.policy, policy)
            systemd.notify(systemd.READY)
            task_status.started(port)
            async with running(proxy, doors.clients, stop) as opened:
                await opened.wait_stopped()
            if hook is not None:
                await hook.finish()
            nursery.cancel_scope.cancel()


def _tell_listening(listener: trio.SocketListener, upstream: Upstream) -> int:
    """Log where; the port, if it has one."""
    name = listener.socket.getsockname()
    server = upstream.socket_path or upstream.authority
    if isinstance(name, tuple):
        host, port = str(name[0]), int(name[1])
        text = "listening on %(host)s port %(port)d for %(upstream)s"
        tell(INFO, "listening", text, host=host, port=port, upstream=server)
        return port
    text = "listening on %(path)s for %(upstream)s"
    tell(INFO, "listening", text, path=str(name), upstream=server)
    return 0


async def _open_doors(
    config: Config, proxy: Proxy, channel: Channel | None
) -> tuple[Doors, TakeoverSocket | None]:
    """Where to listen: as the process before did, as systemd says, or as configured."""
    if channel is not None:
        doors = take(proxy, channel)
        if proxy.store is not None:
            await proxy.store.take_over()
        if not _may_serve_admin(config, doors.admin):
            close_listeners(doors.admin)
            doors.admin = []
    else:
        proxy.restore()
        try:
            doors = Doors(wrap_listeners(systemd.listening_sockets()))
        except OSError as error:
            raise ListenError(str(error)) from None
    if not doors.clients:
        doors.clients = await _listen(open_listeners(config.listen), config.listen)
    if config.admin is not None and not doors.admin:
        try:
            doors.admin = await _listen(open_listeners(config.admin, owner_only=True), config.admin)
        except ListenError as error:
            if channel is None:
                raise
            tell(ERROR, "no_admin", "no admin listener: %(reason)s", reason=str(error))
    return doors, open_takeover_socket(config.takeover, must=channel is None)


# What is not asked for is not imported: it would cost time and memory.


def _make_hook(config: Config) -> "EventHook | None":
    if config.on_event is None:
        return None
    from reknit.observe.event_hook import EventHook

    return EventHook(config.on_event)


def _may_serve_admin(config: Config, listeners: list[trio.SocketListener]) -> bool:
    """Whether what the process before had opened, with its settings, is right with these."""
    if config.admin is None or not listeners:
        return False
    from reknit.admin.app import is_private

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
    from reknit.admin.app import Admin, address_of

    count_lost = None if hook is None else hook.count_lost
    admin = Admin(
        proxy.sessions,
        proxy.admission,
        proxy.reactor,
        proxy.is_ready,
        drain,
        count_lost,
        requests=config.admin_requests,
        store=proxy.store,
    )
    shown = str(address_of(listeners[0]))
    tell(INFO, "admin_listening", "admin listening on %(address)s", address=shown)
    return partial(admin.run, listeners, config.admin_token)
