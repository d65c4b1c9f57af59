"""Clients until a session has them: reading their requests, and answering others."""

import logging
import socket
import ssl
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from logging import DEBUG
from typing import assert_never

from reknit_core.policy.policy import Policy
from reknit_core.proxy.admission import Admission, Guest
from reknit_core.proxy.plain_request import PlainRequest, read_request
from reknit_core.wire.handshake import (
    ClientHandshake,
    Refusal,
    UpgradeRequest,
    refusal,
)
from reknit_core.wire.proxy_header import ProxyHeader, ProxyHeaderError, begins_like_one

from reknit.observe.logs import tell
from reknit.observe.refusals import NO_HEADER, UNTRUSTED, Refusals
from reknit.sockets.poller import READ
from reknit.sockets.proxy_header import read_header
from reknit.sockets.stream_socket import StreamSocket
from reknit.sockets.tls import TLS_ONLY, TlsError, TlsSocket
from reknit.trio.door.leaving import Leaver, Leaving
from reknit.trio.door.newcomer import Newcomer
from reknit.trio.door.passing import Passing
from reknit.trio.reactor import Reactor
from reknit.trio.watched import Deadlines, Watched

LOG = logging.getLogger("reknit")

HEAD = 4096  # bytes a read

Request = UpgradeRequest | PlainRequest
Enter = Callable[[StreamSocket, Guest, ClientHandshake, UpgradeRequest, float], Refusal | None]
"""Takes over the socket of a client that asks for a session, or says why not."""


class Newcomers:
    """Reads each client's requests; `enter` has the last word on one for a session.

    Plain requests are `passing`'s. A request must be complete within the policy's
    `request_timeout`.
    """

    def __init__(
        self,
        policy: Policy,
        admission: Admission,
        refusals: Refusals,
        enter: Enter,
        passing: Passing,
        reactor: Reactor,
    ) -> None:
        self._policy = policy
        self._admission = admission
        self._refusals = refusals
        self._enter = enter
        self._passing = passing
        self._reactor = reactor
        self._deadlines: Deadlines[Newcomer] = Deadlines(
            policy.request_timeout, reactor.schedule, self._expire
        )
        self._reading: set[Newcomer] = set()
        self._serving: dict[Guest, Watched] = {}  # whom to close for others; empty while passing
        self.leaving = Leaving(reactor, policy.close_timeout, self._parted)

    @property
    def reading(self) -> list[Newcomer]:
        """Those whose next request isn't complete."""
        return list(self._reading)

    def welcome(
        self,
        stream: StreamSocket,
        guest: Guest,
        now: float,
        begun: bytes = b"",
        *,
        secure: bool,
        context: ssl.SSLContext | None = None,
    ) -> None:
        """Read a guest's request, of which `begun` was read before.

        `secure`: whether it speaks TLS, here or to somebody who passes it on. `context`: how, if it
        is a guest that awaits what its balancer says.
        """
        newcomer = Newcomer(self, stream, guest, begun, secure=secure, context=context)
        self._expect(newcomer, now)

    def let_in(
        self,
        sock: StreamSocket,
        guest: Guest,
        handshake: ClientHandshake,
        request: UpgradeRequest,
        enter: Enter,
        now: float,
    ) -> None:
        """Have `enter` take over a guest whose request was read elsewhere."""
        answer = self._admission.ask(guest, request, now)
        if answer is None:
            answer = enter(sock, guest, handshake, request, now)
        if answer is not None:
            self.turn_away(sock, guest, handshake, answer, now)

    def send_away(self, guest: Guest) -> None:
        """Another one gets its place."""
        self._refusals.gave_way(guest.address)
        self._serving[guest].drop()

    def let_go(self) -> None:
        """Those whose requests are being read are another process's."""
        for newcomer in self.reading:
            newcomer.drop()

    def close_idle(self) -> None:
        """Wait no longer for those that have been answered and have begun nothing new."""
        for newcomer in self.reading:
            if newcomer.is_idle:
                newcomer.drop()

    # -- Reading a request ---------------------------------------------------------------------

    def _expect(self, newcomer: Newcomer, now: float) -> None:
        self._serving[newcomer.guest] = newcomer
        self._reading.add(newcomer)
        self._deadlines.begin(newcomer, now)
        self.serve(newcomer, now)  # mostly it is there already

    def serve(self, newcomer: Newcomer, now: float) -> None:
        """Its socket is ready, or may be."""
        try:
            if newcomer.header is not None:
                self._read_header(newcomer, newcomer.header, now)
            if newcomer.header is None and self._is_secured(newcomer):
                self._read(newcomer, now)
        except BlockingIOError:
            self._reactor.watch_also(newcomer, READ)
        except ProxyHeaderError as error:
            self._refusals.unannounced(newcomer.guest.address, str(error))
            self._send_back(newcomer, NO_HEADER, now)
        except OSError:
            newcomer.drop()  # it is gone, and nothing was begun
        except Exception:
            LOG.exception("a client is let go by an error of the proxy")
            newcomer.drop()

    def _read_header(self, newcomer: Newcomer, header: ProxyHeader, now: float) -> None:
        """Read on in what its balancer says. Raises as read_header() does."""
        assert isinstance(newcomer.stream, socket.socket)  # no TLS yet
        read_header(newcomer.stream, header)
        guest = newcomer.guest
        answer = self._admission.announce(guest, header.address, now)
        if answer is None:
            newcomer.announced()
        else:
            self._refusals.limited(guest.address, answer)
            self._send_back(newcomer, answer, now)

    def _send_back(self, newcomer: Newcomer, answer: Refusal, now: float) -> None:
        """It ends before its own words begin; with TLS an answer would take a handshake first."""
        self._release(newcomer)
        self._admission.linger(newcomer.guest, now)
        farewell = b"" if newcomer.handshake.secure else newcomer.handshake.refuse(answer)
        self._say_last(newcomer.stream, newcomer.guest, farewell, now)

    def _is_secured(self, newcomer: Newcomer) -> bool:
        """Whether TLS is agreed on, where it is due. Raises OSError."""
        tls = newcomer.stream
        if not isinstance(tls, TlsSocket):
            return True
        try:
            mask = tls.shake_hands()
        except TlsError as error:
            self._refusals.tls_failed(newcomer.guest.address, str(error))
            if error.is_plain_http:  # it can read an answer, and without one it tries for long
                with suppress(OSError):
                    tls.socket.send(TLS_ONLY)
            raise
        if mask:
            self._reactor.watch_also(newcomer, mask)
        return not mask

    def _read(self, newcomer: Newcomer, now: float) -> None:
        """Read on in its request. Raises BlockingIOError for nothing new; OSError if it is gone."""
        data = newcomer.take_begun() or newcomer.stream.recv(HEAD)
        if not data:
            newcomer.drop()
            return
        if newcomer.is_idle:
            self._deadlines.begin(newcomer, now)
        outcome = read_request(newcomer.handshake, data, self._policy.http)
        if isinstance(outcome, Refusal) and begins_like_one(data):
            outcome = UNTRUSTED
        if outcome is None:
            self._reactor.watch_also(newcomer, READ)
            return
        self._release(newcomer)
        self._answer(newcomer, outcome, now)

    def _answer(self, newcomer: Newcomer, outcome: Request | Refusal, now: float) -> None:
        """Its request is complete, or can't be."""
        if not isinstance(outcome, Refusal):
            outcome = self._admit(newcomer, outcome, now)
        match outcome:
            case UpgradeRequest():
                pass  # its socket is a session's now
            case PlainRequest():
                address, handshake = newcomer.guest.address, newcomer.handshake
                passed = partial(self._passed, newcomer)
                self._passing.begin(newcomer.stream, address, handshake, outcome, now, passed)
            case Refusal():
                self._refuse(newcomer, outcome, now)
            case _:
                assert_never(outcome)

    def _admit(self, newcomer: Newcomer, request: Request, now: float) -> Request | Refusal:
        """The request, if it may go on: one for a session has it then."""
        guest = newcomer.guest
        answer = self._admission.ask(guest, request, now)
        if answer is None and isinstance(request, UpgradeRequest):
            tell(DEBUG, "asked", "client %(address)s asks for a session", address=guest.address)
            answer = self._enter(newcomer.stream, guest, newcomer.handshake, request, now)
        return answer or request

    def _passed(self, newcomer: Newcomer, rest: bytes | None, now: float) -> None:
        """Its plain request is answered; `rest` came behind it. None: another one can't follow."""
        if rest is None:
            self._say_last(newcomer.stream, newcomer.guest, b"", now)
            return
        self._admission.stay(newcomer.guest, now)
        newcomer.keep(rest)
        self._expect(newcomer, now)

    # -- Ends ----------------------------------------------------------------------------------

    def _expire(self, newcomer: Newcomer, now: float) -> None:
        """Its request isn't complete in time."""
        stream = newcomer.stream
        if newcomer.is_idle:
            newcomer.drop()
        elif newcomer.header is not None:
            self._refusals.unannounced(newcomer.guest.address, "not complete in time")
            newcomer.drop()
        elif isinstance(stream, TlsSocket) and not stream.is_secured:
            self._refusals.tls_failed(newcomer.guest.address, "TLS: no handshake in time")
            newcomer.drop()
        else:
            limit = f"no complete request in {self._policy.request_timeout:g} seconds"
            self._release(newcomer)
            self._refuse(newcomer, refusal(408, "request_timeout", limit), now)

    def _refuse(self, newcomer: Newcomer, answer: Refusal, now: float) -> None:
        self.turn_away(newcomer.stream, newcomer.guest, newcomer.handshake, answer, now)

    def turn_away(
        self,
        stream: StreamSocket,
        guest: Guest,
        handshake: ClientHandshake,
        answer: Refusal,
        now: float,
    ) -> None:
        """Answer a client's request so, and let it go. Also one that `enter` has taken over."""
        self._refusals.refused(guest.address, answer)
        self._admission.linger(guest, now)
        self._say_last(stream, guest, handshake.refuse(answer), now)

    def _say_last(self, stream: StreamSocket, guest: Guest, farewell: bytes, now: float) -> None:
        leaver = self.leaving.begin(stream, farewell, guest, now)
        self._serving[guest] = leaver
        leaver.ready(now)

    def _release(self, newcomer: Newcomer) -> None:
        """Read no more of its requests."""
        self._serving.pop(newcomer.guest, None)
        self._reading.discard(newcomer)
        self._deadlines.end(newcomer)
        self._reactor.release(newcomer)

    def part(self, newcomer: Newcomer) -> None:
        """Close its connection."""
        self._release(newcomer)
        newcomer.stream.close()
        self._admission.leave(newcomer.guest)

    def _parted(self, leaver: Leaver) -> None:
        if leaver.guest is not None:
            self._serving.pop(leaver.guest, None)
            self._admission.leave(leaver.guest)
