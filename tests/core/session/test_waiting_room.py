"""The waiting room by itself, and as sessions that open use it."""

import pytest
from handshake_bytes import accepting
from reknit_core.codes import GOING_AWAY
from reknit_core.commands import Dial
from reknit_core.durable import frozen
from reknit_core.events import ConnectionLost, DialFailed, ServerConnected, Shutdown
from reknit_core.lifecycle import State
from reknit_core.policy.policy import OnServerLoss, Policy
from reknit_core.proxy.contexts import Contexts
from reknit_core.session.context import ContextStateMachine
from reknit_core.session.waiting_room import QUICK, WIDEST, WaitingRoom
from reknit_core.side import Side
from sessions_by_hand import contexts, session, take

POLICY = Policy(on_server_loss=OnServerLoss.END, retry_jitter=0.0, handshake_wait=15.0)


class Opening:
    """A session that opens, as the room sees it."""

    def __init__(self) -> None:
        self.dials: list[float] = []

    def let_in(self, at: float) -> None:
        self.dials.append(at)


def shut(room: WaitingRoom[Opening], now: float = 0.0, due: float = 1.0) -> Opening:
    """A room whose server is away, with its scout, who dials next when that is due."""
    scout = Opening()
    room.enter(scout, now)
    for _ in range(QUICK):
        room.missed(now)
    room.wait(scout, due, now)
    return scout


def crowd(room: WaitingRoom[Opening], number: int, now: float = 0.5) -> list[Opening]:
    openings = [Opening() for _ in range(number)]
    for each in openings:
        room.enter(each, now)
    return openings


def test_all_dial_at_once_while_the_server_is_there() -> None:
    room = WaitingRoom[Opening]()
    assert [each.dials for each in crowd(room, 3)] == [[0.5]] * 3
    assert not room.has_news
    assert not room.is_shut


def test_who_misses_the_server_alone_dials_when_its_own_retry_is_due() -> None:
    room = WaitingRoom[Opening]()
    (alone,) = crowd(room, 1, 0.0)
    for number in range(1, 6):
        room.missed(float(number))
        room.wait(alone, number + 1.0, float(number))
    assert alone.dials == [0.0, 2.0, 3.0, 4.0, 5.0, 6.0]
    assert len(room) == 0


def test_one_dials_for_all_while_the_server_is_away() -> None:
    room = WaitingRoom[Opening]()
    scout = shut(room)
    others = crowd(room, 1000)
    assert len(room) == 1000
    for number in range(1, 10):
        room.missed(number)
        room.wait(scout, number + 1.0, number)
        (scout,) = room.news()
    assert [each.dials for each in others[:9]] == [[number + 1.0] for number in range(1, 10)]
    assert not any(each.dials for each in others[9:])
    assert not room.has_news


def test_who_misses_the_server_alone_keeps_nobody_from_it() -> None:
    """It may be what that session asks for that the server never answers."""
    room = WaitingRoom[Opening]()
    refused = crowd(room, 5, 0.0)
    for each in refused:
        room.missed(0.1)
        room.wait(each, 1.1, 0.1)
    first, second = crowd(room, 2, 0.5)
    assert first.dials == second.dials == []
    room.missed(1.1)
    room.wait(refused[0], 2.1, 1.1)
    assert (first.dials, second.dials) == ([2.1], []), "its turn comes before theirs"
    room.leave(first)
    assert second.dials == [2.1]
    assert [len(each.dials) for each in refused] == [2, 1, 1, 1, 1]


def test_the_first_dials_that_find_nothing_follow_each_other() -> None:
    """One server of several may be away: who waits does not wait for a retry of another."""
    room = WaitingRoom[Opening]()
    openings = crowd(room, 10, 0.0)
    for each in openings:
        room.missed(0.1)
        room.wait(each, 1.1, 0.1)
    # The first is the scout; those that missed with it have to wait.
    assert [each.dials for each in openings] == [[0.0, 1.1]] + [[0.0]] * 9
    late = Opening()
    room.enter(late, 0.2)
    assert late.dials == []

    room = WaitingRoom[Opening]()
    first, second, third, fourth = crowd(room, 1, 0.0) + [Opening() for _ in range(3)]
    room.missed(0.1)
    room.wait(first, 1.1, 0.1)
    for each in (second, third, fourth):
        room.enter(each, 0.2)
    room.missed(1.2)
    room.wait(first, 2.2, 1.2)
    assert second.dials == [1.2]
    assert room.news() == [second]
    room.missed(1.3)
    room.wait(second, 2.3, 1.3)
    assert second.dials == [1.2]
    assert third.dials == [2.3]
    assert fourth.dials == []


@pytest.mark.parametrize("now", [0.6, 3.0])
def test_another_takes_over_when_the_scout_leaves(now: float) -> None:
    room = WaitingRoom[Opening]()
    scout = shut(room)
    first, second = crowd(room, 2, now)
    room.leave(scout)
    assert first.dials == [max(now, 1.0)]  # when the scout would have dialled
    assert second.dials == []
    assert room.news() == [first]
    assert room.news() == []


def test_who_leaves_is_let_in_no_more() -> None:
    room = WaitingRoom[Opening]()
    scout = shut(room)
    first, second = crowd(room, 2)
    room.leave(first)
    room.found(scout, 1.0)
    assert (first.dials, second.dials) == ([], [1.0])
    room.leave(second)
    assert room.news() == []


def test_a_storm_that_comes_and_goes_dials_no_more_often() -> None:
    room = WaitingRoom[Opening]()
    room.leave(shut(room))
    dials = []
    for number in range(100):
        (each,) = crowd(room, 1, number / 100)
        dials += each.dials
        room.leave(each)
    assert set(dials) == {1.0}


def test_the_server_sets_the_pace_at_which_the_others_are_let_in() -> None:
    room = WaitingRoom[Opening]()
    dialling = [shut(room)]
    others = crowd(room, 1000)
    now, widths = 1.0, []
    while dialling:
        widths.append(len(dialling))
        for each in dialling:
            room.found(each, now)
        dialling = room.news()
        assert all(each.dials == [now] for each in dialling)
        now += 0.1
    assert widths[:6] == [1, 2, 4, 8, 16, 32]
    assert max(widths) == WIDEST
    assert sum(widths) == 1001
    assert all(len(each.dials) == 1 for each in others)
    assert crowd(room, 1, now)[0].dials == [now]


def test_who_comes_while_the_others_are_let_in_stands_behind_them() -> None:
    room = WaitingRoom[Opening]()
    scout = shut(room)
    crowd(room, 10)
    room.found(scout, 1.0)
    late = Opening()
    room.enter(late, 1.1)
    assert late.dials == []
    while let_in := room.news():
        for each in let_in:
            room.found(each, 2.0)
    assert late.dials == [2.0]


def test_one_dials_again_when_the_server_is_away_again() -> None:
    room = WaitingRoom[Opening]()
    scout = shut(room)
    others = crowd(room, 10)
    room.found(scout, 1.0)
    dialling = room.news()
    for each in dialling:
        room.missed(1.1)
        room.wait(each, 2.1, 1.1)
    assert len(dialling) == 2
    assert sum(len(each.dials) for each in others) == 3  # both, and one of them again


def test_another_sessions_dial_tells_too() -> None:
    room = WaitingRoom[Opening]()
    room.missed(0.0)
    first, second = crowd(room, 2)
    assert (first.dials, second.dials) == ([0.5], [])
    room.found(Opening(), 0.7)
    assert second.dials == [0.7]


# -- As sessions use it --------------------------------------------------------------------------


def dials(context: ContextStateMachine) -> list[Dial]:
    return [command for command in context.commands() if isinstance(command, Dial)]


def miss(context: ContextStateMachine, now: float) -> None:
    context.handle(DialFailed(context.server.generation, "refused"), now)


def away(sessions: Contexts, now: float = 0.0) -> ContextStateMachine:
    """The scout of a server that is away."""
    scout = session(sessions)
    for _ in range(QUICK):
        miss(scout, now)
        now = scout.server.dialling.at
    dials(scout)
    return scout


def test_a_server_that_is_silent_to_one_session_keeps_nobody_waiting() -> None:
    sessions = contexts(POLICY)
    alone = session(sessions)
    alone.handle(ServerConnected(alone.server.generation), 0.0)
    alone.commands()
    alone.armed(POLICY.connect_timeout)
    alone.handle_timeout(POLICY.connect_timeout)
    assert len(dials(alone)) == 1, "it tries again"
    other = session(sessions, now=POLICY.connect_timeout + 0.1)
    assert len(dials(other)) == 1


def test_sessions_wait_while_one_dials() -> None:
    sessions = contexts(POLICY)
    scout = away(sessions)
    others = [session(sessions, now=3.1) for _ in range(5)]
    assert [dials(each) for each in others] == [[]] * 5
    scout.handle(ServerConnected(scout.server.generation), 3.2)
    answer = accepting(take(scout, Side.SERVER))
    scout.receive_data(Side.SERVER, answer, 3.3)
    assert scout.state is State.CONNECTED
    assert scout.calls_others
    news = sessions.news()
    assert news == others[:2]
    assert [len(dials(each)) for each in news] == [1, 1]
    assert not scout.calls_others


@pytest.mark.parametrize("how", ["gone", "shutdown", "forgotten", "late", "moved"])
def test_the_next_one_dials_when_the_scout_is_over(how: str) -> None:
    sessions = contexts(POLICY)
    scout = away(sessions)
    other = session(sessions, now=3.1)
    match how:
        case "gone":
            scout.handle(ConnectionLost(Side.CLIENT, scout.client.generation, "reset"), 3.2)
        case "shutdown":
            scout.handle(Shutdown(GOING_AWAY, ""), 3.2)
        case "forgotten":
            sessions.forget(scout)
        case "moved":
            sessions.let_go(scout)
        case _:
            scout.armed(15.0)
            scout.handle_timeout(15.0)
    assert sessions.news() == [other]
    assert len(dials(other)) == 1


def test_who_waits_is_told_when_the_wait_is_over() -> None:
    sessions = contexts(POLICY)
    away(sessions)
    other = session(sessions, now=3.0)
    assert other.next_deadline() == 18.0
    other.armed(18.0)
    other.handle_timeout(18.0)
    assert other.state is State.CLOSED
    assert take(other, Side.CLIENT).startswith(b"HTTP/1.1 503 ")


@pytest.mark.parametrize("scout_first", [True, False])
def test_who_waits_does_so_in_the_next_process_too(*, scout_first: bool) -> None:
    sessions = contexts(POLICY)
    scout = away(sessions)
    other = session(sessions, now=3.0)
    other.commands()
    after = contexts(POLICY)
    forms = [frozen.freeze(scout, 4.0), frozen.freeze(other, 4.0)]
    if scout_first:
        scout, other = (frozen.thaw(after, form, 10.0) for form in forms)
    else:
        other, scout = (frozen.thaw(after, form, 10.0) for form in reversed(forms))
    assert after.news() == []
    assert not other.calls_others
    assert [len(dials(each)) for each in (scout, other)] == [1, 0]
    assert other.next_deadline() == 24.0
    miss(scout, 11.0)
    after.forget(scout)
    assert after.news() == [other]
    assert len(dials(other)) == 1


def test_who_waits_alone_in_the_next_process_dials() -> None:
    sessions = contexts(POLICY)
    away(sessions)
    other = session(sessions, now=3.0)
    after = contexts(POLICY)
    thawed = frozen.thaw(after, frozen.freeze(other, 4.0), 10.0)
    assert thawed.calls_others
    assert after.news() == [thawed]
    assert len(dials(thawed)) == 1


def test_a_session_that_has_lost_its_server_tells_of_it() -> None:
    sessions = contexts(Policy(retry_jitter=0.0))
    lost = session(sessions, b"x-connection-id: a")
    lost.handle(ServerConnected(lost.server.generation), 0.0)
    lost.receive_data(Side.SERVER, accepting(take(lost, Side.SERVER)), 0.0)
    lost.handle(ConnectionLost(Side.SERVER, lost.server.generation, "reset"), 5.0)
    miss(lost, 6.0)
    new = [session(sessions, now=6.5) for _ in range(50)]
    assert sum(len(dials(each)) for each in new) == 1
