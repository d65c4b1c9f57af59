"""What the readiness loop serves: a session's link, and the connections of its two legs."""

from collections.abc import Callable
from math import inf

import trio
from reknit_core.commands import Answered
from reknit_core.events import Event, Side
from reknit_core.proxy.admission import Guest
from reknit_core.session.context import ContextStateMachine
from reknit_core.session.leg import Leg
from reknit_core.session.transit import Transit
from reknit_core.telemetry.recent import Recent

from reknit.sockets.stream import StreamSocket
from reknit.sockets.transit import in_transit
from reknit.trio.poller import READ


class Timed:
    """What a timer stands for. Those of one time have any order: a heap asks for one."""

    __slots__ = ()

    def __lt__(self, other: object) -> bool:
        return False

    def __hash__(self) -> int:
        return id(self)  # compiled, a class with an order has no hash of its own


class Connection(Timed):
    """One established socket, and the leg that it serves; without a link it is only closing."""

    __slots__ = ("fd", "generation", "guest", "leg", "link", "mask", "side", "socket")

    def __init__(self, sock: StreamSocket, link: "Link", leg: Leg, guest: Guest | None) -> None:
        self.socket = sock
        self.fd = sock.fileno()
        self.link: Link | None = link
        self.guest = guest
        self.leg = leg
        self.side = leg.side
        self.generation = leg.generation
        self.mask = READ


class Link(Timed):
    """A context and what the adapter holds for it: its sockets, its dial, its timer.

    `recent`: what it went through lately, if somebody may ask. `on_answer`: who waits for what its
    peers say to requests of the operator's.
    """

    __slots__ = ("client", "context", "deadline", "dial", "label", "on_answer", "recent", "server")

    def __init__(
        self, context: ContextStateMachine, label: str, recent: Recent | None = None
    ) -> None:
        self.context = context
        self.label = label
        self.recent = recent
        self.client: Connection | None = None
        self.server: Connection | None = None
        self.dial: trio.CancelScope | None = None
        self.on_answer: Callable[[Answered], None] | None = None
        self.deadline = inf

    def handle(self, event: Event, now: float) -> None:
        """Let an event happen to the context; to be settled next."""
        if self.recent is not None:
            self.recent.note_event(event, now)
        self.context.handle(event, now)

    def look(self, side: Side) -> Transit | None:
        """What the system says of that side's socket; None if it can't be asked."""
        connection = self.client if side is Side.CLIENT else self.server
        return None if connection is None else in_transit(connection.socket)
