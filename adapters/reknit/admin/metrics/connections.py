"""Connections: handshakes, dials, returns, and who is let in."""

from collections import Counter
from collections.abc import Iterator
from typing import TypeVar

from prometheus_client.metrics_core import CounterMetricFamily, GaugeMetricFamily, Metric
from reknit_core.counters import Counters, DialResult, Resume
from reknit_core.proxy.admission import Admission
from reknit_core.servers import Servers
from reknit_core.side import Side

from reknit.admin.metrics.families import counter, gauge

T = TypeVar("T")

ANSWERS = (101, 400, 403, 404, 409, 426, 429, 502, 503)
PASSED = (200, 502)
REFUSALS = (
    "connection_limit",
    "address_connections",
    "address_rate",
    "origin_not_allowed",
    "gave_way",
)
RESUMES = (
    *((Side.CLIENT, outcome) for outcome in Resume),
    (Side.SERVER, Resume.RESUMED),
    (Side.SERVER, Resume.REFUSED),
)


def connections(counters: Counters) -> Iterator[Metric]:
    """What was answered to clients, and what servers have answered."""
    yield counter(
        "reknit_handshakes",
        "Answers to clients' handshakes.",
        ("status",),
        [
            ((str(status),), counters.handshakes[status])
            for status in _all(counters.handshakes, ANSWERS)
        ],
    )
    yield CounterMetricFamily(
        "reknit_tls_handshakes_failed",
        "TLS handshakes of clients that failed.",
        counters.tls_failures,
    )
    yield counter(
        "reknit_requests",
        "Answers to plain requests that were to be passed.",
        ("status",),
        [((str(status),), counters.requests[status]) for status in _all(counters.requests, PASSED)],
    )
    yield counter(
        "reknit_resumes",
        "Peers that came back to a session.",
        ("peer", "outcome"),
        [((side.value, how.value), counters.resumes[side, how]) for side, how in RESUMES],
    )
    yield counter(
        "reknit_dials",
        "Attempts to reach the server that were begun.",
        ("kind",),
        [(("first",), counters.dials), (("again",), counters.redials)],
    )
    yield counter(
        "reknit_dial_results",
        "How attempts to reach the server ended.",
        ("result",),
        (((result.value,), counters.dial_results[result]) for result in DialResult),
    )


def server_states(servers: Servers) -> Iterator[Metric]:
    """How each server stands."""
    yield gauge(
        "reknit_server_up",
        "1 while that server can be reached, as far as is known.",
        ("server",),
        (((server.name,), server.is_up) for server in servers),
    )
    yield counter(
        "reknit_server_dial_results",
        "How attempts to reach that server ended.",
        ("server", "result"),
        (
            ((server.name, result.value), server.results[result])
            for server in servers
            for result in DialResult
        ),
    )


def admissions(admission: Admission) -> Iterator[Metric]:
    """Who is here, and who was kept out."""
    yield GaugeMetricFamily(
        "reknit_connections",
        "Open connections of clients, including those in their handshake.",
        admission.connections,
    )
    yield counter(
        "reknit_refused",
        "Clients rejected by a limit or origin check.",
        ("why",),
        [((why,), admission.refused[why]) for why in _all(admission.refused, REFUSALS)],
    )


def _all(counted: Counter[T], known: tuple[T, ...]) -> list[T]:
    """What is known to come, and what else has: a rate needs a 0 before the first one."""
    return [*dict.fromkeys((*known, *counted))]
