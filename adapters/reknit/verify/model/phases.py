"""The reference model's lifecycle: the states, how long they may last, and when to dial."""

from math import inf

from reknit_core.lifecycle import INITIAL, TRANSITIONS, State
from reknit_core.policy.policy import OnServerLoss, Policy

from reknit.verify.model.traffic import TICK, BrokenError

CLIENT_AWAY = frozenset((State.CLIENT_DOWN, State.BOTH_DOWN, State.REOPENING_ALONE))
SERVER_AWAY = frozenset((State.SERVER_DOWN, State.BOTH_DOWN))
REOPENING = frozenset((State.REOPENING, State.REOPENING_ALONE))
ENDED = frozenset((State.CLOSING, State.CLOSED))

_LATER = (408, 425, 429)
_UNKNOWN_SESSION = 404

_TABLE = frozenset((row.source, row.target) for row in TRANSITIONS)


class Lifecycle:
    """Follows the states and the dials of one session. Times in seconds.

    Only policies without jitter and without a limit to the time of retries.
    """

    def __init__(self, policy: Policy, now: float) -> None:
        self._policy = policy
        self.state = INITIAL
        self.dial_at: float | None = None  # when the dial that is under way is due
        self.grace_until = inf  # in closing: not before then
        self.recovers = True  # whether an end that is away is still waited for, if owed something
        self.client_is_proxy = False  # another reknit, which is owed the end too
        self.server_is_proxy = False
        self.server_counts = True  # not one that has begun anew in the middle
        self._opening_until = now + policy.handshake_wait
        self.reopening_until = inf  # for a new server to answer what it is told
        self._slack = TICK  # how much later than due a limit may end
        self._attempt = -1  # the last dial's
        self._accepted_at: float | None = None  # while that connection lasts
        self._refusals = 0  # of the attempts since the last connection that lasted
        self._failing = frozenset(("away",))  # what an attempt that fails now must be said to meet
        self._failed = True  # whether the last dial is known to have come to nothing
        self.final = False  # the server has refused for good, or will never do for an opening
        self._again = False  # the next dial may be one at once that counts as no attempt
        self._must = False  # and has to be

    @property
    def spent(self) -> bool:
        """Whether no further dial is allowed."""
        return (
            self._attempt >= self._policy.retry_limit
            or self._refusals >= self._policy.refused_limit
            or self.final
        )

    @property
    def ends_with_server(self) -> bool:
        """Whether the client begins anew when its server is lost."""
        return self._policy.on_server_loss is OnServerLoss.END

    def may_fail(self, *how: str) -> None:
        """An event by which an attempt may fail, in one of these ways."""
        self._failing = frozenset(how)

    def attempt_failed(self, how: str) -> None:
        """The proxy says that an attempt has failed."""
        if how not in self._failing or self.dial_at is not None:
            raise BrokenError(f"an attempt failed as {how}, not as {sorted(self._failing)}")
        self._failed = True
        self._refusals += how == "refused"
        if how == "final" or (how == "refused" and self.state is State.OPENING):
            self.final = True

    def stalled(self, late: float, allowed: float) -> None:
        """The proxy stood still for that long, which counts as no time if more than is allowed."""
        self._slack += allowed
        if late > allowed:
            self.grace_until += late
            self._opening_until += late
            self.reopening_until += late

    # -- The server ----------------------------------------------------------------------------

    def dial(self, attempt: int, at: float, now: float) -> None:
        """A dial is asked for."""
        if self.dial_at is not None:
            raise BrokenError("a dial while another is under way")
        self.server_lost(now)
        again, self._again = self._again, False
        if again and (attempt, round(at, 6)) == (max(self._attempt, 0), round(now, 6)):
            self.dial_at = at
            return
        if again and self._must:
            raise BrokenError(f"dial attempt={attempt} at={at}, not again at once")
        if not self._failed:
            raise BrokenError("a dial, and nobody was told how the one before failed")
        self._failed = False
        if attempt != self._attempt + 1 or self.spent:
            raise BrokenError(f"dial attempt={attempt} after {self._attempt}")
        wait = self._policy.retry_interval * self._policy.retry_backoff ** (attempt - 1)
        due = now + min(wait, self._policy.retry_cap) if attempt else now
        if abs(at - due) > TICK:
            raise BrokenError(f"dial at={at}, not {due}")
        self._attempt = attempt
        self.dial_at = at

    def dialled(self) -> None:
        """The dial is over, one way or the other."""
        self.dial_at = None

    def accepted(self, now: float) -> None:
        """The server has accepted."""
        self._accepted_at = now
        self.reopening_until = now + self._policy.connect_timeout
        self.may_fail("refused")

    def disagreed(self, *, must: bool) -> None:
        """The server accepts in a way that can't be used, and may or must be asked again."""
        self._accepted_at = None
        self._again, self._must = True, must
        self.may_fail("refused")

    def refused(self, status: int) -> bool:
        """The server has refused; whether not only for the moment."""
        strict = self.state is State.CLOSING or self.ends_with_server
        is_gone = status == _UNKNOWN_SESSION and strict and self.server_is_proxy
        if is_gone or status in self._policy.server_final_statuses:
            self.may_fail("final")
            return True
        later = status in _LATER or status >= 500
        self.may_fail("away" if later else "refused")
        return not later

    def server_lost(self, now: float) -> None:
        """The server's connection is gone. If it lasted, its attempts are forgotten."""
        if self._accepted_at is not None and now - self._accepted_at >= self._policy.retry_reset:
            self._attempt = self._refusals = 0
        self._failed |= self._accepted_at is not None
        self._accepted_at = None

    def begin_anew(self) -> None:
        """The client begins anew, and the server with it: nothing was attempted yet."""
        self._attempt, self._refusals = -1, 0
        self._accepted_at = None
        self._failed, self._again = True, False
        self.server_counts = True

    # -- The client ----------------------------------------------------------------------------

    def client_lost(self, now: float) -> None:
        """The client's connection is gone."""
        self.grace_until = now + self._policy.client_grace

    def client_returned(self) -> None:
        """The client is back."""
        self.grace_until = inf

    # -- States --------------------------------------------------------------------------------

    def enter(self, state: State, now: float, *, undone: bool, owed: tuple[int, int]) -> None:
        """The session is in that state now.

        `undone`: the server has just refused, or the client has gone. `owed`: how many messages
        the client and the server must still get.
        """
        old = self.state
        if (old, state) not in _TABLE:
            raise BrokenError(f"from {old.value} to {state.value}")
        self.check_time(now)
        self.state = state
        if state in SERVER_AWAY and old not in SERVER_AWAY:
            self.server_lost(now)
        if state in CLIENT_AWAY and old not in CLIENT_AWAY:
            self.client_lost(now)
        if state is State.CLOSED:
            self._check_end(old, now, undone=undone, owed=owed)

    def _check_end(self, old: State, now: float, *, undone: bool, owed: tuple[int, int]) -> None:
        """Whether the session had a reason to end."""
        waited = now >= self.grace_until - TICK
        match old:
            case State.OPENING:
                reason = undone or self.spent or now >= self._opening_until - TICK
            case State.SERVER_DOWN:
                reason = self.spent
            case State.CLIENT_DOWN:
                reason = waited
            case State.BOTH_DOWN:
                reason = waited or self.spent
            case _:
                to_client, to_server = owed
                client_given_up = not to_client or waited
                ends = self.ends_with_server and not self.server_is_proxy
                server_given_up = not to_server or self.spent or ends
                reason = not self.recovers or (client_given_up and server_given_up)
        if not reason:
            raise BrokenError(f"closed from {old.value} with {owed} messages owed, before its time")

    def is_half_told(self, now: float) -> bool:
        """Whether a new server has not answered in time what it was told."""
        return self.state in REOPENING and now >= self.reopening_until - TICK

    def check_time(self, now: float) -> None:
        """The state has not lasted too long."""
        if self.state in REOPENING and now > self.reopening_until + self._slack:
            raise BrokenError(f"the server was told in vain since {self.reopening_until}")
        if self.state in CLIENT_AWAY and now > self.grace_until + self._slack:
            raise BrokenError(f"the grace ended at {self.grace_until}")
        if self.state is State.OPENING and now > self._opening_until + self._slack:
            raise BrokenError(f"the client's wait ended at {self._opening_until}")
