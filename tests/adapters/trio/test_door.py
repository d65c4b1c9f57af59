"""The door inside: what no client costs, and what one client can't do to the others."""

import errno
import os
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest
import trio
import trio.testing
from compiled_form import COMPILED
from in_trio import LIMIT, in_trio, until
from reknit.settings.addresses import Listen
from reknit.sockets.poller import READ
from reknit.trio.door.leaving import Leaver, Leaving
from reknit.trio.door.listener import PAUSE
from reknit.trio.door.listeners import open_listeners
from reknit.trio.proxy import Proxy
from reknit.trio.reactor import DOOR, Reactor
from reknit.trio.transport.certificates import Certificates
from reknit.trio.watched import Deadlines, Timed, Watched
from reknit_core.policy.policy import Http, Policy
from reknit_core.policy.upstream import Upstream

HOST = "127.0.0.1"

ASKS = (
    b"GET / HTTP/1.1\r\nHost: here\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
    b"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n\r\n"
)


@asynccontextmanager
async def running(policy: Policy, port: int) -> AsyncIterator[tuple[Proxy, tuple[str, int]]]:
    """A proxy, and where it listens."""
    proxy = Proxy(policy, Upstream(HOST, port), Certificates())
    listeners = await open_listeners(Listen(HOST, 0))
    address = listeners[0].getsockname()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(proxy.run, listeners, trio.Event())
        yield proxy, address
        nursery.cancel_scope.cancel()


def quiet_reactor() -> Reactor:
    """One that nobody hears of."""

    def ignore(*what: object) -> None:
        pass

    return Reactor(ignore, ignore, ignore, ignore, list)


def tasks() -> int:
    return trio.lowlevel.current_statistics().tasks_living


@in_trio
async def test_no_client_costs_a_task() -> None:
    policy = Policy(http=Http.PASS, request_timeout=LIMIT)
    with socket.create_server((HOST, 0), backlog=100) as server:  # it accepts, and says nothing
        async with running(policy, server.getsockname()[1]) as (proxy, address):
            await until(lambda: len(proxy.listener._entrances) == 1)
            before = tasks()
            clients = [socket.create_connection(address) for _ in range(30)]
            for number, client in enumerate(clients):
                client.sendall(
                    (b"GET / HT", ASKS, b"GET / HTTP/1.1\r\nHost: here\r\n\r\n")[number % 3]
                )
            await until(lambda: len(proxy.newcomers.reading) == 10)
            await until(lambda: len(list(proxy.sessions)) == 10)
            await until(lambda: len(proxy.passing) == 10)
            assert tasks() == before
            for client in clients:
                client.close()
            await until(lambda: not proxy.admission.connections)


@in_trio
async def test_a_long_answer_reaches_a_client_that_is_slow_to_read_it() -> None:
    """Also where the system takes only a part of it at once."""
    reactor = quiet_reactor()
    parted: list[Leaver] = []
    leaving = Leaving(reactor, LIMIT, parted.append)
    near, far = socket.socketpair()
    near.setblocking(False)
    answer = bytes(2_000_000)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(reactor.run)
        leaving.begin(near, answer, None, trio.current_time()).ready(trio.current_time())
        received = b""
        far.setblocking(False)
        with trio.fail_after(LIMIT):
            while len(received) < len(answer):
                await trio.lowlevel.wait_readable(far)
                received += far.recv(65536)
            await trio.lowlevel.wait_readable(far)
            assert not far.recv(1)
        assert received == answer
        assert not parted  # it is waited for
        far.close()
        await until(lambda: len(parted) == 1)
        nursery.cancel_scope.cancel()


class Slow(Watched):
    """One that takes its time whenever it is served."""

    def __init__(self, sock: socket.socket, clock: trio.testing.MockClock) -> None:
        super().__init__(sock.fileno())
        self._clock = clock
        self.served = 0

    def ready(self, now: float) -> None:
        self.served += 1
        self._clock.jump(2 * DOOR)

    def drop(self) -> None:
        raise AssertionError


@pytest.mark.skipif(COMPILED, reason="a class of a test can't derive from a compiled one")
def test_who_comes_in_has_a_share_of_a_sweep_only_and_each_its_turn() -> None:
    """Also where those that were served are ready again at once, as with large answers."""
    clock = trio.testing.MockClock()

    async def run() -> None:
        reactor = quiet_reactor()
        pairs = [socket.socketpair() for _ in range(10)]
        slow = [Slow(near, clock) for near, _ in pairs]
        for each, (_, far) in zip(slow, pairs, strict=True):
            reactor.watch_also(each, READ)
            far.send(b"x")
        for sweep in range(1, 2 * len(slow) + 1):
            assert reactor._sweep(reactor._poll(0.0), trio.current_time())
            assert sum(each.served for each in slow) == sweep
            assert max(each.served for each in slow) - min(each.served for each in slow) <= 1
        for each in slow:
            reactor.release(each)
        for pair in pairs:
            for sock in pair:
                sock.close()
        reactor._poller.close()

    trio.run(run, clock=clock)


class NoRoom(socket.socket):
    """A listening socket of a system that has no room for what connects, though files are left."""

    asked = 0

    def accept(self) -> tuple[socket.socket, object]:
        self.asked += 1
        raise OSError(errno.ENFILE, os.strerror(errno.ENFILE))


def test_where_the_system_has_no_room_the_door_is_closed_for_a_while(
    caplog: pytest.LogCaptureFixture,
) -> None:
    """Else it is asked again and again, and the sessions have half of the time at most."""
    clock = trio.testing.MockClock()

    async def run() -> None:
        proxy = Proxy(Policy(), Upstream(HOST, 1), Certificates())
        near, far = socket.socketpair()
        door = NoRoom(fileno=near.detach())
        far.send(b"x")  # it can be read, as if there was a client
        proxy.listener.listen([door])
        for pause in range(1, 4):
            for _ in range(5):
                proxy.reactor._sweep(proxy.reactor._poll(0.0), trio.current_time())
            assert door.asked == 2 * pause  # the second time with the spare file's place
            clock.jump(PAUSE)
        proxy.listener.stop()
        proxy.reactor._poller.close()
        door.close()
        far.close()

    trio.run(run, clock=clock)
    (first, *_) = caplog.messages
    assert first.startswith(f"can't accept a connection: {os.strerror(errno.ENFILE)}")


def test_one_timer_is_enough_for_who_begin_anew_when_they_are_late() -> None:
    timers: list[float] = []
    late: list[tuple[str, float]] = []

    def schedule(until: float, timed: Timed) -> None:
        assert timed is deadlines
        timers.append(until)

    def begin_anew(member: str, now: float) -> None:
        late.append((member, now))
        deadlines.begin(member, now)

    deadlines: Deadlines[str] = Deadlines(1.0, schedule, begin_anew)
    deadlines.begin("one", 0.0)
    deadlines.begin("another", 0.5)
    for _ in range(6):
        (until,) = timers
        timers.clear()
        deadlines.due(until)
    assert late == [(who, at / 2) for at, who in enumerate(["one", "another"] * 3, start=2)]
