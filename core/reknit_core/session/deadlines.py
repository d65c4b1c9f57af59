"""When a session's own waits are over; a leg's are the leg's."""

from math import inf


class Deadlines:
    """Times in seconds; inf: nothing is awaited."""

    __slots__ = ("armed", "beat", "close", "grace", "opening", "reopening")

    def __init__(self) -> None:
        self.opening = inf  # for the server to accept a new session
        self.grace = inf  # for a lost client to return
        self.reopening = inf  # for a new server to answer what it is told
        self.beat = inf  # to say a heartbeat in the place of a side that is away
        self.close = inf  # for a leg to do its part of the end
        self.armed = inf  # what the adapter's timer stands at

    def earliest(self) -> float:
        """The first of them."""
        return min(self.opening, self.grace, self.close, self.reopening, self.beat)

    def postpone(self, late: float) -> None:
        """So many seconds don't count: the proxy itself stood still."""
        self.opening += late
        self.grace += late
        self.close += late
        self.reopening += late
