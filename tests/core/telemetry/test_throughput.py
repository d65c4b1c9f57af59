"""What passed in the last seconds, and how those stand that wait for a server."""

import pytest
from reknit_core.play.player import Player, parse
from reknit_core.telemetry.survey import waits
from reknit_core.telemetry.throughput import KEPT, Throughput

OPEN = ("@0 > client connected", "@0 > server connected", "@0 > server accepts")


def played(policy: str, *events: str) -> Player:
    player = Player(parse(f"policy {policy}").policy)
    for event in (*OPEN, *events):
        player.do(event)
    return player


def test_what_passed_in_each_second() -> None:
    player = played("delivery=at-least-once")
    throughput = Throughput(player.contexts)
    throughput.look(0.0)
    player.do('@1 > client message "1" "2" "3" "4"')
    throughput.look(1.1)
    throughput.look(1.5)  # too soon for another point
    player.do('@3 > server message "1"')
    throughput.look(5.1)
    rates = throughput.rates(5.5)
    messages = rates["to_server"]["messages"]
    assert len(messages) == KEPT
    assert messages[-6:] == [3.636, 0.0, 0.0, 0.0, 0.0, 0.0]  # 4 in 1.1 seconds
    assert messages[: KEPT - 6] == [0.0] * (KEPT - 6)
    assert rates["to_client"]["messages"][-5:] == [0.25] * 5  # 1 in 4 seconds
    assert sum(rates["to_client"]["bytes"]) == pytest.approx(5 * 3 / 4, abs=0.3)


def test_what_there_is_to_say_of_those_that_wait() -> None:
    player = played("retry_limit=10 retry_interval=2 retry_jitter=0")
    assert waits(player.contexts, 0.0)["sessions"] == 0
    player.do("@10 > server lost")
    assert waits(player.contexts, 11.0) == {
        "sessions": 1,
        "attempt": 1,
        "next_seconds": 1.0,
        "first_end_seconds": 19.0,
        "last_end_seconds": 19.0,
    }


def test_they_end_sooner_where_their_time_is_limited() -> None:
    player = played(
        "retry_limit=10 retry_interval=2 retry_jitter=0 retry_time=7", "@10 > server lost"
    )
    assert waits(player.contexts, 11.0)["last_end_seconds"] == 6.0
    player = played(
        "retry_limit=5 retry_interval=1 retry_jitter=0 retry_backoff=2 retry_cap=4",
        "@10 > server lost",
    )
    ends = waits(player.contexts, 10.0)["last_end_seconds"]
    assert ends == 1 + 2 + 4 + 4 + 4  # the fifth attempt is the last
