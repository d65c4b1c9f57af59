"""When a session's own waits are over; a leg's are the leg's."""

from math import inf
from typing import Final, NamedTuple


class Deadlines(NamedTuple):
    """Times in seconds; inf: nothing is awaited."""

    opening: float = inf
    """For the server to accept a new session."""
    grace: float = inf
    """For a lost client to return."""
    close: float = inf
    """For a leg to do its part of the end."""

    def but(self, **until: float) -> "Deadlines":
        """These, with other times for some."""
        changed = self._replace(**until)
        return NOTHING_AWAITED if changed == NOTHING_AWAITED else changed

    def postponed(self, late: float) -> "Deadlines":
        """So many seconds don't count: the proxy itself stood still."""
        return self.but(
            opening=self.opening + late,
            grace=self.grace + late,
            close=self.close + late,
        )


NOTHING_AWAITED: Final = Deadlines()
"""Shared: most sessions stand idle, and memory counts."""
