"""Who looks whether all is well, at every step."""

from collections import defaultdict
from collections.abc import Iterable, Mapping

from reknit_core.cluster.states import Book, Node
from reknit_core.cluster.tenure.holdings import LIVE

from reknit.verify.cluster.node import SimulatedNode
from reknit.verify.cluster.store import Store

MAX_NOTED = 20


class Watch:
    """Notes what must not be: `broken`. `lost`: what two faults at once have cost.

    * Of each book, at most one running node is sure.
    * Nothing is written to a connection by a node whose epoch is below the top, unless it is sure.
    * What was confirmed is in the book, or in the memory of a node that has it; what is missing was
      never written ahead, as the store was away, or the store has forgotten it.
    """

    def __init__(self, nodes: Mapping[str, SimulatedNode]) -> None:
        self.broken: list[str] = []
        self.confirmed = 0
        self.lost = 0
        self.now = 0.0
        self._nodes = nodes
        self._items: dict[str, set[int]] = defaultdict(set)  # confirmed, by book
        self._written: dict[str, set[int]] = defaultdict(set)  # and what the store has had

    def note(self, what: str) -> None:
        """That must not be."""
        if len(self.broken) < MAX_NOTED:
            self.broken.append(f"@{self.now:.3f} {what}")

    # -- Sureness ------------------------------------------------------------------------------

    def look_at(self, node: SimulatedNode) -> None:
        """Something has happened there."""
        if not node.is_alive or node.is_paused or not node.tenure.is_sure(node.now):
            return
        mine = [book for book, (state, _) in node.tenure.books.items() if state in LIVE]
        for other in self._nodes.values():
            if other is not node and not other.is_paused and other.tenure.is_sure(other.now):
                for book in mine:
                    if other.is_sure_of(book):
                        self.note(f"two are sure of {book}: {node.name} and {other.name}")

    def confirm(self, node: SimulatedNode, book: str, item: int, stores: Iterable[Store]) -> None:
        """A node has written to a connection."""
        self.confirmed += 1
        self._items[book].add(item)
        for store in stores:
            stream = store.streams.get(book)
            is_below = stream is not None and stream.top[0] > node.memory[book].epoch
            if is_below and not node.is_sure_of(book):
                self.note(f"{node.name} writes to {book}, which is another's")

    # -- What was confirmed --------------------------------------------------------------------

    def written(self, book: str, items: frozenset[int], store: Store) -> None:
        """A store has said that it has these. It may have been another, or have forgotten them."""
        if book in store.streams:
            self._written[book] |= store.streams[book].some(items)

    def forgotten(self, before: Mapping[str, frozenset[int]], store: Store) -> None:
        """The store has gone back to what it is now."""
        for book, items in before.items():
            stream = store.streams.get(book)
            self._written[book] -= items - (frozenset() if stream is None else stream.items)
        self.look_for_losses(store)

    def look_for_losses(self, store: Store) -> None:
        """Everything is somewhere."""
        for book, items in self._items.items():
            missing = set(items)
            for node in self._nodes.values():
                if node.is_alive and book in node.memory:
                    missing -= node.memory[book].items
            if missing and book in store.streams:
                missing -= store.streams[book].items
            if unexplained := missing & self._written[book]:
                self.note(f"{len(unexplained)} of {book} are lost, {min(unexplained)} for one")
            self.lost += len(missing)
            items -= missing

    def ended(self, book: str) -> None:
        """Nobody needs what was in it."""
        self._items.pop(book, None)

    # -- In the end ----------------------------------------------------------------------------

    def unserved(self, store: Store) -> list[str]:
        """Books that have something in them, or are listed, and that nobody serves."""
        books = [*store.listed, *(book for book, items in self._items.items() if items)]
        nodes = self._nodes.values()
        return [book for book in books if not any(node.is_sure_of(book) for node in nodes)]

    def look_at_end(self, store: Store) -> None:
        """All sessions have ended, and all nodes have left."""
        for what, names in (
            ("streams", store.leftovers),
            ("listed books", list(store.listed)),
            ("leases", list(store.look()[0])),
        ):
            if names:
                self.note(f"{what} are left over: {', '.join(sorted(names))}")
        for node in self._nodes.values():
            if node.is_alive and node.tenure.state is not Node.LEFT:
                held = [b for b, (s, _) in node.tenure.books.items() if s is not Book.FREE]
                self.note(f"{node.name} has not left: {node.tenure.state.value}, {held}")
