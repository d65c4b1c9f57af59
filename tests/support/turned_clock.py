"""A clock that a test turns: it has what is used of an asyncio loop."""

from collections.abc import Callable
from heapq import heappop, heappush
from itertools import count


class Clock:
    """The time (seconds), and what is to be called when. It passes in run() only."""

    def __init__(self) -> None:
        self._now = 0.0
        self._due: list[tuple[float, int, Callable[[], None]]] = []
        self._order = count()

    def time(self) -> float:
        return self._now

    def call_at(self, when: float, call: Callable[[], None]) -> None:
        heappush(self._due, (when, next(self._order), call))

    def call_soon(self, call: Callable[[], None]) -> None:
        self.call_at(self._now, call)

    def run(self, until: float) -> None:
        while self._due and self._due[0][0] <= until:
            when, _, call = heappop(self._due)
            self._now = max(self._now, when)
            call()
        self._now = until
