"""Any table of transitions as text: Mermaid, Graphviz dot."""

from collections.abc import Iterable, Mapping
from enum import Enum

Rows = Iterable[tuple[Enum, Enum, Enum]]
"""Source, trigger, target."""


def merged(rows: Rows) -> dict[tuple[str, str], list[str]]:
    """One entry for each pair of states: the triggers in words."""
    pairs: dict[tuple[str, str], list[str]] = {}
    for source, trigger, target in rows:
        words = str(trigger.value).replace("_", " ")
        pairs.setdefault((source.value, target.value), []).append(words)
    return pairs


def mermaid(rows: Rows, initial: Enum, last: Enum | None = None) -> list[str]:
    """A Mermaid state diagram. `last`: the state that is the end."""
    lines = ["stateDiagram-v2", f"    [*] --> {initial.value}"]
    for (source, target), triggers in merged(rows).items():
        lines.append(f"    {source} --> {target} : {'<br/>'.join(triggers)}")
    return lines if last is None else [*lines, f"    {last.value} --> [*]"]


def dot(
    name: str, rows: Rows, initial: Enum, notes: Mapping[Enum, str], last: Enum | None = None
) -> list[str]:
    """A Graphviz graph. `notes`: what each state means, in a few words."""
    lines = [
        f"digraph {name} {{",
        '    node [shape=box, style=rounded, fontname="sans-serif"];',
        '    edge [fontname="sans-serif", fontsize=11];',
        '    begin [shape=point, label=""];',
        f"    begin -> {initial.value};",
    ]
    for state, note in notes.items():
        ends = ", peripheries=2" if state is last else ""
        lines.append(f'    {state.value} [label="{state.value}\\n{note}"{ends}];')
    for (source, target), triggers in merged(rows).items():
        label = "\\n".join(triggers)
        lines.append(f'    {source} -> {target} [label="{label}"];')
    return [*lines, "}"]
