"""Workers that are one proxy: a client that comes to the wrong one is brought to the right one.

Each has an inbox, to which the others send: one message a client, which says who it is and what
it has sent, and has its connection along. Whoever started the workers holds the inboxes open, so
that no message is lost when a worker dies.
"""

import socket
from collections import deque
from collections.abc import Sequence
from logging import DEBUG, ERROR, WARNING

from reknit_core.policy.policy import Policy
from reknit_core.proxy.admission import Admission, Guest
from reknit_core.proxy.arrival import Arrival
from reknit_core.wire.handshake import (
    ClientHandshake,
    Refusal,
    UpgradeRequest,
    encode_refusal,
    refusal,
)
from reknit_core.wire.reasons import reason_of

from reknit.observe.logs import tell
from reknit.sockets.poller import READ, WRITE
from reknit.sockets.stream_socket import StreamSocket
from reknit.sockets.tls import TlsSocket
from reknit.trio.door.brought import Brought
from reknit.trio.door.inboxes import InboxError, pack, unpack
from reknit.trio.door.newcomers import Enter, Newcomers
from reknit.trio.door.pump import Pumps, make_pair
from reknit.trio.reactor import Reactor
from reknit.trio.watched import Deadlines, Watched

WAITING = 1024  # clients that wait for room in an inbox; a further one gets 503
TAKEN = 16  # messages in one go
PAUSE = 0.02  # seconds until the next client, where there is no file for one

_BUSY = refusal(
    503, "worker_busy", "the worker of this session takes nobody now", ((b"retry-after", b"5"),)
)


class Parcel:
    """A client that is to go into an inbox: `theirs` is what the other worker gets.

    `ours`: its TLS connection and our end of the pair, where it speaks TLS here.
    """

    __slots__ = ("brought", "guest", "handshake", "ours", "outbox", "stream", "theirs")

    def __init__(
        self,
        outbox: "Outbox",
        stream: StreamSocket,
        guest: Guest,
        handshake: ClientHandshake,
        request: UpgradeRequest,
    ) -> None:
        self.outbox = outbox
        self.handshake = handshake
        self.brought = Brought.of(guest.peer, handshake, request)
        self.stream = stream
        self.guest = guest
        self.ours: socket.socket | None = None
        if isinstance(stream, TlsSocket):
            self.ours, self.theirs = make_pair()
        else:
            assert isinstance(stream, socket.socket)  # the only other kind
            self.theirs = stream

    def call_back(self) -> None:
        """It does not go: its client is still ours."""
        if self.ours is not None:
            self.ours.close()
            self.theirs.close()


class Outbox(Watched):
    """The way to a colleague's inbox, and who waits for room in it."""

    __slots__ = ("colleagues", "inbox", "waiting")

    def __init__(self, colleagues: "Colleagues", inbox: socket.socket) -> None:
        super().__init__(inbox.fileno())
        self.colleagues = colleagues
        self.inbox = inbox
        self.waiting: deque[Parcel] = deque()

    def ready(self, now: float) -> None:
        """There is room."""
        self.colleagues.send_waiting(self, now)

    def drop(self) -> None:
        """Nobody is brought any more."""
        self.colleagues.reactor.release(self)


class Inbox(Watched):
    """The own one."""

    __slots__ = ("colleagues", "inbox")

    def __init__(self, colleagues: "Colleagues", inbox: socket.socket) -> None:
        super().__init__(inbox.fileno())
        self.colleagues = colleagues
        self.inbox = inbox

    def ready(self, now: float) -> None:
        """Somebody is brought."""
        self.colleagues.receive(self, now)

    def due(self, now: float) -> None:
        """There may be a file again."""
        self.colleagues.open()

    def drop(self) -> None:
        """Nobody is let in any more."""
        self.colleagues.reactor.release(self)


class Colleagues:
    """The other workers. `inboxes`: the ends to write to, by worker; `own`: where to read.

    `enter` takes over who is brought here.
    """

    def __init__(
        self,
        inboxes: Sequence[socket.socket],
        own: socket.socket,
        policy: Policy,
        admission: Admission,
        newcomers: Newcomers,
        enter: Enter,
        pumps: Pumps,
        reactor: Reactor,
    ) -> None:
        self.reactor = reactor
        self._pumps = pumps
        self._admission = admission
        self._newcomers = newcomers
        self._enter = enter
        self._inbox = Inbox(self, own)
        self._outboxes = [Outbox(self, inbox) for inbox in inboxes]
        self._deadlines: Deadlines[Parcel] = Deadlines(
            policy.handshake_wait, reactor.schedule, self._expire
        )
        self.brought = 0
        """How many were brought to others so far."""
        self.is_open = True
        """Whether anybody is brought to others, or from there."""

    def open(self) -> None:
        """Let in whom the others bring, from now on."""
        if self.is_open:
            self.reactor.watch_also(self._inbox, READ)

    # -- To others -----------------------------------------------------------------------------

    def bring(
        self,
        owner: int,
        stream: StreamSocket,
        guest: Guest,
        handshake: ClientHandshake,
        request: UpgradeRequest,
        now: float,
    ) -> Refusal | None:
        """Bring a client to the worker with that number; or say why not."""
        outbox = self._outboxes[owner]
        if len(outbox.waiting) >= WAITING:
            return _BUSY
        try:
            parcel = Parcel(outbox, stream, guest, handshake, request)
        except OSError as error:
            return self._busy(error)
        try:
            is_sent = not outbox.waiting and self._send(parcel)
        except OSError as error:
            parcel.call_back()
            return self._busy(error)
        if not is_sent:
            outbox.waiting.append(parcel)
            self._deadlines.begin(parcel, now)
            self.reactor.watch_also(outbox, WRITE)
        return None

    def send_waiting(self, outbox: Outbox, now: float) -> None:
        """There is room in that inbox."""
        while outbox.waiting:
            parcel = outbox.waiting[0]
            try:
                if not self._send(parcel):
                    return
            except OSError as error:
                self._busy(error)
                self._deadlines.end(parcel)
                self._expire(parcel, now)
            else:
                self._deadlines.end(outbox.waiting.popleft())
        self.reactor.release(outbox)

    def _send(self, parcel: Parcel) -> bool:
        """Whether there was room. Raises OSError, as for too many descriptors on their way."""
        try:
            pack(parcel.brought, parcel.theirs, parcel.outbox.inbox)
        except BlockingIOError:
            return False
        self._sent(parcel)
        return True

    def _busy(self, error: OSError) -> Refusal:
        reason = reason_of(error)
        tell(ERROR, "not_brought", "a client can't be passed on: %(reason)s", reason=reason)
        return _BUSY

    def _sent(self, parcel: Parcel) -> None:
        self.brought += 1
        parcel.theirs.close()
        if parcel.ours is None:
            self._admission.leave(parcel.guest)
        else:
            assert isinstance(parcel.stream, TlsSocket)  # else there is no pair
            self._pumps.begin(parcel.stream, parcel.ours, parcel.guest)

    def _expire(self, parcel: Parcel, now: float) -> None:
        """There was no room in time."""
        parcel.outbox.waiting.remove(parcel)
        parcel.call_back()
        self._newcomers.turn_away(parcel.stream, parcel.guest, parcel.handshake, _BUSY, now)

    # -- From others ---------------------------------------------------------------------------

    def receive(self, inbox: Inbox, now: float) -> None:
        """Let in some whom others have brought."""
        for _ in range(TAKEN):
            try:
                brought = unpack(inbox.inbox)
            except BlockingIOError:
                return
            except OSError:  # too many open files
                self.reactor.release(inbox)
                self.reactor.schedule(now + PAUSE, inbox)
                return
            except InboxError as error:
                text = "a client that another worker brings is lost: %(reason)s"
                tell(WARNING, "bad_arrival", text, reason=reason_of(error))
                continue
            self._let_in(*brought, now)

    def _let_in(self, brought: Brought, sock: socket.socket, now: float) -> None:
        address = brought.address
        guest = self._admission.bring(address)
        if not isinstance(guest, Guest):
            self._newcomers.leaving.begin(sock, encode_refusal(guest), None, now).ready(now)
            return
        tell(DEBUG, "brought", "client %(address)s is brought here", address=address)
        request, secure = brought.request, brought.secure
        handshake = ClientHandshake.read_before(
            address, brought.begun, brought.size, request, secure=secure
        )
        self._newcomers.let_in(sock, guest, handshake, request, self._enter, now)

    # -- To another process --------------------------------------------------------------------

    @property
    def waiting(self) -> list[tuple[socket.socket, Arrival]]:
        """Who waits for room in an inbox."""
        return [
            (parcel.theirs, parcel.brought.arrival)
            for outbox in self._outboxes
            for parcel in outbox.waiting
        ]

    def let_go(self) -> None:
        """Those who wait are another process's. From now on nobody is brought to or from here."""
        self.is_open = False
        self._inbox.drop()
        for outbox in self._outboxes:
            while outbox.waiting:
                parcel = outbox.waiting.popleft()
                self._deadlines.end(parcel)
                self._sent(parcel)
            outbox.drop()
