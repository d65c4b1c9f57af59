"""The asyncio adapter's door: clients come in, sessions are kept, and sent away in the end."""

import asyncio
import os
import socket
import ssl
from collections.abc import Coroutine
from contextlib import suppress
from math import inf
from typing import Any

from reknit_core import ContextStateMachine
from reknit_core.dialect.choice import Dialects
from reknit_core.policy.policy import Policy
from reknit_core.policy.upstream import Upstream
from reknit_core.proxy.admission import Admission, Guest
from reknit_core.proxy.contexts import Contexts
from reknit_core.proxy.drain import FAREWELL, schedule
from reknit_core.proxy.view import SessionView
from reknit_core.servers import Upstreams
from reknit_core.wire.handshake import ClientHandshake, Refusal, encode_refusal, refusal
from reknit_core.wire.proxy_header import ProxyHeader, ProxyHeaderError, begins_like_one
from reknit_core.wire.reasons import reason_of

from reknit.asyncio.adapter import Session, SocketTransport
from reknit.asyncio.checks import Checks
from reknit.asyncio.readiness import Sockets
from reknit.asyncio.streams import connect, receive, receive_header, send_all, shake_hands
from reknit.observe.refusals import NO_HEADER, UNTRUSTED, Refusals
from reknit.observe.reports import Reports, label_of
from reknit.settings.addresses import Address, address_of
from reknit.sockets.listening import remove_dead
from reknit.sockets.memory import give_back
from reknit.sockets.randomness import Randomness
from reknit.sockets.stream_socket import StreamSocket, without_delay
from reknit.sockets.tls import TLS_ONLY, TlsError, TlsSocket

DIALS = 64  # at one time
LINGERING = 64  # that are refused at the door and waited for: the answer needs it, a flood doesn't
PAUSE = 0.02  # seconds until the next client, where there is no file for one


class AsyncioProxy:
    """Serves the sockets of `listeners`, which are its own from here on.

    `tls`: how clients speak TLS, and `upstream_tls` the server; None: they don't.
    """

    def __init__(
        self,
        policy: Policy,
        upstream: Upstreams,
        listeners: list[socket.socket],
        tls: ssl.SSLContext | None = None,
        upstream_tls: ssl.SSLContext | None = None,
        dialects: Dialects | None = None,
    ) -> None:
        self._policy = policy
        self._tls = tls
        self._upstream_tls = upstream_tls
        self._contexts = Contexts(policy, upstream, Randomness(), dialects)
        self._admission = Admission(policy)
        self._key = os.urandom(16)  # of the sessions' labels in the log
        self._sessions: dict[ContextStateMachine, Session] = {}
        self.sockets = Sockets(self._admission.leave)
        self._serving: dict[Guest, asyncio.Task[None]] = {}  # who are no session's yet
        self._lingering = 0
        self._refusals = Refusals(self._contexts.counters)
        self._dials = asyncio.Semaphore(DIALS)
        self._loop = asyncio.get_running_loop()
        self._tasks: set[asyncio.Task[None]] = set()
        self._timer: asyncio.TimerHandle | None = None  # for what the log is told in time
        self.reports = Reports(self._contexts.counters, self._wake)
        self._listeners = listeners
        self._names = [sock.getsockname() for sock in listeners]
        self._checks = Checks(self._contexts.servers, policy, self._connect, self._start)
        self._checks.look(self._loop.time())
        for listener in listeners:
            self._start(self._accept(listener))

    @property
    def addresses(self) -> list[Address]:
        """Where it listens."""
        return [address_of(name) for name in self._names]

    @property
    def sessions(self) -> list[SessionView]:
        """Every session that is not closed, as it is now."""
        return [SessionView.of(context) for context in self._contexts]

    async def drain(self, seconds: float = 0.0) -> None:
        """Take no new sessions, and send those that there are away over so many seconds.

        Meanwhile clients still come back to theirs. Returns when all connections are closed, or
        those that are left have had the policy's `close_timeout`.
        """
        self._contexts.is_draining = True
        began = self._loop.time()
        for moment, context in schedule(self._contexts, seconds):
            await asyncio.sleep(began + moment - self._loop.time())
            session = self._sessions.get(context)
            if session is not None:
                session.run(session.driver.handle, FAREWELL)
        with suppress(TimeoutError):
            async with asyncio.timeout(self._policy.close_timeout):
                await self.sockets.wait_idle()

    def close(self) -> None:
        """Close every socket now."""
        self.reports.finish()
        if self._timer is not None:
            self._timer.cancel()
        self._checks.close()
        for task in self._tasks:
            task.cancel()
        for session in list(self._sessions.values()):
            session.abandon()
        self.sockets.close()
        for listener, name in zip(self._listeners, self._names, strict=True):
            listener.close()
            if isinstance(name, str):
                remove_dead(name)

    # -- What sessions ask for -----------------------------------------------------------------

    async def connect(self, context: ContextStateMachine) -> StreamSocket:
        """A new connection to the session's server. Raises OSError."""
        servers = self._contexts.servers
        async with self._dials:
            name = context.choose_server()
            if name is None:
                raise OSError(servers.why_none)
            return await self._connect(servers.upstream(name))

    async def _connect(self, upstream: Upstream) -> StreamSocket:
        limit = self._policy.connect_timeout
        try:
            async with asyncio.timeout(limit):
                return await connect(upstream, self._upstream_tls if upstream.secure else None)
        except TimeoutError:
            raise OSError(f"no connection in {limit:g} seconds") from None

    def forget(self, session: Session) -> None:
        """It is closed, and can't be come back to."""
        self._contexts.forget(session.driver.context)
        self._sessions.pop(session.driver.context, None)
        self.reports.forget(session.label)
        if self._contexts.has_freed_much():
            give_back()

    def news(self) -> None:
        """Others have commands: settle them when what happens now is done."""
        self._loop.call_soon(self._settle_news)

    def _settle_news(self) -> None:
        if self._contexts.servers.has_news:
            self._checks.look(self._loop.time())
        for context in self._contexts.news():
            session = self._sessions.get(context)
            if session is not None:
                session.run(session.driver.settle)

    # -- Clients -------------------------------------------------------------------------------

    async def _accept(self, listener: socket.socket) -> None:
        while True:
            try:
                sock, peer = await self._loop.sock_accept(listener)
            except OSError as error:
                self._refusals.accept_failed(reason_of(error))
                await asyncio.sleep(PAUSE)
                continue
            sock.setblocking(False)
            self._receive(sock, peer[0] if isinstance(peer, tuple) else "")
            await asyncio.sleep(0)  # where many wait, accepting them would hold up all others

    def _receive(self, sock: socket.socket, address: str) -> None:
        """Let a connection in, or refuse it at the door."""
        now = self._loop.time()
        if (idlest := self._admission.give_way(now)) is not None:
            self._refusals.gave_way(idlest.address)
            self._serving[idlest].cancel()
        guest = self._admission.arrive(address, now)
        if isinstance(guest, Guest):
            self._serving[guest] = self._start(self._welcome(sock, guest))
            return
        self._refusals.limited(address, guest)
        if self._tls is None and self._lingering < LINGERING:
            self._start(self._linger(sock, encode_refusal(guest)))
        else:  # with TLS an answer would take a handshake first
            sock.close()

    async def _linger(self, sock: socket.socket, answer: bytes) -> None:
        self._lingering += 1
        with suppress(OSError), sock:
            await self._end(sock, answer)
        self._lingering -= 1

    async def _welcome(self, sock: socket.socket, guest: Guest) -> None:
        """Read a client's request; then the socket is a session's, or ends with an answer."""
        entered = False
        try:
            entered = await self._serve(without_delay(sock), guest)
        except TlsError as error:
            self._refusals.tls_failed(guest.address, str(error))
            if error.is_plain_http:
                with suppress(OSError):
                    sock.send(TLS_ONLY)
        except OSError:
            pass  # the client is gone
        finally:
            del self._serving[guest]
            if not entered:
                sock.close()
                self._admission.leave(guest)

    async def _serve(self, sock: socket.socket, guest: Guest) -> bool:
        """Whether the socket is a session's now. Raises OSError."""
        if guest.awaits and not await self._read_header(sock, guest):
            return False
        stream = sock if self._tls is None else TlsSocket(sock, self._tls, None)
        handshake = ClientHandshake(guest.peer, secure=stream is not sock)
        answer = await self._enter(stream, guest, handshake)
        if answer is None:
            return True
        self._refusals.refused(guest.address, answer)
        self._admission.linger(guest, self._loop.time())
        await self._end(stream, handshake.refuse(answer))
        return False

    async def _read_header(self, sock: socket.socket, guest: Guest) -> bool:
        """Whether the guest may go on, now that its balancer has said whose it is."""
        header = ProxyHeader()
        problem = ""
        try:
            async with asyncio.timeout(self._policy.request_timeout):
                await receive_header(sock, header)
        except ProxyHeaderError as error:
            problem = str(error)
        except TimeoutError:
            problem = "not complete in time"
        if problem:
            self._refusals.unannounced(guest.address, problem)
            answer: Refusal | None = NO_HEADER
        else:
            answer = self._admission.announce(guest, header.address, self._loop.time())
            if answer is not None:
                self._refusals.limited(guest.address, answer)
        if answer is not None and self._tls is None:
            self._admission.linger(guest, self._loop.time())
            await self._end(sock, encode_refusal(answer))
        return answer is None

    async def _enter(
        self, stream: StreamSocket, guest: Guest, handshake: ClientHandshake
    ) -> Refusal | None:
        """Let a client into its session; or say why not. Raises OSError: it is gone."""
        outcome = None
        try:
            async with asyncio.timeout(self._policy.request_timeout):
                if isinstance(stream, TlsSocket):
                    await shake_hands(stream)
                while outcome is None:
                    data = await receive(stream, 4096)
                    if not data:
                        raise ConnectionResetError
                    outcome = handshake.receive_data(data)
                    if isinstance(outcome, Refusal) and begins_like_one(data):
                        outcome = UNTRUSTED
        except TimeoutError:
            return refusal(408, "request_timeout", "no complete request in time")
        if isinstance(outcome, Refusal):
            return outcome
        now = self._loop.time()
        answer = self._admission.ask(guest, outcome, now)
        if answer is not None:
            return answer
        context = self._contexts.connect(handshake, outcome, now)
        if isinstance(context, Refusal):
            return context
        session = self._sessions.get(context)
        if session is None:
            label = label_of(context.connection_id, self._key)
            session = self._sessions[context] = Session(context, self, label)
        session.run(session.driver.arrived, SocketTransport(stream, session, guest))
        return None

    async def _end(self, stream: StreamSocket, answer: bytes) -> None:
        """Say it, then wait for the client's end: closing at once could cost it the answer."""
        with suppress(TimeoutError):
            async with asyncio.timeout(self._policy.close_timeout):
                await send_all(stream, answer)
                stream.shutdown(socket.SHUT_WR)
                while await receive(stream, 4096):
                    pass

    # -- Helpers -------------------------------------------------------------------------------

    def _wake(self, deadline: float) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self._timer = None
        if deadline < inf:
            self._timer = self._loop.call_at(
                deadline, lambda: self.reports.look(max(self._loop.time(), deadline))
            )

    def _start(self, work: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        task = self._loop.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task
