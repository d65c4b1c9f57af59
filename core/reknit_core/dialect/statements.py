"""What a new server must be told: the statements of a session, in the order they were made.

A statement stands from when it is queued until it is settled. When a new server is there, those
go out again whose end lies before the position from which the queue is sent again; the others
stand in the queue anyway. One that awaits an answer holds back what follows it, whether it goes
out from here or once more from the queue.
"""

from collections import OrderedDict
from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

from reknit_core.dialect.speech import Key, Message, Statement

MAX_NAME = 1024  # characters of one that a conversation keeps beside its statements
MAX_FORMERS = 8  # of one statement that is said anew before a server has heard the last
NEVER = 1 << 62  # a position: no server hears so far
OVERHEAD = 128  # bytes that a statement counts beside its message


class Kept(NamedTuple):
    """A statement with `end`: the position in the client's queue behind the message that made it.

    `answered`: the client has had the server's answer. `confirms`: the position up to which an
    answer to it says that the server has heard the queue. `until`: the position behind the
    message that takes it back, once a server has heard that; NEVER: until a server says so.
    `formers`: those in whose place it stands, the oldest first, until a server has heard it.
    `place`: in whose order it stands; one that is said anew in its place has the same.
    """

    statement: Statement
    end: int
    answered: bool = False
    confirms: int = 0
    until: int | None = None
    formers: tuple["Kept", ...] = ()
    place: int = 0

    def at(self, position: float) -> "Kept | None":
        """What stands here for a server that goes on from `position` in the queue."""
        versions = (*self.formers, self)
        return next((each for each in reversed(versions) if each.end <= position), None)

    @property
    def unanswered(self) -> "Kept":
        """The first that the client has no answer to; itself, where all are answered."""
        return next((each for each in self.formers if not each.answered), self)

    @property
    def size(self) -> int:
        """Bytes."""
        own = len(self.statement.said.data) + OVERHEAD
        return own + sum(each.size for each in self.formers)


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
    """The statements of one session. `limit`: bytes that they may take, one or all together."""

    __slots__ = (
        "_kept",
        "_leaving",
        "_places",
        "_said_anew",
        "_standing",
        "_unanswered",
        "limit",
        "size",
    )

    def __init__(self, limit: int) -> None:
        self.limit = limit
        self._kept: dict[Key, Kept] = {}
        # Each statement is in one of these three.
        self._standing = _Prefixes()
        # Until a server has heard so; the first first.
        self._leaving: OrderedDict[Key, None] = OrderedDict()
        self._unanswered = _Prefixes()  # until a server says so
        # Those with formers, in the order of their ends.
        self._said_anew: OrderedDict[Key, None] = OrderedDict()
        self._places = 0  # so many have been given
        self.size = 0  # bytes

    def __len__(self) -> int:
        return len(self._kept)

    def __iter__(self) -> Iterator[Kept]:
        return iter([*self._kept.values()])

    def get(self, key: Key) -> Kept | None:
        """The statement with that key."""
        return self._kept.get(key)

    def keep(
        self, statement: Statement, end: int, confirms: int = 0, *, in_place: bool = False
    ) -> bool:
        """Keep a statement; False if it is too large, or they are too many.

        `in_place`: others rest on it, so it stands where an earlier one with its key does; else
        behind all others.
        """
        kept = Kept(statement, end, confirms=confirms)
        former = self._kept.get(statement.key)
        is_too_large = kept.size > self.limit
        if former is None or former.until is not None or is_too_large or not in_place:
            self.settle(statement.key)
            if is_too_large:
                return False
            self._add(kept)
        else:
            self._say_anew(former, kept)
        return self.size <= self.limit

    def _say_anew(self, former: Kept, kept: Kept) -> None:
        formers = (
            () if kept.statement.is_request else (*former.formers, former._replace(formers=()))
        )
        if len(formers) > MAX_FORMERS:
            formers = (*formers[: MAX_FORMERS - 1], formers[-1])
        self._change(former, kept._replace(formers=formers, place=former.place))

    def _change(self, before: Kept, kept: Kept) -> None:
        """It stands in the same place, and is another."""
        key = kept.statement.key
        self._kept[key] = kept
        self.size += kept.size - before.size
        if kept.formers != before.formers:
            self._said_anew.pop(key, None)
            if kept.formers:
                self._said_anew[key] = None

    def settle(self, key: Key) -> None:
        """That statement is done; nothing, where there is none."""
        kept = self._kept.pop(key, None)
        if kept is not None:
            self.size -= kept.size
            self._standing.discard(key)
            self._leaving.pop(key, None)
            self._unanswered.discard(key)
            self._said_anew.pop(key, None)

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
        while self._said_anew:
            anew = self._kept[next(iter(self._said_anew))]
            if anew.end > position:
                break
            self._change(anew, anew._replace(formers=()))
        while self._leaving:
            key = next(iter(self._leaving))
            until = self._kept[key].until
            if until is None or until > position:
                return
            self.settle(key)

    def answer(self, version: Kept) -> bool:
        """The server has answered that one; True if the client had had an answer before."""
        kept = self._kept.get(version.statement.key)
        if kept is None:
            return False
        if kept is version:
            self._kept[version.statement.key] = kept._replace(answered=True)
        else:
            formers = tuple(
                each._replace(answered=True) if each is version else each for each in kept.formers
            )
            self._kept[version.statement.key] = kept._replace(formers=formers)
        return version.answered

    def before(self, position: int) -> list[Kept]:
        """Those that a server which goes on from `position` in the queue would not hear."""
        stood = (kept.at(position) for kept in self._kept.values())
        return [kept for kept in stood if kept is not None]

    def awaiting(self, position: int) -> Kept | None:
        """The first behind `position` that awaits an answer: it holds back what follows it."""
        versions = (each for kept in self._kept.values() for each in (*kept.formers, kept))
        behind = (each for each in versions if each.end > position and each.statement.awaits)
        return min(behind, key=lambda each: each.end, default=None)

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
            if now is None or now.place != kept.place:
                gone.append([*key])
        return gone, [_row(kept) for key, kept in self._kept.items() if before.get(key) is not kept]

    def thaw(self, rows: list[list[object]]) -> None:
        """Take in what freeze() gave in another process."""
        taken = []
        for kept in map(_of_row, rows):
            self._add(kept)
            if kept.until is not None:
                taken.append((kept.until, kept))
        for _, kept in sorted(taken, key=lambda each: each[0]):
            self._standing.discard(kept.statement.key)
            self._stand_until(self._kept[kept.statement.key])
        anew = sorted((kept for kept in self if kept.formers), key=lambda kept: kept.end)
        self._said_anew = OrderedDict.fromkeys(kept.statement.key for kept in anew)

    def _add(self, kept: Kept) -> None:
        self._places += 1
        self._kept[kept.statement.key] = kept._replace(place=self._places)
        self._standing.add(kept.statement.key)
        self.size += kept.size

    def _stand_until(self, kept: Kept) -> None:
        """It is taken back."""
        key = kept.statement.key
        self._kept[key] = kept
        if kept.until == NEVER:
            self._unanswered.add(key)
        else:
            self._leaving[key] = None


def _row(kept: Kept) -> list[object]:
    return [
        [*kept.statement.key],
        *kept.statement.said,
        kept.statement.awaits,
        kept.statement.is_request,
        kept.end,
        kept.answered,
        kept.confirms,
        kept.until,
        [_row(each) for each in kept.formers],
    ]


def _of_row(row: Any) -> Kept:
    key, data, is_text, awaits, is_request, end, answered, confirms, until, *formers = row
    statement = Statement(tuple(key), Message(data, is_text), bool(awaits), bool(is_request))
    versions = tuple(_of_row(each) for each in (formers[0] if formers else ()))
    return Kept(statement, end, answered, confirms, until, versions)
