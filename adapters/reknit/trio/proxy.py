"""The reference adapter: the reactor owns all sockets, trio what has a beginning and an end.

Looking up names, the store and shutdown are trio tasks. Nothing is decided here: the core says
what to do.
"""

import socket
from collections.abc import Awaitable, Callable, Iterable
from functools import partial
from logging import DEBUG

import trio
from reknit_core import ContextStateMachine
from reknit_core.cluster.secret import Secret
from reknit_core.cluster.states import Book
from reknit_core.commands import Dial
from reknit_core.dialect.choice import Dialects
from reknit_core.events import ClientConnected
from reknit_core.policy.policy import Policy
from reknit_core.proxy.admission import Admission, Guest
from reknit_core.proxy.arrival import Arrival
from reknit_core.proxy.contexts import Contexts
from reknit_core.proxy.plain_http import PlainHttp
from reknit_core.proxy.share import ALONE, Share
from reknit_core.servers import Upstreams
from reknit_core.wire.handshake import ClientHandshake, Refusal, UpgradeRequest

from reknit.observe.logs import tell
from reknit.observe.refusals import Refusals
from reknit.sockets.randomness import Randomness
from reknit.sockets.stream_socket import StreamSocket
from reknit.state.store import Home, Store
from reknit.trio.cluster.nodes import Nodes, Tenant
from reknit.trio.cluster.searches import SessionKeys
from reknit.trio.door.colleagues import Colleagues
from reknit.trio.door.listener import Listener
from reknit.trio.door.listeners import close_listeners
from reknit.trio.door.newcomers import Newcomers
from reknit.trio.door.passing import Passing
from reknit.trio.door.pump import Pumps
from reknit.trio.draining import Drain
from reknit.trio.links import Link
from reknit.trio.reactor import Reactor
from reknit.trio.sessions import Sessions
from reknit.trio.telling import TimedReports
from reknit.trio.transport.certificates import Certificates
from reknit.trio.transport.checks import Checks
from reknit.trio.transport.dialler import DialError, Dialler
from reknit.trio.transport.targets import Target, Targets


class Proxy:
    """Brings listener, dialler and reactor together for the sessions.

    `records`: whether each session keeps what it went through lately. `make_store`: makes what
    keeps sessions, so that they outlive this process; `store` must be begun before it runs.
    `dialects`: what is known of messages; None: what comes with the proxy. `share`: which sessions
    are its own, where it is one of several workers; then `colleagues` are to be set before it runs.
    """

    def __init__(
        self,
        policy: Policy,
        upstream: Upstreams,
        certificates: Certificates,
        *,
        records: bool = False,
        make_store: Callable[[Contexts, Home], Store] | None = None,
        dialects: Dialects | None = None,
        share: Share = ALONE,
    ) -> None:
        contexts = Contexts(policy, upstream, Randomness(), dialects, share)
        self._policy = policy
        self.certificates = certificates
        self.admission = Admission(policy)
        self.store = None if make_store is None else make_store(contexts, self)
        self.reports = TimedReports(contexts.counters)
        self.reactor = Reactor(
            self._start_dial,
            self.reports.report,
            self._forget,
            self.admission.leave,
            self._news,
            None if self.store is None else self.store.commit,
            None if self.store is None else self.store.remote,
        )
        self.sessions = Sessions(contexts, self.reactor, records=records)
        self.servers = servers = contexts.servers
        self._targets = Targets(servers.upstreams, policy.connect_timeout)
        self._dialler = self._make_dialler()
        self._checks = Checks(servers, policy, self._targets, self._make_dialler(), self.reactor)
        counters = self.sessions.contexts.counters
        # With dials of its own: so many requests don't keep sessions from coming back.
        plain = PlainHttp(policy, servers, counters, self.is_ready)
        self.passing = Passing(plain, self._make_dialler(), self._targets, self.reactor)
        refusals = Refusals(counters)
        self.newcomers = Newcomers(
            policy, self.admission, refusals, self._enter, self.passing, self.reactor
        )
        self.listener = Listener(
            certificates, self.admission, counters, refusals, self.newcomers, self.reactor
        )
        self.pumps = Pumps(self.reactor, policy.close_timeout, self.admission.leave)
        self.drain = Drain(
            self.sessions, self.passing, self.reactor, policy.drain_time, policy.close_timeout
        )
        self._runs = False
        self.inherited: list[tuple[socket.socket, Arrival]] = []
        """Clients that another process has begun to shake hands with."""
        self.colleagues: Colleagues | None = None
        """The other workers, if it is one of several."""
        self.nodes: Nodes | None = None
        """The other machines, if it is one of several."""

    def _make_dialler(self) -> Dialler:
        return Dialler(self.certificates, self._policy.connect_timeout, self.reactor)

    def is_ready(self) -> bool:
        """Whether new sessions are taken."""
        return not self.sessions.contexts.is_draining

    def join(
        self,
        name: str,
        secret: Secret,
        keys: SessionKeys,
        tenant: Tenant,
        state_of: Callable[[str], Book],
        sockets: list[socket.socket],
    ) -> None:
        """Be one of several machines; see Nodes. The others come in by these sockets."""
        self.nodes = nodes = Nodes(
            name,
            secret,
            self.certificates.links,
            state_of,
            self._policy,
            self.sessions.contexts,
            self.admission,
            self.newcomers,
            self.pumps,
            self.reactor,
            self.enter,
        )
        nodes.keys, nodes.tenant = keys, tenant
        nodes.door.listen(sockets)

    def adopt(self, contexts: Iterable[ContextStateMachine]) -> None:
        """Go on with what a process has left that died: once it runs, from now on."""
        now = trio.current_time()
        for context in contexts:
            link = self.sessions.link(context, now)
            if self._runs:
                self.reactor.settle(link, now)

    def drop(self, contexts: Iterable[ContextStateMachine]) -> None:
        """These are another node's: cut their connections, and forget them."""
        now = trio.current_time()
        for context in contexts:
            self.reactor.drop(self.sessions.link(context, now))

    def touch(self, contexts: Iterable[ContextStateMachine]) -> None:
        """Have these written down, though nothing has happened to them."""
        for context in contexts:
            link = self.sessions.known(context)
            if link is not None:
                self.reactor.touch(link)

    async def run(
        self,
        listeners: list[socket.socket],
        stop: trio.Event,
        linger: Callable[[], Awaitable[None]] | None = None,
    ) -> None:
        """Serve the listeners until `stop` is set, then send every session away.

        Meanwhile clients still come back to their sessions; new ones are refused. `linger` is
        awaited before the end: others may still have sessions to which clients come by this one.
        """
        try:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(self.reactor.run)
                nursery.start_soon(self._targets.run)
                nursery.start_soon(self.reports.run)
                if self.nodes is not None:
                    nursery.start_soon(self.nodes.run)
                if self.store is not None:
                    await nursery.start(self.store.run)
                self._go_on()
                self.listener.listen(listeners)
                if self.colleagues is not None:
                    self.colleagues.open()
                await stop.wait()
                self.sessions.contexts.is_draining = True
                self.newcomers.close_idle()
                await self.drain.run()
                if linger is not None:
                    await linger()
                self.reports.finish()
                if self.store is not None:
                    await self.store.end()
                nursery.cancel_scope.cancel()
        finally:
            close_listeners(listeners)
            if self.nodes is not None:
                self.nodes.door.close()

    def _go_on(self) -> None:
        """Nothing was written or dialled yet for what another process had: now it is."""
        self._runs = True
        now = trio.current_time()
        self._checks.look(now)
        for link in self.sessions:
            self.reactor.settle(link, now)
        for sock, newcomer in self.inherited:
            guest = self.admission.readmit(newcomer.address, awaits=newcomer.awaits)
            context = self.certificates.for_clients if newcomer.awaits else None
            begun, secure = newcomer.begun, newcomer.secure
            secure |= context is not None
            self.newcomers.welcome(sock, guest, now, begun, secure=secure, context=context)
        self.inherited = []

    async def retire(self, stop: trio.Event, keep: bool) -> None:
        """Another process has taken over: stop, or first `keep` what could not move."""
        if keep:
            await self.sessions.wait_empty()
            await self.passing.wait_empty()
            await self.pumps.wait_empty()
        else:
            self.pumps.cut()  # their sessions are the other process's already
        stop.set()

    # -- Clients -------------------------------------------------------------------------------

    def _enter(
        self,
        sock: StreamSocket,
        guest: Guest,
        handshake: ClientHandshake,
        request: UpgradeRequest,
        now: float,
    ) -> Refusal | None:
        if self.colleagues is not None and self.colleagues.is_open:
            owner = self.sessions.contexts.elsewhere(request)
            if owner is not None:
                return self.colleagues.bring(owner, sock, guest, handshake, request, now)
        return self.enter_here(sock, guest, handshake, request, now)

    def enter_here(
        self,
        sock: StreamSocket,
        guest: Guest,
        handshake: ClientHandshake,
        request: UpgradeRequest,
        now: float,
    ) -> Refusal | None:
        """A client asks for a session that no other worker has; or why it gets none."""
        if self.nodes is not None and not guest.is_brought:
            absent = self.sessions.contexts.absent(request)
            if absent is not None:
                self.nodes.begin(absent, sock, guest, handshake, request, now)
                return None
        return self.enter(sock, guest, handshake, request, guest.nonce, now)

    def enter(
        self,
        sock: StreamSocket,
        guest: Guest,
        handshake: ClientHandshake,
        request: UpgradeRequest,
        nonce: bytes | None,
        now: float,
    ) -> Refusal | None:
        """Give a client its session here, a new one with that nonce; or say why not."""
        context = self.sessions.contexts.connect(handshake, request, now, nonce)
        if isinstance(context, Refusal):
            return context
        link = self.sessions.link(context, now)
        if link.recent is not None:
            link.recent.note_event(ClientConnected(handshake), now)
        self.reactor.welcome(link, sock, guest, now)
        return None

    # -- The server ----------------------------------------------------------------------------

    def _start_dial(self, link: Link, dial: Dial) -> None:
        told = partial(self._dialled, link, dial)
        link.dialling = self._dialler.dial(dial.at, told, partial(self._where, link, dial))

    def _where(self, link: Link, dial: Dial) -> Target | DialError:
        server = link.context.choose_server()
        if server is None:
            return DialError(self.servers.why_none)
        _tell_dial(link, dial, link.context.server_name)
        return self._targets[server]

    def _news(self) -> list[Link]:
        if self.servers.has_news:
            self._checks.look(trio.current_time())
        return self.sessions.news()

    def _dialled(
        self, link: Link, dial: Dial, outcome: StreamSocket | DialError, now: float
    ) -> None:
        link.dialling = None
        try:
            if isinstance(outcome, DialError):
                reason, answered = str(outcome), outcome.answered
                link.driver.dial_failed(dial.generation, reason, now, answered=answered)
            else:
                self.reactor.connected(link, dial.generation, outcome, now)
        except Exception:
            self.reactor.abandon(link)

    def _forget(self, link: Link) -> None:
        self.sessions.forget(link)
        self.reports.forget(link)
        if self.store is not None:
            self.store.forget(link.context)


def _tell_dial(link: Link, dial: Dial, server: str) -> None:
    text = "%(session)s dials, attempt %(attempt)d"
    which = {"server": server} if server else {}
    if server:
        text = "%(session)s dials %(server)s, attempt %(attempt)d"
    tell(DEBUG, "dial", text, session=link.label, attempt=dial.attempt, **which)
