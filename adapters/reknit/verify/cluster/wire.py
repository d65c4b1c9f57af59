"""A connection to the store: commands one way, answers the other, in order, if anything passes."""

from collections import deque
from collections.abc import Callable
from functools import partial
from typing import Any, Protocol

from reknit.memory.network import MemoryNetwork
from reknit.verify.cluster.store import Store

LIMIT = 0.5  # seconds in which each command must be answered
WAIT = 0.3  # seconds that a replica has to have what was written

Command = Callable[[Store], Any]
Answered = Callable[[Any], None]
NOT_REPLICATED = object()
"""The answer to a command that the replica didn't have in time."""


class End(Protocol):
    """The node's end of it."""

    def run(self, action: Callable[[], None]) -> None:
        """Do that now, or when the node isn't paused any more."""

    def lost(self) -> None:
        """The connection is over."""


class Wire:
    """One connection. `passes`: whether packets do now; else they wait, as TCP sends them again."""

    def __init__(self, network: MemoryNetwork, store: Store, end: End) -> None:
        self._network = network
        self.store = store
        self._end = end
        self.passes = True
        self._is_open = True  # at the node
        self._is_sound = True  # at the store
        self._arrives_at = 0.0  # the last command, and the last answer: nothing overtakes
        self._answers_at = 0.0
        self._held: deque[Callable[[], None]] = deque()
        self._unanswered: deque[float] = deque()
        self._awaits_replica = False

    # -- The node's end ------------------------------------------------------------------------

    def send(self, command: Command, answered: Answered, *, waits: bool = False) -> None:
        """Have that carried out. `waits`: the answer counts only when the replica has it too."""
        network = self._network
        self._unanswered.append(network.now)
        if len(self._unanswered) == 1:
            network.after(LIMIT, self._look_at_clock)
        self._arrives_at = max(self._arrives_at, network.now + network.latency())
        network.at(self._arrives_at, partial(self._arrive, command, answered, waits))

    def close(self) -> None:
        """The node wants no more of it; what is on its way may still be carried out."""
        self._is_open = False

    def _look_at_clock(self) -> None:
        if self._is_open and self._unanswered:
            late = self._unanswered[0] + LIMIT
            if late <= self._network.now + 1e-9:
                self._end.run(self._break)
            else:
                self._network.at(late, self._look_at_clock)

    def _break(self) -> None:
        late = bool(self._unanswered) and self._unanswered[0] + LIMIT <= self._network.now + 1e-9
        if self._is_open and (late or not self._is_sound):
            self._is_open = False
            self._end.lost()
        elif self._is_open and self._unanswered:
            self._network.at(self._unanswered[0] + LIMIT, self._look_at_clock)

    # -- The way and the store's end -----------------------------------------------------------

    def _arrive(self, command: Command, answered: Answered, waits: bool) -> None:
        if not self._is_sound:
            return
        carry_out = partial(self._carry_out, command, answered, waits)
        if self._held or not self._moves:
            self._held.append(carry_out)
        else:
            carry_out()

    @property
    def _moves(self) -> bool:
        is_read = not self.store.is_frozen and not self._awaits_replica
        return self.passes and self._is_sound and is_read

    def _carry_out(self, command: Command, answered: Answered, waits: bool) -> None:
        result = command(self.store)
        if waits and (self.store.has_replica or self.store.is_alone):
            self._awaits_replica = True
            self._await_replica(self._network.now, result, answered)
        else:
            self._answer(result, answered)

    def _await_replica(self, since: float, result: Any, answered: Answered) -> None:
        store, now = self.store, self._network.now
        has_it = not store.is_alone and store.replicated_until >= since
        if not has_it and now - since < WAIT:
            self._network.after(0.025, partial(self._await_replica, since, result, answered))
            return
        self._awaits_replica = False
        self._answer(result if has_it else NOT_REPLICATED, answered)
        self.go_on()

    def _answer(self, result: Any, answered: Answered) -> None:
        network = self._network
        self._answers_at = max(self._answers_at, network.now + network.latency())
        network.at(self._answers_at, partial(self._come_back, result, answered))

    def _come_back(self, result: Any, answered: Answered) -> None:
        if not self.passes and self._is_sound:
            self._held.append(partial(self._answer, result, answered))
        elif self._is_sound:
            self._end.run(partial(self._take, result, answered))

    def _take(self, result: Any, answered: Answered) -> None:
        if self._is_open:
            self._unanswered.popleft()
            answered(result)

    def go_on(self) -> None:
        """Something passes again, or the store answers again."""
        while self._held and self._moves:
            self._held.popleft()()

    def cut(self, *, heard: bool) -> None:
        """It is broken at the store's end; `heard`: the node is told, else it has to notice."""
        self._is_sound = False
        self._held.clear()
        if heard and self._is_open:
            self._network.after(self._network.latency(), partial(self._end.run, self._break))
