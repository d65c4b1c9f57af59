"""Sessions that fail and messages that are lost: each is said, but not hundreds in one moment.

Some are said one by one; what comes beyond them is said together, with the sessions' names.
"""

from dataclasses import dataclass
from math import inf

EVERY = 10.0  # seconds
SINGLY = 10  # losses that are said one by one in that time
NAMED = 20  # sessions that are named where many are said together


@dataclass(frozen=True, slots=True)
class MoreLosses:
    """What else was lost in so many seconds.

    `sessions`: how many met with anything of this, `names`: of some of them. `ended`: sessions that
    failed; `messages` and `bytes` were still to be delivered; `dropped`: messages that full queues
    have cost these sessions since they began.
    """

    seconds: float
    sessions: int
    ended: int
    messages: int
    bytes: int
    dropped: int
    names: tuple[str, ...]


class Losses:
    """Says which losses are said singly, and adds up the others. Times in seconds."""

    def __init__(self) -> None:
        self._until = -inf  # the end of the present time
        self._said = 0
        self._reset()

    def _reset(self) -> None:
        self._labels: dict[str, None] = {}
        self._dropped: dict[str, int] = {}  # the last total of each session
        self._ended = self._messages = self._bytes = 0

    def admit(self, now: float) -> bool:
        """Whether one more loss is said by itself."""
        if now >= self._until and not self._labels:
            self._until = now + EVERY
            self._said = 0
        self._said += 1
        return self._said <= SINGLY

    def add(
        self, label: str, *, ended: int = 0, messages: int = 0, size: int = 0, dropped: int = 0
    ) -> None:
        """That session's loss is not said by itself. `dropped`: since the session began."""
        self._labels[label] = None
        self._ended += ended
        self._messages += messages
        self._bytes += size
        if dropped:
            self._dropped[label] = dropped

    @property
    def are_some(self) -> bool:
        """Whether some are to be said together."""
        return bool(self._labels)

    @property
    def next_look(self) -> float:
        """When look() is due."""
        return self._until if self._labels else inf

    def look(self, now: float) -> MoreLosses | None:
        """What has to be said together, if its time has come."""
        if not self._labels or now < self._until:
            return None
        names = tuple(self._labels)[:NAMED]
        seconds = EVERY + now - self._until
        losses = MoreLosses(
            round(seconds, 3),
            len(self._labels),
            self._ended,
            self._messages,
            self._bytes,
            sum(self._dropped.values()),
            names,
        )
        self._reset()
        return losses

    def finish(self) -> MoreLosses | None:
        """The same, before its time: the proxy stops."""
        return self.look(max(self._until, 0.0))
