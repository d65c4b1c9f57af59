"""Any events in any order can be played, and what was played plays the same again."""

from hypothesis import given
from hypothesis import strategies as st
from reknit_core.play.player import Player, diff, parse
from reknit_core.play.player import play as play_scenario
from restarting_player import RestartingPlayer

OPEN = ("@0 > client connected", "@0 > server connected", "@0 > server accepts")

_PAYLOADS = st.sampled_from(['"a"', '"abc" size=70', "hex=ff00", "size=300", '"a" "b" "c"'])
_SIDES = st.sampled_from(["client", "server"])
_NUMBERS = st.integers(1, 4)
_MESSAGES = st.builds(
    "{} {}{}{}".format,
    st.sampled_from(["message", "partial"]),
    _PAYLOADS,
    st.sampled_from(["", " binary", " in 2 parts", " in 3 parts"]),
    st.sampled_from(["", " compressed"]),
)
_SPOKEN = st.builds(
    "{} {}".format,
    _SIDES,
    st.one_of(
        _MESSAGES,
        st.builds("message {} split={}".format, _PAYLOADS, _NUMBERS),
        st.builds("message {} after={}".format, _PAYLOADS, st.sampled_from(["ping", "pong"])),
        st.builds("takes {}".format, st.sampled_from(["nothing", "all", "all", "1", "9", "60"])),
        st.builds("acks {}".format, st.sampled_from(["nothing", "all", "1", "60"])),
        st.builds("reset generation={}".format, _NUMBERS),
        st.builds(
            "close {}".format, st.sampled_from(["", "1000", '1001 "x"', "1012", "1005", "4000"])
        ),
        st.builds(
            "part {} {}".format,
            st.sampled_from(["first", "middle", "last"]),
            st.sampled_from(['"p"', '"p" after=ping', '"p" after=pong']),
        ),
        st.builds("raw hex={}".format, st.binary(min_size=1, max_size=6).map(bytes.hex)),
        st.sampled_from(["rest", "ping", 'ping "p"', "pong", "pong probe", "lost", "reset"]),
    ),
)
_LIFE = st.one_of(
    st.builds(
        "client connected{}{}{}".format,
        st.sampled_from(["", "", " takes=0", " takes=5", " id=other", " resume=session"]),
        st.sampled_from(["", "", " subprotocols=a,b", " received=1"]),
        st.sampled_from(["", "", " deflate"]),
    ),
    st.sampled_from(["server connected", "server connected", "server dial failed"]),
    st.builds("server connected generation={}".format, _NUMBERS),
    st.builds("server dial failed generation={}".format, _NUMBERS),
    st.builds(
        "server accepts{}{}{}".format,
        st.sampled_from(["", "", "", " subprotocol=a", " subprotocol=z"]),
        st.sampled_from(["", "", " deflate"]),
        st.sampled_from(["", "", " received=2", " info=i"]),
    ),
    st.just("server accepts"),
    st.builds("server refuses status={}".format, st.sampled_from([200, 401, 503])),
    st.sampled_from(["wait", "wait", "stalled", "timeout", 'shutdown 1001 "x"']),
)
_EVENTS = st.tuples(st.sampled_from([0, 0, 0, 1, 100, 999, 1000, 5000]), st.one_of(_LIFE, _SPOKEN))
_POLICIES = st.sampled_from(
    [
        "",
        "queue_messages=2",
        "queue_bytes=100 message_limit=200",
        "delivery=at-least-once confirm_bytes=20",
        "heartbeat_interval=1 heartbeat_timeout=1",
        "delivery=at-least-once replay_window=0 queue_messages=3",
        "overflow_to_server=close overflow_to_client=drop-oldest queue_messages=2",
        "overflow_to_client=drop-newest queue_bytes=100",
    ]
)


def play(kind: type[Player], policy: str, begin: bool, events: list[tuple[int, str]]) -> list[str]:
    player = kind(parse(f"policy {policy}").policy)
    for event in OPEN if begin else ():
        player.do(event)
    now = 0
    for step, event in events:
        now += step
        player.do(f"@{now / 1000} > {event}")
    return player.lines


@given(policy=_POLICIES, begin=st.booleans(), events=st.lists(_EVENTS, max_size=40))
def test_any_events_in_any_order_can_be_played_and_played_again(
    policy: str, begin: bool, events: list[tuple[int, str]]
) -> None:
    recording = "\n".join(play(Player, policy, begin, events))
    assert diff(recording, play_scenario(parse(recording))) == ""
    assert "invalid" not in recording


@given(policy=_POLICIES, begin=st.booleans(), events=st.lists(_EVENTS, max_size=40))
def test_a_context_that_is_frozen_after_each_of_any_events_goes_on_the_same(
    policy: str, begin: bool, events: list[tuple[int, str]]
) -> None:
    plain = play(Player, policy, begin, events)
    assert play(RestartingPlayer, policy, begin, events) == plain
