"""Books of a node, and the streams that they are written to, without a store."""

from collections.abc import Iterable
from itertools import count

from crashing_player import WALL
from reknit_core.cluster.bookkeeping import Append, Books, Entry, EntryId, Reading
from reknit_core.session.context import ContextStateMachine


class Streams:
    """What a store holds of books."""

    def __init__(self) -> None:
        self.entries: dict[str, list[Entry]] = {}

    def append(self, appends: Iterable[Append]) -> None:
        for book, place, kind, data, keep_from in appends:
            entries = self.entries.setdefault(book.name, [])
            assert not entries or entries[-1].id < place
            entries.append(Entry(place, kind, bytes(data)))
            if keep_from is not None:
                self.entries[book.name] = [each for each in entries if each.id >= keep_from]

    def commit(self, books: Books, *contexts: ContextStateMachine, now: float = 0.0) -> None:
        self.append(books.commit(contexts, now, WALL + now))

    def read(self, name: str) -> Reading:
        """As who claims it does."""
        reading = Reading()
        for entry in self.entries[name]:
            reading.read(entry)
        assert not reading.problems
        assert not reading.replay.given_up
        return reading

    def size(self, name: str) -> int:
        return sum(len(entry.data) for entry in self.entries[name])

    def top(self, name: str) -> EntryId:
        return self.entries[name][-1].id


def make_books(own: int = 3, node: bytes = b"a") -> Books:
    numbers = count(1)
    return Books(node, own, lambda: f"book-{next(numbers)}")
