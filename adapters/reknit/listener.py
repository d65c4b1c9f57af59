"""Clients until a session has them: what to listen on, accepting, reading their requests."""

import errno
import logging
import socket
from collections.abc import Callable

import trio
from reknit_core.handshake import ClientHandshake, Refusal, UpgradeRequest, refusal
from reknit_core.policy import Policy

from reknit.waiting import plain_socket, receive, send_all

LOG = logging.getLogger("reknit")

BACKLOG = 4096  # connections that may wait to be accepted
_NO_ROOM = (errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM)

Enter = Callable[[socket.socket, ClientHandshake, UpgradeRequest], Refusal | None]
"""Takes over the socket of a client that asks for a session, or says why not."""


async def open_listeners(host: str, port: int) -> list[trio.SocketListener]:
    """Listen on all addresses of that host. Raises OSError."""
    return await trio.open_tcp_listeners(port, host=host, backlog=BACKLOG)


def close_listeners(listeners: list[trio.SocketListener]) -> None:
    """Take no more connections."""
    for listener in listeners:
        listener.socket.close()


class Listener:
    """Accepts connections and reads each client's request; `enter` has the last word on it."""

    def __init__(self, policy: Policy, enter: Enter) -> None:
        self._policy = policy
        self._enter = enter

    async def run(self, listeners: list[trio.SocketListener], clients: trio.Nursery) -> None:
        """Accept until cancelled; opening handshakes run in `clients`, and may take longer."""
        async with trio.open_nursery() as accepting:
            for listener in listeners:
                accepting.start_soon(self._accept, listener, clients)

    async def _accept(self, listener: trio.SocketListener, clients: trio.Nursery) -> None:
        while True:
            try:
                stream = await listener.accept()
            except OSError as error:
                if error.errno not in _NO_ROOM:
                    raise
                LOG.error("can't accept a connection: %s", error.strerror)
                await trio.sleep(0.1)
            else:
                clients.start_soon(self._serve, plain_socket(stream))

    async def _serve(self, sock: socket.socket) -> None:
        entered = False
        try:
            entered = await self._shake_hands(sock)
        except OSError:
            pass  # the client is gone, and nothing was begun
        except Exception:
            LOG.exception("a client is let go by an error of the proxy")
        finally:
            if not entered:
                sock.close()

    async def _shake_hands(self, sock: socket.socket) -> bool:
        """Read a client's request; whether its socket is a session's now."""
        address = sock.getpeername()[0]
        handshake = ClientHandshake(address if isinstance(address, str) else "")
        outcome: UpgradeRequest | Refusal | None = None
        with trio.move_on_after(self._policy.request_timeout):
            while outcome is None:
                data = await receive(sock, 4096)
                if not data:
                    return False
                outcome = handshake.receive_data(data)
        if isinstance(outcome, UpgradeRequest):
            LOG.debug("client %s asks for a session", address)
            outcome = self._enter(sock, handshake, outcome)
            if outcome is None:
                return True
        elif outcome is None:
            limit = f"no complete request in {self._policy.request_timeout:g} seconds"
            outcome = refusal(408, "request_timeout", limit)
        LOG.info("client %s refused: %d", address, outcome.status)
        await self._refuse(sock, handshake.refuse(outcome))
        return False

    async def _refuse(self, sock: socket.socket, answer: bytes) -> None:
        """Answer, then wait for the client's end: closing at once could cost it the answer."""
        with trio.move_on_after(self._policy.close_timeout):
            await send_all(sock, answer)
            sock.shutdown(socket.SHUT_WR)
            while await receive(sock, 4096):
                pass
