"""What lost connections cost, peers that don't read, bad requests: on the in-memory network."""

import pytest
from memory_world import INSTANT, PROXY, QUEUE, World, policy, whole
from reknit.memory.network import Conditions, MemorySocket
from reknit.verify.simulation.ledger import Promise
from reknit.verify.simulation.stack import Cut
from reknit_core.lifecycle import State
from reknit_core.policy.policy import Delivery


@pytest.fixture(params=list(Delivery), ids=lambda delivery: delivery.value)
def delivery(request: pytest.FixtureRequest) -> Delivery:
    value = request.param
    assert isinstance(value, Delivery)
    return value


# -- What a loss costs -----------------------------------------------------------------------------


@pytest.mark.parametrize("how", [Cut.END, Cut.RESET, Cut.BREAK], ids=lambda how: how.value)
@pytest.mark.parametrize("lost", ["client", "server"])
def test_only_what_was_in_the_sockets_is_lost(delivery: Delivery, how: Cut, lost: str) -> None:
    """A connection is lost while messages are on their way, at many different moments."""
    settings = policy(delivery, queue_bytes=20000, retry_limit=1000)
    world = World(settings, Conditions(latency=(0.01, 0.05)))
    for moment in range(60):
        world.client.send(3)
        world.session.send(3)
        world.run(0.002 * moment)
        if lost == "client":
            world.client.cut(how)
            world.run(1.0)
            world.client.connect(resume=True)
            world.run(1.0)
        else:
            world.session.cut(how)
            world.run(3.0)
    for end in (world.client, world.session):
        assert end.send() == 1
    world.run(1.0)
    for count in (world.to_server, world.to_client):
        assert count.unexplained == count.reordered == count.altered == 0
        if delivery is Delivery.AT_MOST_ONCE:
            assert count.repeated == 0
    towards_it, from_it = world.to_client, world.to_server
    if lost == "server":
        towards_it, from_it = from_it, towards_it
    assert (towards_it.lost > 0) == (delivery is Delivery.AT_MOST_ONCE)
    assert (from_it.lost > 0) == (how is Cut.BREAK)  # the others let it arrive first


def test_at_most_once_repeats_nothing_whatever_a_write_took() -> None:
    """A connection is lost while messages that waited in one piece are written part by part."""
    settings = policy(queue_bytes=20000, retry_limit=1000)
    world = World(settings, Conditions(partial=1.0, part=80), sizes=(10, 50))
    for moment in range(100):
        world.session.cut()
        world.run(0.5)
        world.client.send(9)
        world.run(0.5 + 0.001 * moment)
    world.run(3.0)
    count = world.to_server
    assert (count.repeated, count.reordered, count.unexplained) == (0, 0, 0)
    assert 0 < count.lost < count.received


def test_a_pong_proves_no_more_than_what_its_ping_followed() -> None:
    """A message comes, and its connection is lost, around the time of the Pong for one before."""
    settings = policy(Delivery.AT_LEAST_ONCE, retry_limit=1000, confirm_after=0.1)
    world = World(settings, Conditions(latency=(0.01, 0.05)))
    for moment in range(100):
        world.client.send()
        world.run(0.1 + 0.002 * moment)
        world.client.send()
        world.run(0.04)
        world.session.cut(Cut.BREAK)
        world.run(3.0)
    count = world.to_server
    assert (count.lost, count.reordered, count.unexplained) == (0, 0, 0)
    assert count.repeated < 100


@pytest.mark.parametrize("how", [Cut.END, Cut.RESET, Cut.BREAK], ids=lambda how: how.value)
@pytest.mark.parametrize("lost", ["client", "server"])
def test_ends_that_count_get_all_once(delivery: Delivery, how: Cut, lost: str) -> None:
    settings = policy(delivery, queue_bytes=20000, retry_limit=1000)
    conditions = Conditions(latency=(0.01, 0.05))
    world = World(settings, conditions, promise=Promise.EXACTLY_ONCE)
    for moment in range(60):
        world.client.send(3)
        world.session.send(3)
        world.run(0.002 * moment)
        if lost == "client":
            world.client.cut(how)
            world.run(1.0)
            world.client.connect(resume=True)
            world.run(1.0)
        else:
            world.session.cut(how)
            world.run(3.0)
    assert (world.to_server, world.to_client) == (whole(180), whole(180))


def test_a_message_cut_in_the_middle_is_dropped_whole() -> None:
    world = World(policy(queue_bytes=20000), Conditions(capacity=500, partial=1.0, part=100))
    world.session.send(3)  # the second has 3,000 bytes
    world.run(0.007)
    world.session.cut()
    world.run(10.0)
    world.session.send(3)
    world.run(10.0)
    count = world.to_client
    assert 0 < count.lost < 3
    assert (count.received, count.altered, count.unexplained) == (6 - count.lost, 0, 0)


# -- Peers that don't read -------------------------------------------------------------------------


def test_a_client_that_does_not_read_holds_the_server_up(delivery: Delivery) -> None:
    world = World(policy(delivery), Conditions(capacity=2000))
    world.client.read(False)
    world.session.send(200)
    world.run(5.0)
    (context,) = world.proxy.sessions
    queue = context.server.queue
    assert QUEUE <= queue.tail - queue.confirmed <= QUEUE + 2 * 2000
    assert world.session.stack is not None
    assert world.session.stack.waiting > 50000
    world.client.read(True)
    world.run(20.0)
    assert world.to_client == whole(200)
    assert world.states == ["connected"]


@pytest.mark.parametrize("way", ["stalled", "away"])
def test_a_full_queue_is_no_sign_of_a_dead_sender(delivery: Delivery, way: str) -> None:
    """A server that isn't read can't be heard: its silence is the proxy's doing."""
    world = World(policy(delivery, client_grace=300.0), Conditions(capacity=2000))
    if way == "stalled":
        world.client.read(False)
    else:
        world.client.cut()
    world.session.send(200)
    world.run(100.0)
    assert world.server.accepted == 1
    assert "server_down" not in world.states
    world.client.connect(resume=True)
    world.run(20.0)
    world.session.send()
    world.run(INSTANT)
    count = world.to_client
    assert (count.unexplained, count.sent) == (0, 201)
    if way == "away" or delivery is not Delivery.AT_MOST_ONCE:
        assert count.lost == 0


def test_queues_that_are_full_both_ways_drain(delivery: Delivery) -> None:
    """Each direction's confirmation comes behind the other direction's messages."""
    world = World(policy(delivery), Conditions(capacity=2000))
    world.client.send(300)
    world.session.send(300)
    world.run(60.0)
    assert (world.to_server, world.to_client) == (whole(300), whole(300))
    assert world.states == ["connected"]


def test_a_peer_that_is_silent_is_lost_in_time(delivery: Delivery) -> None:
    world = World(policy(delivery, heartbeat_interval=20.0, heartbeat_timeout=10.0))
    assert world.client.stack is not None
    last = world.network.now
    world.client.stack.socket.vanish()
    world.run(60.0)
    assert world.when(State.CLIENT_DOWN) - last == pytest.approx(30.0, abs=INSTANT)


# -- At the door -----------------------------------------------------------------------------------


class Visitor:
    """Dials the proxy, says something, and keeps the answer."""

    def __init__(self, world: World, says: bytes) -> None:
        self.answer = b""
        self.over_at = 0.0
        self._world = world
        self._says = says
        world.network.dial(PROXY, 1.0, self._dialled)

    def _dialled(self, outcome: MemorySocket | str) -> None:
        assert isinstance(outcome, MemorySocket)
        outcome.owner = self
        outcome.send(self._says)

    def on_data(self, data: bytes) -> None:
        self.answer += data

    def on_eof(self) -> None:
        self.over_at = self._world.network.now

    def on_lost(self, reason: str) -> None:
        raise AssertionError(reason)

    def on_writable(self) -> None:
        raise AssertionError("everything fits")


@pytest.mark.parametrize(
    ("says", "status", "after"),
    [
        (b"GET / HTTP/1.1\r\nHost: a\r\n\r\n", b"426", 0.0),
        (b"nonsense\r\n\r\n", b"400", 0.0),
        (b"GET / HTTP/1.1\r\nX: " + b"x" * 17000, b"431", 0.0),
        (b"GET / HTTP/1.1\r\n", b"408", 10.0),
    ],
    ids=["no upgrade", "no HTTP", "too large", "too slow"],
)
def test_bad_requests_are_answered(says: bytes, status: bytes, after: float) -> None:
    world = World(policy(), connected=False)
    visitor = Visitor(world, says)
    world.run(20.0)
    assert visitor.answer.split()[1] == status
    assert visitor.over_at == pytest.approx(after, abs=0.1)
    assert not world.proxy.sessions


# -- Determinism -----------------------------------------------------------------------------------


def course(seed: int) -> list[str]:
    """The log of an eventful course."""
    conditions = Conditions(latency=(0.001, 0.2), capacity=1500, partial=0.5, part=50)
    world = World(policy(), conditions, seed, connected=False)
    world.client.connect()
    world.run(10.0)
    for how in Cut:
        world.client.send(10)
        world.session.send(10)
        world.run(0.1)
        world.session.cut(how)
        world.run(50.0)
    return world.log


def test_a_seed_gives_the_same_course_each_time() -> None:
    assert course(7) == course(7)
    assert course(7) != course(8)
