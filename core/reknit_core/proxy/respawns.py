"""When a worker that hangs is ended, when one that has died is started again or given up."""

QUICK = 10.0  # seconds: a worker that lives no longer than this has died at once
HANGS = 15
"""Roll calls, one a second, that a worker does not answer until it is ended.

A probe of the whole that fails three times, every ten seconds, would end all workers.
"""
STALLS = 5
"""Roll calls without an answer after which it can't be counted on now."""

WAITS = (0.0, 0.2, 0.5, 1.0)  # seconds before it is started again, by how often that was in a row


class Respawns:
    """One worker's deaths."""

    def __init__(self) -> None:
        self._in_a_row = 0

    def wait(self, lived: float) -> float | None:
        """It has died after so many seconds: how many to wait; None: it is not started again."""
        if lived > QUICK:
            self._in_a_row = 0
        if self._in_a_row == len(WAITS):
            return None
        self._in_a_row += 1
        return WAITS[self._in_a_row - 1]
