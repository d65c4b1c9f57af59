"""What the readiness loop serves: a session's link, and the connections of its two legs."""

from collections.abc import Callable
from typing import TYPE_CHECKING

from reknit_core import ContextStateMachine, Transit
from reknit_core.commands import (
    Answered,
    Command,
    Dial,
    Transitioned,
)
from reknit_core.driver import Driver, Wire
from reknit_core.events import Event
from reknit_core.lifecycle import State
from reknit_core.proxy.admission import Guest
from reknit_core.telemetry.recent import Recent
from reknit_core.telemetry.teller import Change

from reknit.sockets.stream_socket import StreamSocket
from reknit.sockets.system import in_transit
from reknit.trio.watched import Timed

if TYPE_CHECKING:
    from reknit.trio.reactor import Reactor
    from reknit.trio.transport.dialler import Dialling


class Connection(Timed):
    """One established socket, as the driver has it; without a wire it is only closing."""

    __slots__ = ("guest", "link", "mask", "socket", "wire")

    def __init__(self, sock: StreamSocket, link: "Link", guest: Guest | None) -> None:
        self.socket = sock
        self.link = link
        self.guest = guest
        self.wire: Wire | None = None
        self.mask = -1  # what the poller watches for; -1: it doesn't have it yet

    @property
    def fd(self) -> int:
        """The socket's descriptor."""
        return self.socket.fileno()

    def in_transit(self) -> Transit | None:
        """What the system says of it."""
        return in_transit(self.socket)

    def watch(self, *, reads: bool, writes: bool) -> None:
        """Have the poller watch for that."""
        self.link.reactor.watch(self, reads, writes)

    def part(self, farewell: bytes, linger: float) -> None:
        """Close it."""
        self.link.reactor.part(self, farewell, linger)

    def due(self, now: float) -> None:
        """Its peer has been waited for long enough."""
        self.link.reactor.close(self)


class Link(Timed):
    """A context's driver, and what it needs of this adapter.

    `recent`: what it went through lately, if somebody may ask. `on_answer`: who waits for what its
    peers say to requests of the operator's.
    """

    __slots__ = ("dialling", "driver", "label", "on_answer", "reactor", "recent")

    def __init__(
        self,
        context: ContextStateMachine,
        label: str,
        reactor: "Reactor",
        recent: Recent | None = None,
    ) -> None:
        self.label = label
        self.reactor = reactor
        self.recent = recent
        self.dialling: Dialling | None = None
        self.on_answer: Callable[[Answered], None] | None = None
        self.driver = Driver(context, self, self.hold if reactor.holds else None)

    @property
    def context(self) -> ContextStateMachine:
        """The driver's."""
        return self.driver.context

    @property
    def client(self) -> Connection | None:
        """The client's connection."""
        return _connection(self.driver.client)

    @property
    def server(self) -> Connection | None:
        """The server's connection."""
        return _connection(self.driver.server)

    # -- What the driver calls -----------------------------------------------------------------

    def dial(self, dial: Dial) -> None:
        """Connect."""
        self.reactor.dial(self, dial)

    def call_off(self) -> None:
        """Connect no more."""
        if self.dialling is not None:
            self.dialling.cancel()
            self.dialling = None

    def wake(self, deadline: float) -> None:
        """Set a timer. One that was set before comes too early, which does nothing."""
        self.reactor.schedule(deadline, self)

    def due(self, now: float) -> None:
        """It has come."""
        self.reactor.wake(self, now)

    def tell(self, what: Event | Command, now: float) -> None:
        """Keep it, log it, and answer who has asked."""
        recent = self.recent
        if recent is not None:
            if isinstance(what, Command):
                recent.note(what, now)
            else:
                recent.note_event(what, now)
        if isinstance(what, Answered):
            if self.on_answer is not None:
                self.on_answer(what)
        elif isinstance(what, Change):
            self.reactor.report(self, what, now)
            if isinstance(what, Transitioned) and what.state is State.CLOSED:
                self.reactor.forget(self)

    def news(self) -> None:
        """Other sessions are to be settled."""
        self.reactor.news()

    def over(self) -> None:
        """Nothing is left to do: it is forgotten since it was closed."""

    def hold(self) -> None:
        """Something may wait to be written, as soon as it is written down."""
        self.reactor.touch(self)


def _connection(wire: Wire | None) -> Connection | None:
    if wire is None:
        return None
    assert isinstance(wire.transport, Connection)
    return wire.transport
