"""What the process has learned of the upstream's servers, for all sessions together."""

from math import inf

REMEMBERED = 600.0  # seconds: a server may be mended, and to find out costs one dial
KEPT = 64  # offers: clients of a few kinds make a few, and a stranger can make up any number

Offers = tuple[str, ...]
"""The extensions that a client offers, each with its parameters."""


class Habits:
    """Asked when a session begins, and told by sessions. Times in seconds, passed in.

    Each offer is remembered by itself: a server may refuse one for what a client has put into it,
    and that must not cost other clients their compression.
    """

    __slots__ = ("_plain_until",)

    def __init__(self) -> None:
        self._plain_until: dict[Offers, float] = {}

    def compresses(self, offers: Offers, now: float) -> bool:
        """Whether compression may be offered so: no server has lately misread such an offer."""
        return now >= self._plain_until.get(offers, -inf)

    def cannot_compress(self, offers: Offers, now: float) -> None:
        """A server has accepted without an offer, and before not in a way that can be used.

        That it is not offered any more proves nothing new.
        """
        if not self.compresses(offers, now):
            return
        self._plain_until.pop(offers, None)
        if len(self._plain_until) >= KEPT:
            del self._plain_until[next(iter(self._plain_until))]  # the oldest one
        self._plain_until[offers] = now + REMEMBERED
