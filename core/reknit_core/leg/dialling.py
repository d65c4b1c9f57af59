"""The attempts to reach a session's server: when one is due, how it stands, what it came to."""

from dataclasses import dataclass
from math import inf
from typing import assert_never

from reknit_core.codes import SERVICE_RESTART, TRY_AGAIN_LATER
from reknit_core.commands import Failure
from reknit_core.counters import DialResult
from reknit_core.leg.retry import Retry, meaning
from reknit_core.lifecycle import Trigger
from reknit_core.policy.policy import Policy
from reknit_core.terms.habits import Habits
from reknit_core.terms.pinned import UNKNOWN_SESSION, Pinned
from reknit_core.wire.handshake import Accepted, Failed, Refusal, ServerHandshake
from reknit_core.wire.headers import retry_after
from reknit_core.wire.wire_forms import ServerRequest


@dataclass(frozen=True, slots=True)
class AskAgain:
    """The server may accept when it is asked for less: what did not fit was the proxy's own."""


@dataclass(frozen=True, slots=True)
class Missed:
    """The attempt has failed, as `failure` and for people. `after`: seconds to wait at least.

    `is_silent`: the server was reached, and has not answered in time.
    """

    failure: Failure
    reason: str
    after: float = 0.0
    is_silent: bool = False


@dataclass(frozen=True, slots=True)
class GivenUp:
    """No attempt follows: how the session ends, by trigger and close code, and for people why."""

    trigger: Trigger
    code: int
    reason: str


Outcome = Accepted | AskAgain | Refusal | Missed
"""What an answer comes to; a Refusal is the first client's to hear."""


def moved(at: float, late: float, now: float) -> float:
    """When that would have been, had `late` seconds not passed; nothing was after `now`."""
    return at if at == inf else min(at + late, now)


class Dialling(Retry):
    """How the attempts of one session stand: what there were, and the one that is under way."""

    __slots__ = ("at", "begun", "handshake", "own", "server", "tried", "until", "wall")

    def __init__(self, policy: Policy, seed: bytes) -> None:
        super().__init__(policy, seed)
        self.until = inf  # by when a new session's server must have accepted
        self.at = inf  # when the last dial was due
        self.handshake: ServerHandshake | None = None
        self.begun = inf  # when it was connected
        self.wall: float | None = None  # and the time of day, if it is known
        # Of several servers, by name; empty: there is one only, or none is chosen.
        self.own = ""  # that has accepted last
        self.server = ""  # that is dialled, or was last
        self.tried: tuple[str, ...] = ()  # that this attempt has tried in vain

    def begin(self, request: ServerRequest, key: bytes, now: float, wall: float | None) -> bytes:
        """The server is connected: the request for it. `key`: see ServerHandshake."""
        self.handshake = ServerHandshake(request, key)
        self.begun = now
        self.wall = wall
        return self.handshake.request()

    def postpone(self, late: float, now: float) -> None:
        """So many seconds don't count: the proxy itself stood still."""
        self.until += late
        self.begun = moved(self.begun, late, now)

    def begin_anew(self) -> None:
        """What was attempted was for a client that has begun anew."""
        self.start_anew()
        self.at = self.begun = inf
        self.handshake = self.wall = None
        self.reason = ""
        self.tried = ()

    def accepted(self, now: float) -> None:
        """The server has accepted: of this attempt nothing is needed any more."""
        self.at = self.begun = inf
        self.handshake = self.wall = None
        self.own = self.server
        self.tried = ()
        super().accepted(now)

    def after(self, missed: Missed, now: float, *, is_opening: bool) -> float | GivenUp:
        """What follows a failed attempt: when the next is due (seconds), or that there is none."""
        failure, reason = missed.failure, missed.reason
        if failure is Failure.FINAL:
            return GivenUp(Trigger.SERVER_REFUSED, SERVICE_RESTART, reason)
        if not (failure is Failure.REFUSED and is_opening):  # it won't accept while a client waits
            at = self.next_dial(now, failure, missed.after)
            if at is not None:
                return at
        what = "can't be reached" if failure is Failure.AWAY else "does not accept"
        return GivenUp(Trigger.RETRIES_SPENT, TRY_AGAIN_LATER, f"the server {what}: {reason}")

    def spent_at(self) -> float:
        """When the session is given up if every attempt fails at once (seconds); inf: not now."""
        return self.at + self.left(self.at) if self.at != inf else inf

    @property
    def so_far(self) -> Refusal | None:
        """What the server has refused, if only with a part of the body."""
        return None if self.handshake is None else self.handshake.so_far

    def weigh(
        self,
        answer: Accepted | Refusal | Failed,
        pinned: Pinned,
        habits: Habits,
        policy: Policy,
        now: float,
        *,
        is_opening: bool,
        is_patient: bool = False,
        must_resume: bool = False,
    ) -> tuple[DialResult, Outcome]:
        """What the server's answer comes to, and as what it counts.

        `is_patient`: a new session waits, too, for a server that can't take it at the moment.
        `must_resume`: another reknit was asked for this session or none.
        """
        match answer:
            case Accepted():
                is_pared = pinned.pared and not pinned.agreed
                problem = pinned.agree(answer)
                if problem is None:
                    if is_pared:
                        habits.cannot_compress(pinned.offers, now)
                    return DialResult.ACCEPTED, answer
                if pinned.pare(answer):
                    return DialResult.NO_HANDSHAKE, AskAgain()
                return DialResult.NO_HANDSHAKE, Missed(Failure.REFUSED, problem)
            case Refusal():
                if pinned.pare(answer):
                    return DialResult.REFUSED, AskAgain()
                later = is_patient and meaning(answer.status, policy) is Failure.AWAY
                if is_opening and not later:
                    return DialResult.REFUSED, answer
                if must_resume and answer.status == UNKNOWN_SESSION:
                    gone = Missed(Failure.FINAL, "the session has ended there")
                    return DialResult.REFUSED, gone
                return DialResult.REFUSED, self._refused(answer, policy, now)
            case Failed():
                failure = Failure.AWAY if answer.cut else Failure.REFUSED
                return DialResult.NO_HANDSHAKE, Missed(failure, answer.reason)
            case _:
                assert_never(answer)

    def _refused(self, answer: Refusal, policy: Policy, now: float) -> Missed:
        """A lost server does not take the session back, or not now."""
        wall = None if self.wall is None else self.wall + now - self.begun
        after = retry_after(answer.headers, wall)
        reason = f"the server answered {answer.status}"
        return Missed(meaning(answer.status, policy), reason, after)
