"""When a lost server is dialled again, and when it is given up."""

import os
from itertools import pairwise
from math import inf
from statistics import pstdev

import pytest
from reknit_core.commands import Failure
from reknit_core.leg.retry import Retry, meaning
from reknit_core.policy.policy import Policy


def retry(seed: bytes = b"seed", **settings: object) -> Retry:
    policy = {"retry_interval": 1.0, "retry_limit": 3, "retry_jitter": 0.0} | settings
    return Retry(Policy(**policy), seed)  # type: ignore[arg-type]


def dials(subject: Retry, now: float = 0.0) -> list[float]:
    """The times of all attempts, each failing at once."""
    times = []
    while (at := subject.next_dial(now)) is not None:
        times.append(at)
        now = at
    return times


def test_attempts_come_every_interval_until_the_limit() -> None:
    subject = retry()
    assert dials(subject) == [1.0, 2.0, 3.0]
    assert subject.attempt == 3


def test_no_attempt_is_made_with_a_limit_of_none() -> None:
    assert dials(retry(retry_limit=0)) == []


def test_the_wait_grows_up_to_the_cap() -> None:
    subject = retry(retry_limit=5, retry_backoff=2.0, retry_cap=5.0)
    assert dials(subject) == [1.0, 3.0, 7.0, 12.0, 17.0]


def test_a_huge_number_of_attempts_does_not_overflow() -> None:
    subject = retry(retry_limit=2000, retry_backoff=100.0, retry_cap=60.0)
    assert len(dials(subject)) == 2000


def test_the_time_limit_counts_from_the_first_attempt() -> None:
    assert dials(retry(retry_limit=100, retry_time=2.5), now=10.0) == [11.0, 12.0]


def test_the_server_may_ask_for_a_longer_wait() -> None:
    subject = retry()
    assert subject.next_dial(0.0, retry_after=7.0) == 7.0
    assert subject.next_dial(7.0, retry_after=0.2) == 8.0
    assert subject.next_dial(8.0, retry_after=inf) == 68.0  # but no longer than the longest wait


def test_a_crash_loop_ends() -> None:
    subject = retry(retry_reset=10.0)
    now = 0.0
    for _ in range(3):
        at = subject.next_dial(now)
        assert at is not None
        subject.accepted(at)
        now = at + 1.0  # lost again soon after
        subject.lost(now)
    assert subject.next_dial(now) is None


def test_a_connection_that_lasted_ends_the_count() -> None:
    subject = retry(retry_reset=10.0, retry_time=5.0)
    assert len(dials(subject)) == 3
    subject.accepted(3.0)
    subject.lost(13.0)
    assert dials(subject, now=13.0) == [14.0, 15.0, 16.0]


@pytest.mark.parametrize("jitter", [0.25, 0.5, 1.0])
def test_jitter_shortens_a_wait_by_its_part_at_most(jitter: float) -> None:
    waits = [
        at
        for _ in range(200)
        if (at := retry(os.urandom(8), retry_jitter=jitter).next_dial(0.0)) is not None
    ]
    assert len(waits) == 200
    assert all(1.0 - jitter <= wait <= 1.0 for wait in waits)


def test_thousands_of_sessions_are_spread_over_the_wait() -> None:
    seeds = [number.to_bytes(8, "big") for number in range(10_000)]
    waits = [retry(seed, retry_jitter=1.0).next_dial(0.0) or 0.0 for seed in seeds]
    tenths = [sum(tenth <= wait * 10 < tenth + 1 for wait in waits) for tenth in range(10)]
    assert pstdev(waits) == pytest.approx(0.289, abs=0.02)  # of an even spread: 1/sqrt(12)
    assert all(800 < count < 1200 for count in tenths)


def test_one_session_is_spread_over_its_attempts() -> None:
    subject = retry(retry_limit=50, retry_jitter=1.0)
    times = [0.0, *dials(subject)]
    waits = [later - earlier for earlier, later in pairwise(times)]
    assert len({round(wait, 6) for wait in waits}) == 50


def test_the_same_seed_gives_the_same_times() -> None:
    assert dials(retry(retry_jitter=1.0)) == dials(retry(retry_jitter=1.0))


def test_what_a_status_means() -> None:
    policy = Policy()
    of = {status: meaning(status, policy) for status in (*range(200, 600), 600, 999)}
    final = [status for status in of if of[status] is Failure.FINAL]
    away = [status for status in of if of[status] is Failure.AWAY]
    assert final == [400, 401, 403, 410]
    assert away == [408, 425, 429, *range(500, 600)]
    chosen = Policy(server_final_statuses=frozenset((404, 503)))
    assert meaning(404, chosen) is meaning(503, chosen) is Failure.FINAL
    assert meaning(400, chosen) is Failure.REFUSED


def test_refusals_have_a_limit_of_their_own() -> None:
    subject = retry(retry_limit=60, refused_limit=3)
    assert subject.next_dial(0.0) == 1.0
    met = (Failure.REFUSED, Failure.AWAY, Failure.AWAY, Failure.REFUSED, Failure.AWAY)
    for number, failure in enumerate(met, 1):
        assert subject.next_dial(number, failure) == number + 1
    assert subject.next_dial(6.0, Failure.REFUSED) is None


def test_the_default_limit_of_refusals_is_shorter_than_that_of_attempts() -> None:
    assert Policy().refused_limit < Policy().retry_limit


def test_the_limit_of_attempts_holds_for_refusals_too() -> None:
    subject = retry(retry_limit=1, refused_limit=3)
    assert subject.next_dial(0.0) == 1.0
    assert subject.next_dial(1.0, Failure.REFUSED) is None


def test_nothing_comes_after_a_final_refusal() -> None:
    assert retry().next_dial(0.0, Failure.FINAL) is None


def test_a_connection_that_lasted_ends_the_count_of_refusals() -> None:
    subject = retry(retry_reset=10.0, refused_limit=2)
    for lasted, more in ((10.0, True), (9.0, False)):
        assert subject.next_dial(0.0) == 1.0
        assert subject.next_dial(1.0, Failure.REFUSED) == 2.0
        subject.accepted(2.0)
        subject.lost(2.0 + lasted)
        assert (subject.next_dial(20.0, Failure.REFUSED) is not None) is more
        subject = retry(retry_reset=10.0, refused_limit=2)
