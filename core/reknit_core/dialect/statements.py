"""What a new server must be told: the statements of a session, in the order they were made.

A statement stands from when it is queued until it is settled. When a new server is there, those
go out again whose end lies before the position from which the queue is sent again; the others
stand in the queue anyway. One that awaits an answer holds back what follows it, whether it goes
out from here or once more from the queue.
"""

from collections.abc import Iterator
from dataclasses import dataclass, replace

from reknit_core.dialect.speech import Key, Statement

MAX_STATEMENT = 64 * 1024  # bytes: a larger one is not kept, and the conversation is lost
OVERHEAD = 128  # bytes that a statement counts beside its message


@dataclass(frozen=True, slots=True)
class Kept:
    """A statement with `end`: the position in the client's queue behind the message that made it.

    `answered`: the client has had the server's answer.
    """

    statement: Statement
    end: int
    answered: bool = False


class Statements:
    """The statements of one session. `limit`: bytes that they may take together."""

    __slots__ = ("_kept", "_limit", "size")

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._kept: dict[Key, Kept] = {}
        self.size = 0  # bytes

    def __len__(self) -> int:
        return len(self._kept)

    def __iter__(self) -> Iterator[Kept]:
        return iter([*self._kept.values()])

    def get(self, key: Key) -> Kept | None:
        """The statement with that key."""
        return self._kept.get(key)

    def keep(self, statement: Statement, end: int) -> bool:
        """Keep a statement, behind all others; False if it is too large, or they are too many."""
        self.settle(statement.key)
        self._kept[statement.key] = Kept(statement, end)
        self.size += _size(statement)
        return len(statement.said.data) <= MAX_STATEMENT and self.size <= self._limit

    def settle(self, key: Key) -> None:
        """That statement is done; nothing, where there is none."""
        kept = self._kept.pop(key, None)
        if kept is not None:
            self.size -= _size(kept.statement)

    def answer(self, key: Key) -> bool:
        """The server has answered it; True if the client had had an answer before."""
        kept = self._kept.get(key)
        if kept is None:
            return False
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

    def restore(self, kept: list[Kept]) -> None:
        """Take in what iterating gave in another process."""
        for each in kept:
            self._kept[each.statement.key] = each
            self.size += _size(each.statement)


def _size(statement: Statement) -> int:
    return len(statement.said.data) + OVERHEAD
