"""When another process takes over: it comes to the takeover socket, or SIGUSR2 starts it.

Here is the running process's part, and how a new one finds it. What the two say to each other
stands in greeting.py and takeover.py.
"""

import os
import socket
import struct
import subprocess
import sys
from collections.abc import AsyncIterator, Callable
from logging import ERROR, INFO
from pathlib import Path

import trio
from reknit_core.wire.reasons import reason_of

from reknit.observe.logs import LOG, tell
from reknit.process import systemd
from reknit.process.greeting import PATIENCE, answer, offer
from reknit.process.mask import held_back
from reknit.process.takeover import Channel, Hello, TakeoverError
from reknit.sockets.listening import remove_dead

CHANNEL = "REKNIT_TAKEOVER_FD"  # names the descriptor by which a started process takes over
ANSWER_LIMIT = 5.0  # seconds until a process that came must be ready to take over
START_LIMIT = 60.0  # seconds until a process that was started must be ready to take over
PLACES = 8  # processes that may come at once; for a further one the idlest gives way
POLL = 0.05  # seconds between two attempts to get there
AGAIN = 1.0  # seconds until the next is let in when one can't be


async def predecessor(path: Path | None, state: str) -> Channel | None:
    """The running process to take over from, if there is one: it is about to give.

    `state`: where this process keeps sessions, if it does. Raises TakeoverError.
    """
    descriptor = os.environ.pop(CHANNEL, None)
    try:
        sock = await _connected(path) if descriptor is None else _inherited(descriptor)
        if sock is None:
            return None
        channel = Channel(sock)
        try:
            _check_user(sock)
            await answer(channel, Hello(os.getpid(), state=state), START_LIMIT)
        except BaseException:
            channel.close()
            raise
    except TakeoverError as error:
        raise TakeoverError(f"can't take over from the running process: {error}") from None
    return channel


def _inherited(descriptor: str) -> socket.socket:
    """The end that the process has left to this one which started it. Raises TakeoverError."""
    try:
        sock = socket.socket(fileno=int(descriptor))
    except (ValueError, OverflowError, OSError):
        raise TakeoverError(f"{CHANNEL} is {descriptor}, which is no socket") from None
    if (sock.family, sock.type) != (socket.AF_UNIX, socket.SOCK_STREAM):
        sock.detach()  # it is not for us
        raise TakeoverError(f"{CHANNEL} is {descriptor}, which is no Unix socket of streams")
    sock.set_inheritable(False)
    return sock


async def _connected(path: Path | None) -> socket.socket | None:
    """Connected to the running process; None if there is none. Raises TakeoverError."""
    if path is None:
        return None
    sock = socket.socket(socket.AF_UNIX)
    sock.setblocking(False)
    try:
        with trio.move_on_after(PATIENCE):
            while not _connects(sock, path):
                await trio.sleep(POLL)
            return sock
        raise TakeoverError(f"{path}: too many wait there")
    except (FileNotFoundError, ConnectionRefusedError):
        sock.close()
        return None
    except OSError as error:
        sock.close()
        raise TakeoverError(f"{path}: {reason_of(error)}") from None
    except BaseException:
        sock.close()
        raise


def _connects(sock: socket.socket, path: Path) -> bool:
    """Whether there is room for one more who waits to be let in."""
    try:
        sock.connect(os.fspath(path))
    except BlockingIOError:
        return False
    return True


class TakeoverSocket:
    """Where the next process asks this one to hand over: a Unix socket for the same user only.

    Takes the place of one at which nobody listens any more; if `replaces`, of one that the
    process before has. Raises TakeoverError.
    """

    def __init__(self, path: Path, *, replaces: bool = False) -> None:
        self._path = path
        self.socket = socket.socket(socket.AF_UNIX)
        mask = os.umask(0o177)
        try:
            if replaces and path.is_socket():
                path.unlink(missing_ok=True)
            remove_dead(os.fspath(path))
            self.socket.bind(os.fspath(path))
            self.socket.listen()
        except OSError as error:
            self.socket.close()
            raise TakeoverError(f"can't listen at {path}: {reason_of(error)}") from None
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
        return TakeoverSocket(path, replaces=not must)
    except TakeoverError as error:
        if must:
            raise
        text = "the next process can't take over: %(reason)s"
        tell(ERROR, "no_takeover_socket", text, reason=str(error))
        return None


class Restarts:
    """Lets new processes take over, who come to `takeover_socket` or whom SIGUSR2 starts.

    `hand_over` gives everything away, or raises TakeoverError; `is_ready`: whether it can.
    `state`: the directory in which sessions are kept, if there is one.
    """

    def __init__(
        self,
        hand_over: Callable[[Channel], None],
        is_ready: Callable[[], bool],
        takeover_socket: TakeoverSocket | None = None,
        state: str = "",
    ) -> None:
        self._hand_over = hand_over
        self._is_ready = is_ready
        self._state = state
        self._socket = takeover_socket
        self._waiting: list[trio.CancelScope] = []  # for their Hello, the idlest first
        self._done = False

    async def run(self, signals: AsyncIterator[int]) -> None:
        """Hand over when asked to, by one of the `signals` or otherwise, until cancelled."""
        try:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(self._on_signal, signals)
                if self._socket is not None:
                    nursery.start_soon(self._on_connection, self._socket, nursery)
        finally:
            if self._socket is not None:
                self._socket.close(remove=not self._done)

    async def _on_signal(self, signals: AsyncIterator[int]) -> None:
        """Start a new process, with this one's command line."""
        async for _ in signals:
            try:
                self._check_ready()
                await self._start_successor()
            except (TakeoverError, OSError) as error:
                reason = reason_of(error)
                tell(ERROR, "not_taken_over", "not taken over: %(reason)s", reason=reason)

    async def _on_connection(self, takeover_socket: TakeoverSocket, nursery: trio.Nursery) -> None:
        listener = trio.socket.from_stdlib_socket(takeover_socket.socket)
        while True:
            try:
                came, _ = await listener.accept()
            except OSError as error:  # no more files, or it has gone again
                reason = reason_of(error)
                tell(ERROR, "not_taken_over", "not taken over: %(reason)s", reason=reason)
                await trio.sleep(AGAIN)
            else:
                channel = Channel(socket.socket(fileno=came.detach()))
                scope = trio.CancelScope()
                self._waiting.append(scope)
                if len(self._waiting) > PLACES:
                    self._waiting.pop(0).cancel()
                nursery.start_soon(self._welcome, channel, scope)

    async def _welcome(self, channel: Channel, scope: trio.CancelScope) -> None:
        with scope:
            await self._offer(channel, ANSWER_LIMIT)
        if scope in self._waiting:
            self._waiting.remove(scope)
        if scope.cancelled_caught:
            reason = "it said nothing, and others have come"
            tell(ERROR, "not_taken_over", "not taken over: %(reason)s", reason=reason)

    async def _start_successor(self) -> None:
        """Raises OSError if none can be started."""
        ours, theirs = socket.socketpair()
        systemd.notify(*systemd.reloading())
        process = None
        done = False
        try:
            with theirs:
                process = self._start(theirs.fileno())
            done = await self._offer(Channel(ours), START_LIMIT)
        finally:
            ours.close()
            if not done:
                if process is not None:
                    process.kill()
                    process.wait()
                systemd.notify(systemd.READY)

    def _start(self, descriptor: int) -> subprocess.Popen[bytes]:
        """It has no sessions yet, but may have them before it can take a signal."""
        tell(INFO, "restart", "starting the process that is to take over")
        with held_back():
            return subprocess.Popen(  # noqa: S603  # the very command that runs here
                [sys.executable, *sys.orig_argv[1:]],
                env={**os.environ, CHANNEL: str(descriptor)},
                pass_fds=[descriptor],
            )

    async def _offer(self, channel: Channel, limit: float) -> bool:
        """Whether the process at the other end has taken over; `limit` in seconds until it begins.

        If it has not, this one goes on as if it had never been asked.
        """
        try:
            _check_user(channel.socket)
            hello = await offer(channel, Hello(os.getpid(), state=self._state), limit)
            self._check_ready()
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

    def _check_ready(self) -> None:
        if self._done:
            raise TakeoverError("another process has taken over")
        if not self._is_ready():
            raise TakeoverError("this process is stopping")


def _check_user(sock: socket.socket) -> None:
    """The other process must be of this one's user. Raises TakeoverError."""
    if sys.platform == "linux":
        size = struct.calcsize("3i")
        _, user, _ = struct.unpack(
            "3i", sock.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, size)
        )
        if user != os.geteuid():
            raise TakeoverError(f"the other process is of user {user}, not {os.geteuid()}")
