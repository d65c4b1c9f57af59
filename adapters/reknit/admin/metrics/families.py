"""Families of samples, as Prometheus' library has them."""

from collections.abc import Iterable

from prometheus_client.metrics_core import (
    CounterMetricFamily,
    GaugeMetricFamily,
    HistogramMetricFamily,
    Metric,
)
from reknit_core.counters import Histogram

Sample = tuple[tuple[str, ...], float]


def counter(name: str, text: str, labels: tuple[str, ...], samples: Iterable[Sample]) -> Metric:
    """A family that only grows, `_total` behind its name."""
    family = CounterMetricFamily(name, text, labels=labels)
    for values, value in samples:
        family.add_metric(values, value)
    return family


def gauge(name: str, text: str, labels: tuple[str, ...], samples: Iterable[Sample]) -> Metric:
    """A family of what there is now."""
    family = GaugeMetricFamily(name, text, labels=labels)
    for values, value in samples:
        family.add_metric(values, value)
    return family


def histogram(
    name: str,
    text: str,
    labels: tuple[str, ...],
    samples: Iterable[tuple[tuple[str, ...], Histogram]],
) -> Metric:
    """A family of histograms."""
    family = HistogramMetricFamily(name, text, labels=labels)
    for values, histogram in samples:
        bounds = [*map(str, histogram.bounds), "+Inf"]
        buckets = list(zip(bounds, histogram.cumulated, strict=True))
        family.add_metric(values, buckets, histogram.sum)
    return family
