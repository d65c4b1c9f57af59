"""Users' own dialects: what one of them raises loses its own session's conversation, no more."""

from collections.abc import Callable
from typing import TypeVar

from reknit_core.dialect.speech import (
    NOTHING,
    Beat,
    Conversation,
    Dialect,
    Heard,
    Message,
    Offer,
    State,
    Statement,
)
from reknit_core.side import Side

T = TypeVar("T")


class Guarded:
    """A dialect whose code nobody here has tested."""

    def __init__(self, dialect: Dialect) -> None:
        self._dialect = dialect
        self.name = dialect.name
        self.summary = dialect.summary

    def speaks(self, offer: Offer) -> bool:
        """What it says; no, if it raises."""
        return _or(False, lambda: bool(self._dialect.speaks(offer)))

    def converse(self, state: State | None = None) -> Conversation | None:
        """Its conversation; None if it raises: a server's loss ends the session."""
        inner = None if state is None else state["inner"]
        assert inner is None or isinstance(inner, dict)
        conversation = _or(None, lambda: self._dialect.converse(inner))
        if conversation is None:
            return None
        is_lost = state is not None and bool(state["is_lost"])
        return _GuardedConversation(conversation, is_lost=is_lost)


class _GuardedConversation:
    """Asks the conversation as long as it has not raised."""

    __slots__ = ("_inner", "_is_lost")

    def __init__(self, inner: Conversation, *, is_lost: bool) -> None:
        self._inner = inner
        self._is_lost = is_lost

    def hear(self, side: Side, message: Message, *, away: bool = False) -> tuple[Heard, ...]:
        """What it says; that the conversation is lost, once it has raised."""
        if self._is_lost:
            return NOTHING
        heard = _or(None, lambda: tuple(self._inner.hear(side, message, away=away)))
        self._is_lost = heard is None
        return (Heard(lost=True),) if heard is None else heard

    def again(self, statement: Statement) -> Message | None:
        """What it says; the same once more, if it raises."""
        said: Message | None = statement.said
        return _or(said, lambda: self._inner.again(statement))

    def beat(self, side: Side) -> Beat | None:
        """What it says, or nothing."""
        return _or(None, lambda: self._inner.beat(side))

    def fails(self, statement: Statement) -> Message | None:
        """What it says, or nothing."""
        return _or(None, lambda: self._inner.fails(statement))

    def begins_again(self) -> None:
        """Tell it so."""
        _or(None, self._inner.begins_again)

    def freeze(self) -> State:
        """Its state, and whether it has raised."""
        inner = _or(None, lambda: dict(self._inner.freeze()))
        return {"inner": inner, "is_lost": self._is_lost or inner is None}


def _or(otherwise: T, ask: Callable[[], T]) -> T:
    try:
        return ask()
    except Exception:
        return otherwise
