"""Standard error, for which nothing ever waits: a thread writes what others put into a queue.

A pipe that nobody reads, a paused terminal or a log driver that blocks would hold up the loop,
and with it every session. Here such a reader loses lines: they are counted, and it is told how
many when it goes on. The descriptor stays as it is, as others share it: O_NONBLOCK would be theirs
too.
"""

import atexit
import io
import os
import select
import signal
import sys
from collections import deque
from collections.abc import Callable
from threading import Condition, RLock, Thread
from time import monotonic, sleep

LINES = 10_000  # that wait at one time
BYTES = 1024 * 1024  # of these lines
CHUNK = 4096  # bytes a write: a pipe keeps so many together, whoever else writes (PIPE_BUF)
GATHERS = 0.05  # seconds: lines that come within it go together, as each time wakes a thread
LAST = 1.0  # seconds for what is left when the process ends


class Outlet:
    """Writes lines to `descriptor`. `note`: the line that says how many were lost before it."""

    def __init__(self, descriptor: int, note: Callable[[int], bytes]) -> None:
        self._descriptor = descriptor
        self._note = note
        self._queue: deque[tuple[bytes, int]] = deque()
        """Each line, and how many lost ones it tells of: 0, but for a note."""
        self._size = 0  # bytes in the queue
        self._lock = RLock()  # what a warning says, which comes at any time, is put here too
        self._changed = Condition(self._lock)
        self._is_writing = False
        self._failed = False  # the last write: the next one is tried when there is a new line
        self._is_torn = False  # a line that was written in part wants its end
        self._untold = 0
        self.lost = 0
        """How many lines could not be written so far."""
        # A thread inherits the signals that are blocked: this one takes none, which the main
        # thread may want to keep waiting.
        mask = signal.pthread_sigmask(signal.SIG_BLOCK, signal.valid_signals())
        self.thread = Thread(target=self._run, name="log", daemon=True)
        self.thread.start()
        signal.pthread_sigmask(signal.SIG_SETMASK, mask)

    def put(self, line: bytes) -> None:
        """Have that line written, or lose it where too many wait. Returns at once."""
        with self._lock:
            if not self._has_room(len(line)):
                self.lost += 1
                self._untold += 1
                return
            is_first = not self._queue  # else the thread has been told, or is at it
            if self._untold:
                self._tell_lost()
            self._queue.append((line, 0))
            self._size += len(line)
            if is_first:
                self._changed.notify_all()

    def flush(self, seconds: float = LAST) -> bool:
        """Wait until all is written, for so long at most; whether it is."""
        until = monotonic() + seconds
        with self._changed:
            return self._changed.wait_for(
                lambda: not (self._is_writing or self._has_work()), max(0.0, until - monotonic())
            )

    def _has_room(self, size: int) -> bool:
        # Where lines were lost, half must be free again: one note for many, not one for each.
        share = 2 if self._untold else 1
        return len(self._queue) < LINES // share and self._size + size <= BYTES // share

    def _tell_lost(self) -> None:
        if self._untold:
            note = self._note(self._untold)
            self._queue.append((note, self._untold))
            self._size += len(note)
            self._untold = 0

    # -- The thread ----------------------------------------------------------------------------

    def _run(self) -> None:
        while True:
            with self._changed:
                self._changed.wait_for(self._has_work)
                lines = self._take()
                self._is_writing = True
            is_written = self._write(b"".join(line for line, _ in lines))
            with self._changed:
                self._is_writing = False
                self._failed = not is_written
                if self._failed:
                    fresh = sum(not told for _, told in lines)
                    self.lost += fresh
                    self._untold += fresh + sum(told for _, told in lines)
                self._changed.notify_all()
                is_done = not self._queue
            if is_done:
                sleep(GATHERS)

    def _has_work(self) -> bool:
        return bool(self._queue) or bool(self._untold and not self._failed)

    def _take(self) -> list[tuple[bytes, int]]:
        """What goes out in one write: at least one line."""
        if not self._queue:
            self._tell_lost()
        lines: list[tuple[bytes, int]] = []
        size = 0
        while self._queue and (not lines or size + len(self._queue[0][0]) <= CHUNK):
            lines.append(self._queue.popleft())
            size += len(lines[-1][0])
        self._size -= size
        return lines

    def _write(self, data: bytes) -> bool:
        """Whether all of it could be written, however long that took."""
        left = memoryview(b"\n" + data if self._is_torn else data)
        while left:
            try:
                count = os.write(self._descriptor, left)
            except BlockingIOError:  # somebody else has made it so
                self._wait_writable()
            except OSError:  # nobody will read it, or there is no room on the disk
                return False
            else:
                self._is_torn = count < len(left)
                left = left[count:]
        return True

    def _wait_writable(self) -> None:
        poll = select.poll()
        poll.register(self._descriptor, select.POLLOUT)
        poll.poll()


class OutletStream(io.TextIOBase):
    """A text stream into an outlet, line by line: for what else writes to standard error."""

    def __init__(self, outlet: Outlet) -> None:
        self._outlet = outlet
        self._begun = ""

    @property
    def encoding(self) -> str:  # type: ignore[override]
        """As what text is written."""
        return "utf-8"

    def writable(self) -> bool:
        """Yes."""
        return True

    def write(self, text: str) -> int:
        """Put the lines that are complete; returns the number of characters."""
        *lines, self._begun = (self._begun + text).split("\n")
        for line in lines:
            self._put(line + "\n")
        return len(text)

    def flush(self) -> None:
        """Put what is begun."""
        if self._begun:
            self._put(self._begun)
            self._begun = ""

    def _put(self, text: str) -> None:
        self._outlet.put(text.encode(errors="backslashreplace"))


def divert_stderr(outlet: Outlet) -> None:
    """Warnings, tracebacks and the last words wait for nobody either, also not at exit."""
    if sys.stderr is sys.__stderr__:
        sys.stderr = OutletStream(outlet)
    atexit.register(outlet.flush)
