"""From samples to numbers, ratios, and the tables of adapters/guide/speed.md."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from statistics import median
from typing import Any, TypedDict

from cases import ONE
from peers import OWN

STANDARD = "HAProxy"  # what the ratios are to
DIRECT = "no proxy"
IDLE = "one idle connection"
GONE = "memory when a crowd has gone"

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
class Row:
    """A row of the guide's table: the number `key` of the case, and its unit."""

    title: str
    case: str
    key: str
    unit: str


COLUMNS = {
    "rate": "messages or sessions/s",
    "p50": "round trip p50, µs",
    "p99": "round trip p99, µs",
    "processor": "processor, µs each",
}


def summarise(rounds: dict[str, dict[str, list[Numbers | None]]]) -> dict[str, dict[str, Any]]:
    """For each case and proxy the medians, the least, and the medians of each round's ratios.

    A ratio is to HAProxy; where that has no part, to the first proxy that is no reknit of this
    version, so an earlier one.
    """
    summary: dict[str, dict[str, Any]] = {}
    for case, proxies in rounds.items():
        standard = proxies.get(standard_of(proxies), [])
        summary[case] = {}
        for proxy, samples in proxies.items():
            good = [sample for sample in samples if sample]
            if len(good) < len(samples) or not good:
                summary[case][proxy] = {"failed": True}
                continue
            entry: dict[str, Any] = {}
            for key in good[0]:
                entry[key] = _short(median, (sample[key] for sample in good))
                entry[f"{key}_least"] = _short(min, (sample[key] for sample in good))
                ratios = (
                    _divide(one[key], other[key])
                    for one, other in zip(good, standard, strict=False)
                    if other
                )
                entry[f"{key}_ratio"] = _short(median, ratios)
            summary[case][proxy] = entry
    return summary


def standard_of(proxies: Iterable[str]) -> str:
    """Which of them the ratios of a row are to; empty if to none."""
    names = [name for name in proxies if name != DIRECT and not name.startswith(OWN)]
    return STANDARD if STANDARD in names else next(iter(names), "")


def _divide(one: float | None, other: float | None) -> float | None:
    return one / other if one is not None and other else None


def _short(choose: Callable[[list[float]], float], values: Iterable[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return float(f"{choose(known):.4g}") if known else None


def rows(results: Results) -> list[Row]:
    """What the guide's table and the chart show of what was measured."""
    found = []
    for case in results["summary"]:
        if case == IDLE:
            found.append(Row(f"{case}: memory", case, "connection", "KiB"))
        elif case == GONE:
            found.append(Row(case, case, "held", "MiB"))
        else:
            found.append(Row(case, case, "processor", "µs"))
        if case == ONE.name:
            found.append(Row(f"{case}: round trip", case, "p50", "µs"))
    return found


def overview(results: Results) -> str:
    """The guide's table: what each row's standard takes, and the others' ratios to that."""
    names = [name for name in results["versions"] if name not in (DIRECT, STANDARD)]
    table = [["case", STANDARD, *names]]
    for row in rows(results):
        proxies = results["summary"][row.case]
        standard = proxies.get(STANDARD)
        cells = [_cell(proxies.get(name), row.key, row.unit) for name in names]
        if standard is not None:
            cells = [_ratio(proxies.get(name), row.key) for name in names]
        table.append([row.title, _value(standard, row.key, row.unit), *cells])
    return _table(table)


def details(results: Results) -> str:
    """All but memory: a row for each case and proxy; the medians, and of the last the least."""
    table = [["case", "proxy", *COLUMNS.values(), "the least", "of its core"]]
    for case, proxies in results["summary"].items():
        if case in (IDLE, GONE):
            continue
        for name, entry in proxies.items():
            cells = [_cell(entry, key) for key in COLUMNS]
            least = _value(entry, "processor_least")
            busy = "failed" if entry.get("failed") else f"{entry['busy']:.0%}"
            if name == DIRECT:
                cells[-1] = least = busy = "-"
            table.append([case, name, *cells, least, busy])
    return _table(table) if len(table) > 1 else ""


def memory_table(results: Results) -> str:
    """Memory and processor time of idle connections, memory when all have gone; if measured."""
    titles = ["KiB per idle connection", "KiB without any", "% of a core for 1,000 idle"]
    table = [["proxy", *titles, "MiB more when a crowd has gone"]]
    idle, gone = (results["summary"].get(case, {}) for case in (IDLE, GONE))
    for name in {**idle, **gone}:
        cells = [_cell(idle.get(name), "connection")]
        cells += [_value(idle.get(name), key) for key in ("base", "processor")]
        table.append([name, *cells, _value(gone.get(name), "held")])
    return _table(table) if len(table) > 1 else ""


def footnote(results: Results) -> str:
    """What was measured, where and when."""
    versions = "; ".join(
        f"{name}: {version or 'version unknown'}" for name, version in results["versions"].items()
    )
    machine, settings = results["machine"], results["settings"]
    text = (
        f"Measured {results['date'][:10]} on {machine['processor']} ({machine['cores']} cores, "
        f"{machine['system']}). {versions}. Each proxy on a core of its own, medians of "
        f"{settings['rounds']} rounds, messages for {settings['seconds']:g} s"
    )
    return text + (f"; ratios are to {STANDARD}." if STANDARD in results["versions"] else ".")


def _cell(entry: dict[str, Any] | None, key: str, unit: str = "") -> str:
    """A number, and in brackets its ratio."""
    value = _value(entry, key, unit)
    ratio = (entry or {}).get(f"{key}_ratio")
    return value if ratio is None else f"{value} ({ratio:.2f})"


def _ratio(entry: dict[str, Any] | None, key: str) -> str:
    ratio = (entry or {}).get(f"{key}_ratio")
    return _value(entry, key) if ratio is None else number(ratio)


def _value(entry: dict[str, Any] | None, key: str, unit: str = "") -> str:
    if entry is None:
        return "-"
    if entry.get("failed"):
        return "failed"
    value = entry.get(key)
    return "-" if value is None else f"{number(value)} {unit}".rstrip()


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
