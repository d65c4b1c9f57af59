"""Several servers: which one a session gets, and which of them are up."""

from collections import Counter
from math import inf

import pytest
from hypothesis import given
from hypothesis import strategies as st
from reknit_core.counters import DialResult
from reknit_core.policy.policy import Balance, Policy
from reknit_core.policy.setting import PolicyError
from reknit_core.policy.upstream import Upstream
from reknit_core.servers import MISSES, NONE_UP, Servers

NAMES = ["ws://a", "ws://b", "ws://c"]
A, B, C = NAMES
AWAY, SILENT = DialResult.UNREACHABLE, DialResult.NO_HANDSHAKE
ACCEPTED, REFUSED = DialResult.ACCEPTED, DialResult.REFUSED


def make(count: int = 3, **policy: object) -> Servers:
    upstreams = [Upstream(name.removeprefix("ws://"), 80) for name in NAMES[:count]]
    return Servers(upstreams, Policy(**policy))  # type: ignore[arg-type]


def down(servers: Servers, name: str, now: float = 0.0) -> None:
    servers.dialled(name, AWAY, now, "refused", answers=False)


def changes(servers: Servers) -> list[tuple[str, bool]]:
    return [(change.name, change.is_up) for change in servers.news()]


def test_there_must_be_a_server() -> None:
    with pytest.raises(PolicyError, match="one server or more"):
        make(0)


def test_by_order_the_first_one_that_is_up_is_dialled() -> None:
    servers = make()
    assert servers.choose("id", "") == A
    assert servers.choose("id", "", (A,)) == B
    down(servers, A)
    assert servers.choose("id", "") == B
    assert servers.choose("id", "", (B,)) == C
    assert servers.choose("id", "", (B, C)) is None
    down(servers, B)
    down(servers, C)
    assert servers.choose("id", "") is None
    assert servers.why_none == f"{NONE_UP}: refused"


def test_a_session_goes_back_to_its_own_server_first() -> None:
    servers = make()
    assert servers.choose("id", C) == C
    assert servers.choose("id", C, (C,)) == A
    down(servers, C)
    assert servers.choose("id", C) == A
    assert servers.choose("id", "ws://gone") == A


def test_a_session_of_another_proxy_has_no_other_server() -> None:
    servers = make()
    assert servers.choose("id", B, stays=True) == B
    down(servers, B)
    assert servers.choose("id", B, stays=True) is None
    assert servers.choose("id", "ws://gone", stays=True) == A


@given(st.lists(st.text(max_size=20), unique=True, min_size=1), st.sampled_from(NAMES))
def test_a_lost_server_moves_its_own_sessions_only(ids: list[str], lost: str) -> None:
    servers = make(balance=Balance.ID)
    before = {each: servers.choose(each, "") for each in ids}
    down(servers, lost)
    for each in ids:
        after = servers.choose(each, "")
        assert after != lost
        assert before[each] in (lost, after)


def test_sessions_spread_by_their_ids_and_so_do_those_of_a_lost_server() -> None:
    servers = make(balance=Balance.ID)
    ids = [str(number) for number in range(3000)]
    first = {each: servers.choose(each, "") for each in ids}
    assert all(900 < number < 1100 for number in Counter(first.values()).values())
    down(servers, A)
    moved = Counter(servers.choose(each, "") for each in ids if first[each] == A)
    assert all(400 < number < 600 for number in moved.values())


def test_one_server_is_dialled_whatever_is_known_of_it() -> None:
    servers = make(1)
    down(servers, "")
    assert servers.choose("id", "") == A
    assert [server.is_up for server in servers] == [False]
    assert not servers.has_news
    assert servers.next_check == inf
    servers.dialled("", ACCEPTED, 1.0, answers=True)
    assert [server.is_up for server in servers] == [True]
    assert servers.news() == []


def test_a_server_that_can_t_be_reached_is_down_until_a_check_has_found_it() -> None:
    servers = make(retry_interval=1.0, retry_backoff=2.0, retry_cap=3.0)
    down(servers, A, 10.0)
    assert changes(servers) == [(A, False)]
    waits = []
    now = 10.0
    for _ in range(4):
        waits.append(servers.next_check - now)
        now = servers.next_check
        assert servers.checks_due(now - 0.01) == []
        [server] = servers.checks_due(now)
        assert servers.checks_due(now) == []  # one at a time
        assert servers.next_check == inf
        servers.checked(server, "refused", now)
    assert waits == [1.0, 2.0, 3.0, 3.0]
    assert changes(servers) == []
    [server] = servers.checks_due(servers.next_check)
    servers.checked(server, None, 22.5)
    [back] = servers.news()
    assert (back.name, back.is_up, back.seconds) == (A, True, 12.5)
    assert servers.choose("id", "") == A
    assert servers.next_check == inf


def test_a_server_that_never_answers_is_down_and_must_answer_to_be_up() -> None:
    servers = make()
    for number in range(MISSES):
        assert servers.choose("id", "") == A
        servers.dialled(A, SILENT, float(number), "silent", answers=False)
    assert changes(servers) == [(A, False)]
    [server] = servers.checks_due(100.0)
    assert servers.path_to_ask(server) == "/"
    servers.checked(server, None, 9.0)
    assert changes(servers) == [(A, True)]
    assert servers.path_to_ask(server) == ""


def test_misses_of_some_clients_among_others_that_are_answered_mean_nothing() -> None:
    servers = make()
    for _ in range(20):
        for _ in range(MISSES - 1):
            servers.dialled(A, SILENT, 0.0, "cut", answers=False)
        servers.dialled(A, REFUSED, 0.0, answers=True)
    assert changes(servers) == []


def test_a_dial_that_is_answered_shows_that_a_server_is_up() -> None:
    servers = make()
    down(servers, A)
    [server] = servers.checks_due(1.0)
    servers.dialled(A, ACCEPTED, 1.1, answers=True)
    servers.checked(server, "refused", 1.2)  # it began earlier
    assert changes(servers) == [(A, False), (A, True)]


def test_where_checks_ask_for_a_path_only_they_say_that_a_server_is_up() -> None:
    servers = make(server_check=5.0, server_check_path="/health")
    assert servers.has_news
    due = servers.checks_due(0.0)
    assert [server.name for server in due] == NAMES
    assert servers.path_to_ask(due[0]) == "/health"
    servers.checked(due[0], "it answered the check with 503", 0.5)
    servers.checked(due[1], None, 0.5)
    servers.dialled(A, ACCEPTED, 0.6, answers=True)
    assert changes(servers) == [(A, False)]
    assert servers.is_any_up
    assert sorted(server.check_at for server in servers) == [1.5, 5.5, inf]


def test_ready_means_that_one_has_been_reached() -> None:
    servers = make(2, ready_needs_server=True)
    assert not servers.is_any_up
    first, second = servers.checks_due(0.0)
    servers.checked(first, "refused", 0.0)
    assert not servers.is_any_up
    servers.checked(second, None, 0.0)
    assert servers.is_any_up
    down(servers, B)
    assert not servers.is_any_up


class Model:
    """What must be true of one server, by what was said of it."""

    def __init__(self) -> None:
        self.is_up = True
        self.misses = 0

    def hear(self, *, answers: bool, is_away: bool) -> None:
        self.misses = 0 if answers else self.misses + 1
        self.is_up = answers or (self.is_up and not is_away and self.misses < MISSES)


HAPPENINGS = st.lists(
    st.tuples(
        st.floats(0.0, 5.0),
        st.sampled_from(NAMES),
        st.sampled_from([ACCEPTED, REFUSED, AWAY, SILENT, "found", "not found"]),
    ),
    max_size=60,
)


@given(HAPPENINGS, st.sampled_from(Balance))
def test_any_happenings(happenings: list[tuple[float, str, object]], balance: Balance) -> None:
    servers = make(balance=balance)
    models = {name: Model() for name in NAMES}
    under_way = {}
    told = dict.fromkeys(NAMES, True)
    last_check = dict.fromkeys(NAMES, -inf)
    now = 0.0
    for pause, name, what in happenings:
        now += pause
        for server in servers.checks_due(now):
            assert not server.is_up
            assert server.name not in under_way
            assert now - last_check[server.name] >= 1.0 - 1e-9  # never more than one a second
            last_check[server.name] = now
            under_way[server.name] = server
        if isinstance(what, DialResult):
            answers = what in (ACCEPTED, REFUSED)
            servers.dialled(name, what, now, "why", answers=answers)
            models[name].hear(answers=answers, is_away=what is AWAY)
            if answers:
                under_way.pop(name, None)  # what it says comes too late
        elif name in under_way:
            servers.checked(under_way.pop(name), None if what == "found" else "why", now)
            if what == "found":
                models[name].hear(answers=True, is_away=False)
        for change in servers.news():
            assert change.is_up is not told[change.name]
            told[change.name] = change.is_up
        ups = [each for each in NAMES if models[each].is_up]
        assert [server.name for server in servers if server.is_up] == ups
        assert told == {each: each in ups for each in NAMES}
        for server in servers:
            waits = server.check_at < inf or server.is_checked
            assert waits is not server.is_up
        chosen = servers.choose("id", "")
        assert chosen in ups or (chosen is None and not ups)
