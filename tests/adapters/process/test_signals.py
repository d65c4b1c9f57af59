"""Signals at any time: as a process begins, twice in a row, and when they mean nothing there."""

import asyncio
import os
import re
import signal
import socket
import subprocess
import sys
from collections.abc import AsyncIterator, Callable
from contextlib import suppress
from pathlib import Path

import pytest
import trio
import trio.testing
from click.testing import CliRunner
from patience import LIMIT
from raw_websocket import TEXT, frame
from reknit.cli.main import main
from reknit.process import restart
from reknit.process.mask import HANDLED, held_back
from reknit.process.restart import Restarts, TakeoverSocket, predecessor
from reknit.process.serve import serve
from reknit.process.signals import arrive, receive, unless_stopped
from reknit.process.takeover import Channel, TakeoverError
from reknit.settings.config import Config
from reknit_core.policy.upstream import Upstream
from socket_bench import Bench, closed, socket_test
from succession import Succession

HARMLESS = (signal.SIGHUP, signal.SIGUSR1)

# A process to which a signal has come before it could do anything about it.
EARLY = """
import os, signal, sys
from reknit.process.mask import held_back
signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell's "&" lets it be ignored
with held_back():
    for number in sys.argv.pop(1).split():
        os.kill(os.getpid(), int(number))
    from reknit.cli.main import main
    main()
"""


def mask() -> set[int]:
    """The signals that are held back in this thread."""
    return set(signal.pthread_sigmask(signal.SIG_BLOCK, ()))


def early(*signals: signal.Signals, options: tuple[str, ...]) -> subprocess.Popen[str]:
    numbers = " ".join(str(int(number)) for number in signals)
    return subprocess.Popen(
        [sys.executable, "-c", EARLY, numbers, "serve", "ws://127.0.0.1:1", *options],
        stderr=subprocess.PIPE,
        text=True,
    )


# -- While a process begins --------------------------------------------------------------------


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
@pytest.mark.parametrize("kept", [False, True])
def test_a_start_that_is_told_to_stop_ends_before_it_listens(
    tmp_path: Path, number: signal.Signals, kept: bool
) -> None:
    state = ("--state-dir", str(tmp_path / "state")) if kept else ()
    listen = f"unix:{tmp_path}/clients" if kept else "127.0.0.1:0"
    process = early(number, options=("--listen", listen, *state))
    _, log = process.communicate()
    assert process.returncode == 0, log
    assert f"got {number.name}" in log
    assert "listening" not in log
    assert "Traceback" not in log
    assert not (tmp_path / "clients").exists()
    if kept:  # what may have been restored is there for the next one
        assert "restored 0 sessions" in log


@socket_test
async def test_a_start_on_what_was_kept_leaves_it_to_the_next_one(
    bench: Bench, tmp_path: Path
) -> None:
    await bench.upstream.start()
    state = ("--state-dir", str(tmp_path / "state"))
    proxy = await bench.proxy(*state)
    await bench.connect()
    proxy.signal(signal.SIGKILL)
    await bench.proxies.pop().wait()
    for _ in range(2):
        process = early(signal.SIGTERM, options=("--listen", "127.0.0.1:0", *state))
        _, log = await asyncio.to_thread(process.communicate)
        assert process.returncode == 0
        assert "restored 1 session " in log
    proxy = await bench.proxy(*state)
    await proxy.logged("restored 1 session ")


def test_a_start_survives_what_is_harmless() -> None:
    process = early(*HARMLESS, options=("--listen", "127.0.0.1:0"))
    assert process.stderr is not None
    log = ""
    while "got SIGHUP" not in log or "got SIGUSR1" not in log or "listening" not in log:
        line = process.stderr.readline()
        assert line, log
        log += line
    process.terminate()
    process.communicate()
    assert process.returncode == 0


def test_a_start_that_waits_for_a_stranger_can_be_interrupted(tmp_path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as stranger:
        stranger.bind(os.fspath(tmp_path / "door"))
        stranger.listen()
        options = ("--listen", "127.0.0.1:0", "--takeover", str(tmp_path / "door"))
        process = early(options=options)
        came, _ = stranger.accept()
        process.send_signal(signal.SIGINT)
        _, log = process.communicate()
        came.close()
    assert process.returncode == 0
    assert log.rstrip().endswith("got SIGINT")


@pytest.mark.parametrize("outer", [set(), {signal.SIGHUP}])
def test_a_start_that_fails_leaves_the_signals_as_they_were(outer: set[signal.Signals]) -> None:
    before = signal.pthread_sigmask(signal.SIG_BLOCK, outer)
    try:
        expected = mask()
        handlers = {number: signal.getsignal(number) for number in HANDLED}
        for _ in range(2):
            with socket.create_server(("127.0.0.1", 0)) as taken:
                listen = f"127.0.0.1:{taken.getsockname()[1]}"
                result = CliRunner().invoke(main, ["serve", "ws://h:1", "--listen", listen])
            assert result.exit_code == 1
            assert mask() == expected
            assert {number: signal.getsignal(number) for number in HANDLED} == handlers
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def test_one_that_embeds_it_has_its_signals_back() -> None:
    before = mask()

    async def run() -> None:
        async with trio.open_nursery() as nursery:
            await nursery.start(serve, Config((Upstream("127.0.0.1", 1),), ()))
            assert not mask() & HANDLED
            os.kill(os.getpid(), signal.SIGTERM)

    with pytest.raises(ExceptionGroup):  # it has nowhere to listen
        trio.run(run)
    assert mask() == before


def test_a_start_can_not_be_stopped_where_it_shields_itself() -> None:
    """The signal comes again, to whoever takes it then."""

    async def start() -> str:
        with trio.CancelScope(shield=True):
            os.kill(os.getpid(), signal.SIGTERM)
            await arrive()
            return "started"

    async def run() -> int:
        with receive() as signals:
            assert await unless_stopped(signals.stop, start) == "started"
            with trio.fail_after(LIMIT):
                return await anext(signals.stop)
        raise AssertionError

    with held_back():
        assert trio.run(run) == signal.SIGTERM


# -- Takeovers ---------------------------------------------------------------------------------


async def begin(bench: Bench, *options: str) -> Succession:
    proxy = Succession(f"ws://127.0.0.1:{bench.upstream.port}", *options)
    await proxy.begin()
    bench.proxies.append(proxy)
    return proxy


def children(pid: int) -> list[int]:
    """The processes that it has started (Linux)."""
    return [int(each) for each in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


@pytest.mark.skipif(not Path("/proc/self/task").exists(), reason="needs /proc")
@socket_test
async def test_signals_from_the_first_moment_of_a_successor_cost_nothing(
    bench: Bench, tmp_path: Path
) -> None:
    await bench.upstream.start()
    proxy = await begin(bench, "--admin", "127.0.0.1:0", "--state-dir", str(tmp_path / "state"))
    client, server = await bench.connect(), await bench.upstream.accept()
    proxy.signal(signal.SIGUSR2)
    while not (started := children(proxy.pid)):
        await asyncio.sleep(0.001)
    for _ in range(20):  # from before its first line of Python on
        for number in HARMLESS:
            os.kill(started[0], number)
        await asyncio.sleep(0.02)
    await proxy.taken_over()
    assert proxy.pid == started[0]
    for number in (*HARMLESS, signal.SIGUSR2, signal.SIGUSR2):  # one of which is enough
        proxy.signal(number)
    await proxy.taken_over()
    await client.send("still there")
    assert await server.recv() == "still there"


@pytest.mark.parametrize("by_path", [False, True])
@socket_test
async def test_a_successor_that_is_told_to_stop_at_once_sends_its_sessions_away(
    bench: Bench, tmp_path: Path, by_path: bool
) -> None:
    await bench.upstream.start()
    door = str(tmp_path / "door")
    proxy = await begin(bench, "--admin", "127.0.0.1:0", "--takeover", door)
    client, server = await bench.connect(), await bench.upstream.accept()
    if by_path:
        await proxy.start()
    else:
        proxy.signal(signal.SIGUSR2)
    await proxy.taken_over()
    proxy.signal(signal.SIGTERM)
    assert await closed(client) == (1012, "the proxy restarts")
    assert (await closed(server))[0] == 1001
    assert await bench.proxies.pop().stop() == 0


@socket_test
async def test_a_process_that_is_told_to_stop_before_its_successor_is_ready_stops(
    bench: Bench,
) -> None:
    await bench.upstream.start()
    proxy = await begin(bench)
    client = await bench.connect()
    proxy.signal(signal.SIGUSR2)
    await proxy.logged("starting the process")
    proxy.signal(signal.SIGTERM)
    proxy.signal(signal.SIGUSR2)
    assert await closed(client) == (1012, "the proxy restarts")
    assert await bench.proxies.pop().stop() == 0  # and nobody else writes the log


@socket_test
async def test_two_that_come_at_once_leave_one(bench: Bench, tmp_path: Path) -> None:
    await bench.upstream.start()
    proxy = await begin(bench, "--takeover", str(tmp_path / "door"))
    client, server = await bench.connect(), await bench.upstream.accept()
    proxy.signal(signal.SIGUSR2)
    both = [await proxy.start(), await proxy.start()]
    await proxy.logged("has taken over")
    await client.send("still there")
    assert await server.recv() == "still there"
    taken = re.findall(r"process (\d+) has taken over", "\n".join(proxy.lines))
    for pid in {*map(int, taken), *(process.pid for process in both)}:
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGTERM)
    proxy._started = proxy._started[:1]  # the others may have come too late, and failed
    assert await bench.proxies.pop().stop() == 0
    for process in both:
        await process.wait()


# -- What means nothing here -------------------------------------------------------------------


@socket_test
async def test_signals_that_mean_nothing_are_a_line_each_time(bench: Bench) -> None:
    """Also while it drains."""
    await bench.raw_upstream.start()
    proxy = await bench.proxy("--close-timeout", "60", "--drain-time", "0")
    client, server = await bench.raw_pair()
    for times in (1, 2):
        for number in HARMLESS:
            proxy.signal(number)
            await proxy.logged(f"got {number.name}", times)
    client.send(frame(TEXT, b"still there"))
    assert (await server.read_message()).payload == b"still there"
    proxy.signal(signal.SIGTERM)
    assert (await client.read_message()).close[0] == 1012
    for number in HARMLESS:
        proxy.signal(number)
        await proxy.logged(f"got {number.name}", 3)
    proxy.signal(signal.SIGUSR2)
    await proxy.logged("not taken over: this process is stopping")
    proxy.signal(signal.SIGTERM)
    assert await proxy.wait() == 0


async def several(signals: list[int]) -> AsyncIterator[int]:
    for number in signals:
        yield number
    await trio.sleep_forever()


def logged(caplog: pytest.LogCaptureFixture, text: str) -> Callable[[], bool]:
    return lambda: text in caplog.text


def play(restarts: Restarts, until: Callable[[], bool], signals: int = 1) -> None:
    """Let restarts run until then."""

    async def run() -> None:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(restarts.run, several([signal.SIGUSR2] * signals))
            with trio.fail_after(LIMIT):
                while not until():
                    await trio.sleep(0.01)
            nursery.cancel_scope.cancel()

    trio.run(run)


def test_a_successor_that_can_not_even_be_started_costs_nothing(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, tmp_path: Path
) -> None:
    """As where an upgrade has removed the interpreter."""
    monkeypatch.setattr(sys, "executable", str(tmp_path / "gone"))
    restarts = Restarts(lambda _: None, lambda: True)
    play(restarts, lambda: caplog.text.count("not taken over: No such file") == 2, signals=2)


def test_a_process_that_has_handed_over_starts_no_other(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    given: list[Channel] = []
    door = TakeoverSocket(tmp_path / "door")
    door.socket.setblocking(False)

    async def come_and_signal() -> AsyncIterator[int]:
        channel = await predecessor(tmp_path / "door", "")
        assert channel is not None
        channel.close()
        await trio.testing.wait_all_tasks_blocked()
        yield signal.SIGUSR2
        await trio.sleep_forever()

    async def run() -> None:
        restarts = Restarts(given.append, lambda: True, door)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(restarts.run, come_and_signal())
            with trio.fail_after(LIMIT):
                while "not taken over: another process has taken over" not in caplog.text:
                    await trio.sleep(0.01)
            nursery.cancel_scope.cancel()

    trio.run(run)
    assert len(given) == 1
    assert "starting the process" not in caplog.text


def test_silent_strangers_hold_up_no_takeover(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(restart, "ANSWER_LIMIT", 3600.0)
    given: list[Channel] = []
    door = TakeoverSocket(tmp_path / "door")
    door.socket.setblocking(False)
    strangers = [socket.socket(socket.AF_UNIX) for _ in range(6 * restart.PLACES)]
    for stranger in strangers:
        stranger.connect(str(tmp_path / "door"))

    async def run() -> None:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(Restarts(given.append, lambda: True, door).run, several([]))
            with trio.fail_after(LIMIT):
                channel = await predecessor(tmp_path / "door", "")
            assert channel is not None
            channel.close()
            kept.extend(stranger for stranger in strangers if not is_sent_away(stranger))
            nursery.cancel_scope.cancel()

    kept: list[socket.socket] = []
    trio.run(run)
    assert len(given) == 1
    assert kept == strangers[1 - restart.PLACES :]  # one of their places was the process's
    gave_way = caplog.text.count("it said nothing, and others have come")
    assert gave_way == len(strangers) - len(kept)
    for stranger in strangers:
        stranger.close()


def is_sent_away(stranger: socket.socket) -> bool:
    """Whether it has been closed, behind the Hello."""
    stranger.setblocking(False)
    try:
        while stranger.recv(4096):
            pass
    except BlockingIOError:
        return False
    return True


def test_nothing_is_begun_while_it_stops(caplog: pytest.LogCaptureFixture) -> None:
    def hand_over(_: Channel) -> None:
        raise TakeoverError("asked")

    play(Restarts(hand_over, lambda: False), logged(caplog, "this process is stopping"))
    assert "starting the process" not in caplog.text
