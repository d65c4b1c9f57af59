"""The books as one node sees them: which it has, which it had, which it has asked for."""

from collections.abc import Iterator, Mapping

from reknit_core.cluster.events import Top
from reknit_core.cluster.states import Book, BookTrigger, move_book

LIVE = (Book.REPLAYING, Book.OWNED)
"""In these states a node that is sure may write to the book's connections."""

_IN_MEMORY = (*LIVE, Book.HELD, Book.RECLAIMING, Book.RELEASING, Book.ENDING)
_KEPT = (*LIVE, Book.RELEASING, Book.ENDING, Book.CLAIMING, Book.RECLAIMING)


class Holding:
    """One book. `epoch`: the one under which this node has it, or had it.

    `in_doubt`: one that this node has asked for, and may have, as the answer was lost; else 0.
    """

    __slots__ = ("epoch", "in_doubt", "name", "state")

    def __init__(self, name: str) -> None:
        self.name = name
        self.state = Book.FREE
        self.epoch = 0
        self.in_doubt = 0

    def move(self, trigger: BookTrigger) -> None:
        """By the table. Raises TenureError."""
        move_book(self, trigger)

    @property
    def is_in_memory(self) -> bool:
        """Whether its sessions are here, or are being read."""
        return self.state in _IN_MEMORY

    @property
    def is_uncertain(self) -> bool:
        """Whether a claim may have been carried out whose answer never came."""
        return self.state is Book.FREE and self.in_doubt > 0

    def is_others(self, top: Top | None, node: str, leases: frozenset[str]) -> bool:
        """Whether that top of its stream says that it is not `node`'s any more.

        A lower epoch is one that the store went back to, unless somebody who is there has it.
        """
        if top is None or top.owner == node:
            return False
        if top.epoch < self.epoch:
            return top.owner in leases
        return top.epoch > self.epoch or top.owner is not None

    def is_behind(self, top: Top | None) -> bool:
        """Whether the store has forgotten something of it, or never had it."""
        return top is None or top.epoch < self.epoch or not top.is_whole

    def may_be_promised(self, epoch: int) -> bool:
        """Whether a node that says to have it at `epoch` can be right."""
        if self.state in _KEPT or max(self.epoch, self.in_doubt) > epoch:
            return False
        return self.state is not Book.HELD or epoch > self.epoch


class Holdings:
    """All books that a node has to do with."""

    __slots__ = ("_by_name",)

    def __init__(self) -> None:
        self._by_name: dict[str, Holding] = {}

    def __iter__(self) -> Iterator[Holding]:
        return iter(list(self._by_name.values()))

    def get(self, name: str) -> Holding | None:
        """The book of that name, if this node has had to do with it."""
        return self._by_name.get(name)

    def open(self, name: str) -> Holding:
        """The book of that name."""
        return self._by_name.setdefault(name, Holding(name))

    def forget(self, name: str) -> None:
        """It is over."""
        self._by_name.pop(name, None)

    def having(self, *states: Book) -> list[Holding]:
        """Those in one of these states."""
        return [each for each in self._by_name.values() if each.state in states]

    @property
    def in_memory(self) -> list[Holding]:
        """Those whose sessions are here."""
        return [each for each in self._by_name.values() if each.is_in_memory]

    @property
    def epochs(self) -> Mapping[str, int]:
        """Those whose sessions are here, with their epochs."""
        return {each.name: each.epoch for each in self.in_memory}
