"""Clients until a session has them: what to listen on, accepting, reading their requests."""

import errno
import logging
import socket
import ssl
from collections.abc import Callable
from contextlib import suppress
from logging import DEBUG, ERROR, INFO, WARNING

import trio
from reknit_core.admission import Admission, Guest
from reknit_core.counters import Counters
from reknit_core.handshake import (
    ClientHandshake,
    Refusal,
    UpgradeRequest,
    encode_refusal,
    refusal,
)
from reknit_core.policy import Policy

from reknit.certificates import Certificates
from reknit.logs import tell
from reknit.streams import StreamSocket, plain_socket, receive, send_all
from reknit.tls import TlsError, TlsSocket

LOG = logging.getLogger("reknit")

LINGERING = 64  # that are refused at the door and waited for: the answer needs it, a flood doesn't
_NO_ROOM = (errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM)

Enter = Callable[[StreamSocket, Guest, ClientHandshake, UpgradeRequest], Refusal | None]
"""Takes over the socket of a client that asks for a session, or says why not."""


class Newcomer:
    """A client whose request isn't complete. `context`: how it speaks TLS, if it has to."""

    __slots__ = ("guest", "handshake", "reading", "socket", "stream")

    def __init__(self, sock: socket.socket, guest: Guest, context: ssl.SSLContext | None) -> None:
        self.socket = sock
        self.stream: StreamSocket = sock if context is None else TlsSocket(sock, context, None)
        self.guest = guest
        self.handshake = ClientHandshake(guest.address, secure=context is not None)
        self.reading = trio.CancelScope()

    @property
    def read(self) -> bytes:
        """What it has sent."""
        return self.handshake.head + self.handshake.rest


class Listener:
    """Accepts connections and reads each client's request; `enter` has the last word on it.

    Whoever is over a limit is refused before anything is read: that costs the least. What is
    refused here, or by `enter`, goes into `counters`.
    """

    def __init__(
        self,
        policy: Policy,
        certificates: Certificates,
        admission: Admission,
        counters: Counters,
        enter: Enter,
    ) -> None:
        self._policy = policy
        self._certificates = certificates
        self._admission = admission
        self._counters = counters
        self._enter = enter
        self._lingering = 0
        self.newcomers: set[Newcomer] = set()

    async def run(self, listeners: list[trio.SocketListener], clients: trio.Nursery) -> None:
        """Accept until cancelled; opening handshakes run in `clients`, and may take longer."""
        async with trio.open_nursery() as accepting:
            for listener in listeners:
                accepting.start_soon(self._accept, listener, clients)

    async def _accept(self, listener: trio.SocketListener, clients: trio.Nursery) -> None:
        while True:
            try:
                stream = await listener.accept()
            except trio.ClosedResourceError:
                return  # another process accepts from here on
            except OSError as error:
                if error.errno not in _NO_ROOM:
                    raise
                reason = error.strerror or str(error)
                tell(ERROR, "accept_failed", "can't accept a connection: %(reason)s", reason=reason)
                await trio.sleep(0.1)
            else:
                self._receive(plain_socket(stream), clients)

    def _receive(self, sock: socket.socket, clients: trio.Nursery) -> None:
        """Let a connection in, or refuse it at the door."""
        try:
            peer = sock.getpeername()
        except OSError:
            sock.close()  # gone again
            return
        address = peer[0] if isinstance(peer, tuple) else ""  # a unix socket has none
        guest = self._admission.arrive(address, trio.current_time())
        context = self._certificates.for_clients
        if isinstance(guest, Guest):
            self._begin(Newcomer(sock, guest, context), b"", clients)
            return
        self._counters.handshakes[guest.status] += 1
        refused = self._admission.refused
        if refused & (refused - 1) == 0:  # said at 1, 2, 4, 8, …: a flood must not fill the log
            tell(
                WARNING,
                "limited",
                "client %(address)s refused: %(status)d; %(total)d so far",
                address=address,
                status=guest.status,
                total=refused,
            )
        answer = encode_refusal(guest)
        if context is not None:
            sock.close()  # an answer would take a TLS handshake first
            return
        if self._lingering < LINGERING:
            clients.start_soon(self._linger, sock, answer)
            return
        with suppress(OSError):
            sock.send(answer)
        sock.close()

    async def _linger(self, sock: socket.socket, answer: bytes) -> None:
        self._lingering += 1
        try:
            await self._refuse(sock, answer)
        except OSError:
            pass  # the client is gone
        finally:
            self._lingering -= 1
            sock.close()

    def welcome(
        self, sock: socket.socket, guest: Guest, begun: bytes, clients: trio.Nursery
    ) -> None:
        """Read a guest's request, of which `begun` was read before, in a task of `clients`.

        Without TLS: another process can't have begun it.
        """
        self._begin(Newcomer(sock, guest, None), begun, clients)

    def _begin(self, newcomer: Newcomer, begun: bytes, clients: trio.Nursery) -> None:
        self.newcomers.add(newcomer)
        clients.start_soon(self._serve, newcomer, begun)

    def let_go(self) -> None:
        """The newcomers are another process's: read nothing more from them."""
        for newcomer in self.newcomers:
            newcomer.reading.cancel()
            newcomer.socket.close()
        self.newcomers.clear()

    async def _serve(self, newcomer: Newcomer, begun: bytes) -> None:
        entered = False
        try:
            entered = await self._shake_hands(newcomer, begun)
        except OSError:
            pass  # the client is gone, and nothing was begun
        except Exception:
            LOG.exception("a client is let go by an error of the proxy")
        finally:
            self.newcomers.discard(newcomer)
            if not entered:
                newcomer.socket.close()
                self._admission.leave(newcomer.guest)

    async def _shake_hands(self, newcomer: Newcomer, begun: bytes) -> bool:
        """Read a client's request; whether its socket is a session's now."""
        stream, guest, handshake = newcomer.stream, newcomer.guest, newcomer.handshake
        secured = False
        outcome: UpgradeRequest | Refusal | None = None
        with newcomer.reading as reading:
            reading.deadline = trio.current_time() + self._policy.request_timeout
            if isinstance(stream, TlsSocket) and not await self._secure(stream, guest):
                return False
            secured = True
            outcome = handshake.receive_data(begun) if begun else None
            while outcome is None:
                data = await receive(stream, 4096)
                if not data:
                    return False
                outcome = handshake.receive_data(data)
        self.newcomers.discard(newcomer)
        if isinstance(outcome, UpgradeRequest):
            answer = self._admission.ask(guest, outcome, trio.current_time())
            tell(DEBUG, "asked", "client %(address)s asks for a session", address=guest.address)
            outcome = answer or self._enter(stream, guest, handshake, outcome)
            if outcome is None:
                return True
        elif stream.fileno() < 0:
            return False  # another process has it
        elif not secured:
            self._tell_failure(guest, "TLS: no handshake in time")
            return False
        elif outcome is None:
            limit = f"no complete request in {self._policy.request_timeout:g} seconds"
            outcome = refusal(408, "request_timeout", limit)
        self._counters.handshakes[outcome.status] += 1
        status = outcome.status
        text = "client %(address)s refused: %(status)d"
        tell(INFO, "refused", text, address=guest.address, status=status)
        await self._refuse(stream, handshake.refuse(outcome))
        return False

    async def _secure(self, stream: TlsSocket, guest: Guest) -> bool:
        """The TLS handshake; whether it was one."""
        try:
            await stream.shake_hands()
        except TlsError as error:
            self._tell_failure(guest, str(error))
            return False
        return True

    def _tell_failure(self, guest: Guest, reason: str) -> None:
        text = "client %(address)s refused: %(reason)s"
        tell(INFO, "tls_failed", text, address=guest.address, reason=reason)

    async def _refuse(self, sock: StreamSocket, answer: bytes) -> None:
        """Answer, then wait for the client's end: closing at once could cost it the answer."""
        with trio.move_on_after(self._policy.close_timeout):
            await send_all(sock, answer)
            sock.shutdown(socket.SHUT_WR)
            while await receive(sock, 4096):
                pass
