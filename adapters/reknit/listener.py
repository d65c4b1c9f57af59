"""Clients until a session has them: what to listen on, accepting, reading their requests."""

import errno
import logging
import socket
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

from reknit.logs import tell
from reknit.waiting import plain_socket, receive, send_all

LOG = logging.getLogger("reknit")

BACKLOG = 4096  # connections that may wait to be accepted
LINGERING = 64  # that are refused at the door and waited for: the answer needs it, a flood doesn't
_NO_ROOM = (errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM)

Enter = Callable[[socket.socket, Guest, ClientHandshake, UpgradeRequest], Refusal | None]
"""Takes over the socket of a client that asks for a session, or says why not."""


async def open_listeners(host: str, port: int) -> list[trio.SocketListener]:
    """Listen on all addresses of that host. Raises OSError."""
    return await trio.open_tcp_listeners(port, host=host, backlog=BACKLOG)


def wrap_listeners(sockets: list[socket.socket]) -> list[trio.SocketListener]:
    """Sockets that listen already."""
    return [trio.SocketListener(trio.socket.from_stdlib_socket(sock)) for sock in sockets]


def close_listeners(listeners: list[trio.SocketListener]) -> None:
    """Take no more connections."""
    for listener in listeners:
        listener.socket.close()


class Newcomer:
    """A client whose request isn't complete."""

    __slots__ = ("guest", "handshake", "reading", "socket")

    def __init__(self, sock: socket.socket, guest: Guest) -> None:
        self.socket = sock
        self.guest = guest
        self.handshake = ClientHandshake(guest.address)
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
        self, policy: Policy, admission: Admission, counters: Counters, enter: Enter
    ) -> None:
        self._policy = policy
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
        if isinstance(guest, Guest):
            self.welcome(sock, guest, b"", clients)
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
        """Read a guest's request, of which `begun` was read before, in a task of `clients`."""
        newcomer = Newcomer(sock, guest)
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
        sock, guest, handshake = newcomer.socket, newcomer.guest, newcomer.handshake
        outcome: UpgradeRequest | Refusal | None = None
        with newcomer.reading as reading:
            reading.deadline = trio.current_time() + self._policy.request_timeout
            outcome = handshake.receive_data(begun) if begun else None
            while outcome is None:
                data = await receive(sock, 4096)
                if not data:
                    return False
                outcome = handshake.receive_data(data)
        self.newcomers.discard(newcomer)
        if isinstance(outcome, UpgradeRequest):
            answer = self._admission.ask(guest, outcome, trio.current_time())
            tell(DEBUG, "asked", "client %(address)s asks for a session", address=guest.address)
            outcome = answer or self._enter(sock, guest, handshake, outcome)
            if outcome is None:
                return True
        elif sock.fileno() < 0:
            return False  # another process has it
        elif outcome is None:
            limit = f"no complete request in {self._policy.request_timeout:g} seconds"
            outcome = refusal(408, "request_timeout", limit)
        self._counters.handshakes[outcome.status] += 1
        status = outcome.status
        text = "client %(address)s refused: %(status)d"
        tell(INFO, "refused", text, address=guest.address, status=status)
        await self._refuse(sock, handshake.refuse(outcome))
        return False

    async def _refuse(self, sock: socket.socket, answer: bytes) -> None:
        """Answer, then wait for the client's end: closing at once could cost it the answer."""
        with trio.move_on_after(self._policy.close_timeout):
            await send_all(sock, answer)
            sock.shutdown(socket.SHUT_WR)
            while await receive(sock, 4096):
                pass
