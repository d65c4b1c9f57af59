"""Diagrams of the lifecycle and of scenarios, as text: Mermaid, Graphviz dot, SVG.

All of them are made from the table of transitions and from scenario files; nothing is drawn by
hand. The SVG has its own module, svg.py.
"""

from collections.abc import Mapping
from enum import Enum
from textwrap import wrap

from reknit_core.diagrams.closing_tables import closing_tables
from reknit_core.diagrams.cluster import (
    book_dot,
    book_mermaid,
    cluster_index,
    node_dot,
    node_mermaid,
)
from reknit_core.diagrams.svg import NOTES, lifecycle_svg
from reknit_core.diagrams.tables import dot, mermaid
from reknit_core.lifecycle import INITIAL, TRANSITIONS, State
from reknit_core.play.player import play
from reknit_core.script.scenario import Scenario, parse

_LINE = 40  # characters of a line in a sequence diagram
_LINES = 4
_NAMES = {"client": "C", "server": "S"}
# What Mermaid would take for syntax in a text, as its own kind of entities.
_ENTITIES = str.maketrans({"#": "#35;", ";": "#59;", "<": "#lt;", ">": "#gt;", "%": "#37;"})


def render_all(scenario_texts: Mapping[str, str]) -> dict[str, str]:
    """Every file under diagrams/ by its relative name.

    `scenario_texts`: the scenario files to draw, by name, with or without `.scn`. Raises
    ScenarioError for one that can't be read.
    """
    scenarios = {
        name.removesuffix(".scn"): parse(scenario_texts[name]) for name in sorted(scenario_texts)
    }
    files = {
        "README.md": _index(scenarios),
        "lifecycle.mmd": lifecycle_mermaid(),
        "lifecycle.dot": lifecycle_dot(),
        "lifecycle.svg": lifecycle_svg(),
        "cluster_node.mmd": _text(node_mermaid()),
        "cluster_node.dot": _text(node_dot()),
        "cluster_book.mmd": _text(book_mermaid()),
        "cluster_book.dot": _text(book_dot()),
    }
    for name, scenario in scenarios.items():
        files[f"scenarios/{name}.mmd"] = sequence_mermaid(scenario)
    return files


# -- The lifecycle -----------------------------------------------------------------------------


def lifecycle_mermaid() -> str:
    """The lifecycle as a Mermaid state diagram."""
    return _text(mermaid(TRANSITIONS, INITIAL, State.CLOSED))


def lifecycle_dot() -> str:
    """The lifecycle as a Graphviz graph."""
    notes: dict[Enum, str] = {state: NOTES[state] for state in State}
    return _text(dot("lifecycle", TRANSITIONS, INITIAL, notes, State.CLOSED))


# -- Scenarios ---------------------------------------------------------------------------------


def sequence_mermaid(scenario: Scenario) -> str:
    """A scenario, as it plays, as a Mermaid sequence diagram."""
    lines = [
        "sequenceDiagram",
        "    participant C as Client",
        "    participant P as Proxy",
        "    participant S as Server",
    ]
    if scenario.title:
        lines.insert(1, f"    title {scenario.title.translate(_ENTITIES)}")
    for line in play(scenario):
        kind, _, rest = line.strip().partition(" ")
        if kind.startswith("@"):
            text = rest.partition(" ")[2]
            lines.append(f"    {_event(text, f'{kind[1:]} s')}")
        elif kind != "policy":
            lines.append(f"    {_outcome(kind, rest)}")
        else:
            lines.append(f"    Note over C,S: {_escape(rest)}")
    return _text(lines)


def _event(text: str, at: str) -> str:
    """What happens: an arrow from the side that does it."""
    name, _, what = text.partition(" ")
    side = _NAMES.get(name)
    label = _escape(f"{at} · {text if side is None else what}")
    match what.split()[:1]:
        case ["lost" | "reset" | "dial"]:
            return f"{side}--xP: {label}"
        case ["takes" | "acks"]:
            return f"Note over {side}: {label}"
        case _ if side is None:
            return f"Note over P: {label}"
        case _:
            return f"{side}->>P: {label}"


def _outcome(kind: str, text: str) -> str:
    """What comes out: an arrow from the proxy, or a note."""
    if kind == "=":
        return f"Note over C,S: {_escape(text)}"
    if kind == "!":
        return f"Note over P: {_escape(f'left out: {text}')}"
    name, _, what = text.partition(" ")
    if name == "dialect" or (name == "dial" and what.startswith("failed")):
        return f"Note over P: {_escape(text)}"
    if name == "dial":
        return f"P--)S: {_escape(text)}"
    match what.split()[:1]:
        case ["disconnect" | "cut"]:
            return f"P--x{_NAMES[name]}: {_escape(what)}"
        case ["pause"]:
            return f"Note over P: no longer reads from the {name}"
        case ["resume"]:
            return f"Note over P: reads from the {name} again"
        case ["dropped" | "undelivered"]:
            return f"Note over P: {_escape(f'for the {name}: {what}')}"
        case _:
            return f"P->>{_NAMES[name]}: {_escape(what)}"


def _escape(text: str) -> str:
    """The text without what Mermaid would take for syntax, in lines that are not too long."""
    lines = wrap(text, _LINE, max_lines=_LINES, placeholder=" …", break_on_hyphens=False)
    return "<br/>".join(line.translate(_ENTITIES) for line in lines)


def _index(scenarios: Mapping[str, Scenario]) -> str:
    lines = [
        "# Diagrams",
        "",
        "Generated by `reknit diagram`; do not edit.",
        "",
        "![The lifecycle of a session](lifecycle.svg)",
        "",
        "The same as [Mermaid](lifecycle.mmd) and as [Graphviz dot](lifecycle.dot).",
        "",
        "| scenario | what it shows |",
        "| --- | --- |",
    ]
    for name, scenario in scenarios.items():
        title = scenario.title.replace("|", "\\|")
        lines.append(f"| [{name}](scenarios/{name}.mmd) | {title} |")
    lines += [
        "",
        "Draw any other scenario with `reknit diagram FILE`, e.g. "
        "`reknit diagram tests/scenarios/heartbeat.scn`.",
        "",
        *closing_tables(),
        "",
        *cluster_index(),
    ]
    return _text(lines)


def _text(lines: list[str]) -> str:
    return "\n".join(lines) + "\n"
