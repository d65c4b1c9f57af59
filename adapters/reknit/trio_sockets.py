"""The reference adapter: trio owns what has a beginning and an end.

The listener, opening handshakes, dialling, signals and shutdown are trio tasks; established
sockets belong to the reactor. Nothing is decided here: the core says what to do.
"""

import errno
import gc
import hashlib
import logging
import os
import signal
import socket
from collections.abc import Iterator
from contextlib import contextmanager

import trio
from reknit_core.commands import Dial, Dropped, Transitioned
from reknit_core.contexts import Contexts
from reknit_core.events import DialFailed, ServerConnected, Shutdown, Side
from reknit_core.handshake import ClientHandshake, Refusal, UpgradeRequest, refusal
from reknit_core.policy import Policy, Upstream

from reknit.reactor import Link, Reactor

LOG = logging.getLogger("reknit")

GOING_AWAY = 1001
DIALS = 64  # at one time: after a server's restart thousands are due, and others want a turn too
BACKLOG = 4096  # connections that may wait to be accepted
_NO_ROOM = (errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM)


class Proxy:
    """Listens, shakes hands, dials; hands sockets to the reactor when they are established."""

    def __init__(self, policy: Policy, upstream: Upstream) -> None:
        self._policy = policy
        self._upstream = upstream
        self._contexts = Contexts(policy, upstream, os.urandom)
        self._reactor = Reactor(self._start_dial, self._report, self._forget)
        self._links: dict[int, Link] = {}  # by the context's id()
        self._label_key = os.urandom(16)
        self._dials = trio.CapacityLimiter(DIALS)
        self._nursery: trio.Nursery | None = None
        self._stopping = False

    async def run(self, listeners: list[trio.SocketListener], stop: trio.Event) -> None:
        """Serve the listeners until `stop` is set, then end every session with 1001."""
        try:
            async with trio.open_nursery() as self._nursery:
                self._nursery.start_soon(self._reactor.run)
                async with trio.open_nursery() as accepting:
                    for listener in listeners:
                        accepting.start_soon(self._accept, listener)
                    await stop.wait()
                    accepting.cancel_scope.cancel()
                self._stopping = True
                _close(listeners)
                await self._end_sessions()
                self._nursery.cancel_scope.cancel()
        finally:
            _close(listeners)

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

    async def _accept(self, listener: trio.SocketListener) -> None:
        assert self._nursery is not None
        while True:
            try:
                stream = await listener.accept()
            except OSError as error:
                if error.errno not in _NO_ROOM:
                    raise
                LOG.error("can't accept a connection: %s", error.strerror)
                await trio.sleep(0.1)
            else:
                self._nursery.start_soon(self._shake_hands, stream)

    async def _shake_hands(self, stream: trio.SocketStream) -> None:
        """Read a client's request; its socket is the reactor's once there is a session for it."""
        try:
            address = stream.socket.getpeername()[0]
            handshake = ClientHandshake(address if isinstance(address, str) else "")
            outcome: UpgradeRequest | Refusal | None = None
            with trio.move_on_after(self._policy.request_timeout):
                while outcome is None:
                    data = await stream.socket.recv(4096)
                    if not data:
                        await stream.aclose()
                        return
                    outcome = handshake.receive_data(data)
            if isinstance(outcome, UpgradeRequest):
                LOG.debug("client %s asks for a session", address)
                outcome = self._enter(stream, handshake, outcome)
            elif outcome is None:
                limit = f"no complete request in {self._policy.request_timeout:g} seconds"
                outcome = refusal(408, "request_timeout", limit)
            if outcome is not None:
                LOG.info("client %s refused: %d", address, outcome.status)
                await self._refuse(stream, handshake.refuse(outcome))
        except (OSError, trio.BrokenResourceError):
            stream.socket.close()  # the client is gone, and nothing was begun
        except Exception:
            stream.socket.close()
            LOG.exception("a client is let go by an error of the proxy")

    def _enter(
        self, stream: trio.SocketStream, handshake: ClientHandshake, request: UpgradeRequest
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
        self._reactor.settle(link, now)  # an older client's socket goes first
        self._reactor.attach(link, Side.CLIENT, _plain_socket(stream), now)
        return None

    async def _refuse(self, stream: trio.SocketStream, answer: bytes) -> None:
        """Answer, then wait for the client's end: closing at once could cost it the answer."""
        with trio.move_on_after(self._policy.close_timeout):
            await stream.send_all(answer)
            await stream.send_eof()
            while await stream.socket.recv(4096):
                pass
        await stream.aclose()

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
        stream = None
        reason = f"no connection in {self._policy.connect_timeout:g} seconds"
        with scope:
            await trio.sleep_until(dial.at)
            LOG.debug("%s dials, attempt %d", link.label, dial.attempt)
            async with self._dials:
                with trio.move_on_after(self._policy.connect_timeout):
                    try:
                        stream = await trio.open_tcp_stream(
                            self._upstream.host, self._upstream.port
                        )
                    except OSError as error:
                        reason = _explain(error)
        now = trio.current_time()
        if scope.cancel_called:
            if stream is not None:
                stream.socket.close()
        elif stream is not None:
            link.context.handle(ServerConnected(dial.generation), now)
            self._reactor.attach(link, Side.SERVER, _plain_socket(stream), now)
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


def _plain_socket(stream: trio.SocketStream) -> socket.socket:
    """The stream's socket without trio around it, as the reactor serves it."""
    family, kind = stream.socket.family, stream.socket.type
    plain = socket.socket(family, kind, fileno=stream.socket.detach())
    plain.setblocking(False)
    return plain


def _close(listeners: list[trio.SocketListener]) -> None:
    for listener in listeners:
        listener.socket.close()


def _explain(error: OSError) -> str:
    """What went wrong, of the several addresses that a name can have."""
    causes = getattr(error.__cause__, "exceptions", ())
    cause = next((cause for cause in causes if isinstance(cause, OSError)), error)
    if cause.errno is None or isinstance(cause, socket.gaierror):
        return cause.strerror or str(cause)
    return os.strerror(cause.errno)


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
    listeners = await trio.open_tcp_listeners(port, host=host, backlog=BACKLOG)
    _collect_garbage_rarely()
    bound = listeners[0].socket.getsockname()[1]
    stop = trio.Event()
    async with trio.open_nursery() as nursery:
        with _stop_on_signals(stop, nursery):
            LOG.info("listening on %s port %d for %s", host, bound, upstream.authority)
            task_status.started(bound)
            await Proxy(policy, upstream).run(listeners, stop)
            nursery.cancel_scope.cancel()
