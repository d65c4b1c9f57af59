"""What the system says of a socket's bytes: TCP, Unix, TLS, and where it can't be asked."""

import socket
import sys
from contextlib import suppress

import pytest
from reknit.sockets.system import in_transit
from reknit.sockets.tls import TlsSocket
from reknit_core.leg.transit import Transit
from tls_files import certificate, client_context, server_context, shake_hands

ASKED = pytest.mark.skipif(
    sys.platform not in ("linux", "darwin"), reason="the system can't be asked here"
)
COUNTED = pytest.mark.skipif(sys.platform != "linux", reason="TCP_INFO is Linux's")
Pair = tuple[socket.socket, socket.socket]


def tcp() -> Pair:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        here = socket.create_connection(listener.getsockname())
        there, _ = listener.accept()
    return here, there


def fill(sock: socket.socket | TlsSocket) -> int:
    """Send until it takes no more; returns how much it took."""
    taken = 0
    with suppress(BlockingIOError):
        while (part := sock.send(bytes(16384))) == 16384:
            taken += part
        taken += part
    return taken


def read(sock: socket.socket) -> int:
    """Read for as long as something is there."""
    size = 0
    sock.settimeout(0.5)
    with suppress(TimeoutError):
        while data := sock.recv(65536):
            size += len(data)
    return size


def seen(sock: socket.socket | TlsSocket) -> Transit:
    said = in_transit(sock)
    assert said is not None
    return said


@ASKED
@pytest.mark.parametrize("pair", [tcp, socket.socketpair])
def test_what_is_left_gets_less_when_the_peer_reads(pair: object) -> None:
    here, there = pair()  # type: ignore[operator]
    with here, there:
        here.setblocking(False)
        assert seen(here).left == 0
        taken = fill(here)
        before = seen(here)
        assert before.left > 0
        assert read(there) == taken
        assert seen(here).left == 0


@COUNTED
def test_what_has_arrived_is_counted() -> None:
    here, there = tcp()
    with here, there:
        here.setblocking(False)
        first = seen(here)
        assert first.quiet is not None
        taken = fill(here)
        read(there)
        after = seen(here)
        assert (after.arrived or 0) - (first.arrived or 0) == taken
        assert after.quiet is not None
        assert after.quiet >= 0.3  # it is that long since it read all


@COUNTED
def test_tls_counts_what_it_holds_back() -> None:
    here, there = tcp()
    with here, there:
        for sock in (here, there):
            sock.setblocking(False)
        server = TlsSocket(here, server_context(certificate("server.test")), None)
        client = TlsSocket(there, client_context(), "server.test")
        shake_hands(server, client)
        fill(server)
        below = seen(here)
        said = seen(server)
        assert server.held > 0
        assert (said.left, said.arrived) == (below.left + server.held, below.arrived)
        assert below.left > 0


def test_a_socket_that_is_closed_or_no_socket_says_nothing() -> None:
    here, there = tcp()
    here.close()
    there.close()
    assert in_transit(here) is None

    class Other:
        def fileno(self) -> int:
            return -1

    assert in_transit(Other()) is None  # type: ignore[arg-type]
