"""Who may dial for a new session, while the server is known to be away, and just after that.

One dial at a time finds out for all who wait: the scout's. The first few follow each other at
once, as one server of several may be the one that is away; then each dial waits for the interval
of its scout's retries. Each is another session's in turn, and who has missed the server stands
behind those who have not: it may be that session's own request which the server does not answer,
and the others must not wait until it gives up. When the server is there again, the others are let
in as fast as it takes them: one more may dial at a time with each that it has accepted, up to
WIDEST. So a server that has just begun sets the pace, and no rate has to be chosen for it.

Sessions that are open, and have lost the server, dial by their own policy, and tell what they
have met. Times in seconds, passed in.
"""

from collections import OrderedDict
from math import inf
from typing import Generic, Protocol, TypeVar

QUICK = 3  # dials that may find nothing in a row before the next one waits its time
WIDEST = 32  # dials at a time, while those who have waited are let in


class Waiter(Protocol):
    """A session that opens."""

    def let_in(self, at: float) -> None:
        """Dial at that time (seconds)."""


W = TypeVar("W", bound=Waiter)


class WaitingRoom(Generic[W]):
    """Told of each dial for a new session before it is made, and of what all dials come to."""

    def __init__(self) -> None:
        self._waiting: OrderedDict[W, None] = OrderedDict()  # the first first
        self._tried: OrderedDict[W, float] = OrderedDict()
        """Who wait behind them: those that missed the server, and when they would dial again."""
        self._dialling: set[W] = set()  # of those who wait, who has been let in
        self._width = 1  # so many of them at a time
        self._misses = 0  # in a row
        self._due = -inf  # when the scout dials, or would have if it had not left
        self._now = -inf
        self._news: dict[W, None] = {}

    def __len__(self) -> int:
        """How many wait, without those who dial."""
        return len(self._waiting) + len(self._tried)

    @property
    def is_shut(self) -> bool:
        """Whether the server is known to be away."""
        return self._misses > 0

    @property
    def has_news(self) -> bool:
        """Whether news() has somebody."""
        return bool(self._news or self._has_place)

    def news(self) -> list[W]:
        """Who was let in while another was asked. Each is handed out once."""
        self._fill()
        news, self._news = list(self._news), {}
        return news

    # -- What sessions ask and tell ------------------------------------------------------------

    def enter(self, who: W, now: float) -> None:
        """A session opens: it is let in at once, or waits for that."""
        self._now = now
        if self.is_shut or self._waits:
            self._waiting[who] = None
            self._fill()
        else:
            who.let_in(now)

    def rejoin(self, who: W, now: float, *, dials: bool) -> None:
        """It waited, or dialled, in an earlier process, as others did who are still to come."""
        self._now = now
        if dials:
            self._dialling.add(who)
        else:
            self._waiting[who] = None

    def missed(self, now: float) -> None:
        """A dial of any session has not found the server."""
        self._now = now
        self._misses += 1
        self._width = 1

    def wait(self, who: W, at: float, now: float) -> None:
        """A session that opens has missed the server, and would dial again `at` that time."""
        self._now = now
        self._dialling.discard(who)
        if self._dialling:
            self._tried[who] = at
        elif self._waits:
            if self._misses >= QUICK:
                self._due = at
            self._tried[who] = at
            self._fill()
        else:
            self._due = at
            self._dialling.add(who)
            who.let_in(at)

    def found(self, who: W, now: float) -> None:
        """The server has answered that session, whatever it said."""
        self._now = now
        self._misses = 0
        self._due = -inf
        self._waiting.update(dict.fromkeys(self._tried))
        self._tried.clear()
        self._dialling.discard(who)
        self._width = min(self._width + 1, WIDEST)
        self._fill()

    def leave(self, who: W) -> None:
        """That session opens no longer. Nothing, if it was not here."""
        self._waiting.pop(who, None)
        self._tried.pop(who, None)
        self._news.pop(who, None)
        self._dialling.discard(who)
        self._fill()

    @property
    def _waits(self) -> bool:
        return bool(self._waiting or self._tried)

    @property
    def _has_place(self) -> bool:
        return bool(self._waiting or self._tried) and len(self._dialling) < self._width

    def _fill(self) -> None:
        """Let in as many as may dial."""
        while self._has_place:
            at = max(self._now, self._due)
            if self._waiting:
                who = next(iter(self._waiting))
                del self._waiting[who]
            else:
                who = next(iter(self._tried))
                at = max(at, self._tried.pop(who))
            self._dialling.add(who)
            self._news[who] = None
            who.let_in(at)
        if not self._dialling:
            self._width = 1
