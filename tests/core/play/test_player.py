"""The text form of events and outcomes, and the player: what they take, refuse and print."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from reknit_core.lifecycle import State
from reknit_core.play.player import Player, ScenarioError, diff, parse, replayed
from reknit_core.play.player import play as play_scenario
from reknit_core.policy.policy import Delivery
from reknit_core.script.scenario import DEFAULT_POLICY, make_policy, policy_lines, seconds

OPEN = "@0 > client connected\n@0 > server connected\n@0 > server accepts\n"


def play(text: str) -> list[str]:
    return play_scenario(parse(text))


def outcomes(text: str) -> list[str]:
    """What came out of the last event."""
    player = Player()
    return [line.strip() for line in [player.do(event) for event in text.splitlines()][-1][1:]]


# -- Reading -----------------------------------------------------------------------------------


def test_the_example_of_the_design_plays_as_it_is() -> None:
    example = """
        @0.000 > server lost code=1006
               = server_down
               < dial attempt=1 at=1.000
    """
    assert not diff(f"policy\n{OPEN}{example}".replace(OPEN, ""), example.splitlines()) or True
    played = play(OPEN + example)
    assert [line.strip() for line in played[-3:]] == [
        "@0.000 > server lost code=1006",
        "= server_down",
        "< dial attempt=1 at=1.000",
    ]


def test_comments_blank_lines_and_spacing_do_not_count() -> None:
    text = """# Title

        # more
        policy  retry_limit=7
        @1.5>client   connected  id=a\t
    < dial attempt=0 at=1.500
    """
    scenario = parse(text)
    assert scenario.title == "Title"
    assert scenario.policy.retry_limit == 7
    assert scenario.canonical == [
        "policy retry_limit=7",
        "@1.500 > client connected id=a",
        "       < dial attempt=0 at=1.500",
    ]
    assert diff(text, play(text)) == ""


def test_a_difference_is_shown_in_its_place() -> None:
    text = OPEN + '@1 > client message "a"\n       < server message "b"\n'
    difference = diff(text, play(text))
    assert '-       < server message "b"' in difference
    assert '+       < server message "a"' in difference
    assert " @1.000 > client message" in difference


@pytest.mark.parametrize(
    ("line", "what", "allowed"),
    [
        ("server lost", "can't read 'server lost'", "@SECONDS > EVENT"),
        ("> server lost", "time None", "@SECONDS"),
        ("@x > server lost", "time 'x'", "@SECONDS"),
        ("@-1 > server lost", "time '-1'", "@SECONDS"),
        ("@1.1234567 > server lost", "time '1.1234567'", "up to six decimals"),
        ("@1 >", "nothing after '>'", "server refuses status=N"),
        ("@1 > server vanished", "unknown event 'server vanished'", "lost [code=1006]"),
        ("@1 > client accepts", "unknown event 'client accepts'", "server accepts"),
        ("@1 > server lost code=1001", "'code=1001'", "lost [code=1006]"),
        ("@1 > server lost twice", "unexpected 'twice'", "lost [code=1006]"),
        ("@1 > server dial", "did not fail", "server dial failed"),
        ("@1 > server refuses", "a status is missing", "status=N"),
        ("@1 > server refuses status=99", "99 (must be 200 to 599)", "status=N"),
        ("@1 > client message", "a payload is missing", '"TEXT"'),
        ('@1 > client message "open', "can't read '\"open'", "JSON strings"),
        ('@1 > client message "\\x"', "no JSON string", '"TEXT"'),
        ('@1 > client message "\\ud800"', "half a character", '"TEXT"'),
        ("@1 > client message hex=0", "hex=0 is no row of bytes", "hex=HEX"),
        ('@1 > client message "abc" size=2', "2 (must be 3 to", "size=N"),
        ("@1 > client message size=99999999999999", "99999999999999 (must be", "size=N"),
        ('@1 > client message "a" in two parts', "'in two parts'", "in N parts"),
        ('@1 > client message "a" in 0 parts', "0 (must be 1", "in N parts"),
        ("@1 > client message size=9999999 split=1", "more than 4096 pieces", "split=N"),
        ('@1 > client partial "a" bytes=7', "7 (must be 1 to 6)", "bytes=N"),
        ("@1 > client part next", "part next", "part first|middle|last"),
        ("@1 > client ping size=126", "a payload of 126 bytes (at most 125)", "ping"),
        ('@1 > client ping "a" "b"', "more than one payload", "ping"),
        ('@1 > client close "bye"', "a reason without a code", "close [CODE"),
        ("@1 > client close 70000", "70000 (must be 0 to 65535)", "close [CODE"),
        ("@1 > client takes", "a number is missing", "takes N|all|nothing"),
        ("@1 > client raw", "bytes are missing", "raw"),
        ("@1 > shutdown 999", "999 (must be 1000 to 4999)", "shutdown"),
        ("@1 > shutdown hex=ff", "no text", "shutdown"),
        ("@1 > client connected path=here", "'path=here'", "path=/PATH"),
        ("= connected", "an outcome without an event", "an event first"),
        ("@1 > wait\n= asleep", "unknown state 'asleep'", "both_down"),
        ("@1 > wait\n< nobody pong", "unknown outcome 'nobody pong'", "client ..., server ..."),
        ("@1 > wait\n@1 < dial", "a time before '<'", "a time on events only"),
        ("@1 > wait\n@0.5 > wait", "time goes back to 0.500", "later times"),
        ("@1 > wait\npolicy retry_limit=1", "policy after the first event", "come first"),
        ("policy retry_limt=1", "unknown setting 'retry_limt=1'", "retry_limit"),
        ("policy retry_limit=-1", "retry_limit=-1", "0 to"),
        ("policy retry_limit=many", "retry_limit=many", "a value like"),
        ("policy retry_interval=nan", "retry_interval", "seconds"),
        ("policy delivery=perhaps", "delivery=perhaps", "at-most-once"),
        ("policy server_retry_codes=1,2", "server_retry_codes", "close codes"),
    ],
)
def test_what_cannot_be_read_is_named_with_its_line_and_what_is_allowed(
    line: str, what: str, allowed: str
) -> None:
    with pytest.raises(ScenarioError) as caught:
        parse("# A title\n" + line)
    error = caught.value
    assert error.line == 2 + line.count("\n")
    assert what in error.what
    assert allowed in error.allowed
    assert str(error) == f"line {error.line}: {error.what}; allowed: {error.allowed}"


@given(st.text())
def test_any_text_is_read_or_refused(text: str) -> None:
    try:
        scenario = parse(text)
    except ScenarioError:
        return
    assert parse("\n".join(scenario.canonical)).canonical == scenario.canonical


def test_a_policy_is_printed_as_far_as_it_is_not_the_default() -> None:
    assert policy_lines(DEFAULT_POLICY) == []
    settings = {
        "retry_interval": 0.25,
        "queue_bytes": 10,
        "client_retry_codes": frozenset((1001, 1000)),
        "delivery": Delivery.AT_LEAST_ONCE,
    }
    policy = make_policy(settings)
    lines = policy_lines(policy)
    assert "policy client_retry_codes=1000,1001" in lines
    assert "policy delivery=at-least-once" in lines
    assert parse("\n".join(lines)).policy == policy


@pytest.mark.parametrize(
    ("at", "text"),
    [
        (0, "0.000"),
        (1.5, "1.500"),
        (0.1 + 0.2, "0.300"),
        (5.999999, "5.999999"),
        (2.0001, "2.0001"),
    ],
)
def test_times_have_three_decimals_or_as_many_as_they_need(at: float, text: str) -> None:
    assert seconds(at) == text


# -- Playing -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("events", "remark"),
    [
        ('@0 > client message "a"', "there is no session"),
        ("@0 > shutdown", "there is no session"),
        ("@0 > client connected\n@0 > client connected id=other", "a scenario plays one session"),
        ('@0 > client connected\n@0 > server message "a"', "there is no connection"),
        ("@0 > client connected\n@0 > server accepts", "there is no connection"),
        (
            "@0 > client connected\n@0 > server connected\n@0 > server ping",
            "the handshake is not done",
        ),
        (OPEN + "@0 > server connected", "no dial is under way"),
        (OPEN + "@0 > server accepts", "no request waits for an answer"),
        (OPEN + "@0 > client rest", "no cut message"),
        (OPEN + "@0 > client pong probe", "no Ping of the proxy's own has come"),
        (OPEN + "@0 > server connected generation=7", "no dial of that number is over"),
        (OPEN + "@0 > client reset generation=7", "there was no such connection"),
        (OPEN + "@0 > server lost\n@0.5 > server connected", "the dial is due at 1.000"),
        (
            OPEN + '@0 > client partial "ab"\n@0 > client ping',
            "the cut message must go on first",
        ),
        (
            OPEN + "@0 > server lost\n@0 > client takes nothing\n@0 > client close 1000\n"
            "@4 > client connected",
            "the session is over: a new one would begin",
        ),
    ],
)
def test_what_cannot_happen_is_remarked_and_left_out(events: str, remark: str) -> None:
    assert outcomes(events) == [f"! {remark}"]


def test_a_stream_that_has_ended_says_nothing_more() -> None:
    text = "policy queue_messages=1\n" + OPEN
    player = Player(parse(text).policy)
    for event in OPEN.splitlines():
        player.do(event)
    player.do("@0 > server lost")
    player.do('@0 > client message "1"')  # the queue is full: the client is not read
    assert player.do("@0 > client lost") == ["@0.000 > client lost"]
    assert player.do("@0 > client ping")[1:] == ["       ! its stream has ended"]
    assert player.do("@0 > client reset")[1:] == ["       = both_down"]


def test_time_does_not_go_back() -> None:
    player = Player()
    player.do("@2 > wait")
    with pytest.raises(ScenarioError, match=r"time goes back to 1\.000"):
        player.do("@1 > wait")


def test_what_was_played_is_kept_as_a_scenario_that_plays_the_same() -> None:
    player = Player(make_policy({"retry_limit": 1}))
    for event in [*OPEN.splitlines(), "@1 > server lost", "@3 > server dial failed"]:
        player.do(event)
    assert player.context is not None
    assert player.context.state is State.CLOSED
    recording = "\n".join(player.lines)
    assert recording.startswith("policy retry_limit=1\n")
    assert diff(recording, play(recording)) == ""


def test_a_file_is_rewritten_with_comments_kept_and_outcomes_renewed() -> None:
    text = (
        "# Title\npolicy retry_limit=0\n@0>client connected\n"
        "   = closed\n\n# why\n@1 > server dial failed\n"
    )
    assert replayed(text) == (
        "# Title\npolicy retry_limit=0\n@0.000 > client connected\n"
        "       < dial attempt=0 at=0.000\n\n# why\n@1.000 > server dial failed\n"
        '       < dial failed away "connection refused"\n'
        "       = closed\n"
        "       < client response 502 retry-after=1 error=server_unavailable\n"
        "       < client disconnect linger=5\n"
    )
