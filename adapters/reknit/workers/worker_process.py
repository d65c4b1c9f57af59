"""A worker, as the parent has it: its process, and what is said to it and by it."""

import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterable
from itertools import count
from logging import ERROR
from typing import Protocol

import msgspec
import trio

from reknit.observe.logs import tell
from reknit.process.mask import held_back
from reknit.process.serve import WorkerError
from reknit.process.takeover import Channel
from reknit.workers.messages import (
    TO_PARENT,
    Answer,
    Ask,
    Begin,
    Drained,
    Failed,
    Go,
    Here,
    Link,
    Loaded,
    ToParent,
    ToWorker,
    Up,
)

ENDING = 1.0  # seconds between a worker's last word and its end
POLL = 0.01  # seconds between two looks at whether it has come

NOT_THEIRS = (
    *("NOTIFY_SOCKET", "WATCHDOG_USEC", "WATCHDOG_PID"),
    *("LISTEN_PID", "LISTEN_FDS", "LISTEN_FDNAMES", "REKNIT_TAKEOVER_FD"),
)
"""What of the environment is for the parent alone."""


class Descriptor(Protocol):
    """Something with a file descriptor."""

    def fileno(self) -> int:
        """The descriptor."""


class WorkerProcess:
    """A process that is a worker. `run` watches it until it has ended."""

    def __init__(self, number: int) -> None:
        self.number = number
        self.loaded = trio.Event()
        self.up = trio.Event()
        self.drained = trio.Event()
        """Each of these is also set when it has ended."""
        self.ended = trio.Event()
        self.reason = ""
        """Why it could not begin, or how it ended."""
        self.damaged: list[str] = []
        self.serves = False
        """Whether it was told to, and has not ended."""
        self.silent = 0
        """How many roll calls in a row it has not answered."""
        self.began = trio.current_time()
        self._calls = count(1)
        self._waiting: dict[int, trio.MemorySendChannel[Answer]] = {}

    def start(self, begin: Begin, inbox: Descriptor, inboxes: Iterable[Descriptor]) -> None:
        """Start the process; it is told `begin`, with the numbers of these. Raises OSError."""
        ours, theirs = socket.socketpair()
        channel, its_channel = socket.socketpair()
        begin = msgspec.structs.replace(
            begin,
            number=self.number,
            inbox=inbox.fileno(),
            inboxes=[each.fileno() for each in inboxes],
            channel=its_channel.fileno(),
        )
        with theirs, its_channel, held_back():
            self.process = subprocess.Popen(  # noqa: S603  # the very program that runs here
                [sys.executable, "-P", "-m", "reknit.workers", str(theirs.fileno())],
                env=_environment(),
                pass_fds=[theirs.fileno(), begin.channel, begin.inbox, *begin.inboxes],
                stdin=subprocess.DEVNULL,
                process_group=0,  # a terminal's Ctrl-C is for the parent
            )
        self.channel = Channel(channel)
        ours.setblocking(False)
        self.link = Link(trio.SocketStream(trio.socket.from_stdlib_socket(ours)))
        self._begin = begin

    @property
    def has_ended(self) -> bool:
        """Whether it is no more."""
        return self.ended.is_set()

    async def run(self) -> None:
        """Hear what it says, until it has ended; if this is cancelled, it is killed."""
        try:
            await self.link.say(self._begin)
            async for message in self.link.hear(TO_PARENT):
                self._heed(message)
            with trio.move_on_after(ENDING):  # then it is known how
                while self.process.poll() is None:
                    await trio.sleep(POLL)
        finally:
            self.process.kill()
            with trio.CancelScope(shield=True):
                await trio.to_thread.run_sync(self.process.wait)
                await self.link.close()
            self.channel.close()
            self.serves = False
            self.reason = self.reason or _how_ended(self.process.returncode)
            for sender in self._waiting.values():
                sender.close()
            for event in (self.loaded, self.up, self.drained, self.ended):
                event.set()

    def _heed(self, message: ToParent) -> None:
        match message:
            case Loaded():
                self.loaded.set()
            case Up(damaged):
                self.damaged = damaged
                self.up.set()
            case Failed(reason):
                self.reason = reason
            case Drained():
                self.drained.set()
            case Here():
                self.silent = 0
            case Answer(call):
                sender = self._waiting.get(call)
                if sender is not None:
                    sender.send_nowait(message)

    def expect(self, limit: int) -> None:
        """The roll, which is called each second, is called once more; it has `limit` calls.

        If it hangs, it is ended, and says first where it is. Calls count, no seconds: time may
        have passed for all, as when the system was halted.
        """
        self.silent += 1
        if self.silent > limit + 1:
            self.kill()
        elif self.silent > limit:
            text = "worker %(number)d gives no answer in %(limit)d seconds: it is ended"
            tell(ERROR, "worker_stuck", text, number=self.number, limit=limit)
            self.process.send_signal(signal.SIGABRT)

    def kill(self) -> None:
        """End it at once."""
        self.process.kill()

    def check(self) -> None:
        """Raise WorkerError if it has ended."""
        if self.has_ended:
            raise WorkerError(f"worker {self.number} can't begin: {self.reason}")

    async def go(self) -> None:
        """Tell it to serve, unless it has ended."""
        self.serves = not self.has_ended
        await self.say(Go())

    async def say(self, message: ToWorker) -> None:
        """Say it."""
        await self.link.say(message)

    async def ask(self, ask: Ask) -> Answer | None:
        """Its answer; None if it ends before."""
        call = next(self._calls)
        sender, receiver = trio.open_memory_channel[Answer](1)
        self._waiting[call] = sender
        try:
            if self.has_ended:
                return None
            await self.link.say(msgspec.structs.replace(ask, call=call))
            return await receiver.receive()
        except trio.EndOfChannel:
            return None
        finally:
            del self._waiting[call]


def _environment() -> dict[str, str]:
    """That of this process; what it has imported the worker can import."""
    path = os.pathsep.join(os.path.abspath(entry) for entry in sys.path)  # noqa: PTH100
    kept = {name: text for name, text in os.environ.items() if name not in NOT_THEIRS}
    return {**kept, "PYTHONPATH": path}


def _how_ended(status: int) -> str:
    if status < 0:
        return f"killed by signal {-status}"
    return f"it ended with status {status}"
