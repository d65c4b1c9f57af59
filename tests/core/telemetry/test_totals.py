"""What several processes have counted, added up."""

from hypothesis import given
from hypothesis import strategies as st
from reknit_core.counters import Counters, DialResult, Resume
from reknit_core.policy.policy import Policy
from reknit_core.policy.upstream import Upstream
from reknit_core.proxy.contexts import Contexts
from reknit_core.side import Side
from reknit_core.telemetry.totals import Totals, add_totals, sum_totals, take_totals

NUMBERS = st.lists(st.integers(0, 1000), min_size=5, max_size=5)


def _contexts() -> Contexts:
    return Contexts(Policy(), Upstream("server.test", 80), lambda size: b"\0" * size)


def _totals(numbers: list[int]) -> Totals:
    contexts = _contexts()
    counters = contexts.counters
    counters.handshakes[101] += numbers[0]
    counters.resumes[Side.CLIENT, Resume.RESUMED] += numbers[1]
    counters.dial_results[DialResult.ACCEPTED] += numbers[2]
    counters.to_client.replays += numbers[3]
    counters.to_server.ended_messages += numbers[4]
    counters.to_client.round_trips.observe(numbers[0] / 100)
    counters.to_server.returns.observe(numbers[1] / 10)
    counters.durations.observe(numbers[2])
    counters.takeovers += numbers[3]
    counters.tls_failures += numbers[4]
    return take_totals(contexts)


def _counted(counters: Counters) -> tuple[object, ...]:
    return (
        +counters.handshakes,
        +counters.resumes,
        +counters.dial_results,
        counters.to_client.replays,
        counters.to_server.ended_messages,
        counters.to_client.round_trips.cumulated,
        round(counters.to_client.round_trips.sum, 6),
        counters.to_server.returns.cumulated,
        counters.durations.cumulated,
        counters.durations.sum,
        counters.takeovers,
        counters.tls_failures,
    )


@given(st.lists(NUMBERS, max_size=4))
def test_the_sum_is_what_one_process_would_have_counted(several: list[list[int]]) -> None:
    one_by_one, at_once = _contexts(), _contexts()
    for numbers in several:
        add_totals(one_by_one.counters, _totals(numbers))
    add_totals(at_once.counters, sum_totals(map(_totals, several)))
    assert _counted(at_once.counters) == _counted(one_by_one.counters)
