"""How a proxy that stops sends its sessions away: which one when, and what it costs.

New sessions are refused (`Contexts.is_draining`). Those that there are go one by one, so that
their clients don't all come back to another proxy, or to the next process, in one moment.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Self

from reknit_core.codes import GOING_AWAY, SERVICE_RESTART
from reknit_core.counters import Counters
from reknit_core.events import Shutdown
from reknit_core.leg.leg import Leg
from reknit_core.leg.phase import Phase
from reknit_core.session.context import ContextStateMachine

FAREWELL = Shutdown(SERVICE_RESTART, "the proxy restarts", server_code=GOING_AWAY)
"""What a session is told. Its server isn't asked to come back: to it, the client goes away."""


def schedule(
    contexts: Iterable[ContextStateMachine], seconds: float
) -> list[tuple[float, ContextStateMachine]]:
    """When each session gets its FAREWELL: in how many seconds, in this order.

    They are spread evenly. Those that owe messages to an end that is away go last, so that it
    has the most time to come back for them; else the order stays.
    """
    ordered = sorted(contexts, key=_owes_the_absent)
    return [(seconds * place / len(ordered), each) for place, each in enumerate(ordered)]


def _owes_the_absent(context: ContextStateMachine) -> bool:
    return any(_is_owed(leg) for leg in (context.client, context.server))


def _is_owed(leg: Leg) -> bool:
    is_away = leg.phase in (Phase.AWAY, Phase.DIALLING, Phase.HANDSHAKE)
    return is_away and leg.source.sent < leg.source.tail


@dataclass(frozen=True, slots=True)
class Toll:
    """Messages, and their bytes, that still waited for an end when their session was over."""

    messages: int = 0
    bytes: int = 0

    @classmethod
    def so_far(cls, counters: Counters) -> Self:
        """That of all sessions that are over."""
        sides = (counters.to_client, counters.to_server)
        return cls(
            sum(side.lost_messages for side in sides), sum(side.lost_bytes for side in sides)
        )

    @classmethod
    def of(cls, contexts: Iterable[ContextStateMachine]) -> Self:
        """What these sessions would cost if they were cut now."""
        waiting = [
            leg.source.waiting for context in contexts for leg in (context.client, context.server)
        ]
        return cls(sum(count for _, count in waiting), sum(size for size, _ in waiting))

    def plus(self, other: "Toll") -> "Toll":
        """Both together."""
        return Toll(self.messages + other.messages, self.bytes + other.bytes)

    def since(self, earlier: "Toll") -> "Toll":
        """What has come on top of an earlier one."""
        return Toll(self.messages - earlier.messages, self.bytes - earlier.bytes)
