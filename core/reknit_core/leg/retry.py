"""When to dial a lost server again, and when to give up."""

from math import inf
from zlib import crc32

from reknit_core.commands import Failure
from reknit_core.form import Moment
from reknit_core.leg.leg_forms import FrozenRetry
from reknit_core.policy.policy import Policy

_LATER = frozenset((408, 425, 429))  # as 5xx, they speak of the moment (RFC 9110, 15.5; RFC 6585)

_NEVER = -inf


def meaning(status: int, policy: Policy) -> Failure:
    """What a server's answer with that status, which is not 101, says of it (RFC 9110, 15)."""
    if status in policy.server_final_statuses:
        return Failure.FINAL
    return Failure.AWAY if status in _LATER or 500 <= status <= 599 else Failure.REFUSED


class Retry:
    """Counts the attempts to reach a server (the design's retryCount).

    `seed`: bytes that differ from session to session, from which the jitter is drawn. `reason`:
    why the last attempt failed, for people; empty: none has since the server last accepted.
    """

    __slots__ = (
        "_accepted_at",
        "_needed_at",
        "_policy",
        "_refusals",
        "_seed",
        "_wait",
        "attempt",
        "reason",
    )

    def __init__(self, policy: Policy, seed: bytes) -> None:
        self._policy = policy
        self._seed = seed
        self._accepted_at = _NEVER
        self.reason = ""
        self.start_anew()

    def start_anew(self) -> None:
        """Nothing was attempted yet."""
        self.attempt = 0
        self._refusals = 0  # of these attempts
        self._needed_at = inf  # when the first of these attempts was needed
        self._wait = min(self._policy.retry_interval, self._policy.retry_cap)

    def frozen(self) -> FrozenRetry:
        """The attempts as data."""
        return FrozenRetry(
            attempt=self.attempt,
            refusals=self._refusals,
            reason=self.reason,
            accepted_at=Moment(self._accepted_at),
            since=Moment(self._needed_at),
            wait=self._wait,
        )

    def thaw(self, form: FrozenRetry, shift: float) -> None:
        """Go on with those; `shift`: seconds from their clock to this one."""
        self.attempt = form.attempt
        self._refusals = form.refusals
        self.reason = form.reason
        self._accepted_at = form.accepted_at + shift
        self._needed_at = form.since + shift
        self._wait = form.wait

    def accepted(self, now: float) -> None:
        """The server accepted."""
        self._accepted_at = now
        self.reason = ""

    def lost(self, now: float) -> None:
        """The server is lost. Only a connection that lasted ends the count of attempts."""
        if now - self._accepted_at >= self._policy.retry_reset:
            self.start_anew()

    def next_dial(
        self, now: float, failure: Failure = Failure.AWAY, retry_after: float = 0.0
    ) -> float | None:
        """When the next attempt is due (seconds); None if the attempts or the time are spent.

        `failure`: what the last attempt has met. `retry_after`: seconds that the server asked for
        at least (RFC 9110, 10.2.3); no more than the longest wait between attempts are heeded.
        """
        policy = self._policy
        self._needed_at = min(self._needed_at, now)
        if failure is Failure.REFUSED:
            self._refusals += 1
        if (
            failure is Failure.FINAL
            or self._refusals >= policy.refused_limit
            or self.attempt >= policy.retry_limit
        ):
            return None
        wait = self._wait
        self._wait = min(wait * policy.retry_backoff, policy.retry_cap)
        self.attempt += 1
        if policy.retry_jitter:
            wait -= wait * policy.retry_jitter * self._fraction()
        at = now + max(wait, min(retry_after, policy.retry_cap))
        if policy.retry_time and at - self._needed_at > policy.retry_time:
            return None
        return at

    def left(self, at: float) -> float:
        """From that attempt on, how long others may follow it, but for jitter (seconds)."""
        policy = self._policy
        attempts, wait, passed = policy.retry_limit - self.attempt, self._wait, 0.0
        while attempts > 0 and policy.retry_backoff > 1 and wait < policy.retry_cap:
            passed += wait
            attempts -= 1
            wait = min(wait * policy.retry_backoff, policy.retry_cap)
        passed += max(attempts, 0) * wait
        if policy.retry_time and self._needed_at != inf:
            passed = min(passed, max(0.0, self._needed_at + policy.retry_time - at))
        return passed

    def _fraction(self) -> float:
        """From 0 up to 1: differs between sessions and attempts, the same in each replay."""
        return crc32(self.attempt.to_bytes(8, "big"), crc32(self._seed)) / 2**32
