"""The readiness loop: one trio task serves every socket of the relay, and the door's.

It waits for the one file descriptor of a selector that holds all sockets, then serves all that
are ready in one sweep: what to do for each session is its driver's (reknit_core/driver.py). Time
is read once a sweep. Deadlines sit in a heap and are looked at when they come: a message never
touches a timer.
"""

import logging
from collections import OrderedDict
from collections.abc import Callable, Iterable
from heapq import heappop, heappush
from itertools import islice
from math import inf
from time import time

import trio
from reknit_core import ContextStateMachine
from reknit_core.commands import Dial
from reknit_core.events import Event
from reknit_core.proxy.admission import Guest
from reknit_core.side import Side
from reknit_core.telemetry.teller import Change

from reknit.sockets.poller import BROKEN, GONE, MASKS, READ, WRITE, Poller, make_poller
from reknit.sockets.stream_socket import StreamSocket, cut, has_ended, part_with
from reknit.state.store import Remote
from reknit.trio.links import Connection, Link
from reknit.trio.watched import Timed, Watched

LOG = logging.getLogger("reknit")

TURN = 0.01  # seconds of sweeps before other trio tasks get their turn
STAYS = (
    0.001  # seconds that this loop waits for more, where there was some: trio's costs a round trip
)
TIMERS = 8  # a sweep: thousands of sessions may be late in one moment
EVENTS = 1024  # of the poller, at least
ENDINGS = (
    32  # ended connections a sweep: an end costs more than a message, and may come in thousands
)
DOOR = 0.005  # seconds a sweep for who comes in and what is dialled: so do these


Commit = Callable[[Iterable[ContextStateMachine], float], None]


class Reactor:
    """Serves sockets: those of connections, and what else is watched.

    `dial` and `report` are called for a context's commands, `forget` when a session is over,
    `leave` when a client's socket is closed. `hand_out` gives the sessions that have commands by
    what another has met. `commit` writes down what is new of contexts: then
    all that comes in during a sweep is written with one write, before it is passed on; see
    reknit_core.durable.journal. `remote`: who says that it is; nothing is read until then.
    """

    def __init__(
        self,
        dial: Callable[[Link, Dial], None],
        report: Callable[[Link, Change, float], None],
        forget: Callable[[Link], None],
        leave: Callable[[Guest], None],
        hand_out: Callable[[], list[Link]],
        commit: Commit | None = None,
        remote: Remote | None = None,
    ) -> None:
        self.dial = dial
        self.report = report
        self.forget = forget
        self._leave = leave
        self._hand_out = hand_out
        self._has_news = False
        self._commit = commit
        self.holds = commit is not None
        """Whether nothing goes out before it is written down."""
        self._remote = remote
        self._touched: dict[int, Link] = {}  # by id(): to be written down, and then written to
        self._written: dict[int, Link] = {}  # to be written to, as soon as the remote says so
        self._poller: Poller = make_poller()
        self._connections: dict[int, Connection] = {}
        self._watched: dict[int, Watched] = {}
        self._timers: list[tuple[float, Timed]] = []
        self._ended: dict[int, int] = {}  # by descriptor: the poller's word of it
        self._others: OrderedDict[int, None] = OrderedDict()  # ready beside connections, first come
        self._sleep: trio.CancelScope | None = None
        self._idle = trio.Event()
        self._time = trio.current_time  # the clock's own, once it runs: that asks for no task

    async def run(self) -> None:
        """Serve until cancelled, then close every socket."""
        self._time = trio.lowlevel.current_clock().current_time
        remote = self._remote
        try:
            while True:
                with trio.CancelScope(deadline=self._next_timer()) as self._sleep:
                    await trio.lowlevel.wait_readable(self._poller.fileno())
                self._sleep = None
                if remote is not None and not remote.is_sure():
                    await remote.written()  # this process has slept, or the remote has gone
                until = self._time() + TURN
                patience = 0.0
                is_busy = True
                while is_busy:
                    ready = self._poll(patience)
                    now = self._time()
                    is_busy = self._sweep(ready, now) and now < until
                    while remote is not None and self._touched:
                        await self._flush_to(remote, now)
                    patience = self._patience(now)
        finally:
            while self._watched:  # to drop one may begin another
                next(iter(self._watched.values())).drop()
            for connection in list(self._connections.values()):
                connection.socket.close()
            self._poller.close()

    async def wait_idle(self) -> None:
        """Return when no socket is open any more."""
        self._idle = trio.Event()
        if self._connections:
            await self._idle.wait()

    # -- Sessions ------------------------------------------------------------------------------

    def welcome(self, link: Link, sock: StreamSocket, guest: Guest, now: float) -> None:
        """A client has just been let into the session."""
        connection = self._connection(link, sock, guest)
        try:
            link.driver.arrived(connection, now)
        except Exception:
            self.abandon(link)

    def connected(self, link: Link, generation: int, sock: StreamSocket, now: float) -> None:
        """The session's dial is done."""
        link.driver.connected(generation, self._connection(link, sock, None), now, time())

    def adopt(self, link: Link, side: Side, sock: StreamSocket, guest: Guest | None) -> None:
        """That is a thawed session's connection; settle() begins to serve it."""
        link.driver.adopt(side, self._connection(link, sock, guest))

    def handle(self, link: Link, event: Event, now: float) -> None:
        """Let an event happen to a session."""
        try:
            link.driver.handle(event, now)
        except Exception:
            self.abandon(link)

    def settle(self, link: Link, now: float) -> None:
        """Begin to serve a session that has been thawed."""
        try:
            link.driver.settle(now)
        except Exception:
            self.abandon(link)

    def let_go(self, link: Link) -> None:
        """The session is another process's, or over: touch its sockets no more."""
        link.driver.let_go()
        self._untouch(link)
        self.news()

    def abandon(self, link: Link) -> None:
        """A bug of ours in one session must not cost the others theirs."""
        LOG.exception("%s ends by an error of the proxy", link.label)
        link.driver.abandon()
        self._untouch(link)
        self.forget(link)
        self.news()

    def drop(self, link: Link) -> None:
        """The session is another node's: cut its connections, and forget it."""
        for connection in (link.client, link.server):
            if connection is not None:
                cut(connection.socket)
        link.driver.abandon()
        self._untouch(link)
        self.forget(link)
        self.news()

    # -- One sweep -----------------------------------------------------------------------------

    def _poll(self, patience: float) -> list[tuple[int, int]]:
        """What is ready, or the first to be so within that time (seconds).

        As many as there are: else, where thousands end at once, it is long until one that doesn't
        has its turn.
        """
        return self._poller.poll(patience, max(EVENTS, len(self._connections)))

    def _patience(self, now: float) -> float:
        """How long the next sweep may wait for who is ready (seconds)."""
        return STAYS if self._next_timer() > now + STAYS else 0.0

    def _sweep(self, ready: list[tuple[int, int]], now: float) -> bool:
        """Serve what is ready, and what is due. False if nothing is left to do now."""
        connections = self._connections
        for fd, mask in ready:
            connection = connections.get(fd)
            if connection is None:
                self._others[fd] = None  # one that waits for its turn keeps its place
                continue
            wire = connection.wire
            if wire is None:
                if has_ended(connection.socket):
                    self.close(connection)
                continue
            if mask & GONE:
                self._ended[fd] = mask
                continue
            try:
                if mask & READ:
                    wire.readable(now)
                if mask & WRITE:
                    wire.writable(now)
            except Exception:
                self.abandon(connection.link)
        if self._ended:
            for fd in list(islice(self._ended, ENDINGS)):
                self._read_end(self._connections.get(fd), self._ended.pop(fd), now)
        if self._others:
            self._serve(now)
        more = bool(ready or self._ended)
        for _ in range(TIMERS):
            if not self._timers or self._timers[0][0] > now:
                break
            self._wake(heappop(self._timers)[1], now)
            more = True
        if self._has_news:
            self._has_news = False
            for link in self._hand_out():
                self.settle(link, now)
        if self._commit is not None and self._remote is None:
            self._flush(self._commit, now)
        return more

    def _read_end(self, connection: Connection | None, mask: int, now: float) -> None:
        """A peer has ended the connection; if more is to be read, the poller will say so again.

        It may be a later connection with the same descriptor: then nothing is read.
        """
        if connection is None or connection.wire is None:
            return  # closed meanwhile
        try:
            connection.wire.hung_up(now, broken=bool(mask & BROKEN))
        except Exception:
            self.abandon(connection.link)

    def _serve(self, now: float) -> None:
        """What is ready beside connections, each in its turn; the next sweep goes on from there.

        The poller names them in much the same order each time: the first ones could always be
        ready, and take all the time.
        """
        while self._others:
            fd, _ = self._others.popitem(last=False)
            watched = self._watched.get(fd)
            if watched is not None:  # else it was closed meanwhile
                self._tell_ready(watched, now)
            if self._time() > now + DOOR:
                break

    def _tell_ready(self, watched: Watched, now: float) -> None:
        try:
            watched.ready(now)
        except Exception:
            LOG.exception("a connection ends by an error of the proxy")
            watched.drop()

    def news(self) -> None:
        """Other sessions may have commands: see to them, outside of what happens now."""
        self._has_news = True
        if self._sleep is not None:
            self._sleep.deadline = 0.0

    # -- Writing down first --------------------------------------------------------------------

    def touch(self, link: Link) -> None:
        """Write down what is new of the session, and then pass it on."""
        self._touched[id(link)] = link
        if self._sleep is not None:  # outside of a sweep: have one
            self._sleep.deadline = 0.0

    def _flush(self, commit: Commit, now: float) -> None:
        while self._touched:
            links = list(self._touched.values())
            self._touched = {}
            commit([link.context for link in links], now)
            for link in links:
                try:
                    link.driver.flush(now)
                except Exception:
                    self.abandon(link)

    async def _flush_to(self, remote: Remote, now: float) -> None:
        """Have what was touched written down elsewhere, then write it."""
        self._written, self._touched = self._touched, {}
        assert self._commit is not None
        self._commit([link.context for link in self._written.values()], now)
        await remote.written()
        now = self._time()
        for key, link in list(self._written.items()):
            if key in self._touched or key not in self._written:
                continue  # there is more by now, which isn't written down yet; or it has gone
            if not remote.is_sure():
                self._touched[key] = link
                continue
            try:
                link.driver.flush(now)
            except Exception:
                self.abandon(link)

    def _untouch(self, link: Link) -> None:
        self._touched.pop(id(link), None)
        self._written.pop(id(link), None)

    # -- Timers --------------------------------------------------------------------------------

    def _next_timer(self) -> float:
        if self._touched or self._has_news:
            return 0.0
        return self._timers[0][0] if self._timers else inf

    def schedule(self, deadline: float, owner: Timed) -> None:
        """Look at the owner at that time (seconds)."""
        heappush(self._timers, (deadline, owner))
        if self._sleep is not None and deadline < self._sleep.deadline:
            self._sleep.deadline = deadline

    def _wake(self, timed: Timed, now: float) -> None:
        try:
            timed.due(now)
        except Exception:
            LOG.exception("a timer fails by an error of the proxy")

    def wake(self, link: Link, now: float) -> None:
        """A session's time has come."""
        try:
            link.driver.wake(now)
        except Exception:
            self.abandon(link)

    # -- What else is watched ------------------------------------------------------------------

    def watch_also(self, watched: Watched, mask: int) -> None:
        """Have the poller say when it is ready for that, until release(); 0: for nothing."""
        self._watched[watched.fd] = watched
        if watched.mask == mask:
            return
        if not mask:  # a broken connection would be told of all the time
            self._unregister(watched)
        elif watched.mask:
            self._poller.modify(watched.fd, mask)
        else:
            self._poller.register(watched.fd, mask)
        watched.mask = mask

    def release(self, watched: Watched) -> None:
        """Watch it no more; to say so again does no harm."""
        if self._watched.get(watched.fd) is watched:
            del self._watched[watched.fd]
            self._unregister(watched)

    def _unregister(self, watched: Watched) -> None:
        if watched.mask:
            self._poller.unregister(watched.fd)
            watched.mask = 0

    # -- Connections ---------------------------------------------------------------------------

    def _connection(self, link: Link, sock: StreamSocket, guest: Guest | None) -> Connection:
        connection = Connection(sock, link, guest)
        self._connections[connection.fd] = connection
        return connection

    def watch(self, connection: Connection, reads: bool, writes: bool) -> None:
        """Have the poller say when it can be read, or written to."""
        mask = MASKS[reads + 2 * writes]
        if connection.mask < 0:
            self._poller.register(connection.fd, mask)
        elif mask != connection.mask:
            self._poller.modify(connection.fd, mask)
        connection.mask = mask

    def part(self, connection: Connection, farewell: bytes, linger: float) -> None:
        """Close it; with `linger` (seconds) only when the peer has seen the end, or after that."""
        if part_with(connection.socket, farewell, lingers=linger > 0):
            self.watch(connection, True, False)
            self.schedule(self._time() + linger, connection)
        else:
            self.close(connection)

    def close(self, connection: Connection) -> None:
        """Close it now; nothing, if it is."""
        if self._connections.get(connection.fd) is connection:
            del self._connections[connection.fd]
            if connection.mask >= 0:
                self._poller.unregister(connection.fd)
            connection.socket.close()
            if connection.guest is not None:
                self._leave(connection.guest)
        if not self._connections:
            self._idle.set()
