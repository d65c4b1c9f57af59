"""The in-memory adapter end to end: the design's scenarios, between simulated peers."""

from collections.abc import Callable
from random import Random

import pytest
from reknit.ledger import Count, Dialogue, Promise
from reknit.memory import MemoryProxy
from reknit.memory_network import Conditions, MemoryNetwork, MemorySocket
from reknit.memory_peers import SILENT, MemoryClient, MemoryServer, ServerSession
from reknit.memory_stack import Cut
from reknit_core.commands import Command, Dial, Transitioned
from reknit_core.lifecycle import State
from reknit_core.policy import Delivery, Policy, Upstream

PROXY = ("proxy", 80)
SERVER = ("server", 80)
INSTANT = 0.5  # seconds: enough for anything that needs no waiting
QUEUE = 4096  # bytes


def policy(delivery: Delivery = Delivery.AT_MOST_ONCE, **values: float) -> Policy:
    settings: dict[str, float] = {
        "retry_interval": 1.0,
        "retry_jitter": 0.0,
        "retry_limit": 5,
        "client_grace": 30.0,
        "queue_bytes": QUEUE,
        "heartbeat_interval": 20.0,
        "heartbeat_timeout": 10.0,
    }
    return Policy(delivery=delivery, **(settings | values))  # type: ignore[arg-type]


class World:
    """A network with a server, a proxy, and one client that is connected unless said."""

    def __init__(
        self,
        policy: Policy,
        conditions: Conditions | None = None,
        seed: int = 1,
        *,
        connected: bool = True,
        promise: Promise | None = None,
    ) -> None:
        self.log: list[str] = []
        self.network = MemoryNetwork(Random(seed), conditions, self.log)
        self.policy = policy
        if promise is None:
            eager = policy.delivery is Delivery.AT_MOST_ONCE
            promise = Promise.AT_MOST_ONCE if eager else Promise.AT_LEAST_ONCE
        self.dialogue = Dialogue.begin("a", (10, 100, 3000), promise)
        self.server = MemoryServer(self.network, SERVER, lambda name: self.dialogue)
        self.commands: list[tuple[float, Command]] = []
        self.proxy = MemoryProxy(self.network, PROXY, policy, Upstream(*SERVER), self._observe)
        self.client = MemoryClient(self.network, PROXY, "a", self.dialogue)
        if connected:
            self.client.connect()
            self.run(INSTANT)
            assert self.client.up
            assert self.state is State.CONNECTED

    def run(self, seconds: float) -> None:
        self.network.run(self.network.now + seconds)

    def _observe(self, name: str, command: Command) -> None:
        self.commands.append((self.network.now, command))

    @property
    def session(self) -> ServerSession:
        return self.server.sessions["a"]

    @property
    def state(self) -> State:
        (context,) = self.proxy.sessions
        return context.state

    @property
    def states(self) -> list[str]:
        return [c.state.value for _, c in self.commands if isinstance(c, Transitioned)]

    @property
    def to_server(self) -> Count:
        return self.dialogue.to_server.count()

    @property
    def to_client(self) -> Count:
        return self.dialogue.to_client.count()

    def when(self, state: State) -> float:
        """When the session last came into that state (seconds)."""
        return next(
            time
            for time, command in reversed(self.commands)
            if isinstance(command, Transitioned) and command.state is state
        )

    def dials(self) -> list[float]:
        """When each dial was to happen (seconds)."""
        return [command.at for _, command in self.commands if isinstance(command, Dial)]

    def assert_over(self) -> None:
        """The session has left nothing behind."""
        assert not self.proxy.sessions
        assert len(self.proxy.contexts) == 0


def whole(count: int) -> Count:
    return Count(sent=count, received=count)


# -- Messages pass ---------------------------------------------------------------------------------


@pytest.fixture(params=list(Delivery), ids=lambda delivery: delivery.value)
def delivery(request: pytest.FixtureRequest) -> Delivery:
    value = request.param
    assert isinstance(value, Delivery)
    return value


def test_messages_pass_both_ways_whatever_the_writes(delivery: Delivery) -> None:
    conditions = Conditions(latency=(0.001, 0.2), capacity=1500, partial=0.5, part=50)
    world = World(policy(delivery, queue_bytes=200000), conditions, connected=False)
    world.client.connect()
    world.run(30.0)
    for fragments in (1, 2, 3):
        world.client.send(20, fragments)
        world.session.send(20, fragments)
        world.run(30.0)
    assert (world.to_server, world.to_client) == (whole(60), whole(60))
    assert world.states == ["connected"]


def test_pings_pass_through(delivery: Delivery) -> None:
    world = World(policy(delivery))
    assert world.client.stack is not None
    world.client.stack.ping(b"from the client")
    world.run(INSTANT)
    assert world.client.stack.pongs == [b"from the client"]


def test_an_idle_session_stays(delivery: Delivery) -> None:
    world = World(policy(delivery))
    world.run(3600.0)
    assert world.states == ["connected"]
    assert world.client.send() == world.session.send() == 1
    world.run(INSTANT)
    assert (world.to_server, world.to_client) == (whole(1), whole(1))


# -- The server is lost ----------------------------------------------------------------------------


@pytest.mark.parametrize("how", list(Cut), ids=lambda how: how.value)
def test_a_server_that_returns_gets_what_waited(delivery: Delivery, how: Cut) -> None:
    world = World(policy(delivery, retry_limit=60))
    world.client.send(5)
    world.run(20.0)
    world.server.kill(how)
    world.run(40.0 if how is Cut.VANISH else INSTANT)
    assert world.state is State.SERVER_DOWN
    for _ in range(5):
        world.client.send()
        world.run(0.01)
    world.server.start()
    world.run(2.0)
    world.client.send(5)
    world.run(INSTANT)
    assert world.to_server == whole(15)
    assert world.states == ["connected", "server_down", "draining", "connected"]
    assert world.server.accepted == 2
    assert world.session.request["x-reconnect"] == "true"


def test_each_retry_comes_at_its_time() -> None:
    world = World(policy())
    world.server.kill()
    world.run(INSTANT)
    lost = world.when(State.SERVER_DOWN)
    world.run(2.5)  # refused once, refused twice
    world.server.start()
    world.run(2.0)
    assert world.session.request["x-reconnect-attempt"] == "3"
    refused = 0.002  # two latencies
    expected = [lost + 1.0, lost + 2.0 + refused, lost + 3.0 + 2 * refused]
    assert world.dials()[1:] == pytest.approx(expected)


def test_a_connection_that_lasted_ends_the_count_of_attempts() -> None:
    world = World(policy(retry_limit=2, retry_reset=10.0))
    for _ in range(3):
        world.session.cut()
        world.run(12.0)
    assert world.state is State.CONNECTED
    for _ in range(3):  # a crash loop
        world.session.cut()
        world.run(5.0)
    assert world.client.closed is not None
    assert world.client.closed[0] == 1013


@pytest.mark.parametrize("trouble", ["refused", "swallowed", "silent", "503"])
def test_spent_retries_close_the_client(trouble: str) -> None:
    world = World(policy(retry_limit=3, connect_timeout=4.0))
    world.server.kill()
    match trouble:
        case "swallowed":
            world.network.swallow(SERVER)
        case "silent" | "503":
            world.server.start()
            world.server.status = SILENT if trouble == "silent" else 503
        case _:
            pass
    world.run(40.0)
    assert world.states == ["connected", "server_down", "closed"]
    assert world.client.closed is not None
    assert world.client.closed[0] == 1013
    assert len(world.dials()) == 1 + 3
    each = 5.0 if trouble in ("swallowed", "silent") else 1.0
    spent = world.when(State.CLOSED) - world.when(State.SERVER_DOWN)
    assert spent == pytest.approx(3 * each, abs=0.05)
    world.run(60.0)
    world.assert_over()


def test_a_server_that_never_answered_first_is_reported_to_the_client() -> None:
    world = World(policy(retry_limit=2), connected=False)
    world.server.kill()
    world.client.connect()
    world.run(10.0)
    assert world.client.status == 502
    world.run(10.0)
    world.assert_over()


def test_a_server_that_refuses_first_answers_the_client() -> None:
    world = World(policy(), connected=False)
    world.server.status = 403
    world.client.connect()
    world.run(10.0)
    assert world.client.status == 403
    assert world.states == ["closed"]
    world.run(10.0)
    world.assert_over()


# -- The client is lost ----------------------------------------------------------------------------


@pytest.mark.parametrize("how", list(Cut), ids=lambda how: how.value)
def test_a_client_that_returns_gets_what_waited(delivery: Delivery, how: Cut) -> None:
    world = World(policy(delivery, client_grace=100.0))
    world.session.send(5)
    world.run(20.0)
    world.client.cut(how)
    world.run(40.0 if how is Cut.VANISH else INSTANT)
    assert world.state is State.CLIENT_DOWN
    for _ in range(5):
        world.session.send()
        world.run(0.01)
    world.client.connect(resume=True)
    world.run(INSTANT)
    world.session.send(5)
    world.run(INSTANT)
    assert world.to_client == whole(15)
    assert world.states == ["connected", "client_down", "draining", "connected"]
    assert world.server.accepted == 1


def test_the_grace_ends_at_its_time() -> None:
    world = World(policy(client_grace=30.0))
    world.client.cut()
    world.run(100.0)
    assert world.states == ["connected", "client_down", "closed"]
    away = world.when(State.CLOSED) - world.when(State.CLIENT_DOWN)
    assert away == pytest.approx(30.0)
    assert world.session.closed is not None
    assert world.session.closed[0] == 1001
    world.assert_over()
    world.client.connect(resume=True)
    world.run(INSTANT)
    assert world.client.status == 404


@pytest.mark.parametrize(("early", "status"), [(0.010, 101), (-0.010, 404)])
def test_a_return_around_the_end_of_the_grace(early: float, status: int) -> None:
    world = World(policy(client_grace=30.0))
    world.client.cut()
    world.run(INSTANT)
    end = world.when(State.CLIENT_DOWN) + 30.0
    world.network.at(end - 0.003 - early, lambda: world.client.connect(resume=True))
    world.run(60.0)
    assert world.client.status == status
    assert world.client.up is (status == 101)


def test_a_newer_client_takes_over() -> None:
    world = World(policy())
    other = MemoryClient(world.network, PROXY, "a", world.dialogue)
    other.connect()
    world.run(INSTANT)
    assert other.up
    assert not world.client.up
    assert world.client.closed is not None
    assert world.client.closed[0] == 4409
    world.session.send(3)
    other.send(3)
    world.run(INSTANT)
    assert (world.to_server, world.to_client) == (whole(3), whole(3))
    assert world.server.accepted == 1


# -- Both are lost ---------------------------------------------------------------------------------


@pytest.mark.parametrize("first", ["client", "server"])
def test_both_lost_and_returned_in_either_order(delivery: Delivery, first: str) -> None:
    world = World(policy(delivery, retry_limit=60))
    world.client.send(2)
    world.session.send(2)
    world.run(INSTANT)
    world.server.kill()
    world.run(INSTANT)
    world.client.send(3)
    world.run(INSTANT)
    world.client.cut()
    world.run(INSTANT)
    assert world.state is State.BOTH_DOWN
    returns: list[Callable[[], None]] = [
        lambda: world.client.connect(resume=True),
        world.server.start,
    ]
    for come_back in returns if first == "client" else reversed(returns):
        come_back()
        world.run(5.0)
    world.client.send(2)
    world.session.send(2)
    world.run(INSTANT)
    assert (world.to_server, world.to_client) == (whole(7), whole(4))
    middle = "server_down" if first == "client" else "client_down"
    expected = ["server_down", "both_down", middle, "draining", "connected"]
    assert world.states[1:] == expected


def test_a_dial_is_called_off_when_the_session_ends() -> None:
    world = World(policy(client_grace=5.0, retry_limit=100, connect_timeout=60.0))
    world.server.kill()
    world.network.swallow(SERVER)
    world.client.cut()
    world.run(4.0)
    assert world.state is State.BOTH_DOWN
    world.run(2.0)
    world.assert_over()
    world.server.start()
    world.run(100.0)
    assert world.server.accepted == 1


# -- Ends on purpose -------------------------------------------------------------------------------


def test_a_client_that_closes_is_followed_by_all_it_said(delivery: Delivery) -> None:
    world = World(policy(delivery), Conditions(partial=0.5, part=20))
    world.client.send(5)
    world.client.close(4000, "enough")
    world.run(20.0)
    assert world.session.closed == (4000, "enough")
    assert world.client.closed == (4000, "")  # as the server's stack answers
    assert world.to_server == whole(5)
    world.assert_over()


def test_a_server_that_closes_is_followed_by_all_it_said(delivery: Delivery) -> None:
    world = World(policy(delivery), Conditions(partial=0.5, part=20))
    world.session.send(5)
    world.session.close(4001, "enough")
    world.run(20.0)
    assert world.client.closed == (4001, "enough")
    assert world.session.closed == (4001, "")
    assert world.to_client == whole(5)
    world.assert_over()


def test_a_close_does_not_wait_for_a_peer_that_does_not_read(delivery: Delivery) -> None:
    world = World(policy(delivery, close_timeout=5.0), Conditions(capacity=500))
    world.session.read(False)
    world.client.send(3)
    world.run(1.0)
    world.client.close(4000)
    world.run(11.0)  # one limit for each leg
    assert not world.client.up
    world.assert_over()


@pytest.mark.parametrize("code", [1001, 1012])
def test_a_server_that_says_it_restarts_is_only_lost(code: int) -> None:
    world = World(policy())
    world.session.close(code)
    world.run(5.0)
    assert world.states == ["connected", "server_down", "draining", "connected"]
    assert world.client.up


def test_the_proxy_stops() -> None:
    world = World(policy())
    world.session.send(3)
    world.run(INSTANT)
    world.proxy.stop()
    world.run(20.0)
    assert world.client.closed is not None
    assert world.session.closed is not None
    assert world.client.closed[0] == world.session.closed[0] == 1001
    assert world.to_client == whole(3)
    world.assert_over()
    world.client.connect()
    world.run(INSTANT)
    assert world.client.stack is None


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
    """A connection is lost after a part of many messages that were read in one piece."""
    settings = policy(queue_bytes=20000, retry_limit=1000)
    world = World(settings, Conditions(partial=1.0, part=80))
    for moment in range(60):
        world.client.send(9)
        world.run(0.001 * moment)
        world.session.cut()
        world.run(3.0)
    count = world.to_server
    assert (count.repeated, count.reordered, count.unexplained) == (0, 0, 0)
    assert 0 < count.lost < count.received


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
