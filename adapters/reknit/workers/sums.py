"""The metrics of several workers as those of one proxy."""

from collections.abc import Callable, Iterable, Iterator, Mapping
from functools import reduce
from typing import Any

import msgspec
from prometheus_client.metrics_core import Metric

BY_WORKER = ("process_", "reknit_loop_lag_seconds")
"""Names, or what they begin with, of those that are worth a look worker by worker."""
LONGEST = (
    "reknit_queue_age_seconds",
    "reknit_server_up",
    "reknit_state_trouble",
    "reknit_build",
    "reknit_certificate_not_after_seconds",
)
"""Those of which the largest counts, not the sum."""

_APART = ("servers", "transitions", "waits")  # of a snapshot
_ADDED = ("counter", "histogram")  # what a worker that has died has counted goes on to count


class Sample(msgspec.Struct):
    """One number."""

    name: str
    labels: dict[str, str]
    value: float


class Family(msgspec.Struct):
    """A metric."""

    name: str
    text: str
    kind: str
    samples: list[Sample]


_DECODER = msgspec.msgpack.Decoder(list[Family])
_Numbers = dict[tuple[str, tuple[tuple[str, str], ...]], float]


def families(metrics: Iterable[Metric]) -> list[Family]:
    """Metrics as data."""
    return [
        Family(
            each.name,
            each.documentation,
            each.type,
            [Sample(one.name, dict(one.labels), float(one.value)) for one in each.samples],
        )
        for each in metrics
    ]


def encode(metrics: Iterable[Metric]) -> bytes:
    """Metrics as bytes, for decode()."""
    return msgspec.msgpack.encode(families(metrics))


def decode(data: bytes) -> list[Family]:
    """Read them. Raises msgspec.MsgspecError."""
    return _DECODER.decode(data)


class Tally:
    """Adds up. What a worker had counted when it was last asked still counts when it has died."""

    def __init__(self) -> None:
        self._last: dict[str, list[Family]] = {}
        self._past: dict[str, tuple[Family, _Numbers]] = {}

    def gone(self, worker: str) -> None:
        """That worker has died; another one takes its name, and counts from nothing."""
        for family in self._last.pop(worker, []):
            if family.kind in _ADDED and not family.name.startswith(BY_WORKER):
                _, numbers = self._past.setdefault(family.name, (family, {}))
                _add(numbers, family, longest=False)

    def add_up(self, parts: Mapping[str, list[Family]]) -> Iterator[Metric]:
        """The metrics of all, by what each worker has said of its own."""
        self._last.update(parts)
        known: dict[str, tuple[Family, _Numbers]] = {
            name: (family, dict(numbers)) for name, (family, numbers) in self._past.items()
        }
        for worker, part in parts.items():
            for family in part:
                _, numbers = known.setdefault(family.name, (family, {}))
                more = {"worker": worker} if family.name.startswith(BY_WORKER) else {}
                _add(numbers, family, longest=family.name in LONGEST, **more)
        for family, numbers in known.values():
            metric = Metric(family.name, family.text, family.kind)
            for (name, labels), value in numbers.items():
                metric.add_sample(name, dict(labels), value)
            yield metric


def _add(numbers: _Numbers, family: Family, *, longest: bool, **more: str) -> None:
    for sample in family.samples:
        place = (sample.name, tuple({**sample.labels, **more}.items()))
        before = numbers.get(place, 0.0)
        numbers[place] = max(before, sample.value) if longest else before + sample.value


def sum_snapshots(several: list[dict[str, Any]]) -> dict[str, Any]:
    """What the live page shows of each worker, added up; the longest wait is the longest of all."""
    total: dict[str, Any] = {}
    transitions: dict[tuple[str, str], int] = {}
    for snapshot in several:
        for source, target, number in snapshot["transitions"]:
            transitions[source, target] = transitions.get((source, target), 0) + number
        rest = {name: value for name, value in snapshot.items() if name not in _APART}
        total = _plus(total, rest) if total else rest
    each = zip(*(snapshot["servers"] for snapshot in several), strict=True)
    total["servers"] = [_best(stands) for stands in each]
    total["waits"] = _sum_waits([snapshot["waits"] for snapshot in several])
    total["transitions"] = [[*ends, number] for ends, number in transitions.items()]
    return total


def _sum_waits(several: list[dict[str, Any]]) -> dict[str, Any]:
    """The first attempt and end of any, and the last."""
    found: dict[str, Any] = {"sessions": sum(each["sessions"] for each in several)}
    for name, pick in _PICKED.items():
        values = [each[name] for each in several if each[name] is not None]
        found[name] = pick(values) if values else None
    return found


_PICKED: dict[str, Callable[[list[float]], float]] = {
    "attempt": max,
    "next_seconds": min,
    "first_end_seconds": min,
    "last_end_seconds": max,
}


def sum_up(several: list[Any]) -> Any:
    """Numbers in structures that are alike, added up; nothing of none."""
    return reduce(_plus, several) if several else {}


def _best(stands: Iterable[dict[str, Any]]) -> dict[str, Any]:
    """A server is up if a worker can reach it; each finds out by itself."""
    return max(stands, key=lambda server: (server["up"], -server["seconds"]))


def _plus(one: Any, other: Any, name: str = "") -> Any:
    match one:
        case bool():
            return one or other
        case dict():
            return {key: _plus(value, other[key], key) for key, value in one.items()}
        case list():
            return [_plus(*pair) for pair in zip(one, other, strict=True)]
        case _:
            return max(one, other) if name == "waited_seconds" else one + other
