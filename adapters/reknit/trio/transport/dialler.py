"""Connecting to the server."""

import errno
import os
import socket
from collections import deque
from collections.abc import Callable

from reknit_core.wire.reasons import reason_of

from reknit.sockets.poller import WRITE
from reknit.sockets.stream_socket import StreamSocket, without_delay
from reknit.sockets.tls import TlsError, TlsSocket
from reknit.trio.reactor import Reactor
from reknit.trio.transport.certificates import BothEnds
from reknit.trio.transport.names import Place
from reknit.trio.transport.targets import Target
from reknit.trio.watched import Deadlines, Timed, Watched

DIALS = 64  # at one time: after a server's restart thousands are due, and others want a turn too
AGAIN = 0.02  # seconds until a Unix socket is tried again whose queue is full
STAGGER = 0.25  # seconds until the next address is tried too (RFC 8305, section 5)

_UNDER_WAY = (errno.EINPROGRESS, errno.EALREADY, errno.EINTR)
_CONNECTED = (0, errno.EISCONN)
_NONBLOCK = getattr(socket, "SOCK_NONBLOCK", 0)  # where the system has it, it is one call less


class DialError(Exception):
    """There is no connection; says why. `answered`: the server is there, but its TLS failed."""

    def __init__(self, reason: str, *, answered: bool = False) -> None:
        super().__init__(reason)
        self.answered = answered


Dialled = Callable[[StreamSocket | DialError, float], None]
"""Is told once what has come of it, never during the call by which it began."""
Where = Callable[[], Target | DialError]
"""Is asked when a dial begins: whom to dial, or why there is nobody."""


class Dialling(Timed):
    """A connection that is wanted."""

    __slots__ = ("_dialler", "attempts", "error", "places", "target", "told", "where")

    def __init__(self, dialler: "Dialler", told: Dialled, where: Where) -> None:
        self._dialler = dialler
        self.told: Dialled | None = told  # None: it is over
        self.where = where
        self.target: Target | None = None  # once it has begun
        self.places: list[Place] = []  # what is still to be tried, the next one last
        self.attempts: list[Attempt | Securing] = []
        self.error: OSError | None = None  # what went wrong first

    def note(self, error: OSError) -> None:
        """An address is no good."""
        if self.error is None:
            self.error = error

    def due(self, now: float) -> None:
        """It may begin, or go on with the next address."""
        if self.told is not None:
            self._dialler.go_on(self, now)

    def cancel(self) -> None:
        """It isn't wanted any more."""
        if self.told is not None:
            self._dialler.end(self)


class Attempt(Watched):
    """A socket that is being connected to an address."""

    __slots__ = ("_dialler", "dialling", "place", "socket")

    def __init__(self, dialler: "Dialler", dialling: Dialling, place: Place) -> None:
        self.place = place
        self.socket = socket.socket(place[0], socket.SOCK_STREAM | _NONBLOCK)
        if not _NONBLOCK:
            self.socket.setblocking(False)
        super().__init__(self.socket.fileno())
        self._dialler = dialler
        self.dialling = dialling

    def connect(self) -> int:
        """Go on with it: 0 when it is connected, else the system's error number."""
        number = self.socket.connect_ex(self.place[1])  # type: ignore[arg-type]
        if number == errno.EINPROGRESS:  # within one machine it mostly is done by now
            number = self.socket.connect_ex(self.place[1])  # type: ignore[arg-type]
        return 0 if number in _CONNECTED else number

    def ready(self, now: float) -> None:
        """It is connected, or won't be."""
        self._dialler.connect(self, now)

    def drop(self) -> None:
        """The whole dial is off."""
        self.dialling.cancel()


class Securing(Watched):
    """A connection that speaks TLS first."""

    __slots__ = ("_dialler", "dialling", "socket")

    def __init__(self, dialler: "Dialler", dialling: Dialling, tls: TlsSocket) -> None:
        super().__init__(tls.fileno())
        self._dialler = dialler
        self.dialling = dialling
        self.socket = tls

    def ready(self, now: float) -> None:
        """Go on with the TLS handshake."""
        self._dialler.secure(self, now)

    def drop(self) -> None:
        """The whole dial is off."""
        self.dialling.cancel()


class Dialler(Timed):
    """Connects to servers, within `timeout` seconds each time; DIALS at most at one time."""

    def __init__(self, certificates: BothEnds, timeout: float, reactor: Reactor) -> None:
        self._certificates = certificates
        self._timeout = timeout
        self._reactor = reactor
        self._deadlines: Deadlines[Dialling] = Deadlines(timeout, reactor.schedule, self._expire)
        self._waiting: deque[Dialling] = deque()  # for their turn
        self._open: set[Dialling] = set()

    def dial(self, at: float, told: Dialled, where: Where) -> Dialling:
        """Connect at that time (seconds), or as soon as it can."""
        dialling = Dialling(self, told, where)
        self._reactor.schedule(at, dialling)
        return dialling

    def due(self, now: float) -> None:
        """Others have ended."""
        while self._waiting and len(self._open) < DIALS:
            dialling = self._waiting.popleft()
            if dialling.told is not None:
                self._begin(dialling, now)

    def go_on(self, dialling: Dialling, now: float) -> None:
        """Its time has come: to begin, or to try the next address too."""
        if dialling in self._open:
            self._try(dialling, now)
            return
        self._waiting.append(dialling)
        self.due(now)

    def _begin(self, dialling: Dialling, now: float) -> None:
        self._open.add(dialling)
        self._deadlines.begin(dialling, now)
        target = dialling.where()
        if isinstance(target, DialError):
            self._tell(dialling, target, now)
            return
        dialling.target = target

        def told(outcome: list[Place] | OSError, now: float) -> None:
            if isinstance(outcome, OSError):
                dialling.error = outcome
            else:
                dialling.places = outcome[::-1]
            self._reactor.schedule(now, dialling)

        places = target.find(told, now)
        if places is not None:
            dialling.places = places[::-1]
            self._try(dialling, now)

    def _try(self, dialling: Dialling, now: float) -> None:
        """Try the next address, if there is one left."""
        while dialling.places:
            try:
                attempt = Attempt(self, dialling, dialling.places.pop())
            except OSError as error:  # no file is left, or the system has no such addresses
                dialling.note(error)
                continue
            dialling.attempts.append(attempt)
            if self._connect(attempt, now):
                if dialling.places:
                    wait = STAGGER if dialling.attempts else AGAIN
                    self._reactor.schedule(now + wait, dialling)
                return
        if not dialling.attempts:
            self._fail(dialling, now)

    def connect(self, attempt: Attempt, now: float) -> None:
        """It is connected, or won't be; then it's the next one's turn."""
        if not self._connect(attempt, now):
            self._try(attempt.dialling, now)

    def _connect(self, attempt: Attempt, now: float) -> bool:
        """Whether it is connected, or may still be."""
        number = attempt.connect()
        if number in _UNDER_WAY:
            self._reactor.watch_also(attempt, WRITE)
            return True
        dialling = attempt.dialling
        dialling.attempts.remove(attempt)
        self._reactor.release(attempt)
        if number:
            attempt.socket.close()
            if number == errno.EAGAIN and attempt.socket.family is socket.AF_UNIX:
                dialling.places.append(attempt.place)  # its queue is full: TCP would wait, too
                return True
            dialling.note(OSError(number, os.strerror(number)))
            return False
        self._drop_attempts(dialling)
        self._connected(dialling, without_delay(attempt.socket), now)
        return True

    def _connected(self, dialling: Dialling, sock: socket.socket, now: float) -> None:
        target, context = dialling.target, self._certificates.for_server
        assert target is not None
        if not target.is_secure or context is None:
            self._tell(dialling, sock, now)
            return
        securing = Securing(self, dialling, TlsSocket(sock, context, target.host))
        dialling.attempts.append(securing)
        self.secure(securing, now)

    def secure(self, securing: Securing, now: float) -> None:
        """Go on with its TLS handshake."""
        dialling = securing.dialling
        try:
            mask = securing.socket.shake_hands()
        except OSError as error:
            dialling.error = error
            self._fail(dialling, now)
            return
        if mask:
            self._reactor.watch_also(securing, mask)
            return
        self._reactor.release(securing)
        dialling.attempts.clear()
        self._tell(dialling, securing.socket, now)

    # -- Ends ----------------------------------------------------------------------------------

    def _fail(self, dialling: Dialling, now: float) -> None:
        error = dialling.error
        assert error is not None
        answered = isinstance(error, TlsError) and error.answered
        self._tell(dialling, DialError(_explain(error), answered=answered), now)

    def _expire(self, dialling: Dialling, now: float) -> None:
        self._tell(dialling, DialError(f"no connection in {self._timeout:g} seconds"), now)

    def _tell(self, dialling: Dialling, outcome: StreamSocket | DialError, now: float) -> None:
        told = dialling.told
        self.end(dialling)
        if told is not None:
            told(outcome, now)

    def end(self, dialling: Dialling) -> None:
        """It is over, whatever is under way."""
        dialling.told = None
        self._deadlines.end(dialling)
        self._open.discard(dialling)
        self._drop_attempts(dialling)
        if self._waiting:
            self._reactor.schedule(0.0, self)  # soon, but not within what happens now

    def _drop_attempts(self, dialling: Dialling) -> None:
        dialling.places = []
        for attempt in dialling.attempts:
            self._reactor.release(attempt)
            attempt.socket.close()
        dialling.attempts.clear()


def _explain(error: OSError) -> str:
    if error.errno is None or isinstance(error, socket.gaierror):
        return reason_of(error)
    return os.strerror(error.errno)
