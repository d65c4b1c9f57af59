"""The readiness loop: one trio task serves every established socket.

It waits for the one file descriptor of a selector that holds all sockets, then serves all that
are ready in one sweep: read, let the core scan, write to the other side, tell the core how much
was taken. Time is read once a sweep. Deadlines sit in a heap and are looked at when they come:
a message never touches a timer.
"""

import logging
import socket
from collections.abc import Callable
from heapq import heappop, heappush
from itertools import islice
from math import inf
from typing import Final, assert_never

import trio
from reknit_core.commands import (
    Answered,
    AttemptFailed,
    Dial,
    Disconnect,
    Dropped,
    Transitioned,
    Undelivered,
)
from reknit_core.events import ConnectionLost, Side
from reknit_core.lifecycle import State
from reknit_core.proxy.admission import Guest
from reknit_core.telemetry.teller import Change

from reknit.sockets.stream import StreamSocket
from reknit.trio.links import Connection, Link, Timed
from reknit.trio.poller import BROKEN, GONE, READ, WRITE, Poller, make_poller

LOG = logging.getLogger("reknit")

READ_SIZE = 68 * 1024  # bytes a read: one of 64 KiB with its header; more costs the allocator
TURN = 0.01  # seconds of sweeps before other trio tasks get their turn
READS = 256  # of an ended connection in one go
TIMERS = 8  # a sweep: thousands of sessions may be late in one moment
ENDINGS = (
    32  # ended connections a sweep: an end costs more than a message, and may come in thousands
)


_CLIENT: Final = Side.CLIENT


class Reactor:
    """Serves established sockets.

    `dial` and `report` are called for a context's commands, `forget` when a session is over,
    `leave` when a client's socket is closed.
    """

    def __init__(
        self,
        dial: Callable[[Link, Dial], None],
        report: Callable[[Link, Change], None],
        forget: Callable[[Link], None],
        leave: Callable[[Guest], None],
    ) -> None:
        self._forget = forget
        self._leave = leave
        self._dial = dial
        self._report = report
        self._poller: Poller = make_poller()
        self._connections: dict[int, Connection] = {}
        self._timers: list[tuple[float, Timed]] = []
        self._ended: dict[int, int] = {}  # by descriptor: the poller's word of it
        self._sleep: trio.CancelScope | None = None
        self._idle = trio.Event()

    async def run(self) -> None:
        """Serve until cancelled, then close every socket."""
        try:
            while True:
                with trio.CancelScope(deadline=self._next_timer()) as self._sleep:
                    await trio.lowlevel.wait_readable(self._poller.fileno())
                self._sleep = None
                began = now = trio.current_time()
                while self._sweep(now) and now - began < TURN:
                    now = trio.current_time()
        finally:
            for connection in list(self._connections.values()):
                connection.socket.close()
            self._poller.close()

    async def wait_idle(self) -> None:
        """Return when no socket is open any more."""
        self._idle = trio.Event()
        if self._connections:
            await self._idle.wait()

    def attach(
        self,
        link: Link,
        side: Side,
        sock: StreamSocket,
        now: float,
        guest: Guest | None = None,
    ) -> None:
        """Serve this socket for that side's current connection; a client's is some `guest`'s."""
        self.register(link, side, sock, guest)
        self.settle(link, now)

    def register(self, link: Link, side: Side, sock: StreamSocket, guest: Guest | None) -> None:
        """Serve this socket as attach() does, once the link is settled."""
        leg = link.context.client if side is _CLIENT else link.context.server
        connection = Connection(sock, link, leg, guest)
        self._connections[connection.fd] = connection
        self._poller.register(connection.fd, READ)
        if side is _CLIENT:
            link.client = connection
        else:
            link.server = connection
        if not leg.wants_read():
            self._watch(connection, 0)

    def let_go(self, link: Link) -> None:
        """The session is another process's: touch its sockets no more."""
        if link.dial is not None:
            link.dial.cancel()
        for connection in (link.client, link.server):
            if connection is not None:
                connection.link = None
                self._close(connection)
        link.client = link.server = None
        link.deadline = inf

    def settle(self, link: Link, now: float) -> None:
        """Do what the context asks for, and write what it has, until it rests."""
        context = link.context
        while True:
            for command in context.commands():
                if link.recent is not None:
                    link.recent.note(command, now)
                match command:
                    case Dial():
                        self._dial(link, command)
                    case Disconnect():
                        self._disconnect(link, command, now)
                    case Transitioned():
                        self._report(link, command)
                        if context.state is State.CLOSED:
                            self._forget(link)
                    case AttemptFailed() | Dropped() | Undelivered():
                        self._report(link, command)
                    case Answered():
                        if link.on_answer is not None:
                            link.on_answer(command)
                    case _:
                        assert_never(command)
            if link.client is not None:
                self._write(link.client, link, now)
            if link.server is not None:
                self._write(link.server, link, now)
            if not context.attention:
                break
        self._read_on(link.client)  # an end that closes is read whatever waits for the other
        self._read_on(link.server)
        deadline = context.next_deadline()
        context.armed(deadline)
        if deadline is not None and deadline < link.deadline:
            link.deadline = deadline
            self._schedule(deadline, link)

    # -- One sweep -----------------------------------------------------------------------------

    def _sweep(self, now: float) -> bool:
        """Serve what is ready and what is due; False if nothing is left to do now."""
        ready = self._poller.poll(0)
        connections = self._connections
        for fd, mask in ready:
            connection = connections.get(fd)
            if connection is None:
                continue  # closed earlier in this sweep
            link = connection.link
            if link is None:
                self._discard(connection)
                continue
            if mask & GONE:
                self._ended[fd] = mask
                continue
            try:
                if mask & READ:
                    self._read(connection, link, now)
                if mask & WRITE and connection.link is not None:
                    self._write(connection, link, now)
                    self._read_on(connection)  # what was said in its other end's place is out
                if link.context.attention:
                    self.settle(link, now)
            except Exception:
                self.abandon(link)
        for fd in list(islice(self._ended, ENDINGS)):
            self._read_end(self._connections.get(fd), self._ended.pop(fd), now)
        for _ in range(TIMERS):
            if not self._timers or self._timers[0][0] > now:
                return bool(ready or self._ended)
            self._due(heappop(self._timers)[1], now)
        return True

    def _read_end(self, connection: Connection | None, mask: int, now: float) -> None:
        """Read what a peer sent before it ended the connection, and then the end.

        A queue that is full meanwhile is respected, unless the connection is broken: then what
        the system has received is all that will ever come.
        """
        link = None if connection is None else connection.link
        if connection is None or link is None:
            return  # closed meanwhile
        try:
            for _ in range(READS):
                if connection.link is None or not (connection.mask | mask & BROKEN) & ~WRITE:
                    break
                self._read(connection, link, now)
                if link.context.attention:
                    self.settle(link, now)
                if connection.leg.is_behind:
                    break  # the poller will tell of the end again
        except Exception:
            self.abandon(link)

    def _read(self, connection: Connection, link: Link, now: float) -> None:
        context = link.context
        side = connection.side
        try:
            data = connection.socket.recv(READ_SIZE)
        except (BlockingIOError, InterruptedError):
            return
        except OSError as error:
            self._lost(connection, link, error, now)
            return
        if not data:
            context.receive_eof(side, now)
            if not connection.leg.wants_read():
                self._watch(connection, connection.mask & ~READ)
            return
        straight = context.receive_data(side, data, now)
        other = link.server if side is _CLIENT else link.client
        if other is not None and not other.mask & WRITE:
            if straight and self._pass(other, data):
                return
            self._write(other, link, now)
        leg = connection.leg
        if leg.lane and connection.link is not None:
            self._write(connection, link, now)
        if not leg.wants_read():
            self._watch(connection, connection.mask & ~READ)
        self._read_on(other)  # what was confirmed has made room

    def _pass(self, connection: Connection, data: bytes) -> bool:
        """Write what is all that waits for this peer; False if some of it, or all, is left."""
        try:
            taken = connection.socket.send(data)
        except OSError:
            return False  # writing once more will say what it is
        connection.leg.source.advance(taken)
        return taken == len(data)

    def _write(self, connection: Connection, link: Link, now: float) -> None:
        leg = connection.leg
        source = leg.source
        buffers = leg.pending()
        while buffers:
            try:
                if len(buffers) == 1:
                    taken = connection.socket.send(buffers[0])
                    whole = taken == len(buffers[0])
                else:
                    taken = connection.socket.sendmsg(buffers)
                    whole = taken == sum(map(len, buffers))
            except (BlockingIOError, InterruptedError):
                link.context.advance(connection.side, 0, now)
                self._watch(connection, connection.mask | WRITE)
                return
            except OSError as error:
                self._read_last(connection, link, error, now)
                return
            link.context.advance(connection.side, taken, now)
            if not whole:
                link.context.advance(connection.side, 0, now)
                self._watch(connection, connection.mask | WRITE)
                break
            # Mostly all is written now; asking again would cost as much as the write's own part.
            buffers = leg.pending() if leg.lane or source.sent < source.tail else []
        else:
            self._watch(connection, connection.mask & ~WRITE)
        self._read_on(link.server if connection.side is _CLIENT else link.client)

    def _read_last(self, connection: Connection, link: Link, error: OSError, now: float) -> None:
        """A write failed: the peer is gone, but what it sent before can still be read."""
        try:
            for _ in range(READS):
                data = connection.socket.recv(READ_SIZE)
                if not data:
                    break
                link.context.receive_data(connection.side, data, now)
                if connection.leg.is_behind:
                    break
        except OSError:
            pass
        if connection.link is not None:
            self._lost(connection, link, error, now)

    def _lost(self, connection: Connection, link: Link, error: OSError, now: float) -> None:
        reason = error.strerror or str(error)
        link.handle(ConnectionLost(connection.side, connection.generation, reason), now)

    def _read_on(self, sender: Connection | None) -> None:
        """Read again from a peer whose queue was full, if it is no longer."""
        if sender is not None and not sender.mask & READ and sender.leg.wants_read():
            self._watch(sender, sender.mask | READ)

    def _watch(self, connection: Connection, mask: int) -> None:
        if mask != connection.mask:
            connection.mask = mask
            self._poller.modify(connection.fd, mask)

    # -- Timers --------------------------------------------------------------------------------

    def _next_timer(self) -> float:
        return self._timers[0][0] if self._timers else inf

    def _schedule(self, deadline: float, owner: Timed) -> None:
        heappush(self._timers, (deadline, owner))
        if self._sleep is not None and deadline < self._sleep.deadline:
            self._sleep.deadline = deadline

    def _due(self, owner: Timed, now: float) -> None:
        if isinstance(owner, Connection):
            self._close(owner)
        elif isinstance(owner, Link) and owner.deadline <= now:  # else a later entry stands for it
            owner.deadline = inf
            try:
                owner.context.handle_timeout(now, owner.look)
                self.settle(owner, now)
                self._read_on(owner.client)
                self._read_on(owner.server)
            except Exception:
                self.abandon(owner)

    # -- The end of a connection ---------------------------------------------------------------

    def _disconnect(self, link: Link, command: Disconnect, now: float) -> None:
        connection = link.client if command.side is _CLIENT else link.server
        if connection is None or connection.generation != command.generation:
            if command.side is Side.SERVER and link.dial is not None:
                link.dial.cancel()
            return
        connection.link = None
        if command.side is _CLIENT:
            link.client = None
        else:
            link.server = None
        try:
            if command.farewell:
                connection.socket.send(command.farewell)
            if command.linger > 0:
                connection.socket.shutdown(socket.SHUT_WR)
                self._watch(connection, READ)
                self._schedule(now + command.linger, connection)
                return
        except OSError:
            pass  # the peer is gone already
        self._close(connection)

    def abandon(self, link: Link) -> None:
        """A bug of ours in one session must not cost the others theirs."""
        LOG.exception("%s ends by an error of the proxy", link.label)
        self.let_go(link)
        link.context.client.queue.clear()
        link.context.server.queue.clear()
        self._forget(link)

    def _discard(self, connection: Connection) -> None:
        """Read what a peer still sends, until it has seen our end of the stream."""
        try:
            if connection.socket.recv(READ_SIZE):
                return
        except (BlockingIOError, InterruptedError):
            return
        except OSError:
            pass
        self._close(connection)

    def _close(self, connection: Connection) -> None:
        if self._connections.get(connection.fd) is connection:
            del self._connections[connection.fd]
            self._poller.unregister(connection.fd)
            connection.socket.close()
            if connection.guest is not None:
                self._leave(connection.guest)
        if not self._connections:
            self._idle.set()
