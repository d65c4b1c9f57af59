"""What a program that embeds the proxy sees of a session."""

from dataclasses import dataclass
from typing import Self

from reknit_core.lifecycle import State
from reknit_core.session.context import ContextStateMachine


@dataclass(frozen=True, slots=True)
class SessionView:
    """A session at one moment. Messages wait for a side while it is away, or reads slowly."""

    connection_id: str
    state: State
    waiting_for_client: int
    waiting_for_server: int

    @classmethod
    def of(cls, context: ContextStateMachine) -> Self:
        """That session, now."""
        _, for_client = context.client.source.waiting
        _, for_server = context.server.source.waiting
        return cls(context.connection_id, context.state, for_client, for_server)
