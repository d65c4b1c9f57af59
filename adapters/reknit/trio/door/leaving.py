"""Clients that get an answer, and no more: they are waited for, so that it reaches them."""

from collections.abc import Callable
from contextlib import suppress
from socket import SHUT_WR

from reknit_core.proxy.admission import Guest

from reknit.sockets.poller import READ, WRITE
from reknit.sockets.stream_socket import StreamSocket, has_ended
from reknit.trio.reactor import Reactor
from reknit.trio.watched import Deadlines, Watched


class Leaver(Watched):
    """One of them. `guest`: None if it was never let in."""

    __slots__ = ("guest", "leaving", "rest", "socket")

    def __init__(
        self, leaving: "Leaving", sock: StreamSocket, farewell: bytes, guest: Guest | None
    ) -> None:
        super().__init__(sock.fileno())
        self.leaving = leaving
        self.socket = sock
        self.rest: bytes | None = farewell  # what is to be told still; None: our stream has ended
        self.guest = guest

    def ready(self, now: float) -> None:
        """Go on: first the answer, then our end of the stream, then wait for its end."""
        try:
            if self.rest is not None:
                self._say(self.rest)
            elif has_ended(self.socket):
                self.drop()
                return
        except OSError:
            self.drop()  # it is gone
        else:
            self.leaving.reactor.watch_also(self, READ if self.rest is None else WRITE)

    def _say(self, rest: bytes) -> None:
        with suppress(BlockingIOError):
            self.rest = rest = rest[self.socket.send(rest) :] if rest else rest
        if not rest:
            self.socket.shutdown(SHUT_WR)
            self.rest = None

    def drop(self) -> None:
        """Close its connection."""
        self.leaving.part(self)


class Leaving:
    """All of them. Each is waited for up to `patience` seconds; `parted` is told of its end."""

    def __init__(self, reactor: Reactor, patience: float, parted: Callable[[Leaver], None]) -> None:
        self.reactor = reactor
        self._parted = parted
        self._deadlines: Deadlines[Leaver] = Deadlines(
            patience, reactor.schedule, lambda leaver, now: leaver.drop()
        )
        self.strangers = 0
        """How many of them were never let in."""

    def begin(self, sock: StreamSocket, farewell: bytes, guest: Guest | None, now: float) -> Leaver:
        """It has so long from now on, and is ready() to be told."""
        leaver = Leaver(self, sock, farewell, guest)
        self.strangers += guest is None
        self._deadlines.begin(leaver, now)
        return leaver

    def part(self, leaver: Leaver) -> None:
        """Close its connection."""
        self._deadlines.end(leaver)
        self.reactor.release(leaver)
        leaver.socket.close()
        self.strangers -= leaver.guest is None
        self._parted(leaver)
