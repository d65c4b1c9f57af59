"""What a node has seen of the store over one connection, and what it may conclude from it."""

from hashlib import blake2s

from reknit_core.cluster.events import Listed, Looked, Top
from reknit_core.cluster.tenure.promises import Promises
from reknit_core.cluster.times import Times


class Sight:
    """The store as one connection shows it, since `begun` (seconds).

    A store that has forgotten its newest past has broken each connection. Who was sure then is
    back, and has renewed its lease, or isn't sure any more, once a lease has passed since. So what
    was seen earlier says nothing of who is sure.
    """

    __slots__ = ("_absent", "_missing", "_node", "_times", "begun", "last")

    def __init__(self, node: str, times: Times, begun: float) -> None:
        self._node = node
        self._times = times
        self.begun = begun
        self.last: Looked | None = None
        self._missing: dict[str, float] = {}  # by book: when it was first found to have no stream
        self._absent: dict[str, float] = {}  # by owner: when it was first seen without a lease

    def look(self, seen: Looked) -> None:
        """It looks like this now."""
        self.last = seen
        owners = {listed.owner for listed in seen.books.values()}
        self._absent = {
            owner: self._absent.get(owner, seen.sent_at) for owner in owners - seen.leases
        }

    def is_settled(self, at: float) -> bool:
        """Whether what was asked for at that time says who is sure."""
        return at - self.begun >= self._times.lease

    def is_settled_for(self, book: str, top: Top | None, at: float) -> bool:
        """Whether a book's top, that was asked for at that time, says who is sure of it.

        A store that forgets everything need not break a connection. Whoever is sure of the book
        finds that it is missing, and makes it anew, within a lease.
        """
        if top is not None:
            self._missing.pop(book, None)
            return self.is_settled(at)
        missing_since = self._missing.setdefault(book, at)
        return self.is_settled(at) and at - missing_since >= self._times.lease

    def candidates(self, promises: Promises) -> list[str]:
        """The books that may be claimed as far as the list is right, in this node's own order.

        Each node has another order, so that those who survive one begin with different books.
        """
        if self.last is None:
            return []
        books = [
            book for book, listed in self.last.books.items() if self.allows(book, listed, promises)
        ]
        return sorted(books, key=lambda book: blake2s(f"{book} {self._node}".encode()).digest())

    def allows(self, book: str, listed: Listed, promises: Promises) -> bool:
        """Whether nobody can be sure of a book that has that owner, at that epoch."""
        seen = self.last
        if seen is None or not self.is_settled(seen.sent_at):
            return False
        if listed.released:
            return True
        if promises.binds(book, seen.sent_at):
            return False
        if listed.owner == self._node:
            return True
        return listed.owner not in seen.leases and self._is_known_to(listed.owner, seen)

    def _is_known_to(self, owner: str, seen: Looked) -> bool:
        """Whether the owner, if it has lost the store, had to ask this node for a promise."""
        if self._node in seen.known.get(owner, ()):
            return True
        absent_since = self._absent.get(owner, seen.sent_at)
        return seen.sent_at - absent_since >= self._times.alone + self._times.lease
