"""A session that is over leaves no reference cycles: the adapter collects garbage rarely."""

import gc
from pathlib import Path

import pytest
from reknit_core import trace

SCENARIOS = Path(__file__).parents[1] / "scenarios"


@pytest.mark.parametrize("name", ["close_by_client_in_connected", "retries_spent", "grace_ended"])
def test_a_closed_session_is_freed_at_once(name: str) -> None:
    scenario = trace.parse((SCENARIOS / f"{name}.scn").read_text())
    player = trace.Player(scenario.policy)
    for line in scenario.lines:
        if line.step is not None:
            player.perform(line.step)
    context = player.context
    assert context is not None
    gc.collect()
    gc.disable()
    try:
        legs = [id(context.client), id(context.server)]
        del context, player
        alive = {id(thing) for thing in gc.get_objects()}
        assert not alive & set(legs)
    finally:
        gc.enable()
