"""How many sessions were without a server or without a client, moment by moment.

It follows from the transitions that were counted, so that no session need be looked at.
"""

from collections import deque
from collections.abc import Iterator
from typing import NamedTuple

from reknit_core.counters import Counters
from reknit_core.lifecycle import State, Trigger

KEPT = 600  # moments


class Moment(NamedTuple):
    """How many sessions wait for an end, and how often one was lost since the moment before."""

    without_server: int
    without_client: int
    servers_lost: int
    clients_lost: int


class Outages:
    """The last moments, of which `note` takes one."""

    def __init__(self, counters: Counters) -> None:
        self._counters = counters
        self._moments: deque[Moment] = deque(maxlen=KEPT)
        self._lost = self._count_lost()

    def __iter__(self) -> Iterator[Moment]:
        """The moments, the oldest first."""
        return iter(self._moments)

    def note(self) -> None:
        """Take a moment."""
        servers, clients = self._lost
        self._lost = self._count_lost()
        states = self._counters.states
        both = states[State.BOTH_DOWN] + states[State.REOPENING_ALONE]
        moment = Moment(
            states[State.SERVER_DOWN] + states[State.REOPENING] + both,
            states[State.CLIENT_DOWN] + both,
            self._lost[0] - servers,
            self._lost[1] - clients,
        )
        self._moments.append(moment)

    def _count_lost(self) -> tuple[int, int]:
        """How often a server and a client were lost so far; the client in sessions that went on."""
        servers = self._counters.ended_with_server
        clients = 0
        for row, number in self._counters.transitions.items():
            if row.target is not State.CLOSED:
                servers += number if row.trigger is Trigger.SERVER_LOST else 0
                clients += number if row.trigger is Trigger.CLIENT_LOST else 0
        return servers, clients
