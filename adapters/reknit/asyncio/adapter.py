"""What the core's driver needs of asyncio: a session's sockets, its dial and its timer."""

import asyncio
import logging
import socket
from collections.abc import Callable
from contextlib import suppress
from time import time
from typing import Protocol

from reknit_core import ContextStateMachine, Transit
from reknit_core.commands import (
    Command,
    Dial,
    Transitioned,
)
from reknit_core.driver import READ_SIZE, Driver, Wire
from reknit_core.events import Event
from reknit_core.lifecycle import State
from reknit_core.telemetry.teller import Change
from reknit_core.wire.reasons import reason_of

from reknit.observe.reports import Reports
from reknit.sockets.stream_socket import StreamSocket
from reknit.sockets.system import in_transit
from reknit.sockets.tls import TlsError

LOG = logging.getLogger("reknit")


class SocketTransport:
    """An established socket of `session`; `closed` is called when it is closed."""

    def __init__(
        self, sock: StreamSocket, session: "Session", closed: Callable[["SocketTransport"], None]
    ) -> None:
        self.wire: Wire | None = None
        self.socket = sock
        self._session = session
        self._closed = closed
        self._loop = asyncio.get_running_loop()

    def watch(self, *, reads: bool, writes: bool) -> None:
        """Let the loop say what is ready."""
        fd, loop = self.socket.fileno(), self._loop
        _ = loop.add_reader(fd, self._readable) if reads else loop.remove_reader(fd)
        _ = loop.add_writer(fd, self._writable) if writes else loop.remove_writer(fd)

    def in_transit(self) -> Transit | None:
        """What the system says of it."""
        return in_transit(self.socket)

    def part(self, farewell: bytes, linger: float) -> None:
        """Close it; with `linger` only when the peer has seen the end, or after that time."""
        try:
            if farewell:
                self.socket.send(farewell)
            if linger > 0:
                self.socket.shutdown(socket.SHUT_WR)
                self.watch(reads=True, writes=False)
                self._loop.call_later(linger, self.close)
                return
        except OSError:
            pass  # the peer is gone already
        self.close()

    def close(self) -> None:
        """Close it now; again it does nothing."""
        if self.socket.fileno() >= 0:
            self.watch(reads=False, writes=False)
            self.socket.close()
            self._closed(self)

    def _readable(self) -> None:
        if self.wire is not None:
            self._session.run(self.wire.readable)
            return
        with suppress(BlockingIOError):
            try:
                if self.socket.recv(READ_SIZE):
                    return  # what comes behind our end is discarded
            except ConnectionError:
                pass
            self.close()

    def _writable(self) -> None:
        if self.wire is not None:
            self._session.run(self.wire.writable)


class Keeper(Protocol):
    """Who has the sessions, and tells the log of them."""

    reports: Reports

    async def connect(self, session: "Session") -> SocketTransport:
        """A new connection to the server. Raises OSError."""

    def forget(self, session: "Session") -> None:
        """It is closed, and can't be come back to."""

    def news(self) -> None:
        """Others have commands: settle them, but not at once."""


class Session:
    """A session's driver and what asyncio does for it. `label`: how the log calls it."""

    def __init__(self, context: ContextStateMachine, keeper: Keeper, label: str) -> None:
        self.driver = Driver(context, self)
        self._keeper = keeper
        self.label = label
        self._loop = asyncio.get_running_loop()
        self._dialling: asyncio.Task[None] | None = None
        self._timer: asyncio.TimerHandle | None = None

    def run(self, call: Callable[..., None], *arguments: object) -> None:
        """Call the driver or a wire. A bug of ours in one session must not cost the others."""
        try:
            call(*arguments, self._loop.time())
        except Exception:
            LOG.exception("%s ends by an error of the proxy", self.label)
            self.abandon()

    def abandon(self) -> None:
        """End it, as it is."""
        self.driver.abandon()
        self.over()
        self._keeper.forget(self)
        self._keeper.news()

    def dial(self, dial: Dial) -> None:
        """Connect in a task."""
        self._dialling = self._loop.create_task(self._dial(dial))

    def call_off(self) -> None:
        """Connect no more."""
        if self._dialling is not None:
            self._dialling.cancel()

    def wake(self, deadline: float) -> None:
        """Set the timer."""
        if self._timer is not None:
            self._timer.cancel()
        self._timer = self._loop.call_at(deadline, self._due)

    def tell(self, what: Event | Command, now: float) -> None:
        """Log it, and have a session forgotten that is closed."""
        if isinstance(what, Change):
            self._keeper.reports.report(self.label, self.driver.context.state, what, now)
            if isinstance(what, Transitioned) and what.state is State.CLOSED:
                self._keeper.forget(self)

    def news(self) -> None:
        """Other sessions are to be settled."""
        self._keeper.news()

    def over(self) -> None:
        """Nothing is left of it but a timer."""
        if self._timer is not None:
            self._timer.cancel()

    def _due(self) -> None:
        # A loop may call a little early.
        self.run(lambda now: self.driver.wake(max(now, self.driver.deadline)))

    async def _dial(self, dial: Dial) -> None:
        await asyncio.sleep(dial.at - self._loop.time())
        try:
            transport = await self._keeper.connect(self)
        except OSError as error:
            self._dial_failed(dial, error)
        else:
            self.run(lambda now: self.driver.connected(dial.generation, transport, now, time()))

    def _dial_failed(self, dial: Dial, error: OSError) -> None:
        answered = isinstance(error, TlsError) and error.answered
        reason = reason_of(error)
        self.run(
            lambda now: self.driver.dial_failed(dial.generation, reason, now, answered=answered)
        )
