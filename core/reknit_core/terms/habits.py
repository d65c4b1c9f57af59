"""What the process has learned of the upstream's servers, for all sessions together."""

from math import inf

REMEMBERED = 600.0  # seconds: a server may be mended, and to find out costs one dial


class Habits:
    """Asked when a session begins, and told by sessions. Times in seconds, passed in."""

    __slots__ = ("_plain_until",)

    def __init__(self) -> None:
        self._plain_until = -inf

    def compresses(self, now: float) -> bool:
        """Whether compression may be offered: no server has lately misread such an offer."""
        return now >= self._plain_until

    def cannot_compress(self, now: float) -> None:
        """A server has accepted without an offer, and before not in a way that can be used.

        That it is not offered any more proves nothing new.
        """
        if self.compresses(now):
            self._plain_until = now + REMEMBERED
