"""The in-memory adapter end to end: the design's scenarios, between simulated peers."""

from collections.abc import Callable

import pytest
from memory_world import INSTANT, PROXY, SERVER, World, policy, whole
from reknit.memory.network import Conditions
from reknit.verify.simulation.actors import SILENT, MemoryClient
from reknit.verify.simulation.stack import Cut
from reknit_core.lifecycle import State
from reknit_core.policy.policy import Delivery


@pytest.fixture(params=list(Delivery), ids=lambda delivery: delivery.value)
def delivery(request: pytest.FixtureRequest) -> Delivery:
    value = request.param
    assert isinstance(value, Delivery)
    return value


# -- Messages pass ---------------------------------------------------------------------------------


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


def test_a_newer_client_takes_over_while_the_session_opens() -> None:
    world = World(policy(retry_limit=60), connected=False)
    world.server.kill()
    world.client.connect()
    world.run(INSTANT)
    other = MemoryClient(world.network, PROXY, "a", world.dialogue)
    other.connect()
    world.run(INSTANT)
    assert world.client.status == 409
    assert world.client.stack is None
    world.server.start()
    world.run(2.0)
    assert other.up
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
