"""The lifecycle as a part of a live page: places for numbers in it, and nothing said of colours.

A page finds a state by `data-state`, an arrow by `data-source` and `data-target`; an arrow without
a source stands for every state that has none of its own to that target.
"""

from xml.sax.saxutils import escape

from reknit_core.diagrams.layout import LIVE, Arrow, Layout
from reknit_core.diagrams.svg import COLOURS, kind_of, rounded
from reknit_core.lifecycle import State

RATE = ("0000",)  # the room for an arrow's number

_KINDS = ("loss", "back", "end")


def live_svg() -> str:
    """The picture, to be put into an HTML document."""
    layout = Layout(LIVE)
    frame = layout.frame
    parts = [
        f'<svg id="lifecycle" viewBox="0 0 {LIVE.width:g} {LIVE.height:g}" aria-hidden="true">',
        f"<defs>{''.join(map(_marker, _KINDS))}</defs>",
        f'<rect class="frame" x="{frame.left:g}" y="{frame.top:g}" '
        f'width="{frame.right - frame.left:g}" height="{frame.bottom - frame.top:g}" rx="14"/>',
        *(_flow(layout, arrow) for arrow in layout.arrows),
        *map(_state, State),
        "</svg>",
    ]
    return "\n".join(parts)


def _marker(kind: str) -> str:
    return (
        f'<marker id="tip-{kind}" viewBox="0 0 10 10" refX="9" refY="5" markerWidth="9" '
        f'markerHeight="9" markerUnits="userSpaceOnUse" orient="auto">'
        f'<path class="tip {kind}" d="M0 0.6 10 5 0 9.4 2.4 5z"/></marker>'
    )


def _flow(layout: Layout, arrow: Arrow) -> str:
    kind, label = kind_of(arrow), layout.label(arrow, RATE)
    source = arrow.source.value if arrow.source else ""
    return (
        f'<g class="flow {kind}" data-source="{source}" data-target="{arrow.target.value}">'
        f"<title>{escape(' or '.join(arrow.texts))}</title>"
        f'<path marker-end="url(#tip-{kind})" d="{rounded(layout.path(arrow))}"/>'
        f'<text x="{label.x:g}" y="{label.y:g}" text-anchor="{label.anchor}"></text></g>'
    )


def _state(state: State) -> str:
    area, (x, y) = LIVE.box(state), LIVE.center(state)
    return (
        f'<g class="state {COLOURS[state]}" data-state="{state.value}">'
        f'<rect x="{area.left:g}" y="{area.top:g}" width="{LIVE.box_width:g}" '
        f'height="{LIVE.box_height:g}" rx="10"/>'
        f'<text class="name" x="{x:g}" y="{y - 8:g}">{state.value}</text>'
        f'<text class="count" x="{x:g}" y="{y + 17:g}">0</text></g>'
    )
