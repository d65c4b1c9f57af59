"""When the server counts as out, and what is said of that, however many sessions wait."""

import pytest
from reknit_core.counters import Counters
from reknit_core.lifecycle import State
from reknit_core.telemetry.server_outage import (
    CALM,
    FEW,
    LOOK,
    SAID_AFTER,
    SAID_AT_LEAST,
    STRAGGLERS,
    Outage,
    OutageBegan,
    OutageEnded,
    OutageGoesOn,
    ServerOutage,
)

WHY = "Connection refused"


class Sessions:
    """Many sessions, of which each has the server at first; `said` is what is said of them."""

    def __init__(self, number: int) -> None:
        self.counters = Counters()
        self.outage = ServerOutage(self.counters)
        self.state = {f"s{each}": State.CONNECTED for each in range(number)}
        self.said: list[Outage] = []
        self.count()

    def count(self) -> None:
        self.counters.states.clear()
        for state in self.state.values():
            self.counters.states[state] += 1

    def lose(self, now: float, *labels: str) -> None:
        for label in labels:
            self.state[label] = State.SERVER_DOWN
            self.count()
            self.hear(self.outage.missed(label, "closed with 1012", now))

    def fail(self, now: float, *labels: str, away: bool = True) -> None:
        for label in labels:
            self.hear(self.outage.missed(label, WHY, now, away=away))

    def accept(self, now: float, *labels: str, state: State = State.CONNECTED) -> None:
        for label in labels:
            self.state[label] = state
            self.count()
            self.outage.accepted(label, now)

    def end(self, *labels: str) -> None:
        for label in labels:
            self.state[label] = State.CLOSED
            self.count()
            self.outage.gone(label)

    def come(self, label: str) -> None:
        self.state[label] = State.OPENING
        self.count()

    def hear(self, said: Outage | None) -> None:
        if said is not None:
            self.said.append(said)

    def wait(self, until: float) -> None:
        """Look whenever it is due."""
        for _ in range(100_000):
            at = self.outage.next_look
            if at > until:
                return
            self.hear(self.outage.look(max(at, 0.0)))
        raise AssertionError("it looks again and again")

    @property
    def all(self) -> tuple[str, ...]:
        return tuple(self.state)


def test_an_outage_is_a_few_lines_whatever_the_number_of_sessions() -> None:
    sessions = Sessions(300)
    sessions.lose(0.0, *sessions.all)
    for attempt in range(1, 48):
        sessions.fail(float(attempt), *sessions.all)
        sessions.wait(float(attempt))
    sessions.accept(48.0, *sessions.all)
    sessions.wait(1000.0)
    assert sessions.said == [
        OutageBegan("closed with 1012", FEW, 300),
        OutageGoesOn(SAID_AFTER, WHY, 300, 0),
        OutageGoesOn(3 * SAID_AFTER, WHY, 300, 0),
        OutageEnded(48.0, 300, 0, 0),
    ]
    assert not sessions.outage.is_on


def test_that_one_session_loses_its_server_is_no_outage() -> None:
    sessions = Sessions(300)
    for number, label in enumerate(sessions.all):
        sessions.lose(number, label)
        sessions.fail(number + 0.1, label)  # though it isn't reached at once
        sessions.accept(number + 0.2, label)
    assert sessions.said == []


def test_a_session_that_returned_and_then_ended_has_returned() -> None:
    sessions = Sessions(2)
    sessions.lose(0.0, *sessions.all)
    sessions.fail(1.0, *sessions.all)
    sessions.accept(2.0, *sessions.all)
    sessions.end("s0", "s0")  # once more says nothing
    sessions.wait(10.0)
    assert sessions.said[-1] == OutageEnded(1.0, 2, 0, 0)


def test_the_only_session_is_all_there_is() -> None:
    sessions = Sessions(1)
    sessions.lose(0.0, "s0")
    assert sessions.said == []  # maybe it is back at once
    sessions.fail(1.0, "s0", away=False)
    assert sessions.said == []  # it answers
    sessions.fail(2.0, "s0")
    assert sessions.said == [OutageBegan(WHY, 1, 1)]


def test_clients_that_come_and_go_are_no_outage() -> None:
    sessions = Sessions(300)
    for label in sessions.all:
        sessions.state[label] = State.CLIENT_DOWN
    sessions.count()
    sessions.end(*sessions.all)
    sessions.come("new")
    sessions.accept(1.0, "new")
    assert sessions.said == []
    assert sessions.outage.next_look == float("inf")


def test_an_outage_is_noticed_by_those_who_come() -> None:
    sessions = Sessions(0)
    sessions.come("new")
    sessions.fail(5.0, "new")
    assert sessions.said == [OutageBegan(WHY, 1, 1)]
    sessions.end("new")
    sessions.wait(10_000.0)
    assert len(sessions.said) == 1  # nobody waits: there is nothing to say
    sessions.come("next")
    sessions.accept(10_000.0, "next")
    sessions.wait(20_000.0)
    assert sessions.said[1:] == [OutageEnded(9995.0, 0, 1, 0)]


def test_new_sessions_that_find_no_server_are_an_outage_if_they_are_many() -> None:
    sessions = Sessions(10)
    for number in range(FEW):
        assert sessions.said == []
        sessions.come(f"new{number}")
        sessions.fail(1.0, f"new{number}")
    assert sessions.said == [OutageBegan(WHY, FEW, 10 + FEW)]


def test_among_many_sessions_it_takes_more_of_them() -> None:
    sessions = Sessions(2000)
    sessions.lose(0.0, *sessions.all[:19])
    assert sessions.said == []
    sessions.lose(0.0, sessions.all[19])
    assert sessions.said == [OutageBegan("closed with 1012", 20, 2000)]


def test_two_outages_that_overlap_are_one() -> None:
    sessions = Sessions(20)
    one, other = sessions.all[:10], sessions.all[10:]
    sessions.lose(0.0, *one)
    sessions.lose(3.0, *other)
    sessions.accept(4.0, *one)
    sessions.wait(8.0)
    sessions.accept(8.0, *other)
    sessions.wait(100.0)
    assert sessions.said == [
        OutageBegan("closed with 1012", FEW, 20),
        OutageEnded(8.0, 20, 0, 0),
    ]


def test_a_server_that_comes_and_goes_is_out_all_the_time() -> None:
    sessions = Sessions(10)
    for now in range(9):
        sessions.lose(float(now), *sessions.all)
        sessions.accept(now + 0.5, *sessions.all)
        sessions.wait(now + 0.9)
    sessions.wait(100.0)
    assert sessions.said == [
        OutageBegan("closed with 1012", FEW, 10),
        OutageEnded(8.5, 10, 0, 0),
    ]


def test_the_next_outage_is_another_one() -> None:
    sessions = Sessions(10)
    for now in (0.0, 100.0):
        sessions.lose(now, *sessions.all)
        sessions.accept(now + 1.0, *sessions.all)
        sessions.wait(now + 50.0)
    assert sessions.said == 2 * [
        OutageBegan("closed with 1012", FEW, 10),
        OutageEnded(1.0, 10, 0, 0),
    ]


def test_what_still_drains_belongs_to_the_outage() -> None:
    sessions = Sessions(10)
    sessions.lose(0.0, *sessions.all)
    sessions.accept(1.0, *sessions.all, state=State.DRAINING)
    sessions.wait(1.0 + CALM)
    assert sessions.outage.concerns("s0")
    sessions.accept(1.0, *sessions.all)
    sessions.wait(1.0 + CALM + LOOK)
    assert not sessions.outage.concerns("s0")


def test_a_session_that_waits_much_longer_does_not_hold_the_end_up() -> None:
    sessions = Sessions(10)
    sessions.lose(0.0, *sessions.all)
    sessions.accept(1.0, *sessions.all[1:])
    sessions.wait(STRAGGLERS - LOOK)
    assert len(sessions.said) == 1
    sessions.wait(STRAGGLERS + LOOK)
    assert sessions.said[1:] == [OutageEnded(1.0, 9, 0, 1)]
    sessions.fail(100.0, "s0")
    assert len(sessions.said) == 2


def test_sessions_that_end_meanwhile_are_counted() -> None:
    sessions = Sessions(10)
    sessions.lose(0.0, *sessions.all)
    sessions.end(*sessions.all[:4])
    sessions.end(*sessions.all[:4])  # an adapter forgets them later
    sessions.wait(SAID_AFTER)
    sessions.accept(11.0, *sessions.all[4:])
    sessions.wait(100.0)
    assert sessions.said[1:] == [
        OutageGoesOn(SAID_AFTER, "closed with 1012", 6, 4),
        OutageEnded(11.0, 6, 4, 0),
    ]


def test_it_is_said_ever_more_seldom_that_an_outage_goes_on() -> None:
    sessions = Sessions(10)
    sessions.lose(0.0, *sessions.all)
    sessions.wait(86_400.0)
    times = [said.seconds for said in sessions.said if isinstance(said, OutageGoesOn)]
    assert times[:4] == [10.0, 30.0, 70.0, 150.0]
    assert times[-1] - times[-2] == SAID_AT_LEAST
    assert len(times) < 35


def test_a_process_that_takes_over_finds_out_by_itself() -> None:
    sessions = Sessions(300)
    for label in sessions.all:
        sessions.state[label] = State.SERVER_DOWN  # nobody has told of their loss
    sessions.count()
    sessions.fail(0.0, "s0")
    assert sessions.said == [OutageBegan(WHY, 300, 300)]


@pytest.mark.parametrize("count", [1, 50_000])
def test_nothing_is_kept_of_sessions_when_all_is_over(count: int) -> None:
    sessions = Sessions(1)
    outage = sessions.outage
    labels = [f"x{number}" for number in range(count)]
    for label in labels:
        outage.missed(label, WHY, 0.0, away=True)
    for label in labels[::2]:
        outage.accepted(label, 1.0)
    for label in labels[1::2]:
        outage.gone(label)
    sessions.wait(10.0)
    assert not outage._waiting
    assert not outage._returned


# -- Sessions that end with their server -----------------------------------------------------------


def part(sessions: Sessions, now: float, *labels: str) -> None:
    """These end, since their server is lost."""
    for label in labels:
        sessions.state[label] = State.CLOSING
        sessions.count()
        sessions.hear(sessions.outage.ended_with(label, "closed with 1012", now))


def test_sessions_that_end_with_their_server_are_an_outage_and_those_that_open_wait() -> None:
    sessions = Sessions(300)
    part(sessions, 10.0, *sessions.all)
    assert sessions.said == [OutageBegan("closed with 1012", 0, 300, FEW)]
    assert sessions.outage.concerns("s299")
    sessions.end(*sessions.all)
    new = [f"n{each}" for each in range(200)]
    for label in new:
        sessions.come(label)
    sessions.fail(11.0, "n0")  # one dials for all
    sessions.wait(21.0)
    assert sessions.said[1:] == [OutageGoesOn(10.0, WHY, 200, 300)]
    sessions.accept(22.0, *new)
    sessions.wait(60.0)
    assert sessions.said[2:] == [OutageEnded(12.0, 1, 300, 0)]
    assert not sessions.outage.is_on


def test_a_server_that_ends_connections_and_accepts_others_is_not_out() -> None:
    sessions = Sessions(20)
    for number, label in enumerate(sessions.all):
        part(sessions, number / 10, label)
        sessions.accept(number / 10, f"n{number}")
    assert sessions.said == []


def test_sessions_that_end_now_and_then_are_no_outage() -> None:
    sessions = Sessions(20)
    for number, label in enumerate(sessions.all):
        part(sessions, number * (CALM + 1), label)
    assert sessions.said == []


def test_a_server_that_ends_connections_after_an_outage_is_back_all_the_same() -> None:
    sessions = Sessions(20)
    part(sessions, 0.0, *sessions.all)
    sessions.accept(1.0, "n0", "n1", "n2")
    for number in range(3):
        part(sessions, 2.0 + number, f"n{number}")
    sessions.wait(30.0)
    assert sessions.said[1:] == [OutageEnded(1.0, 0, 23, 0)]
