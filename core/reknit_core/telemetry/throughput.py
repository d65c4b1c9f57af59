"""What passed in each of the last seconds: kept for whoever opens the live page."""

from collections import deque
from itertools import pairwise
from math import ceil

from reknit_core.proxy.contexts import Contexts
from reknit_core.telemetry.survey import Survey, survey

KEPT = 120  # seconds
_EVERY = 0.9  # seconds between two points, at least

_Point = tuple[float, tuple[int, int, int, int]]


class Throughput:
    """Takes a point again and again; between two of them, and since, it passed evenly.

    Times in seconds.
    """

    def __init__(self, contexts: Contexts) -> None:
        self._contexts = contexts
        self._points: deque[_Point] = deque(maxlen=KEPT + 1)

    def look(self, now: float) -> None:
        """Take a point; that looks at every session."""
        self.note(survey(self._contexts), now)

    def note(self, seen: Survey, now: float) -> None:
        """Take a point of what was seen just now."""
        if not self._points or now - self._points[-1][0] >= _EVERY:
            up, down = seen.to_server, seen.to_client
            self._points.append((now, (up.messages, up.bytes, down.messages, down.bytes)))

    def rates(self, now: float) -> dict[str, dict[str, list[float]]]:
        """Messages and bytes a second towards each side, for each of KEPT seconds until now."""
        columns = [[0.0] * KEPT for _ in range(4)]
        points = list(self._points)
        for (began, before), (ended, after) in pairwise(points):
            first = KEPT - ceil(now - began)
            last = KEPT if ended == points[-1][0] else KEPT - ceil(now - ended)
            for column, old, new in zip(columns, before, after, strict=True):
                rate = round((new - old) / (ended - began), 3)
                for place in range(max(0, first), max(0, last)):
                    column[place] = rate
        up, up_bytes, down, down_bytes = columns
        return {
            "to_server": {"messages": up, "bytes": up_bytes},
            "to_client": {"messages": down, "bytes": down_bytes},
        }
