"""Replays every scenario file, and sees to it that together they show all that can happen."""

from pathlib import Path

import pytest
from reknit_core.lifecycle import INITIAL, TRANSITIONS, State
from reknit_core.play.player import diff, parse, play
from reknit_core.script.grammar import USAGE

FILES = sorted((Path(__file__).parents[2] / "scenarios").glob("*.scn"))


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.stem)
def test_scenario(file: Path) -> None:
    text = file.read_text()
    difference = diff(text, play(parse(text)))
    assert not difference, f"{file.name} plays otherwise than it says:\n{difference}"


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.stem)
def test_what_was_played_can_be_played_again(file: Path) -> None:
    played = play(parse(file.read_text()))
    assert play(parse("\n".join(played))) == played


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.stem)
def test_a_scenario_has_a_title_and_plays_what_can_happen(file: Path) -> None:
    scenario = parse(file.read_text())
    assert scenario.title
    assert scenario.lines


def test_every_transition_is_shown_by_a_scenario() -> None:
    shown = set()
    for file in FILES:
        state = INITIAL
        for line in parse(file.read_text()).canonical:
            kind, _, text = line.strip().partition(" ")
            if kind == "=":
                shown.add((state, State(text)))
                state = State(text)
    assert shown == {(row.source, row.target) for row in TRANSITIONS}


def test_every_event_is_used_by_a_scenario() -> None:
    used = {
        word
        for file in FILES
        for line in parse(file.read_text()).lines
        if line.step is not None
        for word in line.step.text.split()
    }
    verbs = {word for usage in USAGE for word in usage.split()[:2]}
    assert {verb for verb in verbs if verb.isalpha()} <= used
