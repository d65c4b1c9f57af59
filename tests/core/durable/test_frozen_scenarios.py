"""Every scenario plays the same if its context is frozen and thawed after every single event.

But for requests of the operator's: nobody waits for the reply any more in another process. And
another process decompresses as much again.
"""

from pathlib import Path

import pytest
from reknit_core.play.player import diff, parse
from restarting_player import play_restarting

FILES = [
    file
    for file in sorted((Path(__file__).parents[2] / "scenarios").glob("*.scn"))
    if not file.name.startswith(("inband_", "dialect_grows"))
]


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.stem)
def test_scenario_with_restarts(file: Path) -> None:
    text = file.read_text()
    difference = diff(text, play_restarting(parse(text)))
    assert not difference, f"{file.name} plays otherwise with restarts:\n{difference}"
