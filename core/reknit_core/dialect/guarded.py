"""Users' own dialects: what one of them raises loses its own session's conversation, no more."""

from collections.abc import Callable
from math import isfinite
from pathlib import PurePath
from typing import TypeVar

import msgspec

from reknit_core.dialect.ruled.mistakes import Report, ignore
from reknit_core.dialect.ruled.rules_file import MAX_BEAT, MIN_BEAT
from reknit_core.dialect.speech import (
    NOTHING,
    Beat,
    Conversation,
    Dialect,
    Heard,
    LostError,
    Message,
    Offer,
    State,
    Statement,
)
from reknit_core.side import Side

T = TypeVar("T")

_MAX_NAME = 1 << 63  # of the numbers in a key: MessagePack has none that are much larger


class Guarded:
    """A dialect whose code nobody here has tested. `source`: from where it is."""

    def __init__(self, dialect: Dialect, source: str = "", report: Report = ignore) -> None:
        self._dialect = dialect
        self._guard = _Guard(source, report)
        self.name = dialect.name
        self.summary = str(dialect.summary)
        self.chosen_by = str(dialect.chosen_by)
        self.ends = bool(dialect.ends)

    def speaks(self, offer: Offer) -> bool:
        """What it says; no, if it raises."""
        return self._guard.ask(False, lambda: bool(self._dialect.speaks(offer)))

    def converse(self, state: State | None = None) -> Conversation | None:
        """Its conversation; None if it raises: a server's loss ends the session."""
        inner = None if state is None else state["inner"]
        assert inner is None or isinstance(inner, dict)
        if state is not None and inner is None:
            return None
        conversation = self._guard.ask(None, lambda: self._dialect.converse(inner))
        if conversation is None:
            return None
        is_lost = state is not None and bool(state["is_lost"])
        return _GuardedConversation(conversation, self._guard, is_lost=is_lost)


class _Guard:
    """Asks, and reports what goes wrong."""

    __slots__ = ("_report", "_source")

    def __init__(self, source: str, report: Report) -> None:
        self._source = source
        self._report = report

    def ask(self, otherwise: T, question: Callable[[], T]) -> T:
        """The answer, or `otherwise`, if it raises."""
        try:
            return question()
        except Exception as error:
            self._report(self._source, f"raised {type(error).__name__}: {error}{_place(error)}")
            return otherwise


class _GuardedConversation:
    """Asks the conversation as long as it has not raised."""

    __slots__ = ("_guard", "_inner", "_is_lost")

    def __init__(self, inner: Conversation, guard: _Guard, *, is_lost: bool) -> None:
        self._inner = inner
        self._guard = guard
        self._is_lost = is_lost

    def hear(self, side: Side, message: Message, *, away: bool = False) -> tuple[Heard, ...]:
        """What it says; that the conversation is lost, once it has raised."""
        if self._is_lost:
            return NOTHING
        heard = self._guard.ask(None, lambda: _checked(self._inner.hear(side, message, away=away)))
        self._is_lost = heard is None
        return (Heard(lost=True),) if heard is None else heard

    def again(self, statement: Statement) -> Message | None:
        """What it says. Raises LostError, if it raises."""
        lost: Message | LostError | None = LostError()
        said = self._guard.ask(lost, lambda: _a_message(self._inner.again(statement)))
        if isinstance(said, LostError):
            raise said
        return said

    def beat(self, side: Side) -> Beat | None:
        """What it says, or nothing."""
        return self._guard.ask(None, lambda: _a_beat(self._inner.beat(side)))

    def fails(self, statement: Statement) -> Message | None:
        """What it says, or nothing."""
        return self._guard.ask(None, lambda: _a_message(self._inner.fails(statement)))

    def begins_again(self) -> None:
        """Tell it so. Raises LostError, if it raises."""
        if not self._guard.ask(False, self._begins_again):
            self._is_lost = True
            raise LostError

    def _begins_again(self) -> bool:
        self._inner.begins_again()
        return True

    def freeze(self) -> State:
        """Its state, and whether it has raised."""
        inner = self._guard.ask(None, lambda: _plain(dict(self._inner.freeze())))
        return {"inner": inner, "is_lost": self._is_lost or inner is None}


def _place(error: Exception) -> str:
    """Where it was raised."""
    trace = error.__traceback__
    while trace is not None and trace.tb_next is not None:
        trace = trace.tb_next
    if trace is None:
        return ""
    return f" ({PurePath(trace.tb_frame.f_code.co_filename).name}, line {trace.tb_lineno})"


# -- What it says must be what it is to say: the session works on with that ------------------------


def _checked(heard: object) -> tuple[Heard, ...]:
    """Raises TypeError."""
    if not isinstance(heard, (tuple, list)):
        raise TypeError(f"hear() gave {heard!r}, not a tuple of Heard")
    for each in heard:
        if not isinstance(each, Heard):
            raise TypeError(f"hear() gave {each!r}, not Heard")
        for statement in each.states:
            _a_statement(statement)
        for key in (*each.settles, *each.takes_back, *each.answers, *each.refuses):
            _a_key(key)
        _a_message(each.reply)
        if not (isinstance(each.half, bytes) and isinstance(each.part, (bytes, type(None)))):
            raise TypeError(f"hear() gave {each!r}, with a part that is no bytes")
    return tuple(heard)


def _a_statement(given: object) -> None:
    if not isinstance(given, Statement):
        raise TypeError(f"{given!r} is no Statement")
    _a_key(given.key)
    if _a_message(given.said) is None:
        raise TypeError(f"{given!r} has no message")


def _a_key(given: object) -> None:
    if not isinstance(given, tuple) or not given:
        raise TypeError(f"{given!r} is no key: a tuple of texts and numbers")
    for part in given:
        if not isinstance(part, (str, int)) or (isinstance(part, int) and abs(part) >= _MAX_NAME):
            raise TypeError(f"{given!r} is no key: a tuple of texts and numbers below 2**63")


def _a_message(given: object) -> Message | None:
    if given is None:
        return None
    if not isinstance(given, tuple) or len(given) != len(Message._fields):
        raise TypeError(f"{given!r} is no Message")
    data, is_text = given
    if not isinstance(data, bytes) or not isinstance(is_text, bool):
        raise TypeError(f"{given!r} is no Message of bytes, and whether they are text")
    if is_text:
        data.decode()
    return Message(data, is_text)


def _a_beat(given: object) -> Beat | None:
    if given is None:
        return None
    if not isinstance(given, Beat) or _a_message(given.message) is None:
        raise TypeError(f"{given!r} is no Beat")
    every = given.every
    if not isinstance(every, (int, float)) or not isfinite(every):
        raise TypeError(f"{given!r} has no seconds")
    if not MIN_BEAT <= every <= MAX_BEAT:
        raise ValueError(f"{every:g} seconds between two beats; allowed: {MIN_BEAT} to {MAX_BEAT}")
    return given


def _plain(state: dict[str, object]) -> dict[str, object]:
    """As it comes to another process. Raises TypeError, or what msgspec does."""
    plain = msgspec.msgpack.decode(msgspec.msgpack.encode(state))
    if not isinstance(plain, dict):
        raise TypeError("freeze() gave no dictionary")
    return plain
