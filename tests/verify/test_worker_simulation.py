"""Several proxies that are one, as far as the core decides: by seed, with workers that die."""

import pytest
from reknit.verify.simulation.workers import simulate_workers


@pytest.mark.parametrize("seed", [1, 2])
def test_whoever_comes_anywhere_is_at_its_session_and_no_limit_is_exceeded(seed: int) -> None:
    result = simulate_workers(seed, steps=3000)
    assert result.broken == []
    counts = result.counts
    often = ("began", "resumed", "passed on", "session_limit", "connection_limit")
    assert all(counts[what] > 50 for what in often), counts
    assert min(counts["died"], counts["taken over"], counts["unknown_session"]) > 10, counts


def test_a_simulation_can_be_repeated() -> None:
    assert simulate_workers(3, steps=500) == simulate_workers(3, steps=500)
