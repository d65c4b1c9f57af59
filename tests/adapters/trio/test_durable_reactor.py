"""The reactor with a journal: a sweep writes down what has come in before it passes it on."""

import socket
from collections.abc import Iterable, Iterator
from contextlib import suppress

import pytest
from frame_bytes import FIN, TEXT, frame
from reknit.trio.links import Link
from reknit.trio.reactor import Reactor
from reknit_core.session.context import ContextStateMachine
from reknit_core.side import Side
from sessions_by_hand import accept, contexts, lose_client, session

UP = frame(FIN | TEXT, b"up", masked=True)
DOWN = frame(FIN | TEXT, b"down")


class Far:
    """The two far ends of a session, its reactor, and what was committed."""

    def __init__(self) -> None:
        self.context = session(contexts())
        accept(self.context)
        self.client, near_client = _pair()
        self.server, near_server = _pair()
        self.written: list[tuple[int, int]] = []
        ignore = [lambda *_: None] * 5
        self.reactor = Reactor(*ignore, self.commit)
        self.link = Link(self.context, "label", self.reactor)
        self.reactor.adopt(self.link, Side.CLIENT, near_client, None)
        self.reactor.adopt(self.link, Side.SERVER, near_server, None)
        self.reactor.settle(self.link, 1.0)
        self.reactor._flush(lambda contexts, now: None, 1.0)
        self.near = (near_client, near_server)

    def commit(self, contexts: Iterable[ContextStateMachine], now: float) -> None:
        assert list(contexts) == [self.context]
        self.written.append((self.context.client.queue.count, self.context.server.queue.count))
        for end in (self.client, self.server):
            with suppress(BlockingIOError):
                assert end.recv(1) == b""  # at most the end of the stream

    def close(self) -> None:
        for end in (self.client, self.server, *self.near):
            end.close()
        self.reactor._poller.close()


def _pair() -> tuple[socket.socket, socket.socket]:
    far, near = socket.socketpair()
    far.setblocking(False)
    near.setblocking(False)
    return far, near


@pytest.fixture
def far() -> Iterator[Far]:
    ends = Far()
    yield ends
    ends.close()


def test_what_comes_in_is_written_once_and_then_passed_on(far: Far) -> None:
    far.client.send(UP)
    far.server.send(DOWN + DOWN)
    far.reactor._sweep(far.reactor._poll(0.0), 1.0)
    assert far.written == [(1, 2)]
    assert far.server.recv(100) == UP
    assert far.client.recv(100) == DOWN + DOWN


def test_what_has_nowhere_to_go_is_written_too(far: Far) -> None:
    lose_client(far.context)
    far.reactor.settle(far.link, 1.0)
    far.server.send(DOWN)
    assert far.reactor._next_timer() == 0.0  # a sweep is due at once
    far.reactor._sweep(far.reactor._poll(0.0), 1.0)
    assert far.written == [(0, 1)]
    far.server.send(DOWN)
    far.reactor._sweep(far.reactor._poll(0.0), 1.0)
    assert far.written == [(0, 1), (0, 2)]
    assert far.reactor._next_timer() > 0.0
