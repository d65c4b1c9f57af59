"""The results as a bar chart: SVG by hand, in colours that stand on light and on dark."""

from collections.abc import Iterator
from html import escape

from report import DIRECT, Results, Row, number, rows, standard_of

WIDTH = 860
LEFT = 270  # where bars begin
UNIT = 105.0  # width of a bar of ratio 1
CAP = 4.0  # longer bars are cut here
BAR = 11
STEP = 14  # from one bar to the next
GAP = 14  # between two cases
TOP = 84
TEXT = "#747c86"  # as far from white as from a dark page
TIMES = "\N{MULTIPLICATION SIGN}"
FONT = "system-ui, -apple-system, 'Segoe UI', Helvetica, Arial, sans-serif"
COLOURS = ("#e8590c", "#f0a000", "#3b82d6", "#2f9e55", "#868e96", "#9c5fd0", "#0f9aa8", "#c2477f")


def draw(results: Results) -> str:
    """The whole file: processor time, a round trip and memory as ratios to HAProxy.

    Rows in which that has no part are left out.
    """
    names = [name for name in results["versions"] if name != DIRECT]
    standard = standard_of(names) or names[0]
    shown = [row for row in rows(results) if standard in results["summary"][row.case]]
    height = TOP + len(shown) * (len(names) * STEP + GAP) + 30
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height}" '
        f'width="{WIDTH}" height="{height}" role="img" font-family="{FONT}" '
        f'font-size="12" fill="{TEXT}">',
        f"<title>Cost of each proxy as a ratio to {escape(standard)}</title>",
        _text(
            0,
            18,
            f"Processor time, as a ratio to {standard}: shorter is better",
            size=16,
            weight=600,
        ),
        *_legend(names),
        *_axis(height),
    ]
    y = TOP
    for row in shown:
        parts += _group(row, results["summary"][row.case], names, standard, y)
        y += len(names) * STEP + GAP
    machine = results["machine"]
    about = f"{results['date'][:10]}, {machine['processor']}, {machine['system']}"
    parts += [_text(0, height - 8, about, size=11), "</svg>"]
    return "\n".join(parts) + "\n"


def _legend(names: list[str]) -> Iterator[str]:
    x, y = 0.0, 30
    for index, name in enumerate(names):
        width = 17 + 6.7 * len(name)  # about what the text takes
        if x + width > WIDTH:
            x, y = 0.0, y + 16
        yield _bar(x, y, BAR, _colour(index))
        yield _text(x + 17, y + 10, name)
        x += width + 18


def _axis(height: int) -> Iterator[str]:
    for ratio in range(int(CAP) + 1):
        x = LEFT + ratio * UNIT
        dash = "" if ratio in (0, 1) else ' stroke-dasharray="2 4"'
        yield (
            f'<line x1="{x:g}" y1="{TOP - 8}" x2="{x:g}" y2="{height - 30}" '
            f'stroke="{TEXT}" stroke-opacity="0.5"{dash}/>'
        )
        yield _text(x, TOP - 14, f"{ratio} {TIMES}", anchor="middle", size=11)


def _group(
    row: Row,
    proxies: dict[str, dict[str, float | None]],
    names: list[str],
    standard: str,
    top: int,
) -> Iterator[str]:
    key = row.key
    base = proxies.get(standard, {}).get(key)
    middle = top + (len(names) * STEP - STEP + BAR) / 2 + 4
    yield _text(LEFT - 10, middle, row.title, anchor="end")
    for index, name in enumerate(names):
        y = top + index * STEP
        entry = proxies.get(name, {})
        value = entry.get(key)
        if value is None:
            text = "failed" if entry.get("failed") else "not measured"
            yield _text(LEFT + 6, y + BAR - 1, text, size=11)
            continue
        # Each round's own ratio says more than the ratio of the medians.
        ratio = entry.get(f"{key}_ratio") or (value / base if base else 1.0)
        width = UNIT * min(ratio, CAP)
        yield _bar(LEFT, y, width, _colour(index))
        if ratio > CAP:
            yield _cut(LEFT + width, y)
        text = f"{ratio:.2f} {TIMES} · {number(value)} {row.unit}"
        yield _text(LEFT + width + 8, y + BAR - 1, text, size=11)


def _cut(x: float, y: float) -> str:
    """Shows that a bar is longer than it is drawn."""
    edge = f"M{x - 14:g} {y + BAR}l4 -{BAR}M{x - 9:g} {y + BAR}l4 -{BAR}"
    return f'<path d="{edge}" stroke="#fff" stroke-width="2"/>'


def _bar(x: float, y: float, width: float, colour: str) -> str:
    return (
        f'<rect x="{x:g}" y="{y:g}" width="{max(width, 1):.1f}" height="{BAR}" rx="2" '
        f'fill="{colour}"/>'
    )


def _text(
    x: float, y: float, text: str, *, size: int = 12, weight: int = 400, anchor: str = "start"
) -> str:
    style = f'font-size="{size}" font-weight="{weight}" text-anchor="{anchor}"'
    return f'<text x="{x:g}" y="{y:g}" {style}>{escape(text)}</text>'


def _colour(index: int) -> str:
    return COLOURS[index % len(COLOURS)]
