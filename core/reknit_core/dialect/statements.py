"""What a new server must be told: the statements of a session, in the order they were made.

A statement stands from when it is queued until it is settled. When a new server is there, those
go out again whose end lies before the position from which the queue is sent again; the others
stand in the queue anyway. One that awaits an answer holds back what follows it, whether it goes
out from here or once more from the queue.
"""

from collections.abc import Iterator, Mapping
from typing import NamedTuple

from reknit_core.dialect.speech import Key, Message, Statement

MAX_STATEMENT = 64 * 1024  # bytes: a larger one is not kept, and the conversation is lost
MAX_NAME = 1024  # characters of one that a conversation keeps beside its statements
NEVER = 1 << 62  # a position: no server hears so far
OVERHEAD = 128  # bytes that a statement counts beside its message


class Kept(NamedTuple):
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


class _Prefixes:
    """Keys, found by how they begin: a client may have thousands, and take back one by one."""

    __slots__ = ("_keys",)

    def __init__(self) -> None:
        self._keys: dict[Key, dict[Key, None]] = {}  # by each beginning; in the order of add()

    def add(self, key: Key) -> None:
        """One more."""
        for size in range(1, len(key) + 1):
            self._keys.setdefault(key[:size], {})[key] = None

    def discard(self, key: Key) -> None:
        """One less; nothing, where it is not there."""
        for size in range(1, len(key) + 1):
            keys = self._keys.get(key[:size])
            if keys is not None:
                keys.pop(key, None)
                if not keys:
                    del self._keys[key[:size]]

    def below(self, key: Key) -> list[Key]:
        """Those that begin so."""
        return [*self._keys.get(key, ())]


class Statements:
    """The statements of one session. `limit`: bytes that they may take together."""

    __slots__ = ("_kept", "_leaving", "_limit", "_standing", "_unanswered", "size")

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._kept: dict[Key, Kept] = {}
        # Each statement is in one of these three.
        self._standing = _Prefixes()
        self._leaving: dict[Key, None] = {}  # until a server has heard so; the first first
        self._unanswered = _Prefixes()  # until a server says so
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
            self._standing.discard(key)
            self._leaving.pop(key, None)
            self._unanswered.discard(key)

    def take_back(self, key: Key, position: int) -> None:
        """Those whose keys begin so are done when a server has heard the queue to `position`."""
        for each in self._standing.below(key):
            self._standing.discard(each)
            self._stand_until(self._kept[each]._replace(until=position))

    def taken_back(self, key: Key) -> None:
        """The server says that those are done which wait for that."""
        for each in self._unanswered.below(key):
            self.settle(each)

    def heard(self, position: int) -> None:
        """A server has heard the queue up to `position`."""
        while self._leaving:
            key = next(iter(self._leaving))
            until = self._kept[key].until
            if until is None or until > position:
                return
            self.settle(key)

    def answer(self, key: Key) -> bool:
        """The server has answered it; True if the client had had an answer before."""
        kept = self._kept.get(key)
        if kept is None:
            return False
        if not kept.answered:
            self._kept[key] = kept._replace(answered=True)
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
        return [_row(kept) for kept in self]

    def all(self) -> dict[Key, Kept]:
        """All of them, as they are now."""
        return dict(self._kept)

    def since(self, before: Mapping[Key, Kept]) -> tuple[list[list[object]], list[list[object]]]:
        """What has changed since all() gave `before`, as data.

        Keys of those that are gone from their places, and rows of freeze() that are other ones:
        in place of those with the same keys, or behind all.
        """
        gone: list[list[object]] = []
        for key, kept in before.items():
            now = self._kept.get(key)
            if now is None or now.end != kept.end or now.statement is not kept.statement:
                gone.append([*key])
        return gone, [_row(kept) for key, kept in self._kept.items() if before.get(key) is not kept]

    def thaw(self, rows: list[list[object]]) -> None:
        """Take in what freeze() gave in another process."""
        taken = []
        for key, data, is_text, awaits, is_request, *rest in rows:
            said = Message(data, is_text)  # type: ignore[arg-type]
            statement = Statement(tuple(key), said, bool(awaits), bool(is_request))  # type: ignore[arg-type]
            kept = Kept(statement, *rest)  # type: ignore[arg-type]
            self._add(kept)
            if kept.until is not None:
                taken.append((kept.until, kept))
        for _, kept in sorted(taken, key=lambda each: each[0]):
            self._standing.discard(kept.statement.key)
            self._stand_until(kept)

    def _add(self, kept: Kept) -> None:
        self._kept[kept.statement.key] = kept
        self._standing.add(kept.statement.key)
        self.size += _size(kept.statement)

    def _stand_until(self, kept: Kept) -> None:
        """It is taken back."""
        key = kept.statement.key
        self._kept[key] = kept
        if kept.until == NEVER:
            self._unanswered.add(key)
        else:
            self._leaving[key] = None


def _row(kept: Kept) -> list[object]:
    statement = kept.statement
    return [
        [*statement.key],
        *statement.said,
        statement.awaits,
        statement.is_request,
        kept.end,
        kept.answered,
        kept.confirms,
        kept.until,
    ]


def _size(statement: Statement) -> int:
    return len(statement.said.data) + OVERHEAD
