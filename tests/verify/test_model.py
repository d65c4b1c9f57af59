"""The state machine against the reference model; and the model itself must be able to say no."""

from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings
from reknit.verify.fuzz import machine
from reknit.verify.fuzz.run import FailedSessionError, FuzzedSession
from reknit.verify.model.checks import check
from reknit.verify.model.model import Model
from reknit.verify.model.traffic import BrokenError
from reknit_core.play.player import Player, diff, parse, play
from reknit_core.script.scenario import DEFAULT_POLICY

SCENARIOS = Path(__file__).parents[1] / "scenarios"
BEYOND = {  # what the model does not know of
    "a_browser_is_told_by_a_close": "refusals by a Close frame",
    "bound_to_nothing": "what a session is bound to",
    "dialect_at_most_once": "what a dialect says for a request that is not asked again",
    "dialect_client_begins_anew_and_closes_at_once": "what is valid",
    "dialect_client_begins_anew_mqtt": "other dialects",
    "dialect_client_begins_anew_mqtt_in_two_parts": "other dialects",
    "dialect_client_begins_anew_mqtt_within_a_packet": "other dialects",
    "dialect_beats_for_the_server": "other dialects",
    "dialect_mqtt_received_and_lost": "other dialects",
    "dialect_beats_of_a_millisecond": "other dialects",
    "dialect_server_lost_within_a_frame": "other dialects",
    "message_too_big": "the message limit",
    "message_too_big_in_fragments": "the message limit",
    "not_yours_by_cookie": "what a session is bound to",
    "only_minted_ids": "ids that clients invent",
    "opening_answers_with_another_subprotocol": "subprotocols",
    "opening_refused_without_end": "a refusal without a length",
    "grace_for_who_asks_to_be_told": "greetings",
    "opening_refused_in_part": "a refusal cut short",
    "opening_refused_and_no_more": "a refusal that stands still",
    "reconnect_retry_after": "Retry-After",
    "reconnect_retry_after_a_date": "Retry-After",
    "reconnect_with_other_compression": "compression",
    "reconnect_with_other_subprotocol": "subprotocols",
    "resume_token_in_the_query": "greetings",
    "resume_with_another_subprotocol": "subprotocols",
    "retry_time": "a limit to the time of retries",
    "violation_fragments_out_of_order": "what is valid",
    "violation_with_a_message_before": "what is valid",
}
FILES = sorted(
    file
    for file in SCENARIOS.glob("*.scn")
    if file.stem not in BEYOND and not file.stem.startswith("inband_")  # nor of the operator's
)

TestSession = pytest.mark.long(machine.SessionMachine.TestCase)
TestSession.settings = settings(
    max_examples=300, stateful_step_count=50, suppress_health_check=list(HealthCheck)
)


def follow(lines: list[str], policy: str = "") -> None:
    model = Model(parse(policy).policy)
    for line in lines:
        model.read(line)


def played(text: str) -> list[str]:
    """The lines of a session without its policy."""
    return [line for line in play(parse(text)) if not line.startswith("policy")]


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.stem)
def test_the_model_agrees_with_the_scenario(file: Path) -> None:
    scenario = parse(file.read_text())
    player, model = Player(scenario.policy), Model(scenario.policy)
    for line in scenario.lines:
        if line.step is not None:
            for out in player.perform(line.step):
                model.read(out)
            if player.context is not None:
                check(model, player.context)


SESSION = """
@0 > client connected
@0 > server connected
@0 > server accepts
@1 > client message "a" "b"
@2 > server lost
@2.5 > client message "c" "d"
@3 > server dial failed
@4 > server connected
@4 > server accepts
@5 > client lost
@10 > wait
"""
POLICIES = {"at most once": "", "at least once": "policy delivery=at-least-once\n"}


@pytest.mark.parametrize("policy", POLICIES.values(), ids=POLICIES)
def test_the_model_follows_a_session(policy: str) -> None:
    follow(played(policy + SESSION), policy)


@pytest.mark.parametrize(
    ("right", "wrong"),
    [
        ('server message "c"', 'server message "d"'),
        ('server message "d"', 'server message "c"'),
        ('server message "b"', 'server message "x"'),
        ("dial attempt=2 at=4.000", "dial attempt=1 at=4.000"),
        ("dial attempt=2 at=4.000", "dial attempt=2 at=3.500"),
        ('dial failed away "', 'dial failed refused "'),
        ('       < dial failed away "connection refused"\n', ""),
        ("= server_down", "= closing"),
        ("= draining", "= closed"),
        ("x-reconnect-attempt=2 x-reconnect-received=0", "x-reconnect-received=1"),
        ("@10.000 > timeout", "@9.000 > timeout"),
        ("= client_down", "= client_down\n       < client disconnect generation=1"),
        ('server message "b"', 'server message "b"\n       < server pong "b"'),
        ('server message "b"', 'server message "b"\n       < server close 1000'),
        ('server message "b"', 'server message "b"\n       < server invalid "x"'),
    ],
)
def test_the_model_says_no(right: str, wrong: str) -> None:
    text = "\n".join(played(SESSION))
    assert right in text
    with pytest.raises(BrokenError):
        follow(text.replace(right, wrong, 1).split("\n"))


def test_the_model_knows_the_owner() -> None:
    lines = played("""
        @0 > client connected origin=a
        @0 > server connected
        @0 > server accepts
        @1 > client connected origin=b
        @2 > client connected origin=a
    """)
    follow(lines)
    text = "\n".join(lines)
    with pytest.raises(BrokenError, match="the owner is not let in"):
        follow([*lines, "@3 > client connected origin=a", "< client response 403"])
    with pytest.raises(BrokenError, match="a stranger is let in"):
        follow(
            text.replace("client connected origin=a", "client connected origin=c", 1).split("\n")
        )


def test_what_was_confirmed_must_not_come_again() -> None:
    policy = "policy delivery=at-least-once confirm_after=0.1\n"
    text = """
        @0 > client connected
        @0 > server connected
        @0 > server accepts
        @1 > client message "a"
        @1.1 > wait
        @1.2 > server pong probe
        @1.3 > client message "b"
        @2 > server lost
        @3 > server connected
        @3 > server accepts
    """
    scenario = parse(policy + text)
    player, model = Player(scenario.policy), Model(scenario.policy)
    for line in scenario.lines[:-1]:
        assert line.step is not None
        for out in player.perform(line.step):
            model.read(out)
        assert player.context is not None
        check(model, player.context)
    model.read("@3.000 > server accepts")
    model.read("       = draining")
    with pytest.raises(BrokenError, match='not message "b"'):
        model.read('       < server message "a"')


def test_a_run_is_repeatable_and_says_nothing_when_all_holds() -> None:
    assert machine.run(5, 20, 1) is None


def test_a_failure_is_a_scenario_that_plays() -> None:
    session = FuzzedSession(DEFAULT_POLICY, set())
    session.do("client connected")
    session.reach_server()
    session.accept()
    session.model.server.incoming.taken = 1  # as if the model had seen a message
    with pytest.raises(FailedSessionError) as failed:
        session.wait(1.0)
    assert failed.value.scenario.startswith("# Broken: ")
    scenario = parse(failed.value.scenario)
    assert diff(failed.value.scenario, play(scenario)) == ""
