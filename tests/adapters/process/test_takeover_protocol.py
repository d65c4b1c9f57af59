"""What the two processes of a takeover say to each other, and what they make of silence and noise.

One of the two is the test itself, in each case.
"""

import asyncio
import os
import socket
import tracemalloc
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from threading import Thread

import pytest
import trio
from reknit.process import greeting, restart, takeover
from reknit.process.greeting import answer, offer
from reknit.process.restart import TakeoverSocket, predecessor
from reknit.process.takeover import (
    Channel,
    End,
    Estate,
    Hello,
    Listeners,
    Moving,
    Ready,
    Sessions,
    TakeoverError,
    Yours,
    accept,
    hand_over,
    take_over,
)
from reknit_core.policy.policy import Policy
from reknit_core.policy.upstream import Upstream
from reknit_core.proxy.arrival import Arrival
from reknit_core.proxy.contexts import Contexts
from reknit_core.telemetry.totals import take_totals
from socket_bench import Bench, socket_test
from succession import Succession

NOTHING = take_totals(Contexts(Policy(), Upstream("server.test", 80), os.urandom))
"""What a process has counted that has just begun."""

Pair = tuple[Channel, Channel]


@pytest.fixture
def pair() -> Iterator[Pair]:
    """The running process's end, and the new one's."""
    one, other = socket.socketpair()
    with one, other:
        yield Channel(one), Channel(other)


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(takeover, "PATIENCE", 0.1)


def estate(sessions: int) -> tuple[Estate, list[socket.socket]]:
    """Sessions of which some have two sockets, some one, some none; and their far ends."""
    far: list[socket.socket] = []

    def near() -> socket.socket:
        ours, theirs = socket.socketpair()
        far.append(theirs)
        return ours

    moving = [
        Moving(
            b"%d" % number,
            near() if number % 2 else None,
            near() if number % 3 else None,
            f"192.0.2.{number % 250}",
        )
        for number in range(sessions)
    ]
    return Estate(b"key", NOTHING, moving, [(near(), Arrival("192.0.2.1", b"GET /"))]), far


def test_everything_arrives_with_the_right_sockets(pair: Pair) -> None:
    given, far = estate(300)
    listener = socket.create_server(("127.0.0.1", 0))
    giving = give(pair[0], given, [listener])
    doors, admin, taken = take_over(pair[1])
    sessions = list(taken.sessions)
    accept(pair[1])
    giving.join()

    assert [door.getsockname() for door in doors] == [listener.getsockname()]
    assert (admin, taken.key) == ([], b"key")
    assert [(one.context, one.address) for one in sessions] == [
        (one.context, one.address) for one in given.sessions
    ]
    arrived = [sock for one in sessions for sock in one.sockets]
    ((sock, newcomer),) = taken.newcomers
    assert newcomer.begun == b"GET /"
    for number, (near, end) in enumerate(zip([*arrived, sock], far, strict=True)):
        near.send(b"%d" % number)
        assert end.recv(10) == b"%d" % number
    for some in (arrived, [sock], far, doors, [listener], all_sockets(given)):
        for each in some:
            each.close()


def give(channel: Channel, given: Estate, listeners: list[socket.socket]) -> Thread:
    """Play the running process."""

    def run() -> None:
        hand_over(channel, listeners, [], given)

    thread = Thread(target=run)
    thread.start()
    return thread


def all_sockets(given: Estate) -> list[socket.socket]:
    moved = [sock for one in given.sessions for sock in one.sockets]
    return moved + [sock for sock, _ in given.newcomers]


def test_a_new_process_that_goes_silent_is_given_up(pair: Pair, impatient: None) -> None:
    given, far = estate(3)
    with pytest.raises(TakeoverError, match="does not answer in time"):
        hand_over(pair[0], [], [], given)
    for sock in [*far, *all_sockets(given)]:
        sock.close()


def test_a_new_process_that_reads_nothing_is_given_up(pair: Pair, impatient: None) -> None:
    given = Estate(b"", NOTHING, (Moving(bytes(100_000), None, None, "") for _ in range(100)), [])
    with pytest.raises(TakeoverError, match="does not answer in time"):
        hand_over(pair[0], [], [], given)


def test_who_takes_over_waits_as_long_as_the_other_wants(pair: Pair, impatient: None) -> None:
    """If it gave up by itself, the other could just have let go: then nobody has the sessions."""
    pair[0].send(Listeners(0, b"", NOTHING))
    _, _, taken = take_over(pair[1])
    pair[0].send(End())
    assert list(taken.sessions) == []
    accepting = Thread(target=accept, args=(pair[1],))
    accepting.start()
    accepting.join(0.3)
    assert accepting.is_alive()
    pair[0].renew()
    pair[0].send(Yours())
    accepting.join()


@pytest.mark.parametrize(
    ("said", "problem"),
    [
        (Sessions([takeover.Session(b"", True, False, "")]), "Sessions in the wrong place"),
        (Yours(), "Yours in the wrong place"),
        (None, "has closed the connection"),
    ],
)
def test_nonsense_is_refused(pair: Pair, said: takeover.Message | None, problem: str) -> None:
    pair[0].send(Listeners(0, b"", NOTHING))
    _, _, taken = take_over(pair[1])
    if said is not None:
        pair[0].send(said)
    pair[0].close()
    with pytest.raises(TakeoverError, match=problem):
        list(taken.sessions)


# -- The greeting ------------------------------------------------------------------------------


def test_another_version_is_refused_before_anything_moves(pair: Pair) -> None:
    pair[0].send(Hello(1, version=0, frozen=7))
    with pytest.raises(TakeoverError, match=r"speaks version 0\.7 .* speaks 2\.\d+"):
        trio.run(answer, pair[1], Hello(2), 10.0)


HUGE = takeover.HEAD.pack(0, 2**32 - 1)
DEEP = b"\x83\xa4type\xa5Hello\xa3pid\x01\xa1x" + b"\x91" * 60_000
NOISE = {
    "silence": (b"", "does not answer in time"),
    "half a head": (HUGE[:3], "does not answer in time"),
    "4 GiB": (HUGE + b"x" * 1000, "does not begin with a Hello"),
    "descriptors": (takeover.HEAD.pack(3, 20), "does not begin with a Hello"),
    "depth": (takeover.HEAD.pack(0, len(DEEP)) + DEEP, "recursion"),
    "another word": (takeover.encode(Yours()), "says Yours, not Hello"),
    "half a Hello": (takeover.encode(Hello(1))[:-1], "does not answer in time"),
}


@pytest.mark.parametrize("noise", NOISE)
def test_noise_at_the_door_neither_blocks_nor_takes_room(pair: Pair, noise: str) -> None:
    """Of both ends. Other things go on meanwhile, and descriptors that come along are closed."""
    said, problem = NOISE[noise]
    lasting = []

    async def hear() -> None:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(go_on)
            with pytest.raises(TakeoverError, match=problem):
                await offer(pair[0], Hello(1), 0.2)
            nursery.cancel_scope.cancel()

    async def go_on() -> None:
        while True:
            lasting.append(trio.current_time())
            await trio.sleep(0)

    if said:
        socket.send_fds(pair[1].socket, [said], [0, 0, 0])
    tracemalloc.start()
    trio.run(hear)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 2**21
    assert "in time" not in problem or len(lasting) > 2


def test_a_stranger_that_listens_is_not_believed_either(
    pair: Pair, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(greeting, "PATIENCE", 0.1)
    pair[0].socket.sendall(HUGE[:2])
    with pytest.raises(TakeoverError, match="does not answer in time"):
        trio.run(answer, pair[1], Hello(2), 10.0)


def test_no_size_is_made_room_for(pair: Pair) -> None:
    pair[0].socket.sendall(HUGE + b"x")
    pair[0].close()
    tracemalloc.start()
    with pytest.raises(TakeoverError, match="closed the connection"):
        pair[1].receive_any()
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 2**22


def test_one_that_has_greeted_says_single_words(pair: Pair) -> None:
    pair[1].socket.sendall(takeover.HEAD.pack(0, takeover.WORD + 1))
    with pytest.raises(TakeoverError, match="wants to say"):
        pair[0].receive(Ready)


@pytest.mark.parametrize("value", ["", "x", "-1", "99999999999999999999", "987654"])
def test_what_names_no_socket_is_one_line(value: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("REKNIT_TAKEOVER_FD", value)
    with pytest.raises(TakeoverError, match="which is no socket"):
        trio.run(predecessor, None, "")


def test_a_door_at_which_too_many_wait_is_one_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(restart, "PATIENCE", 0.1)
    with socket.socket(socket.AF_UNIX) as busy:
        busy.bind(os.fspath(tmp_path / "door"))
        busy.listen(0)
        waiting = [socket.socket(socket.AF_UNIX) for _ in range(5)]
        for each in waiting:
            each.setblocking(False)
            with suppress(BlockingIOError):
                each.connect(os.fspath(tmp_path / "door"))
        with pytest.raises(TakeoverError, match="too many wait there"):
            trio.run(predecessor, tmp_path / "door", "")
        for each in waiting:
            each.close()


async def greet(door: TakeoverSocket) -> None:
    """Play the running process until it would give."""
    listener = trio.socket.from_stdlib_socket(door.socket)
    came, _ = await listener.accept()
    channel = Channel(socket.socket(fileno=came.detach()))
    await offer(channel, Hello(os.getpid()), 10.0)
    channel.send(End())
    channel.close()


async def come(path: Path, first: TakeoverSocket) -> None:
    async with trio.open_nursery() as nursery:
        nursery.start_soon(greet, first)
        channel = await predecessor(path, "")
        assert channel is not None
        channel.close()


def test_the_takeover_socket_is_for_its_user_only_and_takes_a_dead_ones_place(
    tmp_path: Path,
) -> None:
    path = tmp_path / "door"
    first = TakeoverSocket(path)
    assert path.stat().st_mode & 0o777 == 0o600
    first.socket.setblocking(False)
    trio.run(come, path, first)
    first.close(remove=False)  # as a process that was killed leaves it
    assert trio.run(predecessor, path, "") is None
    second = TakeoverSocket(path)
    second.close(remove=True)
    assert not path.exists()
    path.write_text("something else")
    with pytest.raises(TakeoverError, match="can't listen at "):
        TakeoverSocket(path)
    assert path.read_text() == "something else"


def test_the_takeover_socket_takes_no_living_ones_place_but_that_of_the_process_before(
    tmp_path: Path,
) -> None:
    """It may be where clients connect, by a mistake."""
    path = tmp_path / "door"
    first = TakeoverSocket(path)
    with pytest.raises(TakeoverError, match="Address already in use"):
        TakeoverSocket(path)
    with socket.socket(socket.AF_UNIX) as client:
        client.connect(os.fspath(path))
        first.socket.accept()[0].close()
    second = TakeoverSocket(path, replaces=True)
    first.close(remove=False)
    with socket.socket(socket.AF_UNIX) as client:
        client.connect(os.fspath(path))
    second.close(remove=True)


# -- A real process takes over from the test ---------------------------------------------------


@socket_test
async def test_a_new_process_serves_nobody_before_all_is_its_own(
    bench: Bench, tmp_path: Path
) -> None:
    """The running process dies, or changes its mind, at the last moment."""
    path = tmp_path / "door"
    door = TakeoverSocket(path)
    door.socket.setblocking(False)
    upstream = f"ws://127.0.0.1:{bench.upstream.port}"
    proxy = Succession(upstream, "--takeover", str(path))
    process = await proxy.start()
    sock, _ = await asyncio.get_running_loop().sock_accept(door.socket)
    channel = Channel(sock)
    near, far = socket.socketpair()
    listener = socket.create_server(("127.0.0.1", 0))

    def give_all_but_the_last_word() -> None:
        channel.send(Hello(os.getpid()))
        channel.receive(Hello)
        channel.send(Listeners(1, b"key", NOTHING), [listener])
        channel.send(takeover.Newcomers([Arrival("192.0.2.1", b"GET / HTTP/1.0\r\n\r\n")]), [near])
        channel.send(End())
        channel.receive(Ready)
        channel.close()

    await asyncio.to_thread(give_all_but_the_last_word)
    assert await process.wait() == 1
    far.setblocking(False)
    with pytest.raises(BlockingIOError):  # no byte has come, and no end: the socket is ours still
        far.recv(1)
    for each in (near, far, listener):
        each.close()
    door.close(remove=True)
