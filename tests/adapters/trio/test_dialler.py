"""Dialling: several addresses, many dials at once, names, and what goes wrong."""

import socket
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path

import pytest
import trio
import trio.testing
from in_trio import LIMIT, in_trio, until
from reknit.sockets.stream_socket import StreamSocket
from reknit.trio.reactor import Reactor
from reknit.trio.transport.certificates import Certificates
from reknit.trio.transport.dialler import DIALS, DialError, Dialler, Dialling
from reknit.trio.transport.names import Place, Places, Told
from reknit.trio.transport.targets import Target
from reknit_core.policy.upstream import Upstream

HOST = "127.0.0.1"


class Calls:
    """A dialler that runs, and what its dials were told."""

    def __init__(self, reactor: Reactor, dialler: Dialler, target: Target) -> None:
        self.reactor = reactor
        self.target = target
        self.dialler = dialler
        self.outcomes: list[StreamSocket | DialError] = []

    def dial(self, at: float = 0.0, begins: Callable[[], None] | None = None) -> Dialling:
        def where() -> Target:
            if begins is not None:
                begins()
            return self.target

        return self.dialler.dial(at, self.told, where)

    def told(self, outcome: StreamSocket | DialError, now: float) -> None:
        self.outcomes.append(outcome)

    async def reached(self, count: int) -> None:
        await until(lambda: len(self.outcomes) == count)


@asynccontextmanager
async def dialling(places: list[Place] | Places, timeout: float = LIMIT) -> AsyncIterator[Calls]:
    ignore = [lambda *_: None] * 5
    reactor = Reactor(*ignore)
    find = places.find if isinstance(places, Places) else lambda told, now: places
    target = Target("server.test", find, is_secure=False)
    calls = Calls(reactor, Dialler(Certificates(), timeout, reactor), target)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(reactor.run)
        if isinstance(places, Places):
            nursery.start_soon(places.run)
        yield calls
        nursery.cancel_scope.cancel()
    for outcome in calls.outcomes:
        if not isinstance(outcome, DialError):
            outcome.close()


class Deaf:
    """A listening socket whose system doesn't answer any more: its queue is full."""

    def __init__(self) -> None:
        self.socket = socket.create_server((HOST, 0), backlog=0)
        self.place: Place = (socket.AF_INET, self.socket.getsockname())
        self._queued = [socket.socket() for _ in range(4)]
        for sock in self._queued:
            sock.setblocking(False)
            sock.connect_ex(self.socket.getsockname())

    def close(self) -> None:
        for sock in (*self._queued, self.socket):
            sock.close()


@pytest.fixture
def deaf() -> Iterator[Deaf]:
    made = Deaf()
    yield made
    made.close()


@pytest.fixture
def server() -> Iterator[socket.socket]:
    with socket.create_server((HOST, 0), backlog=1024) as sock:
        yield sock


def place_of(sock: socket.socket) -> Place:
    return (sock.family, sock.getsockname())


def closed_place() -> Place:
    with socket.create_server((HOST, 0)) as sock:
        return place_of(sock)


@in_trio
async def test_an_address_that_refuses_is_followed_by_the_next(server: socket.socket) -> None:
    async with dialling([closed_place(), place_of(server)]) as calls:
        calls.dial(0.0)
        await calls.reached(1)
        [sock] = calls.outcomes
        assert isinstance(sock, socket.socket)
        assert sock.getpeername() == server.getsockname()


@in_trio
async def test_an_address_that_is_silent_does_not_hold_up_the_next(
    deaf: Deaf, server: socket.socket
) -> None:
    async with dialling([deaf.place, place_of(server)]) as calls:
        calls.dial(0.0)
        await calls.reached(1)
        [sock] = calls.outcomes
        assert isinstance(sock, socket.socket)
        assert sock.getpeername() == server.getsockname()
        assert not calls.reactor._watched  # the other attempt is over


@in_trio
async def test_the_first_address_says_why_there_is_no_connection(deaf: Deaf) -> None:
    nowhere: Place = (socket.AF_UNIX, "/nowhere/at/all")
    async with dialling([closed_place(), nowhere]) as calls:
        calls.dial(0.0)
        await calls.reached(1)
        assert str(calls.outcomes[0]) == "Connection refused"
    async with dialling([deaf.place], timeout=0.05) as calls:
        calls.dial(0.0)
        await calls.reached(1)
        assert str(calls.outcomes[0]) == "no connection in 0.05 seconds"


@in_trio
async def test_a_full_queue_of_a_unix_socket_is_waited_for(tmp_path: Path) -> None:
    """The system says so at once, where it is patient with TCP."""
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(str(tmp_path / "server"))
        server.listen(0)
        place: Place = (socket.AF_UNIX, str(tmp_path / "server"))
        async with dialling([place]) as calls:
            for _ in range(5):
                calls.dial(0.0)
            for count in range(1, 6):  # there is room for one at a time
                await calls.reached(count)
                server.accept()[0].close()
            assert not any(isinstance(outcome, DialError) for outcome in calls.outcomes)
        async with dialling([place], timeout=0.05) as calls:
            for count in range(1, 3):
                calls.dial(0.0)
                await calls.reached(count)
            assert str(calls.outcomes[1]) == "no connection in 0.05 seconds"


@in_trio
async def test_a_system_without_such_sockets_says_so() -> None:
    async with dialling([(9999, "no such family")]) as calls:
        calls.dial(0.0)
        await calls.reached(1)
        assert isinstance(calls.outcomes[0], DialError)


@in_trio
async def test_so_many_are_under_way_and_the_others_wait(deaf: Deaf, server: socket.socket) -> None:
    places = [deaf.place]
    async with dialling(places) as calls:
        begun: list[int] = []
        dials = [calls.dial(0.0, partial(begun.append, number)) for number in range(2 * DIALS)]
        await until(lambda: len(begun) == DIALS)
        await trio.testing.wait_all_tasks_blocked()
        assert len(begun) == DIALS
        places[0] = place_of(server)
        for number in begun[: DIALS // 2]:  # they make room, and hear nothing
            dials[number].cancel()
        await calls.reached(DIALS)  # those that waited
        assert not any(isinstance(outcome, DialError) for outcome in calls.outcomes)


@in_trio
async def test_thousands_that_fail_at_once_fail_in_turn() -> None:
    async with dialling([(socket.AF_UNIX, "/nowhere/at/all")]) as calls:
        for _ in range(3000):
            calls.dial(0.0)
        await calls.reached(3000)


@in_trio
async def test_who_is_called_off_hears_nothing(server: socket.socket) -> None:
    async with dialling([place_of(server)]) as calls:
        calls.dial(0.0).cancel()
        calls.dial(trio.current_time() + 3600).cancel()
        calls.dial(0.0)
        await calls.reached(1)


@in_trio
async def test_a_crowd_asks_for_a_name_once() -> None:
    asked = 0

    class Resolver(trio.abc.HostnameResolver):
        async def getaddrinfo(self, host, port, *rest):  # type: ignore[no-untyped-def]
            nonlocal asked
            asked += 1
            if asked > 1:
                raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")
            return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (HOST, port))]

        async def getnameinfo(self, sockaddr, flags):  # type: ignore[no-untyped-def]
            raise NotImplementedError

    trio.socket.set_custom_hostname_resolver(Resolver())
    with socket.create_server((HOST, 0), backlog=1024) as server:
        places = Places(Upstream("server.test", server.getsockname()[1]), LIMIT)
        async with dialling(places) as calls:
            for _ in range(100):
                calls.dial(0.0)
            await calls.reached(100)
            assert asked == 1
            places._holds_until = 0.0  # as a second later
            calls.dial(0.0)
            await calls.reached(101)
            assert str(calls.outcomes[-1]) == "Name or service not known"


@pytest.mark.parametrize("host", ["127.0.0.1", "::1"])
def test_an_address_needs_no_looking_up(host: str) -> None:
    def told(outcome: object, now: float) -> None:
        raise AssertionError(outcome)

    asked: Told = told
    [(family, address)] = Places(Upstream(host, 80), LIMIT).find(asked, 1.0) or []
    assert address == (host, 80)
    assert family == (socket.AF_INET6 if ":" in host else socket.AF_INET)
