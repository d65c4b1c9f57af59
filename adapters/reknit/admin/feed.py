"""What the live page shows, told once a second as server-sent events (HTML, section 9.2).

A snapshot is made once for all who look, and only while somebody does. What is always noted are
the outages: whoever opens the page wants to see the one that has made him do so.
"""

import json
from collections.abc import AsyncGenerator
from typing import Any

import trio
from reknit_core.side import Side
from reknit_core.telemetry.outages import Moment, Outages
from reknit_core.telemetry.survey import Flow, survey

from reknit.admin.http_messages import ProblemError, Request, Stream
from reknit.admin.router import Route
from reknit.trio.sessions import Sessions

EVERY = 1.0  # seconds
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
    """Tells how all sessions are; `run` keeps time."""

    def __init__(self, sessions: Sessions) -> None:
        self._sessions = sessions
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
            self._snapshot = None
            self._tick.set()
            self._tick = trio.Event()
            await trio.sleep(EVERY)

    async def _show(self, request: Request) -> Stream:
        self._viewers.check()
        parts = self._events()
        await anext(parts)  # counts this one, before anybody else is asked
        return Stream(parts, "text/event-stream; charset=utf-8")

    async def _events(self) -> AsyncGenerator[bytes, None]:
        with self._viewers:
            yield b""  # a generator that was never begun would not give the place back
            yield event("outages", self.outages())
            while True:
                if self._snapshot is None:
                    self._snapshot = event("snapshot", self.look())
                yield self._snapshot
                await self._tick.wait()

    def outages(self) -> list[Moment]:
        """The last moments."""
        return [*self._outages]

    def look(self) -> dict[str, Any]:
        """How all sessions are now."""
        contexts = self._sessions.contexts
        counters = contexts.counters
        seen = survey(contexts)
        now = trio.current_time()
        waits = self._sessions.longest_waits(now)
        return {
            "at_seconds": round(now, 3),
            "states": {state.value: number for state, number in counters.states.items()},
            "transitions": [
                [row.source.value, row.target.value, number]
                for row, number in counters.transitions.items()
            ],
            "outage": [*self._outages][-1],
            "to_client": _flow(seen.to_client, waits[Side.CLIENT]),
            "to_server": _flow(seen.to_server, waits[Side.SERVER]),
            "servers": contexts.servers.statements(now),
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
