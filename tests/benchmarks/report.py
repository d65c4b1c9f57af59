"""From samples to numbers, ratios, and the tables of adapters/guide/speed.md."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from statistics import median
from typing import Any, TypedDict

STANDARD = "HAProxy"  # what the ratios are to
DIRECT = "no proxy"
IDLE = "one idle connection"

Numbers = dict[str, float | None]


class Results(TypedDict):
    """The JSON file: rounds[case][proxy] has one entry a round, None where it failed."""

    date: str
    machine: dict[str, Any]
    settings: dict[str, Any]
    versions: dict[str, str]
    rounds: dict[str, dict[str, list[Numbers | None]]]
    failures: list[str]
    summary: dict[str, dict[str, dict[str, Any]]]


@dataclass(frozen=True, slots=True)
class Column:
    """A number of a sample, and how it is shown; `ratio` if it is compared."""

    key: str
    title: str
    digits: int = field(default=3)


COLUMNS = (
    Column("rate", "messages/s"),
    Column("p50", "round trip p50, µs"),
    Column("p99", "round trip p99, µs"),
    Column("processor", "processor, µs/message"),
)


def summarise(rounds: dict[str, dict[str, list[Numbers | None]]]) -> dict[str, dict[str, Any]]:
    """For each case and proxy the medians, and the medians of each round's ratios to HAProxy."""
    summary: dict[str, dict[str, Any]] = {}
    for case, proxies in rounds.items():
        standard = proxies.get(STANDARD, [])
        summary[case] = {}
        for proxy, samples in proxies.items():
            good = [sample for sample in samples if sample]
            if len(good) < len(samples) or not good:
                summary[case][proxy] = {"failed": True}
                continue
            entry: dict[str, Any] = {}
            for key in good[0]:
                entry[key] = _median(sample[key] for sample in good)
                entry[f"{key}_ratio"] = _median(
                    _divide(one[key], other[key])
                    for one, other in zip(good, standard, strict=False)
                    if other
                )
            summary[case][proxy] = entry
    return summary


def _divide(one: float | None, other: float | None) -> float | None:
    return one / other if one is not None and other else None


def _median(values: Iterable[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return float(f"{median(known):.4g}") if known else None


def overview(results: Results) -> str:
    """Processor time: a row a case, a column a proxy; then memory."""
    summary = results["summary"]
    names = [name for name in results["versions"] if name != DIRECT]
    rows = [["processor µs per message", *names]]
    for case, proxies in summary.items():
        if case != IDLE:
            rows.append([case, *(_cell(proxies.get(name), "processor") for name in names)])
    if IDLE in summary:
        proxies = summary[IDLE]
        rows.append([f"{IDLE}, KiB", *(_cell(proxies.get(name), "connection") for name in names)])
    return _table(rows)


def details(results: Results) -> str:
    """Everything: a row for each case and proxy."""
    rows = [["case", "proxy", *(column.title for column in COLUMNS), "of its core"]]
    for case, proxies in results["summary"].items():
        if case == IDLE:
            continue
        for name, entry in proxies.items():
            cells = [_cell(entry, column.key) for column in COLUMNS]
            busy = "failed" if entry.get("failed") else f"{entry['busy']:.0%}"
            if name == DIRECT:
                cells[-1] = busy = "-"
            rows.append([case, name, *cells, busy])
    return _table(rows)


def idle_table(results: Results) -> str:
    """Memory and processor time of idle connections."""
    rows = [["proxy", "KiB per idle connection", "MiB without any", "% of a core for 1,000 idle"]]
    for name, entry in results["summary"].get(IDLE, {}).items():
        failed = entry.get("failed")
        base = "failed" if failed else f"{entry['base'] / 1024:.1f}"
        busy = "failed" if failed else f"{entry['processor']:.1f}"
        rows.append([name, _cell(entry, "connection"), base, busy])
    return _table(rows)


def footnote(results: Results) -> str:
    """What was measured, where and when."""
    versions = "; ".join(
        f"{name}: {version or 'version unknown'}" for name, version in results["versions"].items()
    )
    machine, settings = results["machine"], results["settings"]
    text = (
        f"Measured {results['date'][:10]} on {machine['processor']} ({machine['cores']} cores, "
        f"{machine['system']}). {versions}. Each proxy on a core of its own, medians of "
        f"{settings['rounds']} rounds of {settings['seconds']:g} s"
    )
    return text + (f"; in brackets the ratio to {STANDARD}." if _compared(results) else ".")


def _compared(results: Results) -> bool:
    return STANDARD in results["versions"]


def _cell(entry: dict[str, Any] | None, key: str) -> str:
    if entry is None:
        return "-"
    if entry.get("failed"):
        return "failed"
    value, ratio = entry.get(key), entry.get(f"{key}_ratio")
    if value is None:
        return "-"
    return number(value) + (f" ({ratio:.2f})" if ratio is not None else "")


def number(value: float) -> str:
    """Three digits that count, thousands apart."""
    value = float(f"{value:.3g}")
    return f"{value:,.0f}" if value >= 100 else f"{value:#.3g}"


def _table(rows: Sequence[Sequence[str]]) -> str:
    widths = [max(len(row[i]) for row in rows) for i in range(len(rows[0]))]
    lines = []
    for row in rows:
        first = row[0].ljust(widths[0])
        rest = (cell.rjust(width) for cell, width in zip(row[1:], widths[1:], strict=True))
        lines.append("| " + " | ".join((first, *rest)) + " |")
    rule = ["-" * widths[0], *("-" * (width - 1) + ":" for width in widths[1:])]
    lines.insert(1, "| " + " | ".join(rule) + " |")
    return "\n".join(lines)
