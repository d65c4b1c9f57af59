"""When to dial a lost server again, and when to give up."""

from math import inf
from zlib import crc32

from reknit_core.policy.policy import Policy

FINAL = frozenset((401, 403, 404, 410))
"""A server that answers a reconnect so will not change its mind (RFC 9110, 15.5)."""


_NEVER = -inf


class Retry:
    """Counts the attempts to reach a server (the design's retryCount).

    `seed`: bytes that differ from session to session, from which the jitter is drawn.
    """

    __slots__ = ("_accepted_at", "_policy", "_seed", "_since", "_wait", "attempt")

    def __init__(self, policy: Policy, seed: bytes) -> None:
        self._policy = policy
        self._seed = seed
        self._accepted_at = _NEVER
        self._start_anew()

    def _start_anew(self) -> None:
        self.attempt = 0
        self._since = inf  # when the first of these attempts was needed
        self._wait = min(self._policy.retry_interval, self._policy.retry_cap)

    def accepted(self, now: float) -> None:
        """The server accepted."""
        self._accepted_at = now

    def lost(self, now: float) -> None:
        """The server is lost. Only a connection that lasted ends the count of attempts."""
        if now - self._accepted_at >= self._policy.retry_reset:
            self._start_anew()

    def next_dial(self, now: float, retry_after: float = 0.0) -> float | None:
        """When the next attempt is due (seconds); None if the attempts or the time are spent.

        `retry_after`: seconds that the server asked for at least (RFC 9110, 10.2.3).
        """
        policy = self._policy
        self._since = min(self._since, now)
        if self.attempt >= policy.retry_limit:
            return None
        wait = self._wait
        self._wait = min(wait * policy.retry_backoff, policy.retry_cap)
        self.attempt += 1
        if policy.retry_jitter:
            wait -= wait * policy.retry_jitter * self._fraction()
        at = now + max(wait, retry_after)
        if policy.retry_time and at - self._since > policy.retry_time:
            return None
        return at

    def _fraction(self) -> float:
        """From 0 up to 1: differs between sessions and attempts, the same in each replay."""
        return crc32(self.attempt.to_bytes(8, "big"), crc32(self._seed)) / 2**32
