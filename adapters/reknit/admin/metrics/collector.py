"""What all sessions together do, in Prometheus' text form.

The core counts; this gives its numbers names. Nothing is kept here: each scrape looks anew.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping
from importlib.metadata import version

import trio
from prometheus_client import CollectorRegistry, ProcessCollector
from prometheus_client.exposition import choose_encoder
from prometheus_client.metrics_core import (
    CounterMetricFamily,
    GaugeMetricFamily,
    InfoMetricFamily,
    Metric,
)
from prometheus_client.registry import Collector
from reknit_core.counters import Histogram
from reknit_core.lifecycle import TRANSITIONS
from reknit_core.proxy.admission import Admission
from reknit_core.telemetry.survey import survey

from reknit.admin.http_messages import Request, Response
from reknit.admin.metrics.connections import admissions, connections, server_states
from reknit.admin.metrics.families import counter, gauge, histogram
from reknit.admin.metrics.messages import deliveries, messages
from reknit.admin.old_names import SESSIONS, SESSIONS_BEFORE
from reknit.admin.router import Route
from reknit.observe.logs import count_lost_lines
from reknit.state.store import Measure, Store
from reknit.trio.sessions import Sessions
from reknit.trio.transport.certificates import Certificates


class Metrics(Collector):
    """Collects what sessions and doorkeeper count.

    `lag` is the loop's, `untold` the events that a hook lost. `store`: where the sessions are kept.
    `certificates`: those that the proxy shows. `viewers`: how many look at the live page.
    """

    def __init__(
        self,
        sessions: Sessions,
        admission: Admission,
        lag: Histogram,
        untold: Callable[[], int] | None = None,
        store: Store | None = None,
        certificates: Certificates | None = None,
        viewers: Callable[[], int] = lambda: 0,
    ) -> None:
        self._sessions = sessions
        self._admission = admission
        self._lag = lag
        self._untold = untold
        self._store = store
        self._certificates = certificates
        self._viewers = viewers
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
        yield gauge(SESSIONS, "Sessions in each state.", ("state",), states)
        text = f"The same as {SESSIONS}: this name goes with the next release."
        yield gauge(SESSIONS_BEFORE, text, ("state",), states)
        yield counter(
            "reknit_transitions",
            "Changes of a session's state.",
            ("from", "to", "trigger"),
            (
                ((row.source.value, row.target.value, row.trigger.value), counters.transitions[row])
                for row in TRANSITIONS
            ),
        )
        yield counter(
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
        yield histogram(
            "reknit_session_seconds",
            "How long sessions took that are over.",
            (),
            [((), counters.durations)],
        )
        yield CounterMetricFamily(
            "reknit_takeovers",
            "Times that a process has taken all sessions over from the one before.",
            counters.takeovers,
        )
        yield from messages({"client": seen.to_client, "server": seen.to_server})
        yield gauge(
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
        limits = {
            "sessions": contexts.limit,
            "connections": self._admission.limit,
            "held_bytes": contexts.budget.limit,
        }
        yield gauge(
            "reknit_limit",
            "What reknit_sessions, reknit_connections and reknit_held_bytes are bounded by.",
            ("of",),
            (((name,), value) for name, value in limits.items()),
        )
        yield from deliveries({"client": counters.to_client, "server": counters.to_server})
        yield from connections(counters)
        yield from server_states(contexts.servers)
        yield from admissions(self._admission)
        yield histogram(
            "reknit_loop_lag_seconds", "How late the loop's timers fire.", (), [((), self._lag)]
        )
        yield viewers(self._viewers())
        if self._certificates is not None:
            shown = self._certificates.not_after
            yield gauge(
                "reknit_certificate_not_after_seconds",
                "When the certificate expires that is shown to a side, in seconds since 1970.",
                ("side",),
                (((side.value,), when) for side, when in shown.items()),
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
            yield from map(_measured, self._store.measures())


def viewers(number: int) -> Metric:
    """How many look at the live page."""
    return GaugeMetricFamily("reknit_feed_viewers", "Live pages that are open.", number)


def _measured(measure: Measure) -> Metric:
    name, text, value, label = measure
    if isinstance(value, Histogram):
        return histogram(name, text, (), [((), value)])
    kind = counter if name.endswith("_total") else gauge
    if isinstance(value, Mapping):
        return kind(name, text, (label,), (((of,), number) for of, number in value.items()))
    return kind(name, text, (), [((), value)])
