"""Where other nodes come in: each proves that it is one before anything of it counts."""

import socket
import ssl
from collections.abc import Callable
from logging import ERROR, WARNING

from reknit_core.cluster.preface import RANDOM_BYTES, Answer, Called, Preface, PrefaceError
from reknit_core.telemetry.seldom import Seldom
from reknit_core.wire.reasons import reason_of

from reknit.observe.logs import tell_seldom
from reknit.sockets.poller import READ
from reknit.sockets.stream_socket import StreamSocket, without_delay
from reknit.sockets.tls import TlsError, TlsSocket
from reknit.trio.door.listener import ACCEPTS, NO_ROOM, PAUSE
from reknit.trio.reactor import Reactor
from reknit.trio.transport.certificates import BothEnds
from reknit.trio.watched import Deadlines, Watched

READ_SIZE = 4096  # bytes
STRANGERS = 256  # that haven't proved themselves; for a further one the first of them goes


class Caller(Watched):
    """Who has connected. `preface`: what it wants, once it has proved itself."""

    __slots__ = ("_door", "address", "called", "is_over", "preface", "stream")

    def __init__(self, door: "NodeDoor", stream: StreamSocket, address: str, called: Called):
        super().__init__(stream.fileno())
        self._door = door
        self.stream = stream
        self.address = address
        self.called = called
        self.preface: Preface | None = None
        self.is_over = False  # it is answered, or gone

    def ready(self, now: float) -> None:
        """Go on: agree on TLS where it is due, then hear."""
        self._door.serve(self, now)

    def hear(self) -> Preface | None:
        """Hear more; the preface, if that is all of it. Raises OSError or PrefaceError."""
        while True:
            data = self.stream.recv(READ_SIZE)
            if not data:
                raise OSError("it has closed the connection")
            outcome = self.called.receive_data(data)
            if isinstance(outcome, bytes):
                self._say(outcome)
            elif outcome is not None:
                return outcome

    def answer(self, answer: Answer) -> StreamSocket | None:
        """Answer, after which the door has it no more: its stream, if it is there still.

        Whoever calls has to close it.
        """
        self._door.forget(self)
        try:
            self._say(self.called.answer(answer))
        except OSError:
            self.stream.close()
            return None
        return self.stream

    def _say(self, data: bytes) -> None:
        """What is said is small, and there is room for it: nothing else was sent before."""
        if self.stream.send(data) < len(data):
            raise OSError("it takes nothing")

    def drop(self) -> None:
        """Close its connection."""
        self._door.forget(self)
        self.stream.close()


class NodeEntrance(Watched):
    """A listening socket for nodes."""

    __slots__ = ("_door", "socket")

    def __init__(self, door: "NodeDoor", sock: socket.socket) -> None:
        super().__init__(sock.fileno())
        self._door = door
        self.socket = sock

    def ready(self, now: float) -> None:
        """Somebody calls."""
        self._door.accept(self, now)

    def due(self, now: float) -> None:
        """It was closed for a while."""
        self._door.open(self)

    def drop(self) -> None:
        """Let nobody in any more."""
        self._door.shut(self)


class NodeDoor:
    """Lets other nodes in. `receive` gets who has proved itself, and is to have it answered.

    `key`: the cluster's. A caller has `patience` seconds until it is answered.
    """

    def __init__(
        self,
        key: bytes,
        certificates: BothEnds,
        patience: float,
        randomness: Callable[[int], bytes],
        receive: Callable[[Caller, Preface, float], None],
        reactor: Reactor,
    ) -> None:
        self._key = key
        self._certificates = certificates
        self._randomness = randomness
        self._receive = receive
        self._reactor = reactor
        self._deadlines: Deadlines[Caller] = Deadlines(patience, reactor.schedule, self._expire)
        self._strangers: dict[Caller, None] = {}
        self._sockets: list[socket.socket] = []
        self._entrances: set[NodeEntrance] = set()
        self._seldom = Seldom()

    def listen(self, sockets: list[socket.socket]) -> None:
        """Accept what comes to them, from now on; they are closed by close()."""
        self._sockets = sockets
        for sock in sockets:
            entrance = NodeEntrance(self, sock)
            self._entrances.add(entrance)
            self.open(entrance)

    def close(self) -> None:
        """Let nobody in any more."""
        for sock in self._sockets:
            sock.close()

    def open(self, entrance: NodeEntrance) -> None:
        """Let callers in, unless it is shut for good."""
        if entrance in self._entrances:
            self._reactor.watch_also(entrance, READ)

    def shut(self, entrance: NodeEntrance) -> None:
        """Let nobody in any more."""
        self._entrances.discard(entrance)
        self._reactor.release(entrance)

    def accept(self, entrance: NodeEntrance, now: float) -> None:
        """Let some in that wait."""
        for _ in range(ACCEPTS):
            try:
                sock, peer = entrance.socket.accept()
            except BlockingIOError:
                return
            except OSError as error:
                text = "can't accept a node's connection: %(reason)s"
                tell_seldom(
                    self._seldom, "accept", ERROR, "accept_failed", text, reason=reason_of(error)
                )
                if error.errno in NO_ROOM:
                    self._reactor.release(entrance)
                    self._reactor.schedule(now + PAUSE, entrance)
                return
            sock.setblocking(False)
            self._let_in(without_delay(sock), str(peer[0]), now)

    def _let_in(self, sock: socket.socket, address: str, now: float) -> None:
        if len(self._strangers) >= STRANGERS:
            next(iter(self._strangers)).drop()
        context: ssl.SSLContext | None = self._certificates.for_clients
        stream = sock if context is None else TlsSocket(sock, context, None)
        caller = Caller(self, stream, address, Called(self._key, self._randomness(RANDOM_BYTES)))
        self._strangers[caller] = None
        self._deadlines.begin(caller, now)
        self.serve(caller, now)

    def serve(self, caller: Caller, now: float) -> None:
        """It has said something, or may have."""
        if caller.preface is not None:  # nothing is to come before it is answered, but its end
            caller.drop()
            return
        try:
            if isinstance(caller.stream, TlsSocket) and (mask := caller.stream.shake_hands()):
                self._reactor.watch_also(caller, mask)
                return
            caller.preface = caller.hear()
        except BlockingIOError:
            self._reactor.watch_also(caller, READ)
            return
        except (PrefaceError, TlsError) as error:
            self._tell(caller, str(error))
            caller.drop()
            return
        except OSError:
            caller.drop()
            return
        assert caller.preface is not None
        del self._strangers[caller]
        self._reactor.watch_also(caller, READ)
        self._receive(caller, caller.preface, now)

    def _expire(self, caller: Caller, now: float) -> None:
        if caller.preface is None:
            self._tell(caller, "it has not proved itself in time")
        caller.drop()

    def forget(self, caller: Caller) -> None:
        """It is not this door's any more."""
        caller.is_over = True
        self._strangers.pop(caller, None)
        self._deadlines.end(caller)
        self._reactor.release(caller)

    def _tell(self, caller: Caller, reason: str) -> None:
        """Any stranger can cause it: of each kind at the 1st, 2nd, 4th, 8th, … time."""
        text = "%(address)s is not let in as a node: %(reason)s"
        kind = " ".join(reason.split()[:3])  # before what a stranger has written
        fields = {"address": caller.address, "reason": reason}
        tell_seldom(self._seldom, kind, WARNING, "node_refused", text, **fields)
