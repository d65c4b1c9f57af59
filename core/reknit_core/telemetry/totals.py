"""What has been counted so far, as data: for another process, which goes on counting from there."""

from collections import Counter
from collections.abc import Iterable
from functools import reduce
from operator import add
from typing import Any

import msgspec

from reknit_core.counters import Counters, DialResult, Resume, Towards
from reknit_core.lifecycle import Transition
from reknit_core.proxy.contexts import Contexts
from reknit_core.side import Side
from reknit_core.telemetry.survey import Flow, survey


class Way(msgspec.Struct):
    """What went towards one side: see Towards. What has passed in all sessions counts as ended."""

    ended_messages: int
    ended_bytes: int
    ended_dropped: int
    lost_messages: int
    lost_bytes: int
    dropped_bytes: int
    confirmations: int
    replays: int
    replayed_messages: int
    replayed_bytes: int
    repeated_messages: int
    round_trips: tuple[list[int], float]
    returns: tuple[list[int], float] = ([], 0.0)  # msgspec copies it
    losses: tuple[list[int], float] = ([], 0.0)


class Totals(msgspec.Struct):
    """All that Counters count, but for the sessions in each state."""

    transitions: dict[Transition, int]
    handshakes: dict[int, int]
    requests: dict[int, int]
    resumes: dict[tuple[Side, Resume], int]
    dials: int
    redials: int
    dial_results: dict[DialResult, int]
    to_client: Way
    to_server: Way
    dialects: dict[str, int] = {}  # msgspec copies it
    durations: tuple[list[int], float] = ([], 0.0)
    takeovers: int = 0
    tls_failures: int = 0


def take_totals(contexts: Contexts) -> Totals:
    """What a process has counted until now."""
    counters, seen = contexts.counters, survey(contexts)
    return Totals(
        dict(counters.transitions),
        dict(counters.handshakes),
        dict(counters.requests),
        dict(counters.resumes),
        counters.dials,
        counters.redials,
        dict(counters.dial_results),
        _way(counters.to_client, seen.to_client),
        _way(counters.to_server, seen.to_server),
        dict(counters.dialects),
        counters.durations.state,
        counters.takeovers,
        counters.tls_failures,
    )


def sum_totals(several: Iterable[Totals]) -> Totals:
    """What several processes have counted together."""
    return reduce(_plus, several, _NONE)


def add_totals(counters: Counters, totals: Totals) -> None:
    """Go on from what another process has counted."""
    counters.transitions.update(totals.transitions)
    counters.handshakes.update(totals.handshakes)
    counters.requests.update(totals.requests)
    counters.resumes.update(totals.resumes)
    counters.dials += totals.dials
    counters.redials += totals.redials
    counters.dial_results.update(totals.dial_results)
    counters.dialects.update(totals.dialects)
    counters.durations.add(*totals.durations)
    counters.takeovers += totals.takeovers
    counters.tls_failures += totals.tls_failures
    _add_way(counters.to_client, totals.to_client)
    _add_way(counters.to_server, totals.to_server)


_HISTOGRAMS = ("round_trips", "returns", "losses")
_OF_ALL = ("ended_messages", "ended_bytes", "ended_dropped", *_HISTOGRAMS)
_COUNTED = [name for name in Way.__struct_fields__ if name not in _OF_ALL]


def _way(towards: Towards, flow: Flow) -> Way:
    return Way(
        ended_messages=flow.messages,
        ended_bytes=flow.bytes - towards.dropped_bytes,
        ended_dropped=flow.dropped,
        **{name: getattr(towards, name).state for name in _HISTOGRAMS},
        **{name: getattr(towards, name) for name in _COUNTED},
    )


def _add_way(towards: Towards, way: Way) -> None:
    towards.ended_messages += way.ended_messages
    towards.ended_bytes += way.ended_bytes
    towards.ended_dropped += way.ended_dropped
    for name in _HISTOGRAMS:
        getattr(towards, name).add(*getattr(way, name))
    for name in _COUNTED:
        setattr(towards, name, getattr(towards, name) + getattr(way, name))


_NO_FLOW = Flow(0, 0, 0)
_NONE = Totals({}, {}, {}, {}, 0, 0, {}, _way(Towards(), _NO_FLOW), _way(Towards(), _NO_FLOW))


def _plus(one: Any, other: Any) -> Any:
    """The sum of two counts, field by field."""
    match one:
        case msgspec.Struct():
            names = one.__struct_fields__
            return type(one)(*(_plus(getattr(one, name), getattr(other, name)) for name in names))
        case dict():
            return dict(Counter(one) + Counter(other))
        case tuple():
            (mine, total), (its, more) = one, other
            return [*map(add, mine, its)] if mine and its else mine or its, total + more
        case _:
            return one + other
