"""Several servers between simulated peers: what one attempt is, and who is dialled meanwhile."""

import pytest
from memory_world import INSTANT, World, policy, whole
from reknit.verify.simulation.actors import ACCEPT, SILENT, MemoryServer
from reknit_core.commands import AttemptFailed, Dial, Transitioned
from reknit_core.durable.frozen import freeze, thaw
from reknit_core.lifecycle import State, Trigger
from reknit_core.policy.policy import Delivery, Policy
from reknit_core.policy.upstream import Upstream
from reknit_core.proxy.contexts import Contexts

A, B = "ws://server", "ws://server2"


def settings(**values: object) -> Policy:
    usual = {"retry_interval": 1.0, "retry_jitter": 0.0, "retry_limit": 4, "connect_timeout": 5.0}
    return policy(Delivery.AT_MOST_ONCE, **{**usual, **values})


def at(world: World) -> str:
    """The server that the session is with, or was."""
    (context,) = world.proxy.contexts
    return context.server_name


def failures(world: World) -> list[tuple[int, str, bool]]:
    """Attempt, server and whether it went on, of all that failed."""
    return [
        (command.attempt, command.server, command.goes_on)
        for _, command in world.commands
        if isinstance(command, AttemptFailed)
    ]


def answer(server: MemoryServer, status: int) -> None:
    server.status = status


def lose(world: World) -> None:
    """Its server's process ends, and is there again at once."""
    (server,) = (each for each in world.servers if world.session.server is each)
    server.kill()
    server.start()


def test_a_session_goes_on_with_the_next_one() -> None:
    world = World(settings(), servers=2)
    assert at(world) == A
    world.server.kill()
    world.client.send(3)
    world.run(2.0)
    assert at(world) == B
    assert failures(world) == [(1, A, True)]
    assert world.state is State.CONNECTED
    assert world.to_server == whole(3)
    world.server.start()
    world.run(10.0)
    assert at(world) == B  # it stays
    world.servers[1].kill()
    world.run(2.0)
    assert at(world) == A


def test_all_that_refuse_are_one_attempt() -> None:
    world = World(settings(), servers=3)
    for server in world.servers:
        answer(server, 503)
    lose(world)
    world.run(3600.0)
    rounds = [(attempt, name) for attempt, name, _ in failures(world)]
    names = [A, B, "ws://server3"]
    assert rounds == [(attempt, name) for attempt in (1, 2, 3, 4) for name in names]
    dials = [command for _, command in world.commands if isinstance(command, Dial)]
    assert [dial.attempt for dial in dials] == [0, *(n for n in (1, 2, 3, 4) for _ in names)]
    assert world.client.closed is not None
    assert world.client.closed[0] == 1013


def test_one_that_accepts_and_refuses_by_turns() -> None:
    world = World(settings(retry_limit=10, retry_reset=0.0), servers=2)
    for _ in range(5):
        answer(world.server, 503)
        lose(world)
        world.run(3.0)
        assert at(world) == B
        answer(world.servers[1], 503)
        answer(world.server, ACCEPT)
        lose(world)
        world.run(3.0)
        assert at(world) == A
        answer(world.servers[1], ACCEPT)
    assert all(server.is_up for server in world.proxy.contexts.servers)
    assert world.state is State.CONNECTED


def test_one_that_is_silent_is_soon_dialled_by_nobody() -> None:
    world = World(settings(handshake_wait=60.0), servers=2)
    answer(world.server, SILENT)
    for _ in range(3):
        world.client.close(4000)
        world.run(INSTANT)
        world.client.connect()
        world.run(6.0)
        assert at(world) == B
    assert [server.is_up for server in world.proxy.contexts.servers] == [False, True]
    world.client.close(4000)
    world.run(6.0)
    world.client.connect()
    world.run(INSTANT)
    assert world.client.up  # without a wait for the silent one


def test_a_final_refusal_is_the_last_word() -> None:
    world = World(settings(), servers=2)
    answer(world.server, 403)
    lose(world)
    world.run(5.0)
    assert failures(world) == [(1, A, False)]
    assert [c.trigger for _, c in world.commands if isinstance(c, Transitioned)][1:3] == [
        Trigger.SERVER_LOST,
        Trigger.SERVER_REFUSED,
    ]


@pytest.mark.parametrize("status", [503, 429])
def test_a_new_session_gets_the_next_one_too(status: int) -> None:
    world = World(settings(), servers=2, connected=False)
    answer(world.server, status)
    world.client.connect()
    world.run(INSTANT)
    assert world.client.up
    assert at(world) == B


def test_the_last_refusal_is_a_new_sessions_answer() -> None:
    world = World(settings(), servers=2, connected=False)
    answer(world.server, 503)
    answer(world.servers[1], 429)
    world.client.connect()
    world.run(INSTANT)
    assert world.client.status == 429


def test_another_process_knows_whose_a_session_is() -> None:
    world = World(settings(), servers=2)
    world.server.kill()
    world.run(2.0)
    (context,) = world.proxy.contexts
    context.commands()
    data = freeze(context, world.network.now)
    both = [Upstream(*server.address) for server in world.servers]
    for upstreams, chosen in ((both, B), (both[:1], A), ([*both[:1], Upstream("c", 1)], A)):
        contexts = Contexts(settings(), upstreams, world.network.random.randbytes)
        thawed = thaw(contexts, data, 0.0)
        assert thawed.server_name == B
        assert thawed.choose_server() == chosen
