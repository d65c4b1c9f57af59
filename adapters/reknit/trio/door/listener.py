"""Clients until a session has them: accepting, reading their requests, answering others."""

import errno
import logging
import socket
import ssl
from collections.abc import Callable
from contextlib import suppress
from logging import DEBUG, ERROR, INFO, WARNING
from sys import intern
from typing import assert_never

import trio
from reknit_core.counters import Counters
from reknit_core.policy.policy import Policy
from reknit_core.proxy.admission import Admission, Guest
from reknit_core.proxy.plain_request import PlainRequest, read_request
from reknit_core.telemetry.seldom import Seldom
from reknit_core.wire.handshake import (
    NO_UPGRADE,
    ClientHandshake,
    Refusal,
    UpgradeRequest,
    encode_refusal,
    refusal,
)
from reknit_core.wire.reasons import reason_of

from reknit.observe.logs import tell, tell_seldom
from reknit.sockets.stream_socket import StreamSocket
from reknit.sockets.tls import TlsError, TlsSocket
from reknit.trio.door.passing import Passing
from reknit.trio.door.spare_file import SpareFile
from reknit.trio.transport.certificates import Certificates
from reknit.trio.transport.streams import plain_socket, receive, send_all, shake_hands

LOG = logging.getLogger("reknit")

LINGERING = 64  # that are refused at the door and waited for: the answer needs it, a flood doesn't
PAUSE = 0.02  # seconds until the next client, where there is no file for one
_NO_ROOM = (errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM)

_NO_FILE = refusal(503, "connection_limit", "too many connections", ((b"retry-after", b"5"),))
_TLS_ONLY = encode_refusal(refusal(400, "tls_only", "this port takes TLS only: wss:// or https://"))

Request = UpgradeRequest | PlainRequest
Enter = Callable[[StreamSocket, Guest, ClientHandshake, UpgradeRequest], Refusal | None]
"""Takes over the socket of a client that asks for a session, or says why not."""


class Newcomer:
    """A client whose request isn't complete, which it must be within `limit` seconds.

    `context`: how it speaks TLS, if it has to. `begun`: what was read of the request before.
    """

    __slots__ = (
        "begun",
        "guest",
        "handshake",
        "is_kept",
        "limit",
        "reading",
        "scope",
        "socket",
        "stream",
    )

    def __init__(
        self,
        sock: socket.socket,
        guest: Guest,
        context: ssl.SSLContext | None,
        limit: float,
        begun: bytes = b"",
    ) -> None:
        self.socket = sock
        self.stream: StreamSocket = sock if context is None else TlsSocket(sock, context, None)
        self.guest = guest
        self.limit = limit
        self.scope = trio.CancelScope()  # of all that is done for it
        self.is_kept = False  # whether this isn't the first request on its connection
        self._expect(begun)

    def _expect(self, begun: bytes) -> None:
        self.begun = begun
        self.handshake = ClientHandshake(self.guest.peer, secure=self.stream is not self.socket)
        self.reading = trio.CancelScope(deadline=trio.current_time() + self.limit)

    def keep(self, begun: bytes) -> None:
        """Its request is over: wait for another one, which may be begun."""
        self.is_kept = True
        self._expect(begun)

    @property
    def read(self) -> bytes:
        """What it has sent."""
        return self.handshake.head + self.handshake.rest + self.begun


class Listener:
    """Accepts connections and reads each client's requests; `enter` has the last word on one.

    Whoever is over a limit is refused before anything is read: that costs the least. What is
    refused here, or by `enter`, goes into `counters`. Plain requests are `passing`'s.
    """

    def __init__(
        self,
        policy: Policy,
        certificates: Certificates,
        admission: Admission,
        counters: Counters,
        enter: Enter,
        passing: Passing,
    ) -> None:
        self._policy = policy
        self._certificates = certificates
        self._admission = admission
        self._counters = counters
        self._enter = enter
        self._passing = passing
        self._lingering = 0
        self._spare = SpareFile()
        self._seldom = Seldom()
        self.newcomers: set[Newcomer] = set()
        self._serving: dict[Guest, Newcomer] = {}  # these, and those that are being answered

    async def run(self, listeners: list[trio.SocketListener], clients: trio.Nursery) -> None:
        """Accept until cancelled; opening handshakes run in `clients`, and may take longer."""
        async with trio.open_nursery() as accepting:
            for listener in listeners:
                accepting.start_soon(self._accept, listener, clients)

    async def _accept(self, listener: trio.SocketListener, clients: trio.Nursery) -> None:
        with suppress(trio.ClosedResourceError):  # another process accepts from then on
            while True:
                try:
                    stream = await listener.accept()
                except OSError as error:
                    if error.errno not in _NO_ROOM:
                        raise
                    await self._accept_last(listener, reason_of(error), clients)
                else:
                    self._receive(plain_socket(stream), clients)

    async def _accept_last(
        self, listener: trio.SocketListener, reason: str, clients: trio.Nursery
    ) -> None:
        """Files have run out, which the system says before it looks whether there is a client."""
        await trio.lowlevel.wait_readable(listener.socket)
        sock = self._spare.accept(listener.socket.fileno())
        has_room = self._spare.restore()
        if sock is not None and has_room:
            self._receive(sock, clients)
        elif sock is not None:
            self._turn_away(sock, reason)
            await trio.sleep(PAUSE)

    def _turn_away(self, sock: socket.socket, reason: str) -> None:
        """There is no file for this client: tell it so, and have the spare one back."""
        self._tell(
            ERROR,
            "accept_failed",
            "no_file",
            "can't accept a connection: %(reason)s",
            reason=reason,
        )
        self._counters.handshakes[_NO_FILE.status] += 1
        with suppress(OSError), sock:
            if self._certificates.for_clients is None:
                sock.send(encode_refusal(_NO_FILE))
                sock.shutdown(socket.SHUT_WR)
                sock.recv(4096)  # what is left unread would cost the client the answer
        self._spare.restore()

    def _receive(self, sock: socket.socket, clients: trio.Nursery) -> None:
        """Let a connection in, or refuse it at the door."""
        try:
            peer = sock.getpeername()
        except OSError:
            sock.close()  # gone again
            return
        # Many come from one address: it is kept once.
        address = intern(peer[0]) if isinstance(peer, tuple) else ""  # a unix socket has none
        now = trio.current_time()
        if (idlest := self._admission.give_way(now)) is not None:
            self._send_away(idlest)
        guest = self._admission.arrive(address, now)
        context = self._certificates.for_clients
        if isinstance(guest, Guest):
            self._begin(Newcomer(sock, guest, context, self._policy.request_timeout), clients)
            return
        self._counters.handshakes[guest.status] += 1
        self._tell_refusal(WARNING, "limited", address, guest)
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

    def _send_away(self, guest: Guest) -> None:
        """Another one gets its place."""
        text = "client %(address)s gave way: it asked for nothing"
        self._tell(WARNING, "limited", "gave_way", text, address=guest.address)
        newcomer = self._serving[guest]
        newcomer.scope.cancel()
        newcomer.socket.close()

    async def _linger(self, sock: socket.socket, answer: bytes) -> None:
        self._lingering += 1
        try:
            await self._end(sock, answer)
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
        self._begin(Newcomer(sock, guest, None, self._policy.request_timeout, begun), clients)

    def _begin(self, newcomer: Newcomer, clients: trio.Nursery) -> None:
        self.newcomers.add(newcomer)
        self._serving[newcomer.guest] = newcomer
        clients.start_soon(self._serve, newcomer)

    def let_go(self) -> None:
        """The newcomers are another process's: read nothing more from them."""
        for newcomer in self.newcomers:
            newcomer.reading.cancel()
            newcomer.socket.close()
        self.newcomers.clear()

    def close_idle(self) -> None:
        """Wait no longer for those that have been answered and have begun nothing new."""
        for newcomer in self.newcomers:
            if newcomer.is_kept and not newcomer.read:
                newcomer.reading.cancel()

    async def _serve(self, newcomer: Newcomer) -> None:
        entered = False
        try:
            with newcomer.scope:
                entered = await self._shake_hands(newcomer)
        except OSError:
            pass  # the client is gone, and nothing was begun
        except Exception:
            LOG.exception("a client is let go by an error of the proxy")
        finally:
            self.newcomers.discard(newcomer)
            self._serving.pop(newcomer.guest, None)
            if not entered:
                newcomer.socket.close()
                self._admission.leave(newcomer.guest)

    async def _shake_hands(self, newcomer: Newcomer) -> bool:
        """Answer a client's requests; whether its socket is a session's now."""
        while True:
            outcome = await self._read_request(newcomer)
            self.newcomers.discard(newcomer)
            if isinstance(outcome, UpgradeRequest | PlainRequest):
                outcome = self._admit(newcomer, outcome)
            match outcome:
                case UpgradeRequest():
                    return True
                case PlainRequest():
                    if not await self._pass(newcomer, outcome):
                        return False
                case Refusal():
                    await self._refuse(newcomer, outcome)
                    return False
                case None:
                    return False
                case _:
                    assert_never(outcome)

    async def _read_request(self, newcomer: Newcomer) -> Request | Refusal | None:
        """A client's next request; None: the client is gone, or another process's."""
        stream, handshake, http = newcomer.stream, newcomer.handshake, self._policy.http
        secured = False
        with newcomer.reading as reading:
            if not await self._secure(newcomer):
                return None
            secured = True
            data, newcomer.begun = newcomer.begun, b""
            while (outcome := read_request(handshake, data, http)) is None:
                data = await receive(stream, 4096)
                if not data:
                    return None
                if newcomer.is_kept and not newcomer.read:
                    reading.deadline = trio.current_time() + self._policy.request_timeout
            return outcome
        if stream.fileno() < 0 or (newcomer.is_kept and not newcomer.read):
            return None
        if not secured:
            self._tell_failure(newcomer.guest, "TLS: no handshake in time")
            return None
        limit = f"no complete request in {self._policy.request_timeout:g} seconds"
        return refusal(408, "request_timeout", limit)

    def _admit(self, newcomer: Newcomer, request: Request) -> Request | Refusal:
        """The request, if it may go on: one for a session has it then."""
        guest = newcomer.guest
        answer = self._admission.ask(guest, request, trio.current_time())
        if answer is None and isinstance(request, UpgradeRequest):
            tell(DEBUG, "asked", "client %(address)s asks for a session", address=guest.address)
            answer = self._enter(newcomer.stream, guest, newcomer.handshake, request)
        return answer or request

    async def _pass(self, newcomer: Newcomer, request: PlainRequest) -> bool:
        """Pass a plain request; whether another request may follow."""
        stream, guest = newcomer.stream, newcomer.guest
        rest = await self._passing.run(stream, guest.address, newcomer.handshake, request)
        if rest is None:
            await self._end(stream)
            return False
        self._admission.stay(guest, trio.current_time())
        newcomer.keep(rest)
        self.newcomers.add(newcomer)
        return True

    async def _refuse(self, newcomer: Newcomer, answer: Refusal) -> None:
        self._counters.handshakes[answer.status] += 1
        self._tell_refusal(INFO, "refused", newcomer.guest.address, answer)
        self._admission.linger(newcomer.guest, trio.current_time())
        await self._end(newcomer.stream, newcomer.handshake.refuse(answer))

    async def _secure(self, newcomer: Newcomer) -> bool:
        """The TLS handshake, where one is due; False if it failed. Again it does nothing."""
        if isinstance(newcomer.stream, TlsSocket):
            try:
                await shake_hands(newcomer.stream)
            except TlsError as error:
                self._tell_failure(newcomer.guest, str(error))
                if error.is_plain_http:  # it can read an answer, and without one it tries for long
                    with suppress(OSError):
                        newcomer.stream.socket.send(_TLS_ONLY)
                return False
        return True

    def _tell_refusal(self, level: int, event: str, address: str, answer: Refusal) -> None:
        text = "client %(address)s refused: %(status)d %(error)s"
        if answer is NO_UPGRADE:
            text += " (--http pass would pass its request to the server)"
        status, error = answer.status, answer.error
        self._tell(level, event, error, text, address=address, status=status, error=error)

    def _tell_failure(self, guest: Guest, reason: str) -> None:
        text = "client %(address)s refused: %(reason)s"
        self._tell(INFO, "tls_failed", reason, text, address=guest.address, reason=reason)

    def _tell(self, level: int, event: str, kind: str, text: str, **fields: str | int) -> None:
        """Say what any stranger can cause: of each kind at the 1st, 2nd, 4th, 8th, … time."""
        tell_seldom(self._seldom, f"{event} {kind}", level, event, text, **fields)

    async def _end(self, sock: StreamSocket, farewell: bytes = b"") -> None:
        """Say it, then wait for the client's end: closing at once could cost it what was said."""
        with trio.move_on_after(self._policy.close_timeout):
            await send_all(sock, farewell)
            sock.shutdown(socket.SHUT_WR)
            while await receive(sock, 4096):
                pass
