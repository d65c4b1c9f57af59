"""The log's two forms, and the hook that sends events away."""

import json
import logging
import os
import threading
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import IO

import pytest
import trio
import trio.testing
from reknit.observe.event_hook import BATCH, QUEUE, EventHook
from reknit.observe.logs import LOG, log_to_stderr, tell
from reknit.settings.options import LogFormat, LogLevel

EVIL = "evil\n2026 ERROR forged \x1b[31m"


@pytest.fixture(autouse=True)
def _logger() -> Iterator[None]:
    """The logger as it was before."""
    handlers, level, propagate = LOG.handlers, LOG.level, LOG.propagate
    filters = [*LOG.filters]
    yield
    LOG.setLevel(level)
    LOG.filters = filters
    LOG.handlers, LOG.propagate = handlers, propagate


def drop(number: int = 1) -> None:
    text = "%(session)s queue full: %(total)d to the %(side)s dropped"
    tell(logging.WARNING, "dropped", text, session="a1", side="client", total=number)


# -- Forms -------------------------------------------------------------------------------------


@pytest.fixture
def file(tmp_path: Path) -> Iterator[IO[bytes]]:
    """In place of standard error, to which another test's log may still have something to say."""
    with (tmp_path / "log").open("w+b", buffering=0) as opened:
        yield opened


def said(file: IO[bytes]) -> str:
    """What is in it."""
    return os.pread(file.fileno(), 65536, 0).decode()


def test_one_is_not_said_as_several_are(file: IO[bytes]) -> None:
    outlet = log_to_stderr(LogLevel.INFO, descriptor=file.fileno())
    text = "%(back)d sessions have returned, %(ended)d have ended, %(left)d wait (%(size)d bytes)"
    for one in (1, 2):
        tell(logging.INFO, "outage_ended", text, back=one, ended=3 - one, left=one, size=one)
    assert outlet.flush()
    first, second = said(file).splitlines()
    assert first.endswith("1 session has returned, 2 have ended, 1 waits (1 byte)")
    assert second.endswith("2 sessions have returned, 1 has ended, 2 wait (2 bytes)")


def test_an_event_as_text(file: IO[bytes]) -> None:
    outlet = log_to_stderr(LogLevel.INFO, descriptor=file.fileno())
    drop(7)
    assert outlet.flush()
    assert said(file).endswith(" WARNING a1 queue full: 7 to the client dropped\n")


def test_the_time_has_its_offset(file: IO[bytes]) -> None:
    outlet = log_to_stderr(LogLevel.INFO, descriptor=file.fileno())
    before = datetime.now(UTC)
    drop()
    assert outlet.flush()
    said_at = datetime.fromisoformat(said(file).split(" ")[0])
    assert said_at.utcoffset() is not None
    assert before - timedelta(milliseconds=1) <= said_at <= datetime.now(UTC)


@pytest.mark.parametrize("form", [LogFormat.TEXT, LogFormat.JSON])
def test_the_journal_reads_the_level_and_has_its_own_time(
    file: IO[bytes], form: LogFormat, monkeypatch: pytest.MonkeyPatch
) -> None:
    status = os.fstat(file.fileno())
    monkeypatch.setenv("JOURNAL_STREAM", f"{status.st_dev}:{status.st_ino}")
    outlet = log_to_stderr(LogLevel.DEBUG, form, file.fileno())
    tell(logging.DEBUG, "asked", "one")
    tell(logging.INFO, "asked", "two")
    drop()
    log_error_with_a_secret()
    assert outlet.flush()
    lines = said(file).splitlines()
    assert [line[:3] for line in lines[:4]] == ["<7>", "<6>", "<4>", "<3>"]
    assert {line[:3] for line in lines[4:]} <= {"<3>"}  # of the traceback
    if form is LogFormat.TEXT:
        assert lines[1] == "<6>INFO two"


def test_standard_error_that_is_not_the_journal_has_times(
    file: IO[bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("JOURNAL_STREAM", "8:12345")  # of a service that has started another program
    outlet = log_to_stderr(LogLevel.INFO, descriptor=file.fileno())
    drop()
    assert outlet.flush()
    assert not said(file).startswith("<")


def test_a_line_is_the_same_where_others_listen_too(file: IO[bytes]) -> None:
    outlet = log_to_stderr(LogLevel.INFO, descriptor=file.fileno(), worker=2)
    for handler in (None, logging.NullHandler()):
        if handler is not None:
            LOG.addHandler(handler)
        tell(logging.INFO, "signal", "100% done")
        tell(logging.INFO, "transition", "%(session)s: %(reason)s", session="a1", reason=EVIL)
        tell(logging.DEBUG, "asked", "not shown")
    assert outlet.flush()
    lines = [line.split(" ", 1)[1] for line in said(file).splitlines()]
    assert lines[0] == "[2] INFO 100% done"
    assert len(lines) == 4
    assert lines[:2] == lines[2:]


def test_an_event_as_json(file: IO[bytes]) -> None:
    outlet = log_to_stderr(LogLevel.INFO, LogFormat.JSON, file.fileno())
    drop(7)
    tell(logging.INFO, "signal", "100% done")
    tell(logging.DEBUG, "asked", "not shown")
    tell(logging.INFO, "transition", "%(session)s: %(reason)s", session="a1", reason=EVIL)
    assert outlet.flush()
    first, second, third = said(file).splitlines()
    document = json.loads(first)
    assert datetime.fromisoformat(document.pop("time")).tzinfo is not None
    assert document == {
        "level": "warning",
        "event": "dropped",
        "session": "a1",
        "side": "client",
        "total": 7,
        "message": "a1 queue full: 7 to the client dropped",
    }
    assert json.loads(second)["message"] == "100% done"
    assert json.loads(third)["reason"] == EVIL


def test_an_error_of_ours_as_json(file: IO[bytes]) -> None:
    outlet = log_to_stderr(LogLevel.ERROR, LogFormat.JSON, file.fileno())
    log_error_with_a_secret()
    assert outlet.flush()
    (line,) = said(file).splitlines()
    document = json.loads(line)
    assert document["event"] == "error"
    assert document["message"] == "a1 ends by an error of the proxy"
    check_trace(document["traceback"])


def test_an_error_of_ours_as_text(file: IO[bytes]) -> None:
    outlet = log_to_stderr(LogLevel.ERROR, descriptor=file.fileno())
    log_error_with_a_secret()
    assert outlet.flush()
    line, _, trace = said(file).partition("\n")
    assert line.endswith("ERROR a1 ends by an error of the proxy")
    check_trace(trace)


def log_error_with_a_secret() -> None:
    secret = "Bearer of bad news"
    try:
        try:
            raise KeyError(secret)
        except KeyError as error:
            raise ValueError(f"no {secret}") from error
    except ValueError:
        LOG.exception("%s ends by an error of the proxy", "a1")


def check_trace(trace: str) -> None:
    """It says where and which, and nothing that a peer has sent."""
    assert "raise KeyError(secret)\nKeyError\n" in trace
    assert trace.rstrip().endswith('raise ValueError(f"no {secret}") from error\nValueError')
    assert "Bearer" not in trace


# -- The hook ----------------------------------------------------------------------------------


class Receiver:
    """An HTTP server for events. `statuses`: what it answers first, then 204."""

    def __init__(self, *statuses: int) -> None:
        self.batches: list[dict[str, object]] = []
        self.requests = 0
        self.gate = threading.Event()  # a request waits for it
        self.gate.set()
        self._statuses = list(statuses)
        receiver = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["content-length"]))
                receiver.requests += 1
                receiver.gate.wait(10)
                self.send_response(receiver.answer(json.loads(body)))
                self.send_header("content-length", "0")
                self.send_header("location", "/elsewhere")
                self.end_headers()

            def log_message(self, *args: object) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self._server.server_address[1]}/hook?key=secret"

    def refuse(self, times: int) -> None:
        """Answer the next requests with 500."""
        self._statuses += [500] * times

    def answer(self, batch: dict[str, object]) -> int:
        status = self._statuses.pop(0) if self._statuses else 204
        if status == 204:
            self.batches.append(batch)
        return status

    @contextmanager
    def serving(self) -> Iterator[None]:
        thread = threading.Thread(target=self._server.serve_forever, args=(0.01,))
        thread.start()
        try:
            yield
        finally:
            self.gate.set()
            self._server.shutdown()
            thread.join()
            self._server.server_close()

    @property
    def events(self) -> list[tuple[object, object]]:
        """What arrived: each event's name and total."""
        return [
            (event["event"], event.get("total"))
            for batch in self.batches
            for event in batch["events"]  # type: ignore[attr-defined]
        ]


async def until(condition: Callable[[], bool]) -> None:
    while not condition():
        await trio.sleep(0.5)


def with_hook(
    url: str, test: Callable[[EventHook], Awaitable[None]], *, jump: bool = True
) -> EventHook:
    """Run the test beside a hook; the clock may jump where all wait, also for the receiver."""
    hook: EventHook | None = None

    async def run() -> None:
        nonlocal hook
        hook = EventHook(url)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(hook.run)
            await trio.testing.wait_all_tasks_blocked()
            await test(hook)
            nursery.cancel_scope.cancel()

    LOG.setLevel(logging.ERROR)  # a quiet log does not quieten the hook
    trio.run(run, clock=trio.testing.MockClock(autojump_threshold=0.01) if jump else None)
    assert hook is not None
    return hook


def test_events_arrive_in_order_in_batches() -> None:
    receiver = Receiver()

    async def test(hook: EventHook) -> None:
        for number in range(BATCH + 1):
            drop(number)
        tell(logging.DEBUG, "dial", "not an event for the hook")
        LOG.error("nor this")
        await until(lambda: len(receiver.batches) == 2)

    with receiver.serving():
        hook = with_hook(receiver.url, test)
    assert [len(batch["events"]) for batch in receiver.batches] == [BATCH, 1]  # type: ignore[arg-type]
    assert receiver.events == [("dropped", number) for number in range(BATCH + 1)]
    assert hook.count_lost() == 0
    assert LOG.level == logging.ERROR
    assert hook not in LOG.handlers


def test_a_batch_is_tried_again() -> None:
    receiver = Receiver(503, 302)

    async def test(hook: EventHook) -> None:
        drop(1)
        await until(lambda: receiver.batches != [])

    with receiver.serving():
        hook = with_hook(receiver.url, test)
    assert receiver.events == [("dropped", 1)]
    assert receiver.requests == 3
    assert hook.count_lost() == 0


def test_what_could_not_be_sent_is_counted_and_told(caplog: pytest.LogCaptureFixture) -> None:
    receiver = Receiver(500, 500, 500)

    async def test(hook: EventHook) -> None:
        LOG.setLevel(logging.INFO)
        drop(1)
        drop(2)
        await until(lambda: hook.count_lost() == 2)
        drop(3)
        await until(lambda: receiver.batches != [])

    with receiver.serving():
        hook = with_hook(receiver.url, test)
    assert receiver.events == [("dropped", 3)]  # and not the hook's own words of its failure
    assert receiver.batches[0]["lost"] == 2
    assert hook.count_lost() == 2
    assert "2 events could not be sent: the receiver answered 500" in caplog.text
    assert "secret" not in caplog.text


def test_a_receiver_that_stays_away_does_not_fill_the_log(caplog: pytest.LogCaptureFixture) -> None:
    receiver = Receiver(*[500] * 30)

    async def test(hook: EventHook) -> None:
        LOG.setLevel(logging.INFO)
        for number in range(1, 11):
            drop(number)
            await until(lambda number=number: hook.count_lost() == number)  # type: ignore[misc]
        drop(11)
        await until(lambda: receiver.batches != [])
        receiver.refuse(3)
        drop(12)
        await until(lambda: hook.count_lost() == 11)

    with receiver.serving():
        with_hook(receiver.url, test)
    said = [line.rpartition("; ")[2] for line in caplog.messages if "could not be sent" in line]
    assert said == [f"{number} batches so far" for number in (1, 2, 4, 8, 1)]
    assert receiver.batches[0]["lost"] == 10


def test_a_receiver_that_is_down(caplog: pytest.LogCaptureFixture) -> None:
    receiver = Receiver()
    with receiver.serving():
        pass

    async def test(hook: EventHook) -> None:
        LOG.setLevel(logging.INFO)
        drop(1)
        await until(lambda: hook.count_lost() == 1)

    hook = with_hook(receiver.url, test)
    assert hook.count_lost() == 1
    assert "refused" in caplog.text
    assert "127.0.0.1" not in caplog.text


def test_a_slow_receiver_holds_nobody_up_and_memory_stays_bounded() -> None:
    receiver = Receiver()
    receiver.gate.clear()

    async def test(hook: EventHook) -> None:
        drop(0)
        await until(lambda: receiver.requests == 1)
        for number in range(QUEUE + 5):
            drop(number)  # returns at once, though the receiver is silent
        assert hook.count_lost() == 5
        receiver.gate.set()
        await until(lambda: len(receiver.events) == QUEUE + 1)

    with receiver.serving():
        hook = with_hook(receiver.url, test)
    assert receiver.events[1] == ("dropped", 5)
    assert receiver.events[-1] == ("dropped", QUEUE + 4)
    assert sum(int(str(batch["lost"])) for batch in receiver.batches) == hook.count_lost() == 5


def test_the_end_does_not_wait_for_a_silent_receiver() -> None:
    receiver = Receiver()
    receiver.gate.clear()

    async def test(hook: EventHook) -> None:
        drop(1)
        began = trio.current_time()
        await hook.finish()
        assert trio.current_time() - began < 5

    with receiver.serving():
        with_hook(receiver.url, test)


def test_the_end_sends_what_is_left() -> None:
    receiver = Receiver()

    async def test(hook: EventHook) -> None:
        drop(1)
        await hook.finish()

    with receiver.serving():
        with_hook(receiver.url, test, jump=False)
    assert receiver.events == [("dropped", 1)]
