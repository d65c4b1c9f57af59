"""The driver by hand: what an adapter that calls it at the wrong time, or late, brings about."""

import gc
from math import inf

import pytest
from frame_bytes import CLOSE, FIN, TEXT, frame
from reknit_core.commands import Command, Dial, Transitioned
from reknit_core.driver import Driver, Wire
from reknit_core.events import DialFailed, Event, ServerConnected, Shutdown
from reknit_core.leg.transit import Transit
from reknit_core.lifecycle import State
from reknit_core.policy.policy import Delivery, Policy
from reknit_core.queue.stream import Buffer
from reknit_core.side import Side
from sessions_by_hand import accept, contexts, session

UP = frame(FIN | TEXT, b"up", masked=True)
DOWN = frame(FIN | TEXT, b"down")
BROKEN = BrokenPipeError(32, "Broken pipe")


class Line:
    """A transport that does as it is told."""

    def __init__(self) -> None:
        self.wire: Wire | None = None
        self.room: int | None = None
        """Bytes that it takes; None: all."""
        self.error: OSError | None = None
        """What writing comes to."""
        self.unread: list[bytes] = []
        self.written = b""
        self.watched: list[tuple[bool, bool]] = []
        self.parted: list[tuple[bytes, float]] = []

    @property
    def socket(self) -> "Line":
        return self

    def send(self, data: Buffer) -> int:
        return self.sendmsg([data])

    def sendmsg(self, buffers: list[Buffer]) -> int:
        if self.error is not None:
            raise self.error
        data = b"".join(buffers)[: self.room]
        if not data:
            raise BlockingIOError
        self.written += data
        if self.room is not None:
            self.room -= len(data)
        return len(data)

    def recv(self, size: int) -> bytes:
        if not self.unread:
            raise BlockingIOError
        return self.unread.pop(0)

    def watch(self, *, reads: bool, writes: bool) -> None:
        self.watched.append((reads, writes))

    def in_transit(self) -> Transit | None:
        return None

    def part(self, farewell: bytes, linger: float) -> None:
        self.parted.append((farewell, linger))


class World:
    """A host, its driver, and both connections of a session that is connected."""

    def __init__(self, policy: Policy | None = None, *, hold: bool = False) -> None:
        self.context = session(contexts(policy))
        accept(self.context)
        for side in Side:
            size = sum(map(len, self.context.pending(side)))
            self.context.advance(side, size, 0.0)
        self.held = 0
        self.driver = Driver(self.context, self, self._hold if hold else None)
        self.client, self.server = Line(), Line()
        self.told: list[Event | Command] = []
        self.wakes: list[float] = []
        self.dials: list[Dial] = []
        self.called_off = 0
        self.ended = 0
        self.others = 0
        self.driver.adopt(Side.CLIENT, self.client)
        self.driver.adopt(Side.SERVER, self.server)
        self.driver.settle(1.0)
        self.told.clear()
        self.held = 0

    @property
    def client_wire(self) -> Wire:
        assert self.client.wire is not None
        return self.client.wire

    @property
    def server_wire(self) -> Wire:
        assert self.server.wire is not None
        return self.server.wire

    @property
    def states(self) -> list[State]:
        return [what.state for what in self.told if isinstance(what, Transitioned)]

    def _hold(self) -> None:
        self.held += 1

    def dial(self, dial: Dial) -> None:
        self.dials.append(dial)

    def call_off(self) -> None:
        self.called_off += 1

    def wake(self, deadline: float) -> None:
        self.wakes.append(deadline)

    def tell(self, what: Event | Command, now: float) -> None:
        self.told.append(what)

    def news(self) -> None:
        self.others += 1

    def over(self) -> None:
        self.ended += 1


def quiet(**values: object) -> Policy:
    steady: dict[str, object] = {
        "delivery": Delivery.AT_MOST_ONCE,
        "heartbeat_interval": 0.0,
        "retry_jitter": 0.0,
    }
    return Policy(**(steady | values))  # type: ignore[arg-type]


# -- Bytes -------------------------------------------------------------------------------------


def test_what_is_read_is_written_to_the_other_side() -> None:
    world = World()
    world.client_wire.readable(2.0, UP)
    world.server.unread = [DOWN]
    world.server_wire.readable(2.0)
    assert (world.server.written, world.client.written) == (UP, DOWN)


@pytest.mark.parametrize("delivery", Delivery)
@pytest.mark.parametrize("room", [0, 3])
def test_what_is_not_taken_follows_when_there_is_room(room: int, delivery: Delivery) -> None:
    world = World(quiet(delivery=delivery))
    world.server.room = room
    world.client_wire.readable(2.0, UP)
    assert world.server.written == UP[:room]
    assert world.server.watched[-1] == (True, True)
    world.server.room = None
    world.client_wire.readable(2.0, UP)  # it waits for its turn: the socket is full
    assert world.server.written == UP[:room]
    world.server_wire.writable(3.0)
    assert world.server.written == UP + UP
    assert world.server.watched[-1] == (True, False)


def test_both_sides_are_asked_after_every_call() -> None:
    world = World(quiet(queue_bytes=len(UP)))
    world.server.room = 0
    world.client_wire.readable(2.0, UP * 2)
    assert world.client.watched[-1] == (False, False)
    world.server.room = None
    world.server_wire.writable(3.0)  # of the server, and it is the client that is read on
    assert world.client.watched[-1] == (True, False)


def test_what_a_peer_sent_before_a_write_to_it_failed_is_read() -> None:
    world = World(quiet())
    world.server.unread = [DOWN, DOWN]
    world.server.error = BROKEN
    world.client_wire.readable(2.0, UP)
    assert world.client.written == DOWN * 2
    assert world.states == [State.SERVER_DOWN]
    assert world.server.parted == [(b"", 0.0)]


def test_a_connection_that_hung_up_is_read_to_its_end() -> None:
    world = World()
    world.server.unread = [DOWN, DOWN, b""]
    world.server_wire.hung_up(2.0, broken=False)
    assert world.client.written == DOWN * 2
    assert world.states == [State.SERVER_DOWN]


@pytest.mark.parametrize("broken", [False, True])
def test_a_full_queue_is_respected_unless_nothing_more_comes(broken: bool) -> None:
    world = World(quiet(queue_bytes=len(DOWN)))
    world.client.room = 0
    world.server.unread = [DOWN] * 4 + [b""]
    world.server_wire.hung_up(2.0, broken=broken)
    assert len(world.server.unread) == (0 if broken else 4)
    assert world.states == ([State.SERVER_DOWN] if broken else [])


# -- Late words --------------------------------------------------------------------------------


def test_a_parted_wire_has_no_effect() -> None:
    world = World()
    wire = world.client_wire
    wire.broken("reset", 2.0)
    assert world.client.wire is None
    told = len(world.told)
    for call in (wire.readable, wire.writable):
        call(3.0)
    for data in (UP, b""):
        wire.readable(3.0, data)
    wire.broken("again", 3.0)
    wire.hung_up(3.0, broken=True)
    assert len(world.told) == told
    assert world.server.written == b""
    assert world.client.parted == [(b"", 0.0)]


def test_a_dial_that_was_called_off_gets_its_connection_closed() -> None:
    world = World()
    world.server_wire.broken("reset", 2.0)
    (dial,) = world.dials
    world.driver.handle(Shutdown(1001, ""), 2.0)
    assert world.called_off == 1
    late = Line()
    world.driver.connected(dial.generation, late, 3.0)
    assert late.parted == [(b"", 0.0)]
    assert late.wire is None
    world.driver.dial_failed(dial.generation, "too late", 3.0)
    assert not any(isinstance(what, ServerConnected | DialFailed) for what in world.told)


def test_a_connection_of_the_dial_is_told_what_to_watch_for() -> None:
    world = World()
    world.server_wire.broken("reset", 2.0)
    (dial,) = world.dials
    line = Line()
    world.driver.connected(dial.generation, line, 3.0)
    assert line.written.startswith(b"GET / HTTP/1.1\r\n")
    assert line.watched == [(True, False)]


# -- Time --------------------------------------------------------------------------------------


def test_the_host_is_told_of_a_deadline_once() -> None:
    world = World()
    assert world.wakes == [world.driver.deadline]
    world.driver.settle(1.0)
    assert len(world.wakes) == 1
    world.driver.wake(world.driver.deadline - 0.5)  # too early
    assert len(world.wakes) == 1
    world.driver.wake(world.driver.deadline)
    assert world.wakes[1:] == [world.driver.deadline]


# -- The end -----------------------------------------------------------------------------------


def close(world: World) -> None:
    goodbye = (1000).to_bytes(2, "big")
    world.client_wire.readable(2.0, frame(FIN | CLOSE, goodbye, masked=True))
    world.server_wire.readable(2.0, frame(FIN | CLOSE, goodbye))


def test_it_is_over_when_nothing_is_left() -> None:
    world = World()
    close(world)
    assert world.states == [State.CLOSING, State.CLOSED]
    assert world.ended == 1
    assert world.client.parted
    assert world.server.parted
    world.driver.settle(3.0)
    assert world.ended == 1


def test_a_driver_that_is_over_is_in_no_cycle() -> None:
    world = World()
    driver = world.driver
    close(world)
    assert world not in gc.get_referents(driver)
    assert driver.client is driver.server is None


def test_let_go_closes_and_says_nothing() -> None:
    world = World()
    world.server_wire.broken("reset", 2.0)
    told = len(world.told)
    world.driver.let_go()
    assert world.client.parted == [(b"", 0.0)]
    assert world.called_off == 1
    assert world.driver.deadline == inf
    world.driver.wake(1000.0)
    assert len(world.told) == told
    assert world.client.written == b""


def test_abandon_frees_what_the_queues_hold() -> None:
    world = World()
    world.server_wire.broken("reset", 2.0)
    world.client_wire.readable(2.0, UP * 10)
    budget = world.context.client.queue.budget
    assert budget.used
    world.driver.abandon()
    assert not budget.used
    assert world.driver.client is None


# -- Hold --------------------------------------------------------------------------------------


def test_nothing_is_written_before_flush() -> None:
    world = World(hold=True)
    world.client_wire.readable(2.0, UP)
    assert world.held == 1
    assert world.server.written == b""
    world.driver.flush(2.0)
    assert world.server.written == UP
    assert world.held == 1


def test_what_is_done_meanwhile_is_not_held() -> None:
    world = World(hold=True)
    world.server_wire.broken("reset", 2.0)
    assert world.states == [State.SERVER_DOWN]
    assert len(world.dials) == 1
    assert world.held == 1
    (dial,) = world.dials
    line = Line()
    world.driver.connected(dial.generation, line, 3.0)
    assert line.written == b""
    world.driver.flush(3.0)
    assert line.written.startswith(b"GET ")


def test_a_held_socket_with_no_room_waits_for_it() -> None:
    world = World(hold=True)
    world.server.room = 3
    world.client_wire.readable(2.0, UP)
    world.driver.flush(2.0)
    assert world.server.written == UP[:3]
    assert world.server.watched[-1] == (True, True)
    world.server.room = None
    world.server_wire.writable(3.0)
    world.driver.flush(3.0)
    assert world.server.written == UP


def flowing(policy: Policy | None = None) -> World:
    """A session that holds, in which messages have gone both ways: more of them go straight on."""
    world = World(policy, hold=True)
    world.client_wire.readable(1.0, UP)
    world.server_wire.readable(1.0, DOWN)
    world.driver.flush(1.0)
    assert (world.server.written, world.client.written) == (UP, DOWN)
    world.server.written = world.client.written = b""
    world.held = 0
    return world


def test_what_both_say_in_one_sweep_goes_on_together() -> None:
    world = flowing()
    world.client_wire.readable(2.0, UP)
    world.server_wire.readable(2.0, DOWN)
    world.driver.flush(2.0)
    assert (world.server.written, world.client.written) == (UP, DOWN)


def test_what_is_read_after_a_read_that_is_held_follows_it() -> None:
    world = flowing()
    world.client_wire.readable(2.0, UP + UP)
    world.client_wire.readable(2.0, UP)
    world.driver.flush(2.0)
    assert world.server.written == UP * 3
    assert world.client.watched[-1] == (True, False)


def test_what_is_held_is_not_written_to_another_server() -> None:
    world = flowing()
    world.client_wire.readable(2.0, UP)
    world.server_wire.broken("reset", 2.0)
    (dial,) = world.dials
    line = Line()
    world.driver.connected(dial.generation, line, 3.0)
    world.driver.flush(3.0)
    assert line.written.startswith(b"GET ")
    assert UP not in line.written


def test_a_close_behind_what_is_held_follows_it() -> None:
    world = flowing()
    world.client_wire.readable(2.0, UP)
    world.client_wire.readable(2.0, frame(FIN | CLOSE, masked=True))
    world.driver.flush(2.0)
    assert world.server.written.startswith(UP + bytes((FIN | CLOSE,)))


def test_the_last_words_of_a_peer_that_takes_no_more_are_held_too() -> None:
    world = flowing(quiet())
    world.server.unread = [DOWN]
    world.server.error = BROKEN
    world.client_wire.readable(2.0, UP)
    world.server_wire.readable(2.0, DOWN)
    world.client_wire.readable(2.0, UP)
    world.driver.flush(2.0)
    assert world.client.written == b""  # more has come in than is written down
    assert world.held
    world.driver.flush(2.0)
    assert world.client.written == DOWN * 2


def test_a_full_queue_of_a_connection_that_hung_up_is_respected_before_it_is_written_down() -> None:
    world = World(quiet(queue_bytes=len(DOWN)), hold=True)
    world.server.unread = [DOWN] * 4 + [b""]
    world.server_wire.hung_up(2.0, broken=False)
    assert len(world.server.unread) == 4
