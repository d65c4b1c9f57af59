"""Whether the server is out, as the sessions tell it; one outage, however many sessions wait.

That one session has lost its server says nothing of the server, nor do clients that come and go.
It is out when many sessions wait for it, or have ended with it before it accepted another one, or
when it can't be reached and no session has it. It is back when it has accepted since the last
trouble, and nobody waits any more. Times in seconds.
"""

from dataclasses import dataclass
from math import inf

from reknit_core.counters import Counters
from reknit_core.lifecycle import State

FEW = 5  # sessions that wait make an outage
SHARE = 100  # where there are many sessions: one in so many that waits
CALM = 2.0  # without trouble, until a server that accepts again counts as back
STRAGGLERS = 10.0  # the same, where some sessions still wait: for a dial that is due much later
SAID_AFTER = 10.0  # an outage that goes on is said so; then each time after twice as long
SAID_AT_LEAST = 3600.0
LOOK = 0.5  # between two looks at whether the server is back

_RETURNING = (State.DRAINING, State.REOPENING, State.REOPENING_ALONE)
_WITH_SERVER = (State.CONNECTED, State.CLIENT_DOWN, *_RETURNING)


@dataclass(frozen=True, slots=True)
class OutageBegan:
    """The server is out: why, how many of the sessions wait for it, and how many ended with it.

    Sessions that open wait for it too: in the waiting room.
    """

    reason: str
    waiting: int
    sessions: int
    ended: int = 0


@dataclass(frozen=True, slots=True)
class OutageGoesOn:
    """It is still out, after so many seconds; `ended`: sessions that are over since it began."""

    seconds: float
    reason: str
    waiting: int
    ended: int


@dataclass(frozen=True, slots=True)
class OutageEnded:
    """It is back: after so many seconds sessions had returned, others had ended, some may wait."""

    seconds: float
    returned: int
    ended: int
    waiting: int


Outage = OutageBegan | OutageGoesOn | OutageEnded


class ServerOutage:
    """Follows the sessions, which are told apart by their labels.

    `counters`: those of the same sessions, which say at each moment how many are in which state.
    """

    def __init__(self, counters: Counters) -> None:
        self._counters = counters
        self._waiting: set[str] = set()  # sessions that are known to be without the server
        self._returned: set[str] = set()  # that are so no more, in this outage
        self._done = 0  # sessions that were among these, and are over
        self._ended = 0  # that are over, and never were: those that ended with the server, too
        self._parted: set[str] = set()  # that ended with it, and are not closed yet
        self._parting = 0  # that have ended with it since it accepted one, before an outage
        self._reason = ""
        self._began: float | None = None
        self._troubled = self._accepted = -inf  # when the server last was missed, and accepted
        self._say_at = inf
        self._say_every = 0.0
        self._looked = -inf

    @property
    def is_on(self) -> bool:
        """Whether the server is out."""
        return self._began is not None

    def concerns(self, label: str) -> bool:
        """Whether there is an outage, and that session has met with it."""
        return self.is_on and any(
            label in some for some in (self._waiting, self._returned, self._parted)
        )

    # -- What the sessions meet ----------------------------------------------------------------

    def missed(
        self, label: str, reason: str, now: float, *, away: bool = False
    ) -> OutageBegan | None:
        """That session has lost the server, or not found it; `away`: it could not be reached."""
        self._waiting.add(label)
        self._returned.discard(label)
        self._troubled = now
        self._reason = reason
        if self.is_on or not (self._are_many() or (away and self._nobody_has_it())):
            return None
        return self._begin(now)

    def ended_with(self, label: str, reason: str, now: float) -> OutageBegan | None:
        """That session has ended, since it has lost the server.

        Where the server accepts others meanwhile it is not out: some end all connections so.
        """
        self._waiting.discard(label)
        self._returned.discard(label)
        self._parted.add(label)
        if self._began is not None:
            self._ended += 1
            if self._accepted < self._began:
                self._troubled = now
            return None
        if now - self._troubled > CALM:
            self._parting = 0
        self._parting += 1
        self._troubled = now
        self._reason = reason
        return self._begin(now) if self._are_many() else None

    def _begin(self, now: float) -> OutageBegan:
        self._began = now
        self._done = 0
        self._ended = self._parting
        self._say_every = SAID_AFTER
        self._say_at = now + SAID_AFTER
        waiting, sessions = self._count_waiting(), self._count_sessions()
        return OutageBegan(self._reason, waiting, sessions, self._ended)

    def accepted(self, label: str, now: float) -> None:
        """The server has accepted that session."""
        if label in self._waiting:
            self._waiting.discard(label)
            if self.is_on:
                self._returned.add(label)
        self._accepted = now
        self._parting = 0

    def failed(self, label: str) -> None:
        """That session has failed, though the server may have accepted it."""
        if label in self._returned:
            self._returned.discard(label)
            self._ended += 1

    def gone(self, label: str) -> None:
        """That session is over, or another process's."""
        self._ended += label in self._waiting
        self._done += label in self._returned
        self._waiting.discard(label)
        self._returned.discard(label)
        self._parted.discard(label)

    # -- Time ----------------------------------------------------------------------------------

    @property
    def next_look(self) -> float:
        """When look() is due."""
        if not self.is_on:
            return inf
        if not self._is_accepted():
            return self._say_at
        return min(self._say_at, max(self._troubled + CALM, self._looked + LOOK))

    def look(self, now: float) -> OutageGoesOn | OutageEnded | None:
        """See whether the outage has ended, or must be spoken of again."""
        if self._began is None:
            return None
        self._looked = now
        waiting = self._count_waiting()
        if self._is_back(now):
            seconds = self._accepted - self._began
            ended = OutageEnded(seconds, len(self._returned) + self._done, self._ended, waiting)
            self._began = None
            self._parting = 0
            self._returned.clear()
            return ended
        if now < self._say_at:
            return None
        self._say_every = min(2 * self._say_every, SAID_AT_LEAST)
        self._say_at = now + self._say_every
        if not waiting:
            return None  # nobody asks for the server any more
        return OutageGoesOn(now - self._began, self._reason, waiting, self._ended)

    # -- How it stands -------------------------------------------------------------------------

    def _is_accepted(self) -> bool:
        """Whether the server's last sign is a good one."""
        return self._accepted >= self._troubled

    def _is_back(self, now: float) -> bool:
        calm = now - self._troubled
        if not self._is_accepted() or calm < CALM:
            return False
        returning = any(self._counters.states[state] for state in _RETURNING)
        return calm >= STRAGGLERS or not (self._count_without() or returning)

    def _are_many(self) -> bool:
        concerned = self._count_without() + self._parting
        return concerned >= max(FEW, self._count_sessions() // SHARE)

    def _nobody_has_it(self) -> bool:
        return not any(self._counters.states[state] for state in _WITH_SERVER)

    def _count_waiting(self) -> int:
        """While the server is out, those that open wait too, though only one of them dials."""
        states = self._counters.states
        down = states[State.SERVER_DOWN] + states[State.BOTH_DOWN]
        return max(self._count_without(), down + states[State.OPENING] if self.is_on else 0)

    def _count_without(self) -> int:
        """Those that came from another process are counted too: nobody has told of their loss."""
        states = self._counters.states
        return max(len(self._waiting), states[State.SERVER_DOWN] + states[State.BOTH_DOWN])

    def _count_sessions(self) -> int:
        states = self._counters.states
        return sum(number for state, number in states.items() if state is not State.CLOSED)
