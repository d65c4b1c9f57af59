"""How loudly it is said what happens to sessions: losses always, but not by hundreds."""

from math import inf

from reknit_core.commands import AttemptFailed, Dropped, Failure, Transitioned, Undelivered
from reknit_core.counters import Counters
from reknit_core.lifecycle import State, Transition, Trigger
from reknit_core.side import Side
from reknit_core.telemetry.losses import EVERY, NAMED, SINGLY, MoreLosses
from reknit_core.telemetry.server_outage import FEW, OutageBegan, OutageEnded
from reknit_core.telemetry.teller import Change, Remark, Teller, Volume
from reknit_core.wire.reasons import LONGEST

S, T = State, Trigger
DETAIL, NEWS, TROUBLE = Volume.DETAIL, Volume.NEWS, Volume.TROUBLE

LOST = Transitioned(T.SERVER_LOST, S.SERVER_DOWN, "connection reset")
BACK = Transitioned(T.SERVER_ACCEPTED, S.DRAINING, "")
DRAINED = Transitioned(T.DRAINED, S.CONNECTED, "")
SPENT = Transitioned(T.RETRIES_SPENT, S.CLOSED, "the server can't be reached: no route")
FULL = Transitioned(T.SESSION_FAILED, S.CLOSING, "too much waits for the client")
UNDELIVERED = Undelivered(Side.SERVER, 2, 100)


class Court:
    """A teller with sessions that have the server, and all that it has said."""

    def __init__(self, number: int) -> None:
        self.counters = Counters()
        for _ in range(number):
            self.counters.began(S.CONNECTED)
        self.teller = Teller(self.counters)
        self.labels = [f"s{each}" for each in range(number)]
        self.states = dict.fromkeys(self.labels, S.CONNECTED)
        self.said: list[Remark] = []
        self.volumes: list[Volume] = []

    def hear(self, now: float, change: Change, *labels: str) -> list[Volume]:
        """That happens to these sessions; or to all of them."""
        volumes = []
        for label in labels or self.labels:
            if isinstance(change, Transitioned):
                self.counters.moved(Transition(self.states[label], change.trigger, change.state))
                self.states[label] = change.state
            volumes.append(self.teller.hear(label, change, now))
            self.said += self.teller.remarks()
        self.volumes += volumes
        return volumes

    def wait(self, until: float) -> None:
        while (at := self.teller.next_look) <= until:
            self.teller.look(at)
            self.said += self.teller.remarks()


def failed(attempt: int, failure: Failure = Failure.AWAY) -> AttemptFailed:
    return AttemptFailed(attempt, failure, "Connection refused")


def test_one_session_is_told_of_by_itself() -> None:
    court = Court(10)
    for change, volume in (
        (LOST, NEWS),
        (failed(1), DETAIL),
        (BACK, NEWS),
        (DRAINED, DETAIL),
        (Transitioned(T.CLIENT_LOST, S.CLIENT_DOWN, "reset"), NEWS),
        (Transitioned(T.GRACE_ENDED, S.CLOSED, ""), NEWS),
        (UNDELIVERED, TROUBLE),
    ):
        assert court.hear(1.0, change, "s0") == [volume]
    assert court.said == []


def test_an_outage_is_said_and_what_it_means_for_each_is_a_detail() -> None:
    court = Court(300)
    court.hear(0.0, LOST)
    for attempt in range(1, 30):
        court.wait(float(attempt))
        court.hear(float(attempt), failed(attempt))
    court.hear(30.0, BACK)
    court.hear(30.0, DRAINED)
    court.wait(60.0)
    loud = [volume for volume in court.volumes if volume is not DETAIL]
    assert len(loud) == 4  # before it was known to be an outage
    assert [type(remark).__name__ for remark in court.said] == [
        "OutageBegan",
        "OutageGoesOn",
        "OutageEnded",
    ]
    assert court.hear(70.0, LOST, "s7") == [NEWS]


def test_those_whom_an_outage_does_not_concern_are_told_of_as_before() -> None:
    court = Court(100)
    court.hear(0.0, LOST, *court.labels[:50])
    assert [type(remark) for remark in court.said] == [OutageBegan]
    gone, back = Transitioned(T.CLIENT_LOST, S.CLIENT_DOWN, ""), BACK
    assert court.hear(1.0, gone, "s99") == [NEWS]
    assert court.hear(1.0, Transitioned(T.CLIENT_LOST, S.BOTH_DOWN, ""), "s0") == [DETAIL]
    assert court.hear(2.0, back, "s1") == [DETAIL]
    assert court.hear(2.0, DRAINED, "s1") == [DETAIL]
    ending = Transitioned(T.SESSION_ENDED, S.CLOSING, "client closed with 1000")
    assert court.hear(2.0, ending, "s2") == [DETAIL]


def test_an_outage_that_costs_sessions_and_messages_is_loud_and_bounded() -> None:
    court = Court(300)
    court.hear(0.0, LOST)
    for label in court.labels:
        court.hear(60.0, SPENT, label)
        court.hear(60.0, UNDELIVERED, label)
    assert court.volumes.count(TROUBLE) == SINGLY
    court.wait(60.0 + EVERY)
    (more,) = [remark for remark in court.said if isinstance(remark, MoreLosses)]
    assert more.sessions == more.ended == 300 - SINGLY // 2
    assert (more.messages, more.bytes) == (2 * more.ended, 100 * more.ended)
    assert more.names == tuple(court.labels[5 : 5 + NAMED])
    assert more.seconds == EVERY


def test_losses_are_told_one_by_one_where_they_are_few() -> None:
    court = Court(100)
    for number in range(100):
        now = number * EVERY / SINGLY
        assert court.hear(now, FULL, f"s{number}") == [TROUBLE]
    assert court.said == []
    assert court.teller.next_look == inf


def test_drops_are_added_up_too() -> None:
    court = Court(20)
    for total in (1, 2, 4, 8):
        court.hear(0.0, Dropped(Side.CLIENT, total))
    court.wait(EVERY)
    assert court.volumes.count(TROUBLE) == SINGLY
    (more,) = court.said
    assert isinstance(more, MoreLosses)
    assert (more.sessions, more.dropped, more.ended) == (20, 160, 0)


def test_what_is_left_is_said_when_the_proxy_stops() -> None:
    court = Court(30)
    court.hear(5.0, SPENT)
    court.teller.finish()
    (more,) = court.teller.remarks()
    assert isinstance(more, MoreLosses)
    assert more.ended == 20
    court.teller.finish()
    assert court.teller.remarks() == []


def test_a_session_that_another_process_has_is_waited_for_no_more() -> None:
    court = Court(10)
    court.hear(0.0, LOST)
    for label in court.labels[1:]:
        court.teller.gone(label)
        court.counters.moved(Transition(S.SERVER_DOWN, T.SESSION_ENDED, S.CLOSED))
    court.hear(1.0, BACK, "s0")
    court.hear(1.0, DRAINED, "s0")
    court.wait(5.0)
    assert court.said[-1] == OutageEnded(1.0, 1, 9, 0)


def test_an_answer_is_no_outage_and_a_refusal_for_good_no_loss() -> None:
    court = Court(1)
    court.hear(0.0, LOST)
    assert court.hear(1.0, failed(1, Failure.REFUSED)) == [DETAIL]
    assert court.hear(2.0, failed(2, Failure.FINAL)) == [DETAIL]
    refused = Transitioned(T.SERVER_REFUSED, S.CLOSED, "the server answered 403")
    assert court.hear(2.0, refused) == [NEWS]
    assert court.said == []


def test_what_a_server_says_for_a_reason_is_short() -> None:
    court = Court(5)
    court.hear(0.0, Transitioned(T.SERVER_LOST, S.SERVER_DOWN, "closed with 1012 \n" + "x" * 500))
    (began,) = court.said
    assert isinstance(began, OutageBegan)
    assert len(began.reason) == LONGEST
    assert "\n" not in began.reason


def test_that_sessions_end_with_their_server_is_said_of_all_together() -> None:
    court = Court(300)
    ended = Transitioned(T.SESSION_ENDED, S.CLOSING, "server lost: reset", with_server=True)
    assert set(court.hear(1.0, ended)) == {DETAIL}
    assert court.said == [OutageBegan("server lost: reset", 0, 300, FEW)]
    over = court.hear(1.1, Transitioned(T.LEGS_CLOSED, S.CLOSED, ""))
    assert set(over) == {NEWS}  # each session's own line


def test_a_session_that_fails_after_its_return_has_ended() -> None:
    court = Court(1)
    court.hear(0.0, LOST, "s0")
    court.hear(0.1, failed(1), "s0")
    court.hear(1.0, BACK, "s0")
    court.hear(1.1, Transitioned(T.SESSION_FAILED, S.CLOSING, "refused"), "s0")
    court.hear(1.2, Transitioned(T.LEGS_CLOSED, S.CLOSED, ""), "s0")
    court.wait(10.0)
    assert court.said[-1] == OutageEnded(0.9, 0, 1, 0)
