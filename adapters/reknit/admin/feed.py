"""What the live page shows, told once a second as server-sent events (HTML, section 9.2).

A snapshot is made once for all who look, and only while somebody does. What is always noted are
the outages: whoever opens the page wants to see the one that has made him do so.
"""

import json
from collections.abc import AsyncGenerator, Callable
from math import inf
from time import perf_counter
from typing import Any

import trio
from reknit_core.counters import Histogram
from reknit_core.side import Side
from reknit_core.telemetry.outages import Outages
from reknit_core.telemetry.survey import Flow, survey, waits
from reknit_core.telemetry.throughput import Throughput

from reknit.admin.http_messages import ProblemError, Request, Stream
from reknit.admin.router import Route
from reknit.admin.vitals import vitals
from reknit.trio.sessions import Sessions

EVERY = 1.0  # seconds
SPARING = 100  # times what a point takes, until the next one
VIEWERS = 16  # at one time: they must not take all the server's places


class Places:
    """Those who look at the page: so many at one time. One is taken by `with`."""

    def __init__(self) -> None:
        self.taken = 0

    def check(self) -> None:
        """Raise ProblemError if none is free."""
        if self.taken >= VIEWERS:
            problem = f"{VIEWERS} look at the page already"
            raise ProblemError(503, "too_many_viewers", problem)

    def __enter__(self) -> None:
        self.taken += 1

    def __exit__(self, *exception: object) -> None:
        self.taken -= 1


class Feed:
    """Tells how all sessions are; `run` keeps time. `lag`: the loop's.

    `tell_about`: what this proxy is.
    """

    def __init__(
        self,
        sessions: Sessions,
        lag: Histogram | None = None,
        tell_about: Callable[[], dict[str, object]] = dict,
    ) -> None:
        self._sessions = sessions
        self._lag = lag or Histogram()
        self._tell_about = tell_about
        self._throughput = Throughput(sessions.contexts)
        self._next_point = -inf
        self._outages = Outages(sessions.contexts.counters)
        self._snapshot: bytes | None = None  # of this tick, once somebody has asked
        self._tick = trio.Event()
        self._viewers = Places()

    def routes(self) -> tuple[Route, ...]:
        """`/feed`."""
        return (Route("GET", "/feed", self._show),)

    def count_viewers(self) -> int:
        """How many look at the page."""
        return self._viewers.taken

    async def run(self) -> None:
        """Go from second to second, for ever."""
        while True:
            self._outages.note()
            self._take_point()
            self._snapshot = None
            self._tick.set()
            self._tick = trio.Event()
            await trio.sleep(EVERY)

    def _take_point(self) -> None:
        """Where nobody looks, that takes a hundredth of the loop's time at most."""
        began = perf_counter()
        now = trio.current_time()
        if now >= self._next_point and not self._viewers.taken:
            self._throughput.look(now)
            self._next_point = now + SPARING * (perf_counter() - began)

    async def _show(self, request: Request) -> Stream:
        self._viewers.check()
        parts = self._events()
        await anext(parts)  # counts this one, before anybody else is asked
        return Stream(parts, "text/event-stream; charset=utf-8")

    async def _events(self) -> AsyncGenerator[bytes, None]:
        with self._viewers:
            yield b""  # a generator that was never begun would not give the place back
            yield event("begin", {"about": self._tell_about(), **self.past()})
            while True:
                if self._snapshot is None:
                    self._snapshot = event("snapshot", self.look())
                yield self._snapshot
                await self._tick.wait()

    def past(self) -> dict[str, Any]:
        """What was before somebody looked."""
        rates = self._throughput.rates(trio.current_time())
        return {"outages": [*self._outages], "rates": rates}

    def look(self) -> dict[str, Any]:
        """How all sessions are now."""
        contexts = self._sessions.contexts
        counters = contexts.counters
        seen = survey(contexts)
        now = trio.current_time()
        longest = self._sessions.longest_waits(now)
        self._throughput.note(seen, now)
        return {
            "at_seconds": round(now, 3),
            "states": {state.value: number for state, number in counters.states.items()},
            "transitions": [
                [row.source.value, row.target.value, number]
                for row, number in counters.transitions.items()
            ],
            "outage": [*self._outages][-1],
            "to_client": _flow(seen.to_client, longest[Side.CLIENT]),
            "to_server": _flow(seen.to_server, longest[Side.SERVER]),
            "servers": contexts.servers.statements(now),
            "waits": waits(contexts, now),
            "draining": contexts.is_draining,
            "round_trips": {
                "client": counters.to_client.round_trips.state[0],
                "server": counters.to_server.round_trips.state[0],
            },
            "lag": self._lag.state[0],
            "vitals": vitals(),
            "held_bytes": contexts.budget.used,
            "held_limit_bytes": contexts.budget.limit,
        }


def _flow(flow: Flow, wait: float) -> dict[str, object]:
    return {
        "messages": flow.messages,
        "bytes": flow.bytes,
        "dropped_messages": flow.dropped,
        "waiting_bytes": flow.waiting,
        "unconfirmed_bytes": flow.unconfirmed,
        "unconfirmed_messages": flow.unconfirmed_messages,
        "waited_seconds": round(wait, 3),
    }


def event(name: str, data: object) -> bytes:
    """A server-sent event."""
    return f"event: {name}\ndata: {json.dumps(data)}\n\n".encode()
