"""The lifecycle as an SVG picture. Where everything stands is said in lifecycle_layout.py."""

from xml.sax.saxutils import escape

from reknit_core.diagrams.layout import LABELLED, LINE, Arrow, Label, Layout, Point
from reknit_core.lifecycle import INITIAL, State, Trigger

NOTES = {
    State.OPENING: "the client waits",
    State.CONNECTED: "messages pass",
    State.SERVER_DOWN: "client messages queue",
    State.CLIENT_DOWN: "server messages queue",
    State.BOTH_DOWN: "both are waited for",
    State.REOPENING: "the server is told",
    State.REOPENING_ALONE: "so it is, for no client",
    State.DRAINING: "queues empty in order",
    State.CLOSING: "Close frames pass",
    State.CLOSED: "over",
}
"""What each state means, in a few words."""

_WIDTH, _HEIGHT = LABELLED.width, LABELLED.height
_CORNER = 14  # radius
_KINDS = {"loss": "a leg is lost", "back": "a leg is up", "end": "the session ends"}
_LOSSES = (Trigger.SERVER_LOST, Trigger.CLIENT_LOST)
COLOURS = {
    State.OPENING: "wait",
    State.CONNECTED: "good",
    State.DRAINING: "good",
    State.CLOSING: "over",
    State.CLOSED: "over",
    State.SERVER_DOWN: "away",
    State.CLIENT_DOWN: "away",
    State.BOTH_DOWN: "away",
    State.REOPENING: "wait",
    State.REOPENING_ALONE: "away",
}
"""What kind of state each is."""

_STYLE = """
  svg { --page: #ffffff; --rim: #d0d7de; --text: #1f2328; --soft: #57606a;
        --good: #dafbe1; --good-rim: #1a7f37; --wait: #ddf4ff; --wait-rim: #0969da;
        --away: #fff1e5; --away-rim: #bc4c00; --over: #eaeef2; --over-rim: #6e7781;
        --frame: #f6f8fa; --loss: #bc4c00; --back: #1a7f37; --end: #6e7781; }
  @media (prefers-color-scheme: dark) {
    svg { --page: #0d1117; --rim: #30363d; --text: #e6edf3; --soft: #9198a1;
          --good: #12261e; --good-rim: #3fb950; --wait: #121d2f; --wait-rim: #4493f8;
          --away: #2a1c10; --away-rim: #f0883e; --over: #1c2128; --over-rim: #8b949e;
          --frame: #151b23; --loss: #f0883e; --back: #3fb950; --end: #9198a1; }
  }
  text { font-family: ui-sans-serif, system-ui, -apple-system, "Segoe UI", sans-serif;
         fill: var(--text); }
  .page { fill: var(--page); stroke: var(--rim); }
  .frame { fill: var(--frame); stroke: var(--rim); stroke-width: 1.5; stroke-dasharray: 6 5; }
  .box { stroke-width: 1.75; }
  .good { fill: var(--good); stroke: var(--good-rim); }
  .wait { fill: var(--wait); stroke: var(--wait-rim); }
  .away { fill: var(--away); stroke: var(--away-rim); }
  .over { fill: var(--over); stroke: var(--over-rim); }
  .name { font-size: 16px; font-weight: 600; text-anchor: middle; }
  .note { font-size: 13px; text-anchor: middle; fill: var(--soft); }
  .arrow { fill: none; stroke-width: 1.75; }
  .label { font-size: 14px; paint-order: stroke; stroke-width: 5px; stroke-linejoin: round; }
  .inside { stroke: var(--frame); }
  .outside { stroke: var(--page); }
  .loss { stroke: var(--loss); } .back { stroke: var(--back); } .end { stroke: var(--end); }
  .tip-loss { fill: var(--loss); } .tip-back { fill: var(--back); } .tip-end { fill: var(--end); }
  .dot { fill: var(--text); }
"""


def lifecycle_svg() -> str:
    """The whole picture."""
    layout = Layout()
    frame = layout.frame
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {_WIDTH:g} {_HEIGHT:g}" '
        f'width="{_WIDTH:g}" height="{_HEIGHT:g}" role="img" aria-labelledby="title">',
        '<title id="title">The lifecycle of a session</title>',
        f"<style>{_STYLE}</style>",
        f"<defs>{''.join(map(_marker, _KINDS))}</defs>",
        f'<rect class="page" x="0.5" y="0.5" width="{_WIDTH - 1:g}" '
        f'height="{_HEIGHT - 1:g}" rx="12"/>',
        f'<rect class="frame" x="{frame.left:g}" y="{frame.top:g}" '
        f'width="{frame.right - frame.left:g}" height="{frame.bottom - frame.top:g}" rx="18"/>',
        *(_arrow(arrow, layout.path(arrow)) for arrow in layout.arrows),
        *_begin(),
        *map(_box, State),
        *(_label(layout, layout.label(arrow)) for arrow in layout.arrows),
        *_legend(),
        "</svg>",
    ]
    return "\n".join(parts) + "\n"


def kind_of(arrow: Arrow) -> str:
    """What an arrow means, for its colour."""
    if arrow.target in (State.CLOSING, State.CLOSED):
        return "end"
    return "loss" if any(trigger in _LOSSES for trigger in arrow.triggers) else "back"


def _marker(kind: str) -> str:
    return (
        f'<marker id="{kind}" viewBox="0 0 10 10" refX="9.5" refY="5" markerWidth="10" '
        f'markerHeight="10" markerUnits="userSpaceOnUse" orient="auto">'
        f'<path class="tip-{kind}" d="M0 0.6 10 5 0 9.4 2.4 5z"/></marker>'
    )


def _arrow(arrow: Arrow, path: list[Point]) -> str:
    kind = kind_of(arrow)
    return f'<path class="arrow {kind}" marker-end="url(#{kind})" d="{rounded(path)}"/>'


def rounded(path: list[Point]) -> str:
    """The path with its corners rounded."""
    steps = [f"M{path[0][0]:g} {path[0][1]:g}"]
    for before, corner, after in zip(path, path[1:], path[2:], strict=False):
        into, out = _toward(corner, before), _toward(corner, after)
        steps.append(f"L{into[0]:g} {into[1]:g}Q{corner[0]:g} {corner[1]:g} {out[0]:g} {out[1]:g}")
    steps.append(f"L{path[-1][0]:g} {path[-1][1]:g}")
    return "".join(steps)


def _toward(corner: Point, end: Point) -> Point:
    """The point a corner's radius away, on the straight line to `end`."""
    across, down = end[0] - corner[0], end[1] - corner[1]
    length = abs(across) + abs(down)  # one of them is 0
    radius = min(_CORNER, length / 2)
    return corner[0] + across / length * radius, corner[1] + down / length * radius


def _box(state: State) -> str:
    area, (x, y) = LABELLED.box(state), LABELLED.center(state)
    width, height = LABELLED.box_width, LABELLED.box_height
    colour = COLOURS[state]
    shape = (
        f'<rect class="box {colour}" x="{area.left:g}" y="{area.top:g}" width="{width:g}" '
        f'height="{height:g}" rx="12"/>'
    )
    if state is State.CLOSED:  # the end, with a rim
        shape += (
            f'<rect class="box {colour}" x="{area.left + 4:g}" y="{area.top + 4:g}" '
            f'width="{width - 8:g}" height="{height - 8:g}" rx="9"/>'
        )
    return (
        f'{shape}<text class="name" x="{x:g}" y="{y - 3:g}">{state.value}</text>'
        f'<text class="note" x="{x:g}" y="{y + 16:g}">{escape(NOTES[state])}</text>'
    )


def _label(layout: Layout, label: Label) -> str:
    ground = "inside" if label.area.overlaps(layout.frame) else "outside"
    return "".join(
        f'<text class="label {ground}" x="{label.x:g}" y="{label.y + number * LINE:g}" '
        f'text-anchor="{label.anchor}">{escape(line)}</text>'
        for number, line in enumerate(label.lines)
    )


def _begin() -> list[str]:
    x, top = LABELLED.center(INITIAL)[0], LABELLED.box(INITIAL).top
    return [
        f'<path class="arrow end" marker-end="url(#end)" d="M{x:g} {top - 36:g}L{x:g} {top:g}"/>',
        f'<circle class="dot" cx="{x:g}" cy="{top - 40:g}" r="6"/>',
    ]


def _legend() -> list[str]:
    x = _WIDTH - 200
    lines = []
    for number, (kind, text) in enumerate(_KINDS.items()):
        y = 60 + number * 26
        lines.append(
            f'<path class="arrow {kind}" marker-end="url(#{kind})" d="M{x} {y}L{x + 40} {y}"/>'
            f'<text class="label outside" x="{x + 52}" y="{y + 5}">{escape(text)}</text>'
        )
    y = 60 + len(_KINDS) * 26
    lines.append(
        f'<rect class="frame" x="{x:g}" y="{y - 8}" width="40" height="18" rx="5"/>'
        f'<text class="label outside" x="{x + 52}" y="{y + 5}">each state in it</text>'
    )
    return lines
