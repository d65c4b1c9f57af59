"""`world`: makes a world on the adapter in question, by its policy; closed behind the test."""

from collections.abc import Iterator
from typing import Any, Protocol

import pytest
from contract_worlds import WORLDS, World, policy


class MakeWorld(Protocol):
    def __call__(self, **values: Any) -> World: ...


@pytest.fixture(params=WORLDS)
def make(request: pytest.FixtureRequest) -> Iterator[MakeWorld]:
    """Makes a world on this adapter, with these settings of the policy."""
    made: list[World] = []

    def one(**values: Any) -> World:
        made.append(WORLDS[request.param](policy(**values)))
        return made[-1]

    yield one
    for world in made:
        world.close()


@pytest.fixture
def world(make: MakeWorld) -> World:
    """A world on this adapter, with the quick policy."""
    return make()
