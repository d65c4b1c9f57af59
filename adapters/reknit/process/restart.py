"""When another process takes over: it comes to the takeover socket, or SIGUSR2 starts it.

Here is the running process's part, and how a new one finds it. What the two say to each other
stands in takeover.py.
"""

import os
import signal
import socket
import struct
import subprocess
import sys
from collections.abc import AsyncIterator, Callable
from logging import ERROR, INFO
from pathlib import Path

import trio

from reknit.observe.logs import LOG, tell
from reknit.process import systemd
from reknit.process.takeover import Channel, Hello, TakeoverError

CHANNEL = "REKNIT_TAKEOVER_FD"  # names the descriptor by which a started process takes over
ANSWER_LIMIT = 5.0  # seconds until a process that came must be ready to take over
START_LIMIT = 60.0  # seconds until a process that was started must be ready to take over


def predecessor(path: Path | None) -> Channel | None:
    """The running process to take over from, if there is one. Raises TakeoverError."""
    descriptor = os.environ.pop(CHANNEL, None)
    if descriptor is not None:
        return Channel(socket.socket(fileno=int(descriptor)))
    if path is None:
        return None
    sock = socket.socket(socket.AF_UNIX)
    try:
        sock.connect(os.fspath(path))
        _check_user(sock)
    except (FileNotFoundError, ConnectionRefusedError):
        sock.close()
        return None
    except OSError as error:
        sock.close()
        raise TakeoverError(f"{path}: {error.strerror or error}") from None
    return Channel(sock)


class TakeoverSocket:
    """Where the next process asks this one to hand over: a Unix socket for the same user only.

    Takes the place of one at which nobody listens any more. Raises TakeoverError.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self.socket = socket.socket(socket.AF_UNIX)
        mask = os.umask(0o177)
        try:
            if path.is_socket():
                path.unlink(missing_ok=True)
            self.socket.bind(os.fspath(path))
            self.socket.listen()
        except OSError as error:
            self.socket.close()
            raise TakeoverError(f"can't listen at {path}: {error.strerror or error}") from None
        finally:
            os.umask(mask)

    def close(self, *, remove: bool) -> None:
        """Listen no more; `remove`: the socket's file is still this process's."""
        if remove:
            self._path.unlink(missing_ok=True)
        self.socket.close()


def open_takeover_socket(path: Path | None, *, must: bool) -> TakeoverSocket | None:
    """Where the next process comes to, if there is a path for it.

    Raises TakeoverError if it can't be opened and must be; with sessions to serve it need not.
    """
    if path is None:
        return None
    try:
        return TakeoverSocket(path)
    except TakeoverError as error:
        if must:
            raise
        text = "the next process can't take over: %(reason)s"
        tell(ERROR, "no_takeover_socket", text, reason=str(error))
        return None


class Restarts:
    """Lets new processes take over, who come to `takeover_socket` or whom SIGUSR2 starts.

    `hand_over` gives everything away, or raises TakeoverError. `state`: the directory in which
    sessions are kept, if there is one.
    """

    def __init__(
        self,
        hand_over: Callable[[Channel], None],
        takeover_socket: TakeoverSocket | None = None,
        state: str = "",
    ) -> None:
        self._hand_over = hand_over
        self._state = state
        self._socket = takeover_socket
        self._turn = trio.Lock()
        self._done = False

    async def run(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Hand over when asked to, until cancelled."""
        try:
            with trio.open_signal_receiver(signal.SIGUSR2) as signals:
                async with trio.open_nursery() as nursery:
                    nursery.start_soon(self._on_signal, signals)
                    if self._socket is not None:
                        nursery.start_soon(self._on_connection, self._socket)
                    task_status.started()
        finally:
            if self._socket is not None:
                self._socket.close(remove=not self._done)

    async def _on_signal(self, signals: AsyncIterator[int]) -> None:
        """Start a new process, with this one's command line."""
        async for _ in signals:
            async with self._turn:
                await self._start_successor()

    async def _on_connection(self, takeover_socket: TakeoverSocket) -> None:
        listener = trio.socket.from_stdlib_socket(takeover_socket.socket)
        while True:
            came, _ = await listener.accept()
            async with self._turn:
                await self._offer(Channel(socket.socket(fileno=came.detach())), ANSWER_LIMIT)

    async def _start_successor(self) -> None:
        ours, theirs = socket.socketpair()
        descriptor = theirs.fileno()
        tell(INFO, "restart", "starting the process that is to take over")
        systemd.notify(*systemd.reloading())
        process = subprocess.Popen(  # noqa: S603  # the very command that runs here
            [sys.executable, *sys.orig_argv[1:]],
            env={**os.environ, CHANNEL: str(descriptor)},
            pass_fds=[descriptor],
        )
        theirs.close()
        done = False
        try:
            done = await self._offer(Channel(ours), START_LIMIT)
        finally:
            if not done:
                process.kill()
                process.wait()
                systemd.notify(systemd.READY)

    async def _offer(self, channel: Channel, limit: float) -> bool:
        """Whether the process at the other end has taken over; `limit` in seconds until it begins.

        If it has not, this one goes on as if it had never been asked.
        """
        try:
            _check_user(channel.socket)
            channel.send(Hello(os.getpid(), state=self._state))
            with trio.move_on_after(limit):
                await trio.lowlevel.wait_readable(channel.socket)
            channel.renew()
            hello, _ = channel.receive(Hello)
            self._hand_over(channel)
        except TakeoverError as error:
            tell(ERROR, "not_taken_over", "not taken over: %(reason)s", reason=str(error))
            return False
        except Exception:
            LOG.exception("not taken over, by an error of the proxy")
            return False
        finally:
            channel.close()
        self._done = True
        tell(INFO, "handed_over", "process %(pid)d has taken over", pid=hello.pid)
        systemd.notify(*systemd.main_process(hello.pid))
        return True


def _check_user(sock: socket.socket) -> None:
    """The other process must be of this one's user. Raises TakeoverError."""
    if sys.platform == "linux":
        size = struct.calcsize("3i")
        _, user, _ = struct.unpack(
            "3i", sock.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, size)
        )
        if user != os.geteuid():
            raise TakeoverError(f"the other process is of user {user}, not {os.geteuid()}")
