"""What the core's driver needs of asyncio: a session's sockets, its dial and its timer."""

import asyncio
import logging
from collections.abc import Callable
from time import time
from typing import TYPE_CHECKING

from reknit_core import (
    Command,
    ContextStateMachine,
    Dial,
    Driver,
    Event,
    State,
    Transit,
    Transitioned,
    Wire,
)
from reknit_core.proxy.admission import Guest
from reknit_core.telemetry.teller import Change
from reknit_core.wire.reasons import reason_of

from reknit.sockets.poller import BROKEN, GONE, MASKS, READ, WRITE
from reknit.sockets.stream_socket import StreamSocket, has_ended, part_with
from reknit.sockets.system import in_transit
from reknit.sockets.tls import TlsError

if TYPE_CHECKING:
    from reknit.asyncio.proxy import AsyncioProxy

LOG = logging.getLogger("reknit")


class SocketTransport:
    """An established socket of `session`; `guest`: whom admission has let in with it."""

    def __init__(self, sock: StreamSocket, session: "Session", guest: Guest | None) -> None:
        self.fd = sock.fileno()
        self.guest = guest
        self.mask = -1  # what is watched for; -1: nothing yet, and no end either
        self.wire: Wire | None = None
        self.socket = sock
        self._session = session
        self._sockets = session.proxy.sockets
        self._sockets.add(self)

    def watch(self, *, reads: bool, writes: bool) -> None:
        """Have it said what is ready."""
        self._sockets.watch(self, MASKS[reads + 2 * writes])

    def in_transit(self) -> Transit | None:
        """What the system says of it."""
        return in_transit(self.socket)

    def part(self, farewell: bytes, linger: float) -> None:
        """Close it; with `linger` only when the peer has seen the end, or after that time."""
        if part_with(self.socket, farewell, lingers=linger > 0):
            self.watch(reads=True, writes=False)
            asyncio.get_running_loop().call_later(linger, self.close)
        else:
            self.close()

    def close(self) -> None:
        """Close it now; again it does nothing."""
        if self.socket.fileno() >= 0:
            self._sockets.remove(self)
            self.socket.close()

    def ready(self, mask: int) -> None:
        """The selector says that (see poller.py)."""
        wire, run = self.wire, self._session.run
        if wire is None:
            if has_ended(self.socket):
                self.close()
        elif mask & GONE:
            run(lambda now: wire.hung_up(now, broken=bool(mask & BROKEN)))
        else:
            if mask & READ:
                run(wire.readable)
            if mask & WRITE:
                run(wire.writable)


class Session:
    """A session's driver and what asyncio does for it. `label`: how the log calls it."""

    def __init__(self, context: ContextStateMachine, proxy: "AsyncioProxy", label: str) -> None:
        self.driver = Driver(context, self)
        self.proxy = proxy
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
        self.proxy.forget(self)
        self.proxy.news()

    def dial(self, dial: Dial) -> None:
        """Connect in a task."""
        self._dialling = self._loop.create_task(self._dial(dial))

    def call_off(self) -> None:
        """Connect no more."""
        if self._dialling is not None:
            self._dialling.cancel()

    def wake(self, deadline: float) -> None:
        """Set the timer."""
        self.over()
        self._timer = self._loop.call_at(deadline, self._due)

    def tell(self, what: Event | Command, now: float) -> None:
        """Log it, and have a session forgotten that is closed."""
        if isinstance(what, Change):
            self.proxy.reports.report(self.label, self.driver.context, what, now)
            if isinstance(what, Transitioned) and what.state is State.CLOSED:
                self.proxy.forget(self)

    def news(self) -> None:
        """Other sessions are to be settled."""
        self.proxy.news()

    def over(self) -> None:
        """Nothing is left of it but a timer."""
        if self._timer is not None:
            self._timer.cancel()

    def _due(self) -> None:
        # A loop may call a little early.
        self.run(lambda now: self.driver.wake(max(now, self.driver.deadline)))

    async def _dial(self, dial: Dial) -> None:
        await asyncio.sleep(dial.at - self._loop.time())
        driver, generation = self.driver, dial.generation
        try:
            transport = SocketTransport(await self.proxy.connect(driver.context), self, None)
        except OSError as error:
            answered = isinstance(error, TlsError) and error.answered
            why = reason_of(error)
            self.run(lambda now: driver.dial_failed(generation, why, now, answered=answered))
        else:
            self.run(lambda now: driver.connected(generation, transport, now, time()))
