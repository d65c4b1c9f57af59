"""The counters say what happened: held against the transcripts of all scenarios, and by hand."""

from collections import Counter
from itertools import pairwise
from pathlib import Path

import pytest
from msgspec import msgpack
from reknit_core.counters import DialResult, Histogram, Resume
from reknit_core.durable.frozen import freeze, thaw
from reknit_core.lifecycle import INITIAL, State, Transition, Trigger
from reknit_core.play.player import Player, parse
from reknit_core.policy.policy import Policy
from reknit_core.policy.upstream import Upstream
from reknit_core.proxy.contexts import Contexts
from reknit_core.side import Side
from reknit_core.telemetry.survey import survey
from reknit_core.telemetry.totals import Totals, add_totals, take_totals

FILES = sorted((Path(__file__).parents[1] / "scenarios").glob("*.scn"))
BEFORE_THE_SESSION = {
    "400",
    "403",
    "404",
    "409",
}  # these refusals are the adapter's to send and count
TOLD_BY_CLOSE = {"4403", "4404", "4410"}  # the same to browsers, behind a 101


def played(text: str) -> Player:
    scenario = parse(text)
    player = Player(scenario.policy)
    for line in scenario.lines:
        if line.step is not None:
            player.perform(line.step)
    return player


def outcomes(player: Player, start: str) -> list[str]:
    """What follows `start` in the lines that begin with it, as far as the next space."""
    lines = [line.strip() for line in player.lines]
    return [line[len(start) :].split(" ")[0] for line in lines if line.startswith(start)]


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.stem)
def test_what_is_counted_is_what_the_transcript_shows(file: Path) -> None:
    player = played(file.read_text())
    counters = player.contexts.counters
    states = [INITIAL, *map(State, outcomes(player, "= "))]
    moves = Counter(pairwise(states))
    counted: Counter[tuple[State, State]] = Counter()
    for row, number in counters.transitions.items():
        counted[row.source, row.target] += number
    assert counted == moves
    assert +counters.states == (Counter([states[-1]]) if player.context else Counter())
    for side in Side:
        lost = outcomes(player, f"< {side.value} undelivered messages=")
        assert counters.towards(side).lost_messages == sum(map(int, lost))
    assert counters.dials + counters.redials == len(outcomes(player, "< dial attempt="))
    answers = Counter(outcomes(player, "< client response "))
    for status in BEFORE_THE_SESSION:
        del answers[status]
    told = [outcome for outcome in outcomes(player, "< client close ") if outcome in TOLD_BY_CLOSE]
    answers["101"] -= len(told)
    counted_answers = Counter({str(status): n for status, n in counters.handshakes.items()})
    assert answers - counted_answers == Counter()  # one that is lost on its way counts too
    probes = sum("< server ping probe" in line for line in player.lines)
    assert counters.to_server.round_trips.cumulated[-1] <= probes


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.stem)
def test_what_has_passed_never_becomes_less(file: Path) -> None:
    scenario = parse(file.read_text())
    player = Player(scenario.policy)
    before = [0] * 6
    for line in scenario.lines:
        if line.step is not None:
            player.perform(line.step)
            seen = survey(player.contexts)
            flows = (seen.to_client, seen.to_server)
            after = [value for flow in flows for value in (flow.messages, flow.bytes, flow.dropped)]
            assert all(new >= old for new, old in zip(after, before, strict=True))
            before = after


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.stem)
def test_another_process_goes_on_from_what_is_counted(file: Path) -> None:
    player = played(file.read_text())
    player.contexts.counters.requests[502] += 1  # not of a session
    totals = take_totals(player.contexts)
    after = Contexts(Policy(), Upstream("server.test", 80), lambda size: b"~" * size)
    add_totals(after.counters, msgpack.decode(msgpack.encode(totals), type=Totals))
    for context in player.contexts:
        thaw(after, freeze(context, player.now), player.now)
    assert take_totals(after) == totals
    assert survey(after) == survey(player.contexts)


OPEN = """
@0.000 > client connected
@0.000 > server connected
@0.000 > server accepts
"""


def test_messages_and_bytes_count_by_direction_also_when_the_session_is_over() -> None:
    text = OPEN + '@1.000 > client message "12345678" "1234"\n@1.000 > server message "1"\n'
    player = played(text)
    seen = survey(player.contexts)
    assert seen.states[State.CONNECTED] == 1
    assert (seen.to_server.messages, seen.to_server.bytes) == (2, 14 + 10)  # masked heads: 6
    assert (seen.to_client.messages, seen.to_client.bytes) == (1, 3)
    player.do("@2.000 > client close 1000")
    player.do("@2.000 > server close 1000")
    over = survey(player.contexts)
    assert sum(over.states.values()) == 0
    assert (over.to_server, over.to_client) == (seen.to_server, seen.to_client)


def test_a_session_from_another_process_counts_from_there_on() -> None:
    player = played(OPEN + '@1.000 > client message "1" "2"\n')
    assert player.context is not None
    after = Contexts(Policy(), Upstream("server.test", 80), lambda size: b"~" * size)
    context = thaw(after, freeze(player.context, 2.0), 2.0)
    assert survey(after).to_server.messages == 0
    context.receive_data(Side.SERVER, b"\x81\x01x", 2.0)
    for _ in range(2):
        seen = survey(after)
        assert (seen.to_server.messages, seen.to_server.bytes) == (0, 0)
        assert (seen.to_client.messages, seen.to_client.bytes) == (1, 3)
        after.forget(context)


def test_what_waits_and_what_is_unconfirmed() -> None:
    text = "policy delivery=at-least-once\n" + OPEN
    player = played(text + '@1.000 > client message "1234"\n@2.000 > server lost\n')
    assert survey(player.contexts).to_server.waiting == 10  # unconfirmed: it goes out again
    player.do('@2.100 > client message "5678"')
    seen = survey(player.contexts).to_server
    assert (seen.waiting, seen.unconfirmed, seen.unconfirmed_messages) == (20, 20, 2)
    assert player.contexts.budget.used == 20


def test_a_replay_counts_what_a_connection_had_and_goes_out_again() -> None:
    text = "policy delivery=at-least-once confirm_after=0.1\n" + OPEN
    text += '@1.000 > client message "1234"\n@1.200 > server pong probe\n'  # this one is safe
    text += '@1.300 > client message "1" "2"\n@1.310 > server lost\n@1.320 > client message "3"\n'
    player = played(text + "@2.310 > server connected\n@2.320 > server accepts\n")
    to_server = player.contexts.counters.to_server
    assert (to_server.replays, to_server.replayed_messages, to_server.replayed_bytes) == (1, 2, 14)
    assert to_server.repeated_messages == 2
    assert to_server.confirmations == 1
    assert player.contexts.counters.to_client.replays == 0


def test_a_peer_that_counts_gets_replays_but_no_repeats() -> None:
    text = "policy delivery=at-least-once\n" + OPEN
    text += '@1.000 > server message "1" "2" "3"\n@1.310 > client lost\n'
    player = played(text + "@2.000 > client connected received=1\n")
    to_client = player.contexts.counters.to_client
    assert (to_client.replays, to_client.replayed_messages, to_client.replayed_bytes) == (1, 2, 6)
    assert to_client.repeated_messages == 0
    assert player.contexts.counters.resumes == {(Side.CLIENT, Resume.RESUMED): 1}


def test_dropped_messages_and_their_bytes() -> None:
    text = "policy overflow_to_client=drop-oldest queue_messages=4\n" + OPEN
    text += "@1.000 > client lost\n"
    text += '@1.100 > server message "1" "2" "3" "4" "5" "6"\n'
    player = played(text)
    seen = survey(player.contexts).to_client
    assert (seen.messages, seen.bytes, seen.dropped) == (6, 18, 3)
    assert player.contexts.counters.to_client.dropped_bytes == 9


def test_dials_by_their_results() -> None:
    text = "policy retry_limit=9\n@0.000 > client connected\n"
    text += "@0.000 > server dial failed\n@1.000 > server connected\n@1.000 > server reset\n"
    text += "@2.000 > server connected\n@2.000 > server accepts\n@2.500 > server lost\n"
    text += "@3.500 > server connected\n@3.500 > server refuses status=503\n"
    counters = played(text).contexts.counters
    assert (counters.dials, counters.redials) == (1, 4)
    assert counters.dial_results == {
        DialResult.UNREACHABLE: 1,
        DialResult.NO_HANDSHAKE: 1,
        DialResult.ACCEPTED: 1,
        DialResult.REFUSED: 1,
    }
    assert (
        counters.transitions[Transition(State.CONNECTED, Trigger.SERVER_LOST, State.SERVER_DOWN)]
        == 1
    )


def test_resumes_by_their_outcome() -> None:
    text = OPEN + "@1.000 > client connected\n"  # the older connection is still there
    text += "@2.000 > client lost\n@3.000 > client connected received=5\n"
    text += "@3.000 > client connected resume=other\n@3.100 > client connected\n"
    assert played(text).contexts.counters.resumes == {
        (Side.CLIENT, Resume.TOOK_OVER): 1,
        (Side.CLIENT, Resume.REFUSED): 1,
        (Side.CLIENT, Resume.UNKNOWN): 1,
        (Side.CLIENT, Resume.RESUMED): 1,
    }


def test_a_server_that_counts_wrongly() -> None:
    text = OPEN + "@1.000 > server lost\n@2.000 > server connected\n"
    text += "@2.000 > server accepts received=7\n"
    counters = played(text).contexts.counters
    assert counters.resumes == {(Side.SERVER, Resume.REFUSED): 1}


def test_round_trips() -> None:
    text = "policy delivery=at-least-once confirm_after=0.1\n" + OPEN
    text += '@1.000 > client message "1"\n@1.140 > server pong probe\n'
    trips = played(text).contexts.counters.to_server.round_trips
    assert trips.sum == pytest.approx(0.04)
    below = dict(zip(trips.bounds, trips.cumulated, strict=False))
    assert (below[0.025], below[0.05]) == (0, 1)


def test_a_histogram_counts_up_to_each_bound() -> None:
    histogram = Histogram((1.0, 2.0))
    for value in (0.5, 1.0, 1.5, 7.0):
        histogram.observe(value)
    assert histogram.cumulated == [2, 3, 4]
    assert histogram.sum == 10.0


@pytest.mark.parametrize(
    ("end", "lost"),
    [
        ("@1.100 > server close 1000", 0),  # it has read as far as the Close
        ("@6.100 > timeout", 1),  # it proved nothing
    ],
)
def test_what_an_end_that_does_not_answer_the_close_was_given_counts_as_lost(
    end: str, lost: int
) -> None:
    text = "policy delivery=at-least-once\n" + OPEN
    text += '@1.000 > client message "1234"\n@1.050 > client close 1000\n' + end
    player = played(text)
    assert player.contexts.counters.states[State.CONNECTED] == 0
    assert player.contexts.counters.to_server.lost_messages == lost
