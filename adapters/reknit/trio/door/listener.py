"""Where clients come in: accepting connections, and refusing some at once."""

import errno
import socket
from contextlib import suppress
from sys import intern

from reknit_core.counters import Counters
from reknit_core.proxy.admission import Admission, Guest
from reknit_core.wire.handshake import Refusal, encode_refusal, refusal
from reknit_core.wire.reasons import reason_of

from reknit.observe.refusals import Refusals
from reknit.sockets.poller import READ
from reknit.sockets.stream_socket import StreamSocket, without_delay
from reknit.sockets.tls import TlsSocket
from reknit.trio.door.newcomers import Newcomers
from reknit.trio.door.spare_file import SpareFile
from reknit.trio.reactor import Reactor
from reknit.trio.transport.certificates import Certificates
from reknit.trio.watched import Watched

ACCEPTS = 16  # connections in one go
LINGERING = 64  # that are refused at the door and waited for: the answer needs it, a flood doesn't
PAUSE = 0.02  # seconds until the next client, where there is no file for one
NO_ROOM = (errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM)

_NO_FILE = refusal(503, "connection_limit", "too many connections", ((b"retry-after", b"5"),))


class Entrance(Watched):
    """A listening socket. Whoever opened it closes it."""

    __slots__ = ("listener", "socket")

    def __init__(self, listener: "Listener", sock: socket.socket) -> None:
        super().__init__(sock.fileno())
        self.listener = listener
        self.socket = sock

    def ready(self, now: float) -> None:
        """Somebody comes in."""
        self.listener.accept(self, now)

    def due(self, now: float) -> None:
        """It was closed for a while."""
        self.listener.open(self)

    def drop(self) -> None:
        """Let nobody in any more."""
        self.listener.shut(self)


class Listener:
    """Accepts connections, which are `newcomers`'s from then on.

    Whoever is over a limit is refused before anything is read: that costs the least.
    """

    def __init__(
        self,
        certificates: Certificates,
        admission: Admission,
        counters: Counters,
        refusals: Refusals,
        newcomers: Newcomers,
        reactor: Reactor,
    ) -> None:
        self._certificates = certificates
        self._admission = admission
        self._counters = counters
        self._refusals = refusals
        self._newcomers = newcomers
        self._reactor = reactor
        self._spare = SpareFile()
        self._entrances: set[Entrance] = set()

    def listen(self, sockets: list[socket.socket]) -> None:
        """Accept what comes to them, from now on."""
        for sock in sockets:
            entrance = Entrance(self, sock)
            self._entrances.add(entrance)
            self.open(entrance)

    def stop(self) -> None:
        """Accept nothing more, before the sockets are closed: another process may have them."""
        for entrance in list(self._entrances):
            entrance.drop()

    def open(self, entrance: Entrance) -> None:
        """Let clients in, unless it is shut for good."""
        if entrance in self._entrances:
            self._reactor.watch_also(entrance, READ)

    def shut(self, entrance: Entrance) -> None:
        """Let nobody in any more."""
        self._entrances.discard(entrance)
        self._reactor.release(entrance)

    def accept(self, entrance: Entrance, now: float) -> None:
        """Let some in that wait."""
        for _ in range(ACCEPTS):
            try:
                sock, peer = entrance.socket.accept()
            except BlockingIOError:
                break
            except OSError as error:
                if error.errno in NO_ROOM:
                    self._accept_last(entrance, reason_of(error), now)
                else:
                    self._refusals.accept_failed(reason_of(error))  # of that connection: accept(2)
                break
            sock.setblocking(False)
            self._receive(sock, peer, now)

    def _accept_last(self, entrance: Entrance, reason: str, now: float) -> None:
        """Files have run out, or the system's memory for them."""
        accepted, is_waiting = None, True
        try:
            accepted = self._spare.accept(entrance.socket)
        except BlockingIOError:
            is_waiting = False  # accept(2) looks for room before it looks for a client
        except OSError as error:
            reason = reason_of(error)
        if self._spare.restore() and accepted is not None:
            self._receive(*accepted, now)
            return
        if accepted is not None:
            self._turn_away(accepted[0], reason)
        elif is_waiting:
            self._refusals.accept_failed(reason)
        self._reactor.release(entrance)
        self._reactor.schedule(now + PAUSE, entrance)

    def _turn_away(self, sock: socket.socket, reason: str) -> None:
        """There is no file for this client: tell it so, and have the spare one back."""
        self._refusals.accept_failed(reason)
        self._counters.handshakes[_NO_FILE.status] += 1
        with suppress(OSError), sock:
            if self._certificates.for_clients is None:
                sock.send(encode_refusal(_NO_FILE))
                sock.shutdown(socket.SHUT_WR)
                sock.recv(4096)  # what is left unread would cost the client the answer
        self._spare.restore()

    def _receive(self, sock: socket.socket, peer: object, now: float) -> None:
        """Let a connection in, or refuse it at the door."""
        # Many come from one address: it is kept once. A unix socket has none.
        address = intern(peer[0]) if isinstance(peer, tuple) else ""
        if (idlest := self._admission.give_way(now)) is not None:
            self._newcomers.send_away(idlest)
        guest = self._admission.arrive(address, now)
        context = self._certificates.for_clients
        if isinstance(guest, Guest):
            without_delay(sock)
            stream: StreamSocket = sock
            if context is not None and not guest.awaits:
                stream = TlsSocket(sock, context, None)
            secure = context is not None
            self._newcomers.welcome(stream, guest, now, secure=secure, context=context)
            return
        self._refusals.limited(address, guest)
        if context is None:
            self._refuse(sock, guest, now)
        else:
            sock.close()  # an answer would take a TLS handshake first

    def _refuse(self, sock: socket.socket, answer: Refusal, now: float) -> None:
        leaving = self._newcomers.leaving
        if leaving.strangers < LINGERING:
            leaving.begin(sock, encode_refusal(answer), None, now).ready(now)
            return
        with suppress(OSError), sock:
            sock.send(encode_refusal(answer))
