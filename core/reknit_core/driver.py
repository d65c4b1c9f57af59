"""The calling protocol of a session, as code: what every adapter does, without socket or clock.

An adapter makes one Driver for each context, and gives it a Host. For each connection it has a
Transport, which gets a Wire. It calls the wire when something happens on the connection, and the
driver for all else; each call has the time (seconds). The driver answers by calls to transport
and host. None of those may call back at once: what happens meanwhile is told when they are done.

    a client is let in          driver.arrived()
    a dial is done              driver.connected(), dial_failed()
    bytes can be read           wire.readable(), also with what was read already
    there is room to write      wire.writable()
    the connection broke        wire.broken()
    the time that was named     driver.wake()
    anything else               driver.handle()
"""

from collections.abc import Callable
from math import inf
from typing import Final, Protocol, assert_never

from reknit_core.commands import (
    Answered,
    AttemptFailed,
    Command,
    Dial,
    DialectChosen,
    Disconnect,
    Dropped,
    Transitioned,
    Undelivered,
)
from reknit_core.events import ConnectionLost, DialFailed, Event, ServerConnected
from reknit_core.host import NOBODY, Host, Socket
from reknit_core.leg.transit import Transit
from reknit_core.lifecycle import State
from reknit_core.queue.backlog import Backlog
from reknit_core.session.context import ContextStateMachine
from reknit_core.side import Side
from reknit_core.wire.reasons import reason_of

READ_SIZE = 68 * 1024  # bytes a read: one of 64 KiB with its header; more costs the allocator
READS = 256  # of a connection that has ended, in one go

_CLIENT: Final = Side.CLIENT
_SERVER: Final = Side.SERVER
_NOT_NOW: Final = (BlockingIOError, InterruptedError)


class Transport(Protocol):
    """One connection, as the adapter has it."""

    wire: "Wire | None"
    """What to call when something happens; None before, and once the connection is parted."""

    @property
    def socket(self) -> Socket:
        """What the driver calls for each read and write, with nothing of the adapter between."""

    def watch(self, *, reads: bool, writes: bool) -> None:
        """From now on say when it can be read, and when there is room again to write."""

    def in_transit(self) -> Transit | None:
        """What the system still has to deliver of what was sent; None where it can't be asked."""

    def part(self, farewell: bytes, linger: float) -> None:
        """Close it, as Disconnect says: the session is done with it."""


class Wire:
    """A session's connection: what its transport calls. Late words of an old one have no effect."""

    __slots__ = (
        "driver",
        "full",
        "generation",
        "held",
        "reads",
        "side",
        "socket",
        "transport",
        "writes",
    )

    def __init__(self, driver: "Driver", side: Side, generation: int, transport: Transport) -> None:
        self.driver: Driver | None = driver
        """None: the connection is parted."""
        self.side = side
        self.generation = generation
        self.transport = transport
        self.socket = transport.socket
        self.full = False  # the transport took less than it was given, and waits for room
        self.held: tuple[Backlog, bytes] | None = None
        """What goes on by the short way, once it is written down, if nothing else happens."""
        self.reads = False  # what it was told to watch for
        self.writes = False

    def readable(self, now: float, data: bytes | None = None) -> None:
        """Something has come, or the end of the stream, or of the connection.

        `data`: what has been read already, b"" at the end of the stream; None: read it.
        """
        driver = self.driver
        if driver is None:
            return
        if data is None:
            try:
                data = self.socket.recv(READ_SIZE)
            except _NOT_NOW:
                return
            except OSError as error:
                self.broken(reason_of(error), now, answered=getattr(error, "answered", False))
                return
        side = self.side
        if not data:
            driver.context.receive_eof(side, now)
            driver.follow(now)
            return
        straight = driver.context.receive_data(side, data, now)
        if driver.hold is None:
            self.pass_on(driver, straight, data, now)
        elif straight is None:
            driver.follow(now)
        else:
            self.held = (straight, data)
            driver.hold()

    def pass_on(self, driver: "Driver", straight: Backlog | None, data: bytes, now: float) -> None:
        """Pass on what was read; `straight`: as from the context's receive_data()."""
        other = driver.server if self.side is _CLIENT else driver.client
        if straight is not None and other is not None and not other.full:
            try:
                taken = other.socket.send(data)  # mostly so, and all there is to do
            except OSError:
                taken = 0  # writing once more will say what it is
            if taken:
                straight.advance(taken)
            if taken == len(data):
                return
        driver.pass_on(self, other, now)

    def broken(self, reason: str, now: float, *, answered: bool = False) -> None:
        """The connection broke; `reason` is for people. `answered`: by what its TLS has said.

        An error that the socket raises may have an attribute `answered`.
        """
        driver = self.driver
        if driver is not None:
            driver.handle(ConnectionLost(self.side, self.generation, reason, answered), now)

    def hung_up(self, now: float, *, broken: bool) -> None:
        """The peer has ended the connection: read what it sent before, and then the end.

        A queue that is full meanwhile is respected, unless the connection is `broken`: then what
        the system has received is all that will ever come. To be called again while it is so.
        """
        for _ in range(READS):
            driver = self.driver
            if driver is None or not (broken or driver.context.wants_read(self.side)):
                return
            self.readable(now)
            if driver.context.is_behind(self.side):
                return

    def writable(self, now: float) -> None:
        """There is room again."""
        driver = self.driver
        if driver is not None:
            self.full = False
            driver.follow(now)


class Driver:
    """One session's context, its connections and its dial.

    What each read and write asks, it asks the context's legs: a call between costs as much.
    `hold`: nothing is written before flush(), which is due each time after `hold` was called.
    """

    __slots__ = ("_host", "client", "context", "deadline", "dialling", "hold", "server")

    def __init__(
        self, context: ContextStateMachine, host: Host, hold: Callable[[], None] | None = None
    ) -> None:
        self.context = context
        self.hold = hold
        self.client: Wire | None = None
        self.server: Wire | None = None
        self.dialling = 0
        """The generation of the dial under way; 0: none."""
        self.deadline = inf
        """When the host is to call wake() (seconds)."""
        self._host = host

    # -- Connections ---------------------------------------------------------------------------

    def arrived(self, transport: Transport, now: float) -> None:
        """The client that Contexts.connect() has just let in."""
        if self.client is not None:
            self.settle(now)  # an older client's connection goes first
        self._attach(self.adopt(_CLIENT, transport), now)

    def connected(
        self, generation: int, transport: Transport, now: float, wall: float | None = None
    ) -> None:
        """The dial of that generation has a connection. It may have been called off meanwhile.

        `wall`: the time of day (seconds since 1970), if the adapter knows it.
        """
        if generation != self.dialling:
            transport.part(b"", 0.0)
            return
        self.dialling = 0
        self._happen(ServerConnected(generation, wall), now)
        self._attach(self.adopt(_SERVER, transport), now)

    def dial_failed(
        self, generation: int, reason: str, now: float, *, answered: bool = False
    ) -> None:
        """The dial of that generation has come to nothing; `reason` is for people.

        `answered`: the server is there, but its TLS failed.
        """
        if generation == self.dialling:
            self.dialling = 0
            self.handle(DialFailed(generation, reason, answered), now)

    def adopt(self, side: Side, transport: Transport) -> Wire:
        """A thawed context's connection; when all is in place, settle() begins to serve it."""
        leg = self.context.client if side is _CLIENT else self.context.server
        wire = Wire(self, side, leg.generation, transport)
        transport.wire = wire
        if side is _CLIENT:
            self.client = wire
        else:
            self.server = wire
        return wire

    def _attach(self, wire: Wire, now: float) -> None:
        self.settle(now)
        if wire.driver is not None and not wire.reads:
            wire.transport.watch(reads=False, writes=wire.writes)

    # -- What happens --------------------------------------------------------------------------

    def handle(self, event: Event, now: float) -> None:
        """An event that is nobody's else: an operator's, the proxy's."""
        self._happen(event, now)
        self.settle(now)

    def wake(self, now: float) -> None:
        """The time that the host was told has come. Too early it does nothing."""
        if now >= self.deadline:
            self.deadline = inf
            self.context.handle_timeout(now, self._look)
            self.settle(now)

    def _look(self, side: Side) -> Transit | None:
        wire = self.client if side is _CLIENT else self.server
        return None if wire is None else wire.transport.in_transit()

    def flush(self, now: float) -> None:
        """Write what has been held back."""
        is_all = False
        for wire in (self.client, self.server):
            if wire is not None and wire.held is not None:
                straight, data = wire.held
                wire.held = None
                wire.pass_on(self, straight, data, now)
                is_all = True
        if not is_all:
            self._write_on(now)

    def let_go(self) -> None:
        """The session is served no longer, or by somebody else: close its connections here."""
        for wire in (self.client, self.server):
            if wire is not None:
                self._part(wire, b"", 0.0)
        self._call_off(self.dialling)
        self.deadline = inf
        self._host = NOBODY

    def abandon(self) -> None:
        """The session ends by an error of the proxy, which left it in no state to go on from."""
        self.let_go()
        self.context.discard()

    def _happen(self, event: Event, now: float) -> None:
        self._host.tell(event, now)
        self.context.handle(event, now)

    # -- What comes of it ----------------------------------------------------------------------

    def settle(self, now: float) -> None:
        """Do what the context asks for, and write what it has, until it rests."""
        context = self.context
        while True:
            for command in context.commands():
                self._host.tell(command, now)
                self._obey(command)
            if self.hold is None:
                self._write_all(now)
            self._watch_all()
            if not context.attention:
                break
        deadline = context.next_deadline()
        context.armed(deadline)
        if deadline is not None and deadline < self.deadline:
            self.deadline = deadline
            self._host.wake(deadline)
        if self.hold is not None:
            self._hold_all(self.hold)
        if context.calls_others:
            self._host.news()
        if context.state is State.CLOSED and not (self.client or self.server or self.dialling):
            host, self._host = self._host, NOBODY
            host.over()

    def pass_on(self, wire: Wire, other: Wire | None, now: float) -> None:
        """As follow(), after a read: all that can be new is for the other side, or an answer."""
        context = self.context
        if not context.attention:
            if other is not None:
                self._write(other, now)
            leg = context.client if wire.side is _CLIENT else context.server
            if leg.lane:
                self._write(wire, now)
        if context.attention:
            self.settle(now)
            return
        self._watch(wire)
        if other is not None and (other.full or not other.reads):  # else its own reads will ask
            self._watch(other)

    def follow(self, now: float) -> None:
        """After bytes were moved: write what there is, and settle() where there is more to do."""
        if self.context.attention:
            self.settle(now)
        elif self.hold is not None:
            self._hold_all(self.hold)
        else:
            self._write_on(now)

    def _write_on(self, now: float) -> None:
        self._write_all(now)
        if self.context.attention:
            self.settle(now)
        else:
            self._watch_all()

    def _hold_all(self, hold: Callable[[], None]) -> None:
        """More than reads by the short way has happened: what is held back goes the long one."""
        for wire in (self.client, self.server):
            if wire is not None:
                wire.held = None
        hold()

    def _obey(self, command: Command) -> None:
        match command:
            case Dial():
                self.dialling = command.generation
                self._host.dial(command)
            case Disconnect():
                self._disconnect(command)
            case Transitioned() | AttemptFailed() | DialectChosen() | Dropped() | Undelivered():
                pass  # the host has been told
            case Answered():
                pass
            case _:
                assert_never(command)

    def _disconnect(self, command: Disconnect) -> None:
        wire = self.client if command.side is _CLIENT else self.server
        if wire is not None and wire.generation == command.generation:
            self._part(wire, command.farewell, command.linger)
        elif command.side is _SERVER:
            self._call_off(command.generation)

    def _part(self, wire: Wire, farewell: bytes, linger: float) -> None:
        if wire.side is _CLIENT:
            self.client = None
        else:
            self.server = None
        wire.driver = None
        wire.transport.wire = None
        wire.transport.part(farewell, linger)

    def _call_off(self, generation: int) -> None:
        if self.dialling and self.dialling == generation:
            self.dialling = 0
            self._host.call_off()

    def _write_all(self, now: float) -> None:
        """Write what both may have. What asks for `attention` may have brought in more.

        So it is with a broken peer's last words: they are written down first, where all is.
        """
        if self.server is not None:
            self._write(self.server, now)
        if self.client is not None and not (self.hold and self.context.attention):
            self._write(self.client, now)

    def _write(self, wire: Wire, now: float) -> None:
        context = self.context
        side = wire.side
        leg = context.client if side is _CLIENT else context.server
        more = bool(leg.lane) or leg.source.sent < leg.source.tail
        while more and not wire.full and (buffers := leg.pending()):
            single = len(buffers) == 1
            try:
                taken = wire.socket.send(buffers[0]) if single else wire.socket.sendmsg(buffers)
            except _NOT_NOW:
                taken = 0
            except OSError as error:
                self._read_last(wire, now)
                lost = ConnectionLost(side, wire.generation, reason_of(error))
                self._happen(lost, now)
                break
            if taken:
                more = context.advance(side, taken, now)
            if taken < (len(buffers[0]) if single else sum(map(len, buffers))):
                context.advance(side, 0, now)
                wire.full = True

    def _read_last(self, wire: Wire, now: float) -> None:
        """A write has failed: the peer is gone, but what it sent before can still be read."""
        context = self.context
        try:
            for _ in range(READS):
                data = wire.socket.recv(READ_SIZE)
                if not data:
                    return
                context.receive_data(wire.side, data, now)
                if context.is_behind(wire.side):
                    return
        except OSError:
            pass

    def _watch_all(self) -> None:
        """What was done for one side can have made room for the other: ask about both."""
        if self.client is not None:
            self._watch(self.client)
        if self.server is not None:
            self._watch(self.server)

    def _watch(self, wire: Wire) -> None:
        leg = self.context.client if wire.side is _CLIENT else self.context.server
        reads = leg.wants_read()
        if reads != wire.reads or wire.full != wire.writes:
            wire.reads = reads
            wire.writes = wire.full
            wire.transport.watch(reads=reads, writes=wire.full)
