"""What comes in an inbox: clients, and what is none; and an inbox that is full."""

import array
import os
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest
from reknit.trio.door.brought import Brought
from reknit.trio.door.inboxes import InboxError, pack, unpack

Pair = tuple[socket.socket, socket.socket]
REQUEST = b"GET / HTTP/1.1\r\n"
HEADERS = ((b"x-connection-id", b"user-1"), (b"\xff", b"\x00"))


def _brought(begun: bytes = REQUEST + b"rest") -> Brought:
    return Brought("192.0.2.1", True, begun, len(REQUEST), "/", "x", HEADERS, ("chat",), ("d",))


@pytest.fixture
def inbox() -> Iterator[Pair]:
    """Where it is read, and where it is written to."""
    pair = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    for sock in pair:
        sock.setblocking(False)
    yield pair
    for sock in pair:
        sock.close()


@pytest.fixture
def client() -> Iterator[Pair]:
    pair = socket.socketpair()
    yield pair
    for sock in pair:
        sock.close()


def test_a_client_arrives_with_its_connection(inbox: Pair, client: Pair) -> None:
    pack(_brought(), client[0], inbox[1])
    came = unpack(inbox[0])
    brought, sock = came
    with sock:
        assert brought == _brought()
        assert not sock.getblocking()
        client[1].send(b"hello")
        assert sock.recv(5) == b"hello"
    with pytest.raises(BlockingIOError):
        unpack(inbox[0])


def test_an_empty_message_is_refused_and_the_next_one_is_read(inbox: Pair, client: Pair) -> None:
    inbox[1].send(b"")
    pack(_brought(), client[0], inbox[1])
    with pytest.raises(InboxError, match="0 connections, 0 bytes"):
        unpack(inbox[0])
    unpack(inbox[0])[1].close()


def _rights(*descriptors: int) -> "list[tuple[int, int, array.array[int]]]":
    return [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", descriptors))]


@pytest.mark.parametrize("number", [0, 2, 8])
def test_a_message_with_another_number_of_connections_is_refused(
    inbox: Pair, client: Pair, number: int
) -> None:
    rights = _rights(*[client[0].fileno()] * number) if number else []
    before = _open_files()
    inbox[1].sendmsg([b"\x93\xa1a\xc4\x01b\xc2"], rights)
    with pytest.raises(InboxError, match=f"{number} connections"):
        unpack(inbox[0])
    assert _open_files() == before  # none is left open


def test_a_message_with_more_connections_than_there_is_room_for_leaves_none_open(
    inbox: Pair, client: Pair
) -> None:
    before = _open_files()
    inbox[1].sendmsg([b"x"], _rights(*[client[0].fileno()] * 100))
    with pytest.raises(InboxError, match="too many open files"):
        unpack(inbox[0])
    assert _open_files() == before


@pytest.mark.parametrize("data", [b"x", b"\xc1", b"\x80", b"\x81\xa1a\xa1b", b"\xff" * 70000])
def test_a_message_that_says_nothing_sensible_is_refused(
    inbox: Pair, client: Pair, data: bytes
) -> None:
    before = _open_files()
    inbox[1].sendmsg([data], _rights(client[0].fileno()))
    with pytest.raises(InboxError):
        unpack(inbox[0])
    assert _open_files() == before
    pack(_brought(), client[0], inbox[1])  # the next one is read
    came = unpack(inbox[0])
    came[1].close()


def test_what_is_no_connection_is_refused(inbox: Pair) -> None:
    before = _open_files()
    reader, writer = os.pipe()
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as datagrams:
        for descriptor in (reader, datagrams.fileno()):
            inbox[1].sendmsg([b"x"], _rights(descriptor))
            with pytest.raises(InboxError):
                unpack(inbox[0])
    os.close(reader)
    os.close(writer)
    assert _open_files() == before


def test_a_full_inbox_says_so_and_loses_nothing(inbox: Pair, client: Pair) -> None:
    sent = 0
    try:
        while True:
            pack(_brought(b"x" * 4000), client[0], inbox[1])
            sent += 1
    except BlockingIOError:
        pass
    assert sent > 10
    for _ in range(sent):
        came = unpack(inbox[0])
        came[1].close()
    with pytest.raises(BlockingIOError):
        unpack(inbox[0])


def _open_files() -> int:
    return len([*Path("/dev/fd").iterdir()])
