"""Books: what a node has written down of its sessions in a store that the others read too.

A book is a stream of entries, which is one node's at a time. Its sessions stay in it; the book gets
another owner when its node dies. What it holds are the blocks of a journal, as the files of a
directory do.

    EPOCH-N  o NODE     NODE has claimed it: from here on this epoch is its own
    EPOCH-N  b BLOCK    see reknit_core.durable.records; that of a new file begins with its head
    EPOCH-N  l          nothing: looks whether the epoch is the newest still
    EPOCH-N  r          its owner has released it

The store takes an entry only if its id is above all before it. So who claims a book, with the next
epoch, is alone with it: what an earlier owner still sends is refused.
"""

from collections.abc import Callable, Iterable, Iterator
from typing import NamedTuple

from reknit_core.durable.journal import Journal, is_kept
from reknit_core.durable.records import FILE_HEAD, JournalError
from reknit_core.durable.revival import Replay
from reknit_core.session.context import ContextStateMachine

BLOCK = 256 * 1024  # bytes: who reads a block with its sessions does nothing else meanwhile
FILE = 2**20  # bytes: a book takes up to two of these more than twice what is alive in it

CLAIMED = b"o"
KEPT = b"b"
LOOKED = b"l"
RELEASED = b"r"

_MAGIC = b"reknit"  # no block begins so: it would have some 2 GB


class EntryId(NamedTuple):
    """An entry's place in its stream. `epoch` grows with each claim, `number` with each entry."""

    epoch: int
    number: int

    def __bytes__(self) -> bytes:
        return b"%d-%d" % self

    @classmethod
    def read(cls, text: bytes) -> "EntryId":
        """From what bytes() gives. Raises ValueError."""
        epoch, _, number = text.partition(b"-")
        return cls(int(epoch), int(number))


FIRST = EntryId(1, 0)
"""Of a new book."""


class Entry(NamedTuple):
    """An entry of a book's stream, with its one field."""

    id: EntryId
    kind: bytes
    data: bytes


class Append(NamedTuple):
    """Append that entry to a book; then what it holds before `keep_from` is needed no more.

    `keep_from`: None if nothing is to be removed now. If its kind is CLAIMED, the stream is made
    where there is none; else there must be one.
    """

    book: "Book"
    id: EntryId
    kind: bytes
    data: bytes | bytearray
    keep_from: EntryId | None


class Book:
    """A book that this node owns by `epoch`; the stream's last entry is number `last` of it.

    `past`: bytes that it holds from before, of the contexts that adopt() names.
    """

    __slots__ = ("_begun", "_journal", "_keeps_from", "contexts", "epoch", "last", "name")

    def __init__(self, name: str, epoch: int, last: int, past: int = 0) -> None:
        self.name = name
        self.epoch = epoch
        self.last = last
        self.contexts: dict[ContextStateMachine, None] = {}
        """Those that are kept in it."""
        self._begin(past)

    def _begin(self, past: int) -> None:
        self._journal = Journal(1, past, block=BLOCK, file=FILE)
        self._begun: dict[int, EntryId] = {}  # by the number of a file: its first entry
        self._keeps_from = (
            0 if past else 1
        )  # the number of the oldest file that the store still has

    @property
    def size(self) -> int:
        """Bytes that it holds."""
        return self._journal.size

    @property
    def top(self) -> EntryId:
        """The last entry that was made for it."""
        return EntryId(self.epoch, self.last)

    def entry(self, kind: bytes, data: bytes | bytearray = b"") -> Append:
        """One that is to be appended now."""
        self.last += 1
        return Append(self, self.top, kind, data, self._trim())

    @property
    def is_new(self) -> bool:
        """Whether it has no entry yet."""
        return self.last < 0

    def claim(self, node: bytes) -> Append:
        """The entry that says whose it is, and makes it where the store doesn't have it."""
        return self.entry(CLAIMED, node)

    def adopt(self, context: ContextStateMachine) -> None:
        """It holds this context from before; the next commit() with it writes it anew."""
        self.contexts[context] = None
        self._journal.adopt(context)

    def begin_anew(self, epoch: int) -> None:
        """What the store has of it can't be gone on from: each context is to be written anew.

        `epoch`: the same, or that of another claim.
        """
        if epoch != self.epoch:
            self.epoch = epoch
            self.last = 0
        self._begin(self._journal.size)
        for context in self.contexts:
            self._journal.adopt(context)

    def commit(
        self, contexts: Iterable[ContextStateMachine], now: float, wall: float
    ) -> Iterator[Append]:
        """What is new with these of its contexts; for the times see Journal.commit()."""
        for file, data in self._journal.commit(contexts, now, wall):
            block = self.entry(KEPT, data)
            self._begun.setdefault(file, block.id)
            yield block

    def forget(self, context: ContextStateMachine) -> None:
        """The session is over: the next commit() says so."""
        self.contexts.pop(context, None)
        self._journal.forget(context)

    def _trim(self) -> EntryId | None:
        """From where on it is needed, if that is new."""
        needed = self._journal.needed_from
        if needed <= self._keeps_from or needed not in self._begun:
            return None
        self._keeps_from = needed
        for file in [file for file in self._begun if file < needed]:
            del self._begun[file]
        return self._begun[needed]


class Books:
    """The books of `node`, by their names. New sessions go into `own` of them.

    Those are made when they are first needed; `make_name` gives a name that no other book has.
    """

    def __init__(self, node: bytes, own: int, make_name: Callable[[], str]) -> None:
        self._node = node
        self._make_name = make_name
        self._books: dict[str, Book] = {}
        self._shelf: list[Book | None] = [None] * own  # those that new sessions go into
        self._of: dict[ContextStateMachine, Book] = {}
        self.begun: list[ContextStateMachine] = []
        """Those that have been put into a book since somebody has emptied this."""
        self._ended: dict[Book, None] = {}  # sessions of these are over, and they don't say so yet

    def __iter__(self) -> Iterator[Book]:
        return iter(list(self._books.values()))

    def __len__(self) -> int:
        return len(self._books)

    def get(self, name: str) -> Book | None:
        """The book of that name, if it is this node's."""
        return self._books.get(name)

    @property
    def size(self) -> int:
        """Bytes that all of them hold."""
        return sum(book.size for book in self._books.values())

    def of(self, context: ContextStateMachine) -> Book | None:
        """The book that it is in, if it is kept."""
        return self._of.get(context)

    def add(self, book: Book) -> None:
        """It is this node's from now on, with the contexts that it has."""
        self._books[book.name] = book
        self._of.update(dict.fromkeys(book.contexts, book))
        if None in self._shelf:
            self._shelf[self._shelf.index(None)] = book

    def drop(self, book: Book) -> list[ContextStateMachine]:
        """It is this node's no more; the contexts that were in it."""
        del self._books[book.name]
        self._shelf = [None if each is book else each for each in self._shelf]
        self._ended.pop(book, None)
        for context in book.contexts:
            del self._of[context]
        return list(book.contexts)

    def commit(
        self, contexts: Iterable[ContextStateMachine], now: float, wall: float
    ) -> Iterator[Append]:
        """What is new with these contexts, and which sessions are over, book by book."""
        touched: dict[Book, list[ContextStateMachine]] = {book: [] for book in self._ended}
        self._ended.clear()
        for context in contexts:
            if is_kept(context):
                book = self._of.get(context) or self._put(context)
                touched.setdefault(book, []).append(context)
        for book, its in touched.items():
            if book.is_new:
                yield book.claim(self._node)
            yield from book.commit(its, now, wall)

    def choose(self, nonce: bytes) -> Book:
        """The book for a new session with that nonce: each has its part."""
        place = nonce[-1] % len(self._shelf)
        book = self._shelf[place]
        if book is None:
            book = Book(self._make_name(), FIRST.epoch, FIRST.number - 1)
            self._books[book.name] = self._shelf[place] = book
        return book

    def _put(self, context: ContextStateMachine) -> Book:
        """It is a new session."""
        book = self.choose(context.nonce)
        self.begun.append(context)
        self._of[context] = book
        book.contexts[context] = None
        return book

    def forget(self, context: ContextStateMachine) -> Book | None:
        """The session is over: the next commit() says so. Returns the book that it was in."""
        book = self._of.pop(context, None)
        if book is not None:
            book.forget(context)
            self._ended[book] = None
        return book

    def is_over(self, book: Book) -> bool:
        """Whether nothing is in it, and no new session goes into it."""
        return not book.contexts and book not in self._shelf


class Reading:
    """Reads a book that another node has left, entry by entry, the oldest first.

    `top`: the last entry so far. `size`: bytes of all blocks. `problems`: of those that could not
    be read.
    """

    def __init__(self) -> None:
        self.replay = Replay()
        self.top = EntryId(0, 0)
        self.size = 0
        self.problems: list[JournalError] = []
        self._head = b""

    def read(self, entry: Entry) -> None:
        """The next entry."""
        self.top = entry.id
        if entry.kind != KEPT:
            return
        self.size += len(entry.data)
        if not entry.data.startswith(_MAGIC):
            data = self._head + entry.data
        else:
            data = entry.data
            self._head = data[: len(FILE_HEAD)]
        problem = self.replay.read(data)
        if problem is not None:
            self.problems.append(problem)
