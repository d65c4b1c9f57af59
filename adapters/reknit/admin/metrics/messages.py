"""Messages and their bytes, and what became of them."""

from collections.abc import Callable, Iterator

from prometheus_client.metrics_core import Metric
from reknit_core.counters import Towards
from reknit_core.telemetry.survey import Flow

from reknit.admin.metrics import families


def messages(flows: dict[str, Flow]) -> Iterator[Metric]:
    """What has come for each side, and what of it still waits."""

    def counter(name: str, text: str, value: Callable[[Flow], int]) -> Metric:
        return families.counter(
            name, text, ("to",), (((to,), value(flow)) for to, flow in flows.items())
        )

    def gauge(name: str, text: str, value: Callable[[Flow], int]) -> Metric:
        return families.gauge(
            name, text, ("to",), (((to,), value(flow)) for to, flow in flows.items())
        )

    yield counter(
        "reknit_messages", "Messages received for a side, `to` which they go.", lambda f: f.messages
    )
    yield counter(
        "reknit_message_bytes",
        "Bytes of the messages received for a side, frame headers included.",
        lambda f: f.bytes,
    )
    yield counter(
        "reknit_dropped_messages", "Messages dropped because a queue was full.", lambda f: f.dropped
    )
    yield gauge(
        "reknit_queue_bytes",
        "Bytes that wait for a side and that no socket has taken yet.",
        lambda f: f.waiting,
    )
    yield gauge(
        "reknit_unconfirmed_bytes",
        "Bytes for a side that no Pong has confirmed: they wait, or may be sent again.",
        lambda f: f.unconfirmed,
    )
    yield gauge(
        "reknit_unconfirmed_messages",
        "Messages for a side that no Pong has confirmed.",
        lambda f: f.unconfirmed_messages,
    )


def deliveries(sides: dict[str, Towards]) -> Iterator[Metric]:
    """What became of it, and how each side was away."""

    def counter(name: str, text: str, value: Callable[[Towards], int]) -> Metric:
        return families.counter(
            name, text, ("to",), (((to,), value(side)) for to, side in sides.items())
        )

    yield counter(
        "reknit_dropped_bytes",
        "Bytes of messages dropped because a queue was full.",
        lambda s: s.dropped_bytes,
    )
    yield counter(
        "reknit_lost_messages",
        "Messages that still waited for a side when their session ended.",
        lambda s: s.lost_messages,
    )
    yield counter(
        "reknit_lost_bytes",
        "Bytes of messages that still waited for a side when their session ended.",
        lambda s: s.lost_bytes,
    )
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
        "Bytes of messages sent again after an earlier connection had got them.",
        lambda s: s.replayed_bytes,
    )
    yield counter(
        "reknit_repeated_messages",
        "Messages sent again to a peer that may have received them, as it does not count.",
        lambda s: s.repeated_messages,
    )
    yield families.histogram(
        "reknit_ping_seconds",
        "Time from the proxy's Ping to a side's Pong.",
        ("to",),
        [((to,), side.round_trips) for to, side in sides.items()],
    )
    yield families.histogram(
        "reknit_outage_seconds",
        "How long a side of a session was away: until it returned, or the session ended.",
        ("side", "outcome"),
        [
            ((side, outcome), histogram)
            for side, towards in sides.items()
            for outcome, histogram in (("returned", towards.returns), ("ended", towards.losses))
        ],
    )
