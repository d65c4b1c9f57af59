"""How a session has gone: what its last line in the log says, also where a process went on."""

from reknit_core.durable.frozen import freeze, thaw
from reknit_core.play.player import Player, parse
from reknit_core.policy.policy import Policy
from reknit_core.policy.upstream import Upstream
from reknit_core.proxy.contexts import Contexts
from reknit_core.session.context import ContextStateMachine
from reknit_core.telemetry.account import Passed, account

OPEN = ("@1 > client connected", "@1 > server connected", "@1 > server accepts")


def played(*events: str) -> Player:
    player = Player(parse("policy delivery=at-least-once").policy)
    for event in events:
        player.do(event)
    return player


def context_of(player: Player) -> ContextStateMachine:
    assert player.context is not None
    return player.context


def test_what_a_session_comes_to() -> None:
    player = played(
        *OPEN,
        '@2 > client message "one" "two"',
        '@2 > server message "1"',
        "@3 > server lost",
        "@4 > server connected",
        "@4 > server accepts",
        "@4 > client lost",
        "@6 > client connected",
        "@7 > client lost",
        "@7.5 > server lost",
    )
    context = context_of(player)
    seen = account(context, 8.0)
    assert seen.seconds == 7.0
    assert (seen.address, seen.path) == ("192.0.2.1", "/")
    assert seen.to_server == Passed(2, 2 * (3 + 6), 2, 1.5)
    assert seen.to_client == Passed(1, 1 + 2, 2, 3.0)
    counters = player.contexts.counters
    assert counters.to_server.returns.sum == 1.0
    assert counters.to_client.returns.sum == 2.0
    player.do('@10 > shutdown 1001 "bye"')
    seen = account(context, player.now)
    assert (seen.code, seen.cause) == (1001, "bye")
    assert (seen.to_server.away_seconds, seen.to_client.away_seconds) == (3.5, 5.0)
    assert (counters.to_server.losses.sum, counters.to_client.losses.sum) == (2.5, 3.0)
    assert counters.durations.sum == 9.0


def test_a_client_that_was_refused_has_a_status() -> None:
    player = played("@1 > client connected", "@1 > server connected")
    context = context_of(player)
    player.do("@2 > server refuses status=404")
    seen = account(context, 2.0)
    assert (seen.code, seen.cause) == (404, "status=404")
    assert seen.to_client == Passed(0, 0, 0, 0.0)


def test_it_goes_on_in_another_process() -> None:
    player = played(*OPEN, "@3 > client lost")
    data = freeze(context_of(player), 4.0)
    other = Contexts(Policy(), Upstream("server.test", 80), lambda size: b"~" * size)
    seen = account(thaw(other, data, 104.0), 105.0)
    assert seen.seconds == 4.0  # but for the time in which it stood still
    assert (seen.address, seen.path) == ("192.0.2.1", "/")
    assert seen.to_client == Passed(0, 0, 1, 2.0)
