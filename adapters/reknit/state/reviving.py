"""Sessions that come back from what was written of them, and what is said of those that don't."""

from collections.abc import Iterable
from logging import ERROR, INFO, WARNING
from time import time

from reknit_core import ContextStateMachine
from reknit_core.durable.revival import Kept, revive
from reknit_core.proxy.contexts import Contexts
from reknit_core.proxy.drain import Toll

from reknit.observe.logs import LOG, tell


class Reviving:
    """Brings sessions back from `place`, a name for people. `ahead`: seconds of the other clock."""

    def __init__(self, contexts: Contexts, place: str, ahead: float = 0.0) -> None:
        self._contexts = contexts
        self._place = place
        self._ahead = ahead
        self._over = self._lost = 0
        self._before = Toll.so_far(contexts.counters)

    def revive(self, found: Iterable[Kept], now: float) -> list[ContextStateMachine]:
        """Those of them that are not over."""
        contexts = []
        wall = time() + self._ahead
        for kept in found:
            try:
                context = revive(self._contexts, kept, now, wall)
            except Exception:
                LOG.exception("a session can't be restored, by an error of the proxy")
                self._lost += 1
            else:
                contexts += [] if context is None else [context]
                self._over += context is None
        return contexts

    def tell(self, given_up: int) -> None:
        """Say what became of the others; of so many, records are missing."""
        if self._over:
            toll = Toll.so_far(self._contexts.counters).since(self._before)
            text = "%(sessions)d sessions have ended meanwhile, %(messages)d messages lost"
            level = WARNING if toll.messages else INFO
            tell(level, "ended_meanwhile", text, sessions=self._over, messages=toll.messages)
        lost = self._lost + given_up
        if lost:
            text = "%(sessions)d sessions in %(path)s can't be restored: records are missing"
            tell(ERROR, "state_lost", text, sessions=lost, path=self._place)
