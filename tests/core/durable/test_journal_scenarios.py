"""In every scenario, after every event: what is written down brings the session back.

It is what it would be if it had lost both connections at that moment. Nothing that is not
confirmed is missing.
"""

from pathlib import Path

import pytest
from crashing_player import play_crashing
from reknit_core.play.player import parse

FILES = sorted((Path(__file__).parents[2] / "scenarios").glob("*.scn"))
# A loss would be their end.
OVER_AT_ONCE = (
    "close_in_opening",
    "opening_server_lost",
    "grace_for_who_can_return",
    "dialect_ends_with_its_server",
    "gone_client_",
    "end_",
)


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.stem)
def test_scenario_with_crashes(file: Path) -> None:
    text = file.read_text()
    returns = play_crashing(parse(text))
    assert returns or "= connected" not in text or file.stem.startswith(OVER_AT_ONCE)
