"""The diagrams: complete, drawn without overlaps, safe text, and those in diagrams/ up to date."""

from enum import Enum
from itertools import combinations, pairwise
from pathlib import Path
from xml.etree import ElementTree

import pytest
from reknit_core.cluster.states import BOOK_TRANSITIONS, NODE_TRANSITIONS
from reknit_core.diagrams.cluster import (
    BOOK_NOTES,
    NODE_NOTES,
    book_dot,
    book_mermaid,
    node_dot,
    node_mermaid,
)
from reknit_core.diagrams.layout import LABELLED, LIVE, Grid, Layout, Rectangle
from reknit_core.diagrams.live import RATE, live_svg
from reknit_core.diagrams.svg import lifecycle_svg
from reknit_core.diagrams.tables import Rows
from reknit_core.diagrams.text import lifecycle_dot, lifecycle_mermaid, render_all, sequence_mermaid
from reknit_core.lifecycle import TRANSITIONS, State
from reknit_core.play.player import ScenarioError
from reknit_core.script.scenario import parse

ROOT = Path(__file__).parents[3]
SCENARIOS = {file.stem: file.read_text() for file in (ROOT / "tests" / "scenarios").glob("*.scn")}
EACH_GRID = pytest.mark.parametrize("grid", [LABELLED, LIVE], ids=["labelled", "live"])


def test_the_files_in_diagrams_are_what_the_code_and_the_scenarios_say() -> None:
    folder = ROOT / "diagrams"
    files = {
        str(f.relative_to(folder)): f.read_text() for f in folder.rglob("*.*") if f.suffix != ".png"
    }
    design = {name: text for name, text in SCENARIOS.items() if name.startswith("scenario_")}
    assert design
    assert files == render_all(design)


@pytest.mark.parametrize("name", sorted(SCENARIOS))
def test_every_scenario_can_be_drawn(name: str) -> None:
    drawn = sequence_mermaid(parse(SCENARIOS[name])).splitlines()
    assert drawn[0] == "sequenceDiagram"
    assert len(drawn) > 4


def test_every_transition_is_in_every_form() -> None:
    mermaid, dot = lifecycle_mermaid(), lifecycle_dot()
    shown = {
        (source, target, trigger)
        for arrow in Layout().arrows
        for target, trigger in [(arrow.target, trigger) for trigger in arrow.triggers]
        for source in ([arrow.source] if arrow.source else State)
    }
    for row in TRANSITIONS:
        source, target, words = row.source.value, row.target.value, row.trigger.value.split("_")
        [line] = [line for line in mermaid.splitlines() if f" {source} --> {target} :" in line]
        assert " ".join(words) in line
        [line] = [line for line in dot.splitlines() if f" {source} -> {target} " in line]
        assert " ".join(words) in line
        assert (row.source, row.target, row.trigger) in shown


@EACH_GRID
def test_the_frame_is_around_just_the_states_that_its_arrow_speaks_for(grid: Grid) -> None:
    layout = Layout(grid)
    [shared] = [arrow for arrow in layout.arrows if arrow.source is None]
    speaks_for = {row.source for row in TRANSITIONS if row.trigger in shared.triggers}
    assert {state for state in State if grid.box(state).overlaps(layout.frame)} == speaks_for


def _segments(layout: Layout) -> list[Rectangle]:
    found = []
    for arrow in layout.arrows:
        path = layout.path(arrow)
        for (x, y), (to_x, to_y) in pairwise(path):
            assert x == to_x or y == to_y
            found.append(Rectangle(min(x, to_x), min(y, to_y), max(x, to_x), max(y, to_y)))
    return found


def _grown(area: Rectangle, by: float) -> Rectangle:
    return Rectangle(area.left - by, area.top - by, area.right + by, area.bottom + by)


@EACH_GRID
def test_no_label_lies_on_another_on_a_box_or_on_a_line(grid: Grid) -> None:
    layout = Layout(grid)
    texts = () if grid is LABELLED else RATE
    labels = [layout.label(arrow, texts).area for arrow in layout.arrows]
    boxes = [grid.box(state) for state in State]
    lines = [_grown(segment, 1) for segment in _segments(layout)]
    page = Rectangle(0, 0, grid.width, grid.height)
    assert not [pair for pair in combinations(labels + boxes, 2) if pair[0].overlaps(pair[1])]
    assert not [(label, line) for label in labels for line in lines if label.overlaps(line)]
    for area in labels + boxes:
        assert page.left < area.left
        assert page.top < area.top
        assert area.right < page.right
        assert area.bottom < page.bottom


@EACH_GRID
def test_no_arrow_runs_through_a_box_or_along_another_arrow(grid: Grid) -> None:
    layout = Layout(grid)
    lines = _segments(layout)
    boxes = [_grown(grid.box(state), -1) for state in State]
    assert not [
        (line, area) for line in lines for area in boxes if _grown(line, 0.5).overlaps(area)
    ]
    for one, other in combinations(lines, 2):
        same_row = one.top == one.bottom == other.top == other.bottom
        same_column = one.left == one.right == other.left == other.right
        if same_row or same_column:
            assert not _grown(one, 0.5).overlaps(_grown(other, -0.5) if one == other else other)


@EACH_GRID
def test_no_two_arrows_cross(grid: Grid) -> None:
    lines = _segments(Layout(grid))
    level = [line for line in lines if line.top == line.bottom]
    upright = [line for line in lines if line.left == line.right]
    crossings = [
        (one, other)
        for one in level
        for other in upright
        if one.left < other.left < one.right and other.top < one.top < other.bottom
    ]
    assert not crossings


def test_the_picture_is_well_formed_and_names_every_state() -> None:
    tree = ElementTree.fromstring(lifecycle_svg())
    texts = {node.text for node in tree.iter("{http://www.w3.org/2000/svg}text")}
    assert {state.value for state in State} <= texts


def test_the_live_picture_has_a_place_for_every_state_and_transition() -> None:
    groups = list(ElementTree.fromstring(live_svg()).iter("g"))
    assert [g.get("data-state") for g in groups if g.get("data-state")] == [s.value for s in State]
    flows = {(g.get("data-source"), g.get("data-target")) for g in groups if g.get("data-target")}
    for row in TRANSITIONS:
        target = row.target.value
        assert (row.source.value, target) in flows or ("", target) in flows


def test_a_sequence_diagram_shows_events_outcomes_and_states() -> None:
    scenario = parse(
        "# A title: with #; in it\npolicy retry_limit=0\n"
        "@0 > client connected\n@0 > server connected\n@0 > server accepts\n"
        '@1 > client message "a;b#c<d>"\n@2 > client takes 5\n@3 > server lost\n@4 > client rest\n'
        "@5 > shutdown\n@20 > wait\n"
    )
    lines = [line.strip() for line in sequence_mermaid(scenario).splitlines()]
    assert lines[1] == "title A title: with #35;#59; in it"
    for line in (
        "Note over C,S: retry_limit=0",
        "C->>P: 0.000 s · connected",
        "P--)S: dial attempt=0 at=0.000",
        "Note over C,S: connected",
        'C->>P: 1.000 s · message "a#59;b#35;c#lt;d#gt;"',
        'P->>S: message "a#59;b#35;c#lt;d#gt;"',
        "Note over C: 2.000 s · takes 5",
        "S--xP: 3.000 s · lost",
        "P--xC: cut",
        "Note over P: left out: no cut message",
        "Note over P: 5.000 s · shutdown",
    ):
        assert line in lines


def test_long_lines_are_wrapped() -> None:
    text = "# T\n@0 > client connected path=/a?b=c subprotocols=a,b,c,d,e,f,g,h deflate id=i"
    longest = max(
        len(part)
        for line in sequence_mermaid(parse(text)).splitlines()
        for part in line.split("<br/>")
    )
    assert longest < 60


def test_a_scenario_that_cannot_be_read_is_an_error() -> None:
    with pytest.raises(ScenarioError, match="line 1"):
        render_all({"bad": "nonsense"})


@pytest.mark.parametrize(
    ("rows", "mermaid", "dot", "notes"),
    [
        (NODE_TRANSITIONS, node_mermaid(), node_dot(), NODE_NOTES),
        (BOOK_TRANSITIONS, book_mermaid(), book_dot(), BOOK_NOTES),
    ],
    ids=["node", "book"],
)
def test_a_cluster_s_tables_are_drawn_whole(
    rows: Rows, mermaid: list[str], dot: list[str], notes: dict[Enum, str]
) -> None:
    for source, trigger, target in rows:
        words = str(trigger.value).replace("_", " ")
        pair = f"{source.value} --> {target.value}"
        assert any(pair in line and words in line for line in mermaid)
        pair = f"{source.value} -> {target.value}"
        assert any(pair in line and words in line for line in dot)
    assert set(notes) == {state for row in rows for state in (row[0], row[2])}
