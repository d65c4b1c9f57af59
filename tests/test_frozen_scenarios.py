"""Every scenario plays the same if its context is frozen and thawed after every single event."""

from pathlib import Path

import pytest
from reknit_core import trace
from restarting_player import play_restarting

FILES = sorted((Path(__file__).parent / "scenarios").glob("*.scn"))


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.stem)
def test_scenario_with_restarts(file: Path) -> None:
    text = file.read_text()
    difference = trace.diff(text, play_restarting(trace.parse(text)))
    assert not difference, f"{file.name} plays otherwise with restarts:\n{difference}"
