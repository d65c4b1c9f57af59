"""Clients who are connected to this process, and whose sessions are in another.

What comes is passed on, both ways: to another worker through a socket pair, as TLS can't leave the
process in which it was agreed on; to another machine through a connection of its own. It is a
longer wire, and no hop of the protocol.
"""

import socket
from collections.abc import Callable

from reknit_core.proxy.admission import Guest

from reknit.sockets.poller import MASKS
from reknit.sockets.stream_socket import StreamSocket, cut
from reknit.trio.gathering import Gathering
from reknit.trio.reactor import Reactor
from reknit.trio.watched import Deadlines, Watched

READ_SIZE = 64 * 1024  # bytes; and so many may wait in each direction
BUFFER = 64 * 1024  # bytes that the system keeps of what the other process has written


class End(Watched):
    """One of a pump's two connections."""

    __slots__ = ("has_ended", "other", "pump", "rest", "socket")

    other: "End"

    def __init__(self, pump: "Pump", sock: StreamSocket, rest: bytes) -> None:
        super().__init__(sock.fileno())
        self.pump = pump
        self.socket = sock
        self.rest = rest  # to be written to it
        self.has_ended = False  # nothing more comes from it

    def ready(self, now: float) -> None:
        """Pass on what has come, and what is left from before."""
        try:
            if self.rest:
                self.rest = self.rest[self.socket.send(self.rest) :]
            elif not self.other.rest and not self.has_ended and self._pass_on():
                return
        except BlockingIOError:
            return  # what is waited for stays the same
        except OSError:
            self.pump.drop()
            return
        self.pump.move(now)

    def _pass_on(self) -> bool:
        """Whether what to wait for stays the same. Raises OSError."""
        data = self.socket.recv(READ_SIZE)
        other = self.other
        if not data:
            self.has_ended = True
            other.socket.shutdown(socket.SHUT_WR)
            return False
        try:
            taken = other.socket.send(data)
        except BlockingIOError:
            taken = 0
        if taken == len(data):
            return True
        other.rest = data[taken:]
        return False

    def watch(self) -> None:
        """Wait for what it can do."""
        reads = not self.has_ended and not self.other.rest
        self.pump.pumps.reactor.watch_also(self, MASKS[reads + 2 * bool(self.rest)])

    def drop(self) -> None:
        """Cut it, and the other one."""
        self.pump.drop()


class Pump:
    """Passes on between a client's connection and that to the other process."""

    __slots__ = ("_ends", "guest", "pumps")

    def __init__(
        self, pumps: "Pumps", client: StreamSocket, ours: StreamSocket, guest: Guest, rest: bytes
    ) -> None:
        self.pumps = pumps
        self.guest = guest
        self._ends = (End(self, client, rest), End(self, ours, b""))
        self._ends[0].other, self._ends[1].other = self._ends[1], self._ends[0]

    def begin(self) -> None:
        """Pass on from now on."""
        for end in self._ends:
            end.watch()

    def move(self, now: float) -> None:
        """Something has changed: wait for something else."""
        ended = [end.has_ended for end in self._ends]
        if all(ended):
            self._close()
            return
        if any(ended):
            self.pumps.expect_end(self, now)
        self.begin()

    def drop(self) -> None:
        """Cut both connections: neither peer is to take it for an end of the other's."""
        for end in self._ends:
            cut(end.socket)
        self._close()

    def _close(self) -> None:
        for end in self._ends:
            self.pumps.reactor.release(end)
            end.socket.close()
        self.pumps.forget(self)


class Pumps:
    """All of them. When one end has ended, the other has `patience` seconds to end, too."""

    def __init__(self, reactor: Reactor, patience: float, leave: Callable[[Guest], None]) -> None:
        self.reactor = reactor
        self._leave = leave
        self._open: Gathering[Pump] = Gathering()
        self._deadlines: Deadlines[Pump] = Deadlines(
            patience, reactor.schedule, lambda pump, now: pump.drop()
        )

    def __len__(self) -> int:
        return len(self._open)

    async def wait_empty(self) -> None:
        """Return when none is open any more."""
        await self._open.wait_empty()

    def begin(
        self, client: StreamSocket, ours: StreamSocket, guest: Guest, rest: bytes = b""
    ) -> None:
        """Pass on between these two; `rest` has come for the client already."""
        pump = Pump(self, client, ours, guest, rest)
        self._open.add(pump)
        pump.begin()

    def cut(self) -> None:
        """Cut them all: their clients are to come back elsewhere."""
        for pump in self._open:
            pump.drop()

    def expect_end(self, pump: Pump, now: float) -> None:
        """One of its ends has ended."""
        if pump not in self._deadlines:
            self._deadlines.begin(pump, now)

    def forget(self, pump: Pump) -> None:
        """Both its connections are closed."""
        self._open.discard(pump)
        self._deadlines.end(pump)
        self._leave(pump.guest)


def make_pair() -> tuple[socket.socket, socket.socket]:
    """Our end, and that of the other process. Raises OSError."""
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_STREAM)
    for sock in (ours, theirs):
        sock.setblocking(False)
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, BUFFER)
    return ours, theirs
