"""Applications that nobody here wrote, through a reknit at each side: each step exactly once."""

import pytest
from pair_run import APPLICATIONS, CUTS, missing
from socket_bench import Bench, socket_test


# nats-py calls aiohttp in a way that this one will not take for ever.
@pytest.mark.filterwarnings("ignore:parameter 'timeout':DeprecationWarning")
@pytest.mark.parametrize("name", APPLICATIONS)
@socket_test
async def test_each_step_exactly_once(bench: Bench, name: str) -> None:
    if lacks := missing(name):
        pytest.skip(lacks)
    facts = await APPLICATIONS[name](bench, CUTS)
    assert facts.cuts >= CUTS
    assert (facts.received, facts.lost, facts.repeated) == (facts.steps, 0, 0), facts
    assert not facts.surprises, facts
