"""What all sessions together do, in Prometheus' text form.

The core counts; this gives its numbers names. Nothing is kept here: each scrape looks anew.
"""

from collections.abc import Callable, Iterable, Iterator
from importlib.metadata import version

import trio
from prometheus_client import CollectorRegistry, ProcessCollector
from prometheus_client.exposition import choose_encoder
from prometheus_client.metrics_core import (
    CounterMetricFamily,
    GaugeMetricFamily,
    HistogramMetricFamily,
    InfoMetricFamily,
    Metric,
)
from prometheus_client.registry import Collector
from reknit_core.counters import Counters, DialResult, Histogram, Towards
from reknit_core.proxy.admission import Admission
from reknit_core.servers import Servers
from reknit_core.telemetry.survey import Flow, survey

from reknit.admin.http_messages import Request, Response
from reknit.admin.old_names import SESSIONS, SESSIONS_BEFORE
from reknit.admin.router import Route
from reknit.observe.logs import count_lost_lines
from reknit.state.store import Store
from reknit.trio.sessions import Sessions

Sample = tuple[tuple[str, ...], float]


class Metrics(Collector):
    """Collects what sessions and doorkeeper count.

    `lag` is the loop's, `untold` the events that a hook lost. `store`: where the sessions are kept.
    """

    def __init__(
        self,
        sessions: Sessions,
        admission: Admission,
        lag: Histogram,
        untold: Callable[[], int] | None = None,
        store: Store | None = None,
    ) -> None:
        self._sessions = sessions
        self._admission = admission
        self._lag = lag
        self._untold = untold
        self._store = store
        self.registry = CollectorRegistry()
        """All of them, and the process's."""
        self.registry.register(self)
        ProcessCollector(registry=self.registry)

    def routes(self) -> tuple[Route, ...]:
        """`/metrics`."""
        return (Route("GET", "/metrics", self._show),)

    async def _show(self, request: Request) -> Response:
        encode, content_type = choose_encoder(request.headers.get("accept", ""))
        return Response(200, encode(self.registry), content_type)

    def describe(self) -> Iterable[Metric]:
        """Nothing: that spares the registry a collection when this is registered."""
        return ()

    def collect(self) -> Iterator[Metric]:
        """Every metric with its present value."""
        contexts = self._sessions.contexts
        counters = contexts.counters
        seen = survey(contexts)
        yield InfoMetricFamily("reknit_build", "The version.", {"version": version("reknit")})
        states = [((state.value,), number) for state, number in seen.states.items()]
        yield _gauge(SESSIONS, "Sessions in each state.", ("state",), states)
        text = f"The same as {SESSIONS}: this name goes with the next release."
        yield _gauge(SESSIONS_BEFORE, text, ("state",), states)
        yield _counter(
            "reknit_transitions",
            "Changes of a session's state.",
            ("from", "to", "trigger"),
            (
                ((row.source.value, row.target.value, row.trigger.value), number)
                for row, number in counters.transitions.items()
            ),
        )
        yield _counter(
            "reknit_dialects",
            "Sessions by the dialect that was chosen for them.",
            ("dialect",),
            (((name,), number) for name, number in counters.dialects.items()),
        )
        yield CounterMetricFamily(
            "reknit_ended_with_server",
            "Sessions that ended since their server was lost.",
            counters.ended_with_server,
        )
        yield from _messages({"client": seen.to_client, "server": seen.to_server})
        yield _gauge(
            "reknit_queue_age_seconds",
            "Longest time that messages have waited for a peer that is away, or owes a Pong.",
            ("to",),
            (
                ((side.value,), age)
                for side, age in self._sessions.longest_waits(trio.current_time()).items()
            ),
        )
        yield GaugeMetricFamily(
            "reknit_held_bytes",
            "Bytes of all messages in memory, including those kept for replay.",
            contexts.budget.used,
        )
        yield from _deliveries({"client": counters.to_client, "server": counters.to_server})
        yield from _connections(counters)
        yield from _servers(contexts.servers)
        yield from _admissions(self._admission)
        yield _histogram(
            "reknit_loop_lag_seconds", "How late the loop's timers fire.", (), [((), self._lag)]
        )
        yield CounterMetricFamily(
            "reknit_log_lines_lost",
            "Lines of the log that standard error did not take.",
            count_lost_lines(),
        )
        if self._untold is not None:
            yield CounterMetricFamily(
                "reknit_events_lost", "Events that could not be sent to --on-event.", self._untold()
            )
        if self._store is not None:
            yield from _state(self._store)


def _messages(flows: dict[str, Flow]) -> Iterator[Metric]:
    def counter(name: str, text: str, value: Callable[[Flow], int]) -> Metric:
        return _counter(name, text, ("to",), (((to,), value(flow)) for to, flow in flows.items()))

    def gauge(name: str, text: str, value: Callable[[Flow], int]) -> Metric:
        return _gauge(name, text, ("to",), (((to,), value(flow)) for to, flow in flows.items()))

    yield counter("reknit_messages", "Messages received for that side.", lambda f: f.messages)
    yield counter(
        "reknit_message_bytes",
        "Bytes of these messages, frame headers included.",
        lambda f: f.bytes,
    )
    yield counter(
        "reknit_dropped_messages", "Messages dropped because a queue was full.", lambda f: f.dropped
    )
    yield gauge("reknit_queue_bytes", "Bytes that no socket has taken yet.", lambda f: f.waiting)
    yield gauge(
        "reknit_unconfirmed_bytes",
        "Bytes that no Pong has confirmed: they wait, or may have to be sent again.",
        lambda f: f.unconfirmed,
    )
    yield gauge(
        "reknit_unconfirmed_messages",
        "Messages that no Pong has confirmed.",
        lambda f: f.unconfirmed_messages,
    )


def _deliveries(sides: dict[str, Towards]) -> Iterator[Metric]:
    def counter(name: str, text: str, value: Callable[[Towards], int]) -> Metric:
        return _counter(name, text, ("to",), (((to,), value(side)) for to, side in sides.items()))

    yield counter(
        "reknit_dropped_bytes",
        "Bytes of messages dropped because a queue was full.",
        lambda s: s.dropped_bytes,
    )
    yield counter(
        "reknit_lost_messages",
        "Messages that still waited for that side when their session ended.",
        lambda s: s.lost_messages,
    )
    yield counter("reknit_lost_bytes", "Bytes of these messages.", lambda s: s.lost_bytes)
    yield counter(
        "reknit_confirmations",
        "Pongs that confirmed messages.",
        lambda s: s.confirmations,
    )
    yield counter(
        "reknit_replays",
        "Returns of a peer after which messages were sent again.",
        lambda s: s.replays,
    )
    yield counter(
        "reknit_replayed_messages",
        "Messages sent again after an earlier connection had got them.",
        lambda s: s.replayed_messages,
    )
    yield counter(
        "reknit_replayed_bytes",
        "Bytes of messages sent again.",
        lambda s: s.replayed_bytes,
    )
    yield counter(
        "reknit_repeated_messages",
        "Messages sent again to a peer that may have received them, as it does not count.",
        lambda s: s.repeated_messages,
    )
    yield _histogram(
        "reknit_ping_seconds",
        "Time from the proxy's Ping to the Pong of that side.",
        ("to",),
        [((to,), side.round_trips) for to, side in sides.items()],
    )


def _state(store: Store) -> Iterator[Metric]:
    yield GaugeMetricFamily("reknit_state_bytes", "Bytes in --state-dir.", store.size)
    yield GaugeMetricFamily(
        "reknit_state_trouble",
        "1 while sessions are not kept in --state-dir, as it can't be written to.",
        bool(store.trouble),
    )


def _connections(counters: Counters) -> Iterator[Metric]:
    yield _counter(
        "reknit_handshakes",
        "Answers to clients' handshakes.",
        ("status",),
        (((str(status),), number) for status, number in counters.handshakes.items()),
    )
    yield _counter(
        "reknit_requests",
        "Answers to plain requests that were to be passed.",
        ("status",),
        (((str(status),), number) for status, number in counters.requests.items()),
    )
    yield _counter(
        "reknit_resumes",
        "Peers that came back to a session.",
        ("peer", "outcome"),
        (((side.value, how.value), number) for (side, how), number in counters.resumes.items()),
    )
    yield _counter(
        "reknit_dials",
        "Attempts to reach the server that were begun.",
        ("kind",),
        [(("first",), counters.dials), (("again",), counters.redials)],
    )
    yield _counter(
        "reknit_dial_results",
        "How attempts to reach the server ended.",
        ("result",),
        (((result.value,), counters.dial_results[result]) for result in DialResult),
    )


def _servers(servers: Servers) -> Iterator[Metric]:
    yield _gauge(
        "reknit_server_up",
        "1 while that server can be reached, as far as is known.",
        ("server",),
        (((server.name,), server.is_up) for server in servers),
    )
    yield _counter(
        "reknit_server_dial_results",
        "How attempts to reach that server ended.",
        ("server", "result"),
        (
            ((server.name, result.value), server.results[result])
            for server in servers
            for result in DialResult
        ),
    )


def _admissions(admission: Admission) -> Iterator[Metric]:
    yield GaugeMetricFamily(
        "reknit_connections",
        "Open connections of clients, including those in their handshake.",
        admission.connections,
    )
    yield _counter(
        "reknit_refused",
        "Clients rejected by a limit or origin check.",
        ("why",),
        (((why,), number) for why, number in admission.refused.items()),
    )


# -- Families of samples -----------------------------------------------------------------------


def _counter(name: str, text: str, labels: tuple[str, ...], samples: Iterable[Sample]) -> Metric:
    family = CounterMetricFamily(name, text, labels=labels)
    for values, value in samples:
        family.add_metric(values, value)
    return family


def _gauge(name: str, text: str, labels: tuple[str, ...], samples: Iterable[Sample]) -> Metric:
    family = GaugeMetricFamily(name, text, labels=labels)
    for values, value in samples:
        family.add_metric(values, value)
    return family


def _histogram(
    name: str,
    text: str,
    labels: tuple[str, ...],
    samples: Iterable[tuple[tuple[str, ...], Histogram]],
) -> Metric:
    family = HistogramMetricFamily(name, text, labels=labels)
    for values, histogram in samples:
        bounds = [*map(str, histogram.bounds), "+Inf"]
        buckets = list(zip(bounds, histogram.cumulated, strict=True))
        family.add_metric(values, buckets, histogram.sum)
    return family
