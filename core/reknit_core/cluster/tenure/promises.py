"""Promises not to claim: whom a node must ask for one, what it was promised, what it promises."""

from collections.abc import Iterable
from math import inf

from reknit_core.cluster.times import Times


class Acquaintances:
    """The nodes whose promise this one needs when it has lost the store.

    Who may claim a node's books at once is named in the store as one that this node knew. So all
    that are named there must be asked: also one that was named, and that isn't any more, for as
    long as the store may forget that. And who may come in when the store forgets a claim: the
    former owner, and those that it knew.
    """

    __slots__ = ("_times", "_until")

    def __init__(self, times: Times) -> None:
        self._times = times
        self._until: dict[str, float] = {}  # by node

    @property
    def names(self) -> tuple[str, ...]:
        """All of them."""
        return tuple(sorted(self._until))

    def meet(self, nodes: Iterable[str]) -> None:
        """These have a lease, and are about to be named in the store."""
        self._until.update(dict.fromkeys(nodes, inf))

    def named(self, nodes: frozenset[str], now: float) -> None:
        """The store has it that these are known, and no others."""
        for node, until in list(self._until.items()):
            if node not in nodes and until == inf:
                self._until[node] = now + self._times.forgets
            elif until < now:
                del self._until[node]

    def succeed(self, nodes: Iterable[str], now: float) -> None:
        """Books of these, or that these may claim, are being claimed."""
        until = now + self._times.lease + self._times.forgets
        for node in nodes:
            self._until[node] = max(until, self._until.get(node, until))


class Promises:
    """What other nodes have promised to this one, and what it has promised them."""

    __slots__ = ("_bound", "_given", "_times")

    def __init__(self, times: Times) -> None:
        self._times = times
        self._given: dict[str, float] = {}  # by node: when what it agreed to was asked
        self._bound: dict[str, float] = {}  # by book: until when it must not be claimed here

    def answered(self, node: str, asked_at: float, *, agreed: bool) -> None:
        """A node has agreed, or not."""
        if agreed:
            self._given[node] = max(asked_at, self._given.get(node, asked_at))
        else:
            self._given.pop(node, None)

    def sure_until(self, nodes: Iterable[str], now: float) -> float:
        """Until when all these promise to claim nothing; who needs none has them all."""
        asked_at = min((self._given.get(node, -inf) for node in nodes), default=now)
        return asked_at + self._times.sure

    def bind(self, books: Iterable[str], now: float) -> None:
        """Promise not to claim these for a lease."""
        old = now - self._times.alone  # what was seen of the store while one stood may be used yet
        self._bound = {book: until for book, until in self._bound.items() if until > old}
        self._bound.update(dict.fromkeys(books, now + self._times.lease))

    def binds(self, book: str, at: float) -> bool:
        """Whether a promise stands at that time. It does so whether or not the store is there."""
        return self._bound.get(book, -inf) > at
