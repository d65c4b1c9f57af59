"""The store as the nodes see it: streams with ids, leases, lists, and a past that it may forget."""

from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any

from reknit_core.cluster.events import Listed, Top

Id = tuple[int, int]
REPLICA_LAG = 0.02  # seconds by which a replica is behind


@dataclass(frozen=True, slots=True)
class Entry:
    """Of a stream. `owner`: in the entry that claims; `items`: of a block.

    `released`: the one that gives the book up; `ended`: the one after which it expires.
    """

    id: Id
    owner: str | None = None
    items: frozenset[int] = frozenset()
    released: bool = False
    ended: bool = False


@dataclass(frozen=True, slots=True)
class Stream:
    """A book's. What was trimmed is gone, but not the top."""

    top: Id = (0, 0)
    entries: tuple[Entry, ...] = ()

    @property
    def items(self) -> frozenset[int]:
        """All that is written in it."""
        return frozenset().union(*(entry.items for entry in self.entries))

    def some(self, items: frozenset[int]) -> frozenset[int]:
        """Those of these that are written in it."""
        for entry in reversed(self.entries):
            if items <= entry.items:
                return items
        return items & self.items


@dataclass(frozen=True, slots=True)
class Refused:
    """The id is not above the top. `top`: what that is; None: there is no stream."""

    top: Top | None


@dataclass
class Store:
    """A primary. Each method is one command, or a pipeline, that is carried out at `now`."""

    clock: Callable[[], float]
    has_replica: bool = False
    streams: dict[str, Stream] = field(default_factory=dict)
    leases: dict[str, float] = field(default_factory=dict)
    known: dict[str, frozenset[str]] = field(default_factory=dict)
    listed: dict[str, Listed] = field(default_factory=dict)
    is_up: bool = True
    is_frozen: bool = False
    is_alone: bool = False
    """Its replica has been made a primary, and it doesn't know."""
    replica_stalls_since: float | None = None
    _undo: deque[tuple[float, dict[str, Any], str, Any]] = field(default_factory=deque)

    # -- What it forgets -----------------------------------------------------------------------

    def _put(self, where: dict[str, Any], key: str, value: Any) -> None:
        now = self.clock()
        self._undo.append((now, where, key, where.get(key)))
        while self._undo[0][0] < now - 30.0:
            self._undo.popleft()
        if value is None:
            where.pop(key, None)
        else:
            where[key] = value

    def roll_back(self, seconds: float) -> None:
        """Go back to what was so long ago."""
        since = self.clock() - seconds
        while self._undo and self._undo[-1][0] > since:
            _, where, key, value = self._undo.pop()
            if value is None:
                where.pop(key, None)
            else:
                where[key] = value

    def forget_all(self) -> None:
        """As after a restart without a disk, or FLUSHALL."""
        for where in (self.streams, self.leases, self.known, self.listed):
            where.clear()
        self._undo.clear()

    @property
    def replicated_until(self) -> float:
        """What was written before is at the replica too (seconds)."""
        stalled = self.replica_stalls_since
        return self.clock() - REPLICA_LAG if stalled is None else stalled

    def promoted(self) -> "Store":
        """The replica, as a primary."""
        other = Store(self.clock, self.has_replica)
        for own, its in (
            (self.streams, other.streams),
            (self.leases, other.leases),
            (self.known, other.known),
            (self.listed, other.listed),
        ):
            its.update(own)  # type: ignore[arg-type]
            other._undo.extend((at, its, key, was) for at, w, key, was in self._undo if w is own)
        other._undo = deque(sorted(other._undo, key=lambda undo: undo[0]))
        other.roll_back(self.clock() - self.replicated_until)
        return other

    # -- Commands ------------------------------------------------------------------------------

    def look(self) -> tuple[frozenset[str], dict[str, Listed], dict[str, frozenset[str]]]:
        """The leases, the list of books, and what owners without a lease knew."""
        now = self.clock()
        leases = frozenset(node for node, until in self.leases.items() if until > now)
        owners = {listed.owner for listed in self.listed.values()} - leases
        known = {owner: self.known[owner] for owner in owners if owner in self.known}
        return leases, dict(self.listed), known

    def renew(self, node: str, known: frozenset[str], lease: float) -> None:
        """A node's lease, and whom it knows."""
        self._put(self.known, node, known)
        self._put(self.leases, node, self.clock() + lease)

    def resign(self, node: str) -> None:
        """Its lease is no more."""
        self._put(self.leases, node, None)

    def top(self, book: str) -> Top | None:
        """The newest epoch, and who claimed it, as the stream or the list has it."""
        stream = self.streams.get(book)
        if stream is None:
            return None
        epoch = stream.top[0]
        owner = next((e.owner for e in stream.entries if e.id == (epoch, 0)), None)
        listed = self.listed.get(book)
        if owner is None and listed is not None and listed.epoch == epoch:
            owner = listed.owner
        last = stream.entries[-1]
        return Top(epoch, owner, last.released, last.ended)

    def claim(self, book: str, epoch: int, node: str, *, makes: bool) -> bool:
        """The entry that claims; whether it was taken."""
        stream = self.streams.get(book)
        if makes is (stream is not None) or (stream and stream.top >= (epoch, 0)):
            return False
        self._append(book, Entry((epoch, 0), owner=node))
        return True

    def append(self, book: str, entry: Entry, *, makes: bool = False) -> Refused | None:
        """A block, or the entry that releases."""
        stream = self.streams.get(book)
        if (stream is None and not makes) or (stream and stream.top >= entry.id):
            return Refused(self.top(book))
        self._append(book, entry)
        return None

    def _append(self, book: str, entry: Entry) -> None:
        stream = self.streams.get(book, Stream())
        self._put(self.streams, book, Stream(entry.id, (*stream.entries, entry)))

    def trim(self, book: str, first: Id) -> None:
        """What was before is needed no more."""
        stream = self.streams[book]
        kept = tuple(entry for entry in stream.entries if entry.id >= first)
        self._put(self.streams, book, replace(stream, entries=kept))

    def enter(self, book: str, listed: Listed) -> None:
        """Whose a book is."""
        self._put(self.listed, book, listed)

    def unlist(self, book: str) -> None:
        """It is in the list no more."""
        self._put(self.listed, book, None)

    @property
    def leftovers(self) -> list[str]:
        """The books that don't expire."""
        return [book for book, stream in self.streams.items() if not stream.entries[-1].ended]
