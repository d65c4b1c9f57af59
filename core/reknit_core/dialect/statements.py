"""What a new server must be told: the statements of a session, in the order they were made.

A statement stands from when it is queued until it is settled. When a new server is there, those
go out again whose end lies before the position from which the queue is sent again; the others
stand in the queue anyway. One that awaits an answer holds back what follows it, whether it goes
out from here or once more from the queue.
"""

from collections.abc import Iterator
from dataclasses import dataclass, replace

from reknit_core.dialect.speech import Key, Message, Statement

MAX_STATEMENT = 64 * 1024  # bytes: a larger one is not kept, and the conversation is lost
NEVER = 1 << 62  # a position: no server hears so far
OVERHEAD = 128  # bytes that a statement counts beside its message


@dataclass(frozen=True, slots=True)
class Kept:
    """A statement with `end`: the position in the client's queue behind the message that made it.

    `answered`: the client has had the server's answer. `confirms`: the position up to which an
    answer to it says that the server has heard the queue. `until`: the position behind the
    message that takes it back, once a server has heard that; NEVER: until a server says so.
    """

    statement: Statement
    end: int
    answered: bool = False
    confirms: int = 0
    until: int | None = None


class Statements:
    """The statements of one session. `limit`: bytes that they may take together."""

    __slots__ = ("_kept", "_limit", "_taken_back", "size")

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._kept: dict[Key, Kept] = {}
        self._taken_back = 0  # statements that stand only until a server has heard so
        self.size = 0  # bytes

    def __len__(self) -> int:
        return len(self._kept)

    def __iter__(self) -> Iterator[Kept]:
        return iter([*self._kept.values()])

    def get(self, key: Key) -> Kept | None:
        """The statement with that key."""
        return self._kept.get(key)

    def keep(self, statement: Statement, end: int, confirms: int = 0) -> bool:
        """Keep a statement, behind all others; False if it is too large, or they are too many."""
        self.settle(statement.key)
        if len(statement.said.data) > MAX_STATEMENT:
            return False
        self._add(Kept(statement, end, confirms=confirms))
        return self.size <= self._limit

    def settle(self, key: Key) -> None:
        """That statement is done; nothing, where there is none."""
        kept = self._kept.pop(key, None)
        if kept is not None:
            self.size -= _size(kept.statement)
            self._taken_back -= kept.until is not None

    def take_back(self, key: Key, position: int) -> None:
        """Those whose keys begin so are done when a server has heard the queue to `position`."""
        for kept in self:
            if kept.statement.key[: len(key)] == key and kept.until is None:
                self._kept[kept.statement.key] = replace(kept, until=position)
                self._taken_back += 1

    def taken_back(self, key: Key) -> None:
        """The server says that those are done which wait for that."""
        for kept in self:
            if kept.until == NEVER and kept.statement.key[: len(key)] == key:
                self.settle(kept.statement.key)

    def heard(self, position: int) -> None:
        """A server has heard the queue up to `position`."""
        if not self._taken_back:
            return
        for kept in self:
            if kept.until is not None and kept.until <= position:
                self.settle(kept.statement.key)

    def answer(self, key: Key) -> bool:
        """The server has answered it; True if the client had had an answer before."""
        kept = self._kept.get(key)
        if kept is None:
            return False
        if not kept.answered:
            self._kept[key] = replace(kept, answered=True)
        return kept.answered

    def before(self, position: int) -> list[Kept]:
        """Those that a server which goes on from `position` in the queue would not hear."""
        return [kept for kept in self._kept.values() if kept.end <= position]

    def awaiting(self, position: int) -> Iterator[Kept]:
        """Those behind `position` that await an answer: each holds back what follows it."""
        return (
            kept for kept in self._kept.values() if kept.end > position and kept.statement.awaits
        )

    def freeze(self) -> list[list[object]]:
        """All of them as data."""
        return [
            [
                [*kept.statement.key],
                *kept.statement.said,
                kept.statement.awaits,
                kept.statement.is_request,
                kept.end,
                kept.answered,
                kept.confirms,
                kept.until,
            ]
            for kept in self
        ]

    def thaw(self, rows: list[list[object]]) -> None:
        """Take in what freeze() gave in another process."""
        for key, data, is_text, awaits, is_request, *rest in rows:
            said = Message(data, is_text)  # type: ignore[arg-type]
            statement = Statement(tuple(key), said, bool(awaits), bool(is_request))  # type: ignore[arg-type]
            self._add(Kept(statement, *rest))  # type: ignore[arg-type]

    def _add(self, kept: Kept) -> None:
        self._kept[kept.statement.key] = kept
        self.size += _size(kept.statement)
        self._taken_back += kept.until is not None


def _size(statement: Statement) -> int:
    return len(statement.said.data) + OVERHEAD
