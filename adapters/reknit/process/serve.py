"""`reknit serve` as a process: where it listens, signals, and what stands beside the proxy."""

import gc
import signal
import socket
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable
from functools import partial
from logging import ERROR, INFO
from typing import TYPE_CHECKING

import trio
from reknit_core.policy.upstream import Upstream
from reknit_core.proxy.contexts import Contexts
from reknit_core.proxy.share import ALONE
from reknit_core.wire.reasons import reason_of

from reknit.observe.dialects import load_dialects
from reknit.observe.logs import tell
from reknit.process import systemd
from reknit.process.clustering import join_cluster, keep_in_cluster
from reknit.process.file_limit import fit_to_files, tell_room
from reknit.process.handover import Doors, give, take
from reknit.process.restart import Restarts, TakeoverSocket, open_takeover_socket, predecessor
from reknit.process.signals import (
    Signals,
    arrive,
    receive,
    reload_on,
    tell_signal,
    unless_stopped,
)
from reknit.process.takeover import Channel
from reknit.settings.addresses import Address, Listen, address_of
from reknit.settings.config import Config
from reknit.settings.options import Staying
from reknit.state.directory import StateDir, StateError
from reknit.state.directory_store import DirectoryStore, keep_in
from reknit.state.elsewhere import NOWHERE, Elsewhere, clear, find
from reknit.state.store import Home, Store
from reknit.trio.door.listeners import close_listeners, open_listeners
from reknit.trio.embedding import running
from reknit.trio.proxy import Proxy
from reknit.trio.transport.certificates import Certificates

if TYPE_CHECKING:
    from reknit.observe.event_hook import EventHook


async def _stop_on(
    signals: AsyncIterator[int], proxy: Proxy, drain: Callable[[], None], nursery: trio.Nursery
) -> None:
    """SIGTERM drains; SIGINT or a second one ends all sessions at once; then another cuts them."""
    is_stopping = False
    async for number in signals:
        tell_signal(number)
        if is_stopping and proxy.drain.is_hurried:
            nursery.cancel_scope.cancel()
        elif is_stopping or number == signal.SIGINT:
            proxy.drain.hurry()
        is_stopping = True
        drain()


def collect_garbage_rarely() -> None:
    """Full collections walk every session, and would stall the loop when there are thousands.

    A session leaves no cycles behind when it ends; young garbage is collected as before.
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(5_000, 5, 10_000)


class ListenError(Exception):
    """An address can't be listened on; says which and why."""


class WorkerError(Exception):
    """A worker can't go on, and so the whole can't: which and why, for people."""


async def listening(
    opening: Awaitable[list[socket.socket]], address: Address
) -> list[socket.socket]:
    """The sockets that are opened for that address. Raises ListenError."""
    try:
        return await opening
    except OSError as error:
        raise ListenError(f"can't listen on {address}: {reason_of(error)}") from None


async def serve(
    config: Config, *, task_status: trio.TaskStatus[int] = trio.TASK_STATUS_IGNORED
) -> None:
    """Run a proxy until it is told to stop, or until another process has taken over.

    Takes over from a running process if there is one. Reports its port (0: a Unix socket's) when
    it listens; the first one's, if there are several. Signals are its own meanwhile. Raises
    CertificateError, DialectError, ListenError, StateError or TakeoverError.
    """
    with receive() as signals:
        await _serve(config, signals, task_status)


async def _serve(config: Config, signals: Signals, task_status: trio.TaskStatus[int]) -> None:
    certificates = Certificates(config.tls, secure_upstream=config.is_secure)
    dialects = load_dialects(config.policy)
    collect_garbage_rarely()
    records = config.admin is not None
    policy = fit_to_files(config.policy)
    proxy = Proxy(
        policy,
        config.upstreams,
        certificates,
        records=records,
        make_store=_choose_store(config),
        dialects=dialects,
    )
    hook = make_hook(config)
    import_admin(config)
    begun = await unless_stopped(signals.stop, partial(_open_doors, config, proxy))
    if begun is None:
        if proxy.store is not None:
            proxy.store.close()  # for the next start
        return
    doors, takeover_socket = begun
    stop = trio.Event()

    def drain() -> None:
        if proxy.is_ready():  # else it has said so, or another process is the service now
            systemd.notify(systemd.STOPPING)
        stop.set()

    run_admin = _prepare_admin(config, proxy, drain, hook, doors)
    serving_admin = trio.CancelScope()

    async def serve_admin() -> None:
        if run_admin is not None:
            with serving_admin:
                await run_admin()

    def hand_over(channel: Channel) -> None:
        give(proxy, doors, channel)
        if proxy.store is not None:
            proxy.store.close()
        serving_admin.cancel()
        nursery.start_soon(proxy.retire, stop, config.takeover_tls is Staying.KEEP)

    async with trio.open_nursery() as nursery:
        if hook is not None:
            nursery.start_soon(hook.run)
        nursery.start_soon(serve_admin)
        nursery.start_soon(_stop_on, signals.stop, proxy, drain, nursery)
        nursery.start_soon(reload_on, signals.reload, certificates, dialects)
        ports = tell_listening(doors.clients, config.upstreams)
        tell_room(config.policy, policy)
        systemd.notify(systemd.READY)
        nursery.start_soon(systemd.keep_watchdog)
        task_status.started(ports[0])
        restarts = Restarts(hand_over, proxy.is_ready, takeover_socket, _state_name(proxy))
        async with running(proxy, doors.clients, stop) as opened:
            # Only now: what this process has taken over must be going on before it gives it away.
            if config.cluster:
                nursery.start_soon(_refuse_restarts, signals.restart)
            else:
                nursery.start_soon(restarts.run, signals.restart)
            await opened.wait_stopped()
        if hook is not None:
            await hook.finish()
        nursery.cancel_scope.cancel()


async def _refuse_restarts(signals: AsyncIterator[int]) -> None:
    async for number in signals:
        tell_signal(number)
        tell(ERROR, "no_restart", "no restart: with --cluster there is none by a signal yet")


def tell_listening(listeners: Iterable[socket.socket], upstreams: Iterable[Upstream]) -> list[int]:
    """Log where; the ports, 0 for those that have none. Several may share an address."""
    addresses = dict.fromkeys(address_of(listener.getsockname()) for listener in listeners)
    servers = " ".join(each.url for each in upstreams)
    return [_tell_listening(address, servers) for address in addresses]


def _tell_listening(address: Address, servers: str) -> int:
    text = "listening on %(address)s for %(upstream)s"
    tell(INFO, "listening", text, address=str(address), upstream=servers)
    return address.port if isinstance(address, Listen) else 0


def _state_name(proxy: Proxy) -> str:
    return "" if proxy.store is None else proxy.store.name


async def _open_doors(config: Config, proxy: Proxy) -> tuple[Doors, TakeoverSocket | None]:
    """Where to listen: as the process before did, as systemd says, or as configured.

    Once the sessions of another process are here, nothing ends this any more.
    """
    channel = await predecessor(config.takeover, _state_name(proxy))
    doors = Doors()
    try:
        with trio.CancelScope(shield=channel is not None):
            if channel is not None:
                await _take_doors(config, proxy, channel, doors)
            else:
                _restore(config, proxy)
                await arrive()
                doors.clients = sockets_of_systemd()
            doors.clients = doors.clients or await _listen_on(config.listen)
            if proxy.store is not None and channel is None:
                names = [address_of(listener.getsockname()) for listener in doors.clients]
                if config.cluster:
                    await join_cluster(config, proxy)
                await proxy.store.begin(names)
            if config.admin is not None and not doors.admin:
                await open_admin(config.admin, doors, must=channel is None)
            door = open_takeover_socket(config.takeover, must=channel is None)
    except BaseException:
        close_listeners([*doors.clients, *doors.admin])
        raise
    return doors, door


def _choose_store(config: Config) -> Callable[[Contexts, Home], Store] | None:
    """Where sessions are to be kept. Raises StateError."""
    if config.state_dir is not None:
        return keep_in(StateDir(config.state_dir, config.state_sync))
    if config.cluster:
        return keep_in_cluster(config)
    return None


def _elsewhere(config: Config) -> Elsewhere:
    """What workers have left. Raises StateError."""
    if config.state_dir is None:
        return NOWHERE
    return Elsewhere.of(find(config.state_dir, ALONE.of), ALONE)


def _restore(config: Config, proxy: Proxy) -> None:
    store = proxy.store
    if not isinstance(store, DirectoryStore):
        return
    elsewhere = _elsewhere(config)
    try:
        elsewhere.lock()
        proxy.adopt(store.restore(elsewhere))
        elsewhere.remove(elsewhere.damaged)
    except OSError as error:
        raise StateError(reason_of(error)) from None
    finally:
        elsewhere.close()


async def _take_doors(config: Config, proxy: Proxy, channel: Channel, doors: Doors) -> None:
    try:
        taken = take(proxy, channel)
    finally:
        channel.close()
    proxy.sessions.contexts.counters.takeovers += 1
    doors.clients = taken.clients
    if proxy.store is not None:
        await proxy.store.take_over()
        await clear(_elsewhere(config))
    if may_serve_admin(config, taken.admin):
        doors.admin = taken.admin
    else:
        close_listeners(taken.admin)


def sockets_of_systemd() -> list[socket.socket]:
    """Those that it has opened for us. Raises ListenError."""
    try:
        return systemd.listening_sockets()
    except OSError as error:
        raise ListenError(str(error)) from None


async def _listen_on(addresses: Iterable[Address]) -> list[socket.socket]:
    """On all of them, or on none."""
    listeners: list[socket.socket] = []
    try:
        for address in addresses:
            listeners += await listening(open_listeners(address), address)
    except BaseException:
        close_listeners(listeners)
        raise
    return listeners


async def open_admin(address: Address, doors: Doors, *, must: bool) -> None:
    """Listen for the operator. Raises ListenError, if it `must` be."""
    try:
        doors.admin = await listening(open_listeners(address, owner_only=True), address)
    except ListenError as error:
        if must:
            raise
        tell(ERROR, "no_admin", "no admin listener: %(reason)s", reason=str(error))


# What is not asked for is not imported: it would cost time and memory.


def make_hook(config: Config) -> "EventHook | None":
    """Who sends events, if they are to be sent."""
    if config.on_event is None:
        return None
    from reknit.observe.event_hook import EventHook

    return EventHook(config.on_event)


def import_admin(config: Config) -> None:
    """Before sessions are taken over, which stand still meanwhile."""
    if config.admin is not None:
        import reknit.admin.app  # noqa: F401


def may_serve_admin(config: Config, listeners: list[socket.socket]) -> bool:
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
    doors: Doors,
) -> Callable[[], Awaitable[None]] | None:
    listeners = doors.admin
    if not listeners:
        return None
    from reknit.admin.app import Admin, address_of
    from reknit.admin.vitals import about

    count_lost = None if hook is None else hook.count_lost
    places = [address_of(listener) for listener in doors.clients]
    admin = Admin(
        proxy.sessions,
        proxy.admission,
        proxy.reactor,
        proxy.is_ready,
        drain,
        count_lost,
        requests=config.admin_requests,
        store=proxy.store,
        certificates=proxy.certificates,
        tell_about=partial(about, places, steers=config.admin_token is not None),
    )
    shown = str(address_of(listeners[0]))
    tell(INFO, "admin_listening", "admin listening on %(address)s", address=shown)
    return partial(admin.run, listeners, config.admin_token)
