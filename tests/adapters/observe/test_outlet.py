"""Standard error that nobody reads, that is full or closed: nobody waits for it."""

import fcntl
import json
import logging
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from reknit.observe.logs import LOG, JsonFormatter, OutletHandler, count_lost_lines, tell
from reknit.observe.outlet import BYTES, CHUNK, LINES, Outlet, OutletStream
from reknit.settings.options import LogLevel

LIMIT = 20.0  # seconds within which what is waited for has to happen


def note(lost: int) -> bytes:
    return b"lost %d\n" % lost


class Pipe:
    """A pipe, and an outlet that writes to it."""

    def __init__(self) -> None:
        self.reader, self.writer = os.pipe()
        self.outlet = Outlet(self.writer, note)
        self.read = b""

    def read_all(self) -> list[bytes]:
        """Read until the outlet has no more; its lines."""
        reading = threading.Thread(target=self._read)
        reading.start()
        assert self.outlet.flush(LIMIT)
        os.close(self.writer)
        reading.join()
        return self.read.splitlines()

    def _read(self) -> None:
        while data := os.read(self.reader, 65536):
            self.read += data

    def close(self) -> None:
        os.close(self.reader)


@pytest.fixture
def pipe() -> Iterator[Pipe]:
    opened = Pipe()
    yield opened
    opened.close()


def check_told(lines: list[bytes], sent: int) -> int:
    """What came is in order, and each gap is told of where it is; returns the number of notes."""
    number = notes = 0
    for line in lines:
        if line.startswith(b"lost "):
            number += int(line[5:])
            notes += 1
        else:
            assert int(line) == number
            number += 1
    assert number == sent
    return notes


def test_a_pipe_that_nobody_reads_loses_lines_and_is_told_how_many(pipe: Pipe) -> None:
    sent = 4 * LINES
    for number in range(sent):
        pipe.outlet.put(b"%050d\n" % number)  # returns at once: this test would hang
    assert LINES <= sent - pipe.outlet.lost < 2 * LINES
    lines = pipe.read_all()  # the note comes though no other line does
    assert check_told(lines, sent) == 1
    assert sum(int(line[5:]) for line in lines if line.startswith(b"lost ")) == pipe.outlet.lost


def test_a_reader_that_is_too_slow_gets_few_notes(pipe: Pipe) -> None:
    sent = 0
    for _ in range(20):
        for _ in range(LINES):
            pipe.outlet.put(b"%05d\n" % sent)
            sent += 1
        pipe.read += os.read(pipe.reader, 4096)
    lines = pipe.read_all()
    assert check_told(lines, sent) <= 5
    assert pipe.outlet.lost > 0


def test_bytes_are_bounded_too(pipe: Pipe) -> None:
    sent = 3 * BYTES // 1000
    for number in range(sent):
        pipe.outlet.put(b"%0999d\n" % number)
    assert sent - pipe.outlet.lost < (BYTES + 70_000) // 1000
    assert check_told(pipe.read_all(), sent) == 1


def test_a_line_longer_than_a_write_is_whole(pipe: Pipe) -> None:
    pipe.outlet.put(b"a" * 40 * CHUNK + b"\n")
    pipe.outlet.put(b"b\n")
    assert [len(line) for line in pipe.read_all()] == [40 * CHUNK, 1]


def test_the_end_waits_for_a_reader_so_long_only(pipe: Pipe) -> None:
    for number in range(LINES):
        pipe.outlet.put(b"%050d\n" % number)
    assert not pipe.outlet.flush(0.05)
    assert check_told(pipe.read_all(), LINES) == 0


def test_the_descriptor_stays_as_it_was_and_may_be_non_blocking(pipe: Pipe) -> None:
    flags = fcntl.fcntl(pipe.writer, fcntl.F_GETFL)
    pipe.outlet.put(b"0\n")
    assert pipe.outlet.flush(LIMIT)
    assert fcntl.fcntl(pipe.writer, fcntl.F_GETFL) == flags
    os.set_blocking(pipe.writer, False)
    for number in range(1, LINES):
        pipe.outlet.put(b"%050d\n" % number)
    assert check_told(pipe.read_all(), LINES) == 0


def test_what_can_not_be_written_is_counted_and_told_when_it_can(tmp_path: Path) -> None:
    file = tmp_path / "log"
    with Path("/dev/full").open("wb") as full, file.open("wb") as good:
        shared = os.dup(full.fileno())
        outlet = Outlet(shared, note)
        for number in range(3):
            outlet.put(b"%d\n" % number)
            assert outlet.flush(LIMIT)
            assert outlet.lost == number + 1
        os.dup2(good.fileno(), shared)  # there is room again
        outlet.put(b"3\n")
        assert outlet.flush(LIMIT)
        os.close(shared)
    assert file.read_bytes() == b"lost 3\n3\n"
    assert outlet.lost == 3


def test_a_pipe_without_a_reader_ends_nothing() -> None:
    reader, writer = os.pipe()
    os.close(reader)
    outlet = Outlet(writer, note)
    outlet.put(b"0\n")
    outlet.put(b"1\n")
    assert outlet.flush(LIMIT)
    assert outlet.lost == 2
    os.close(writer)


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_its_thread_takes_no_signal(pipe: Pipe) -> None:
    assert pipe.outlet.thread.ident is not None
    status = Path(f"/proc/self/task/{pipe.outlet.thread.native_id}/status").read_text()
    (blocked,) = (line.split()[1] for line in status.splitlines() if line.startswith("SigBlk"))
    for number in (signal.SIGTERM, signal.SIGHUP, signal.SIGUSR2, signal.SIGINT):
        assert int(blocked, 16) & 1 << number - 1
        assert number not in signal.pthread_sigmask(signal.SIG_BLOCK, ())


def test_a_stream_puts_lines(pipe: Pipe) -> None:
    stream = OutletStream(pipe.outlet)
    stream.write("a")
    stream.write("b\nc\nd")
    stream.flush()
    print("\udc80", file=stream)
    assert pipe.read_all() == [b"ab", b"c", b"d\\udc80"]


# -- The log through it ------------------------------------------------------------------------


def test_the_note_has_the_logs_form() -> None:
    handlers, level = LOG.handlers, LOG.level
    reader, writer = os.pipe()
    os.close(reader)
    try:
        handler = OutletHandler(LogLevel.INFO, JsonFormatter(), writer)
        LOG.handlers = [handler]
        LOG.setLevel(logging.INFO)
        tell(logging.INFO, "signal", "got %(name)s", name="SIGTERM")
        assert handler.outlet.flush(LIMIT)
        assert count_lost_lines() == 1
        reader, into = os.pipe()
        os.dup2(into, writer)  # somebody reads
        os.close(into)
        tell(logging.INFO, "signal", "got %(name)s", name="SIGHUP")
        assert handler.outlet.flush(LIMIT)
        first, second = map(json.loads, os.read(reader, 4096).splitlines())
        os.close(reader)
    finally:
        LOG.handlers = handlers
        LOG.setLevel(level)
        os.close(writer)
    assert (first["event"], first["level"], first["number"]) == ("log_lost", "warning", 1)
    assert first["message"] == "1 lines were lost: nobody took them"
    assert second["message"] == "got SIGHUP"


# -- Real processes ----------------------------------------------------------------------------

SERVE = "from reknit.cli.main import main; main()"
# A crash, with more on standard error than the pipe holds, of which nothing is read.
CRASH = """
import sys
from reknit.observe.outlet import divert_stderr
from reknit.observe.logs import log_to_stderr
from reknit.settings.options import LogLevel
divert_stderr(log_to_stderr(LogLevel.INFO))
for _ in range(3000):
    print("x" * 99, file=sys.stderr)
raise ValueError("the end")
"""


def test_a_crash_ends_though_nobody_reads_why() -> None:
    process = subprocess.Popen([sys.executable, "-c", CRASH], stderr=subprocess.PIPE)
    assert process.wait(LIMIT) == 1
    assert process.stderr is not None
    process.stderr.close()


def test_a_crash_is_told_to_the_last_line() -> None:
    run = subprocess.run([sys.executable, "-c", CRASH], stderr=subprocess.PIPE, check=False)
    assert run.stderr.endswith(b"\nValueError: the end\n")
    assert run.stderr.count(b"x" * 99) == 3000


def test_it_starts_and_ends_without_any_standard_file() -> None:
    command = (
        f"exec {sys.executable} -c '{SERVE}' serve ws://127.0.0.1:9 --listen nowhere.invalid:1"
    )
    run = subprocess.run(["sh", "-c", f"{command} <&- >&- 2>&-"], check=False, timeout=LIMIT)
    assert run.returncode == 1
