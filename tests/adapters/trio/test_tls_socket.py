"""TlsSocket behaves as a socket, also where the one below takes only part of a record."""

import random
import socket
from collections.abc import Iterator
from contextlib import suppress

import pytest
from reknit.sockets.tls import RECORD, TlsError, TlsSocket
from tls_files import certificate, client_context, server_context, shake_hands

SMALL = 4096  # bytes of a socket's buffers
HOST = "server.test"


class Pair:
    """Two ends, whose handshake is over."""

    def __init__(self) -> None:
        below = socket.socketpair()
        for sock in below:
            sock.setblocking(False)
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, SMALL)
        self.below = below
        self.server = TlsSocket(below[0], server_context(certificate(HOST)), None)
        self.client = TlsSocket(below[1], client_context(), HOST)

    def drain(self, size: int = 65536) -> bytes:
        """All that the client can read now."""
        received = b""
        with suppress(BlockingIOError):
            while data := self.client.recv(size):
                received += data
        return received


@pytest.fixture
def pair() -> Iterator[Pair]:
    made = Pair()
    shake_hands(made.server, made.client)
    yield made
    for sock in made.below:
        sock.close()


def test_what_is_not_taken_can_be_replaced_but_for_its_first_byte(pair: Pair) -> None:
    """As when a Ping gets in front of a message: a record that is encrypted stays as it is."""
    pair.drain()
    taken = 0
    sent = b""
    for number in range(1000):
        data = bytes([number % 256]) * 1000
        taken = pair.server.send(data)
        sent += data[:taken]
        if taken < len(data):
            break
    assert 0 < taken < len(data)
    for _ in range(2):
        with pytest.raises(BlockingIOError):
            pair.server.send(data[taken:])
    received = pair.drain()
    rest = data[taken : taken + 1] + b"something else"
    assert pair.server.send(rest) == len(rest)
    assert received + pair.drain() == sent + rest


@pytest.mark.parametrize("seed", range(10))
def test_any_buffers_arrive_whole_and_in_order(pair: Pair, seed: int) -> None:
    rng = random.Random(seed)
    expected = rng.randbytes(500_000)
    received = b""
    position = 0
    while len(received) < len(expected):
        buffers = []
        end = position
        for _ in range(rng.randrange(1, 20)):
            size = rng.choice((1, 2, 100, 1000, RECORD - 1, RECORD, RECORD + 1, 100_000))
            buffers.append(memoryview(expected)[end : end + size])
            end = min(end + size, len(expected))
        try:
            if position < len(expected):
                position += pair.server.sendmsg(buffers)
        except BlockingIOError:
            pass
        if rng.random() < 0.7:
            received += pair.drain(rng.choice((100, 5000, 65536)))
    assert received == expected
    assert position == len(expected)


def test_all_that_one_read_brings_is_decrypted(pair: Pair) -> None:
    pair.drain()
    for word in (b"one", b"two", b"three"):
        assert pair.server.send(word) == len(word)
    assert pair.client.recv(65536) == b"onetwothree"
    with pytest.raises(BlockingIOError):
        pair.client.recv(65536)


def test_a_shutdown_is_an_end_of_stream(pair: Pair) -> None:
    pair.server.send(b"last words")
    pair.server.shutdown(socket.SHUT_WR)
    assert pair.client.recv(65536) == b"last words"
    assert pair.client.recv(65536) == b""
    assert pair.client.recv(65536) == b""
    pair.client.send(b"what still comes")
    pair.client.shutdown(socket.SHUT_WR)
    assert pair.server.recv(65536) == b"what still comes"
    assert pair.server.recv(65536) == b""


def test_an_end_without_close_notify_is_no_end_of_stream(pair: Pair) -> None:
    pair.server.send(b"last words")
    pair.below[0].shutdown(socket.SHUT_WR)
    assert pair.client.recv(65536) == b"last words"
    for _ in range(2):
        with pytest.raises(TlsError, match="without close_notify"):
            pair.client.recv(65536)


def test_a_record_that_was_changed_on_its_way_is_an_error(pair: Pair) -> None:
    pair.drain()
    pair.server.send(b"true words")
    changed = bytearray(pair.below[1].recv(65536))
    changed[-1] ^= 1
    pair.below[0].send(changed)
    with pytest.raises(TlsError, match="TLS: decryption failed or bad record mac"):
        pair.client.recv(65536)


def test_a_missing_certificate_is_named() -> None:
    """With TLS 1.3 the client hears of it only behind its own handshake."""

    made = Pair()
    server = server_context(certificate(HOST), client_ca="clients")
    made.server = TlsSocket(made.below[0], server, None)
    with pytest.raises(TlsError, match="TLS: peer did not return a certificate"):
        shake_hands(made.server, made.client)
    with pytest.raises(TlsError, match="TLS: tlsv13 alert certificate required"):
        made.client.recv(65536)
    for sock in made.below:
        sock.close()
