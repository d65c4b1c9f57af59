"""What strangers can cause without end is said seldom: so they can't fill a log.

Of each kind the 1st, 2nd, 4th, 8th, … time is said, with the total until then. A process begins
anew; within one nothing does, as a flood would only have to wait.
"""

from collections import Counter


def is_said(total: int) -> bool:
    """Whether the time that makes it so many is said."""
    return total & (total - 1) == 0


class Seldom:
    """Counts by kind. The kinds must be few: the proxy's own words, nothing that peers write."""

    __slots__ = ("totals",)

    def __init__(self) -> None:
        self.totals: Counter[str] = Counter()

    def count(self, kind: str) -> tuple[int, bool]:
        """It has happened once more: how often so far, and whether that is said."""
        self.totals[kind] += 1
        total = self.totals[kind]
        return total, is_said(total)
