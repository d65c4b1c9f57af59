"""How a session ends: which losses it outlives, who is still waited for, and what each side hears.

The tables of closing.py say what is said; this says it, and knows by when the sides have to be
done. The context fires the triggers and drops the connections.
"""

from math import inf
from typing import NamedTuple, assert_never

from reknit_core.codes import GOING_AWAY, SERVICE_RESTART, TRY_AGAIN_LATER
from reknit_core.commands import Undelivered
from reknit_core.counters import Counters
from reknit_core.form import Moment
from reknit_core.leg.leg import Leg
from reknit_core.leg.phase import Phase
from reknit_core.leg.transit import Look
from reknit_core.lifecycle import State
from reknit_core.policy.policy import OnServerLoss, Policy
from reknit_core.session.closing import FAREWELLS, Farewell
from reknit_core.session.forms import FrozenEnding
from reknit_core.session.telling import Telling
from reknit_core.side import Side
from reknit_core.terms.pinned import Pinned
from reknit_core.wire.controls import close_frame
from reknit_core.wire.handshake import Refusal, encode_refusal, shutting_down
from reknit_core.wire.reasons import shortened

_LEAVING = (GOING_AWAY, "")


class Loss(NamedTuple):
    """A connection's loss that ends its session: how that is told.

    By close code and reason, to the operator by the cause; `cut`: to the server by nothing.
    """

    code: int
    reason: str
    cause: str
    cut: bool


class Ending:
    """Times in seconds; inf: nothing is awaited."""

    __slots__ = ("_pinned", "_policy", "close", "grace", "parting", "recovers", "telling")

    def __init__(self, policy: Policy, pinned: Pinned) -> None:
        self._policy = policy
        self._pinned = pinned
        self.telling: Telling | None = None  # once a dialect is chosen
        self.grace = inf
        """Until when a lost client is waited for."""
        self.close = inf
        """By when a leg must have done its part of the end."""
        self.parting = _LEAVING
        """The close code and reason that end the session."""
        self.recovers = True
        """Whether legs that are away are still waited for."""

    def frozen(self) -> FrozenEnding:
        """All of it as data, but for what is known of the session's messages."""
        return FrozenEnding(Moment(self.grace), Moment(self.close), self.parting, self.recovers)

    def thaw(self, form: FrozenEnding, shift: float) -> None:
        """Become what that was; `shift`: seconds from its clock to this one."""
        self.grace = form.grace + shift
        self.close = form.close + shift
        self.parting = form.parting
        self.recovers = form.recovers

    def postpone(self, late: float) -> None:
        """So many seconds don't count: the proxy itself stood still."""
        self.grace += late
        self.close += late

    # -- Which losses a session outlives ---------------------------------------------------------

    @property
    def comes_with_server(self) -> bool:
        """Whether the session is over when its server is lost, so that the client begins anew."""
        if self.telling is not None and self.telling.dialogue.ends:
            return True
        return self._policy.on_server_loss is OnServerLoss.END

    def must_resume(self, state: State) -> bool:
        """Whether another reknit is asked for this session or none: a new one is of no use."""
        is_over = state is State.CLOSING or self.comes_with_server
        return is_over and self._pinned.server_is_proxy

    def waits_for(self, leg: Leg, *, closed: bool = False) -> bool:
        """Whether the session outlives that leg's connection; `closed`: which its peer has closed.

        Another reknit whose connection only broke still has the session, and its own server.
        """
        if leg.side is Side.SERVER:
            return not self.comes_with_server or (self._pinned.server_is_proxy and not closed)
        return self._pinned.is_awaited(self._policy)

    def is_lost_by(self, leg: Leg, code: int) -> bool:
        """Whether a Close with that code is the peer's loss, rather than its end of the session.

        Another reknit has waited for its own client before 1001, and for its server before 1013.
        """
        if code not in self._policy.retry_codes(leg.side):
            return False
        if leg.side is Side.SERVER:
            return code != TRY_AGAIN_LATER or not self._pinned.server_is_proxy
        return self.waits_for(leg) and not self._pinned.client_is_proxy

    def with_leg(self, leg: Leg, reason: str, *, cut: bool) -> Loss:
        """The session ends with that leg's connection, as it would end without a proxy.

        What a `cut` connection has not brought to the server would not have come there either.
        """
        if leg.side is Side.SERVER:
            cause = f"server lost: {reason}"
            if self.telling is not None and self.telling.dialogue.why_lost:
                cause = shortened(f"{cause}; {self.telling.dialogue.why_lost}")
            return Loss(SERVICE_RESTART, "the server was lost", cause, cut=False)
        cut = cut and not self._pinned.server_is_proxy  # which would wait for us
        self.recovers &= not cut
        return Loss(GOING_AWAY, "the client has gone", f"client lost: {reason}", cut=cut)

    def owes(self, leg: Leg, state: State) -> bool:
        """Whether a session that ends on purpose still owes this leg messages, or its end.

        The end is owed to another reknit: it comes back, or waits for us.
        """
        owed = self._pinned.is_proxy(leg.side) or leg.source.sent < leg.source.tail
        goes_on = self.recovers and state is State.CLOSING
        return owed and goes_on and self.waits_for(leg)

    # -- What each side hears --------------------------------------------------------------------

    def allow(self, now: float) -> None:
        """A leg has the policy's time, from now on, to do its part of the end."""
        self.close = now + self._policy.close_timeout

    def refuse(self, client: Leg, answer: Refusal, now: float) -> None:
        """A client whose handshake is open gets that answer."""
        client.say(encode_refusal(answer), 0)
        client.phase = Phase.LEAVING
        self.allow(now)

    def close_leg(self, leg: Leg, phase: Phase, code: int, reason: str, now: float) -> None:
        """Put a Close frame behind all that goes to a leg, which is in that phase then."""
        mask = self._pinned.binding.close_mask(leg.generation) if leg.side is Side.SERVER else b""
        leg.say(close_frame(leg.side, code, reason, mask), leg.source.tail)
        leg.phase = phase
        if phase is Phase.LEAVING:
            leg.scanner = None
        self.allow(now)

    def part(self, leg: Leg, state: State, now: float, code: int | None = None) -> Refusal | bool:
        """Tell this leg that the session is over: by `code`, if not by the session's own.

        Returns whether its connection is to be dropped, or the answer that its client is to get.
        """
        common, reason = self.parting
        farewell = FAREWELLS[leg.side, leg.phase]
        match farewell:
            case Farewell.CLOSE:
                told = leg.source.sent == leg.source.tail
                if leg.side is Side.SERVER and told and self.telling is not None:
                    self.telling.server_gone()  # nothing comes for which it had to be told more
                phase = Phase.CLOSING if self._is_heard(leg) else Phase.LEAVING
                self.close_leg(leg, phase, code or common, reason, now)
            case Farewell.REFUSAL:
                return shutting_down(reason)
            case Farewell.WAIT | Farewell.WAIT_OR_DROP if self.owes(leg, state):
                pass
            case Farewell.WAIT:
                if leg.side is Side.CLIENT:
                    self.grace = inf
            case Farewell.WAIT_OR_DROP:
                return True
            case Farewell.NOTHING:
                pass
            case never:
                assert_never(never)
        return False

    def _is_heard(self, leg: Leg) -> bool:
        """Whether what that leg's peer says behind our Close matters; if not, its stream ends too.

        A client knows half a round trip sooner then that all is over, as soon as without a proxy.
        What it says before is lost. It matters to a server that has closed (see Leg.delivers), and
        its answer tells whether it has received all, if it can come back for that.
        """
        if leg.side is Side.SERVER:
            return True
        return leg.other.phase is Phase.CLOSE_RECEIVED or self.waits_for(leg)

    def answer(self, leg: Leg, now: float) -> bool:
        """Answer who asked for the end, once the other side has been told; whether it was so."""
        asked = leg.phase is Phase.CLOSE_RECEIVED and leg.other.phase is not Phase.CLOSING
        if asked:
            self.close_leg(leg, Phase.LEAVING, *self.parting, now)
        return asked

    def is_done(self, client: Leg, server: Leg) -> bool:
        """Whether both legs have done their part, and nobody is waited for."""
        return client.phase is server.phase is Phase.AWAY and self.grace == inf

    def clear(self, leg: Leg, counters: Counters, upto: int | None = None) -> Undelivered | None:
        """What this leg's peer has never got, `upto` that position; None: all, as all is over."""
        source = leg.source
        size, messages = source.clear() if upto is None else source.begin_at(upto)
        counters.towards(leg.side).add_lost(size, messages)
        return Undelivered(leg.side, messages, size) if messages else None

    def late(self, legs: tuple[Leg, ...], look: Look, now: float) -> list[Leg]:
        """Which of the legs are late with their part of the end; those that go on have time."""
        ending = [leg for leg in legs if leg.phase in (Phase.CLOSING, Phase.LEAVING)]
        late = [leg for leg in ending if not leg.goes_on(look, self._policy.close_timeout, now)]
        self.close = inf
        if len(late) < len(ending):
            self.allow(now)
        return late
