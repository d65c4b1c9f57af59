"""A session that is over leaves no reference cycles: the adapter collects garbage rarely."""

import gc
from pathlib import Path

import pytest
from reknit_core.play.player import Player, parse

SCENARIOS = Path(__file__).parents[2] / "scenarios"


def leads_back(start: object) -> bool:
    """Whether an instance refers to itself, over any number of others of the core."""
    seen: set[int] = set()
    todo = [start]
    while todo:
        for found in gc.get_referents(todo.pop()):
            if found is start:
                return True
            core = type(found).__module__.startswith("reknit_core") or type(found) in (list, tuple)
            if core and not isinstance(found, type) and id(found) not in seen:
                seen.add(id(found))
                todo.append(found)
    return False


@pytest.mark.parametrize("name", ["close_by_client_in_connected", "retries_spent", "grace_ended"])
def test_a_closed_session_is_in_no_cycle(name: str) -> None:
    scenario = parse((SCENARIOS / f"{name}.scn").read_text())
    player = Player(scenario.policy)
    lives = []
    for line in scenario.lines:
        if line.step is not None:
            player.perform(line.step)
            lives.append(leads_back(player.context.client) if player.context else False)
    context = player.context
    assert context is not None
    assert any(lives)
    assert not leads_back(context.client)
    assert not leads_back(context.server)
    assert not leads_back(context)
