"""The states of a node, and those of a book as one node sees it, with their two tables.

A node is sure as long as no other may claim its books: it alone may write to their connections.

* It is `sure` by its lease in the store, and `by_promise` while it has lost the store and all the
  nodes that it knew promise to claim nothing.
* Sureness that was lost is lost: it stands still, and has its books again only by claims.
* After standing still for too long it gives them up and begins anew; others have claimed them, or
  will, or it does itself.

A book that is `held` or `reclaiming` is one in memory that stands still; one that is `replaying`
is this node's, and is being read. Whoever loses a book to another node drops it at once, whatever
it was doing.
"""

from enum import Enum
from typing import NamedTuple, Protocol

from reknit_core.table import machine_of, read_table


class Node(Enum):
    """Where a node is in its life."""

    JOINING = "joining"
    SURE = "sure"
    BY_PROMISE = "by_promise"
    STANDING_STILL = "standing_still"
    LEAVING = "leaving"
    LEFT = "left"


class NodeTrigger(Enum):
    """What moves a node from one state to the next."""

    RENEWED = "renewed"
    PROMISED = "promised"
    SURENESS_ENDED = "sureness_ended"
    REGAINED = "regained"
    GAVE_UP = "gave_up"
    LEAVE = "leave"
    NOTHING_LEFT = "nothing_left"


class NodeTransition(NamedTuple):
    """One row of the node's table."""

    source: Node
    trigger: NodeTrigger
    target: Node


class Book(Enum):
    """Where a book is, as one node sees it."""

    FREE = "free"
    CLAIMING = "claiming"
    REPLAYING = "replaying"
    OWNED = "owned"
    HELD = "held"
    RECLAIMING = "reclaiming"
    RELEASING = "releasing"
    ENDING = "ending"
    FENCED = "fenced"


class BookTrigger(Enum):
    """What moves a book from one state to the next."""

    BEGAN = "began"
    CLAIM = "claim"
    CLAIMED = "claimed"
    CLAIM_REFUSED = "claim_refused"
    REPLAYED = "replayed"
    STORE_LOST = "store_lost"
    SURENESS_ENDED = "sureness_ended"
    TAKEN = "taken"
    GAVE_UP = "gave_up"
    RELEASE = "release"
    EMPTIED = "emptied"
    RELEASED = "released"
    LISTED = "listed"


class BookTransition(NamedTuple):
    """One row of the book's table."""

    source: Book
    trigger: BookTrigger
    target: Book


NODE_TRANSITIONS: tuple[NodeTransition, ...] = (
    NodeTransition(Node.JOINING, NodeTrigger.RENEWED, Node.SURE),
    NodeTransition(Node.JOINING, NodeTrigger.LEAVE, Node.LEFT),
    #
    NodeTransition(Node.SURE, NodeTrigger.PROMISED, Node.BY_PROMISE),
    NodeTransition(Node.SURE, NodeTrigger.SURENESS_ENDED, Node.STANDING_STILL),
    NodeTransition(Node.SURE, NodeTrigger.LEAVE, Node.LEAVING),
    #
    NodeTransition(Node.BY_PROMISE, NodeTrigger.RENEWED, Node.SURE),
    NodeTransition(Node.BY_PROMISE, NodeTrigger.SURENESS_ENDED, Node.STANDING_STILL),
    NodeTransition(Node.BY_PROMISE, NodeTrigger.LEAVE, Node.LEAVING),
    #
    NodeTransition(Node.STANDING_STILL, NodeTrigger.REGAINED, Node.SURE),
    NodeTransition(Node.STANDING_STILL, NodeTrigger.GAVE_UP, Node.JOINING),
    NodeTransition(Node.STANDING_STILL, NodeTrigger.LEAVE, Node.LEFT),
    #
    NodeTransition(Node.LEAVING, NodeTrigger.NOTHING_LEFT, Node.LEFT),
    NodeTransition(Node.LEAVING, NodeTrigger.SURENESS_ENDED, Node.LEFT),
)

BOOK_TRANSITIONS: tuple[BookTransition, ...] = (
    BookTransition(Book.FREE, BookTrigger.BEGAN, Book.OWNED),
    BookTransition(Book.FREE, BookTrigger.CLAIM, Book.CLAIMING),
    #
    BookTransition(Book.CLAIMING, BookTrigger.CLAIMED, Book.REPLAYING),
    BookTransition(Book.CLAIMING, BookTrigger.CLAIM_REFUSED, Book.FREE),
    BookTransition(Book.CLAIMING, BookTrigger.STORE_LOST, Book.FREE),
    BookTransition(Book.CLAIMING, BookTrigger.SURENESS_ENDED, Book.FREE),
    #
    BookTransition(Book.REPLAYING, BookTrigger.REPLAYED, Book.OWNED),
    BookTransition(Book.REPLAYING, BookTrigger.STORE_LOST, Book.FREE),
    BookTransition(Book.REPLAYING, BookTrigger.SURENESS_ENDED, Book.FREE),
    BookTransition(Book.REPLAYING, BookTrigger.TAKEN, Book.FENCED),
    #
    BookTransition(Book.OWNED, BookTrigger.SURENESS_ENDED, Book.HELD),
    BookTransition(Book.OWNED, BookTrigger.TAKEN, Book.FENCED),
    BookTransition(Book.OWNED, BookTrigger.RELEASE, Book.RELEASING),
    BookTransition(Book.OWNED, BookTrigger.EMPTIED, Book.ENDING),
    #
    BookTransition(Book.HELD, BookTrigger.CLAIM, Book.RECLAIMING),
    BookTransition(Book.HELD, BookTrigger.TAKEN, Book.FENCED),
    BookTransition(Book.HELD, BookTrigger.GAVE_UP, Book.FREE),
    #
    BookTransition(Book.RECLAIMING, BookTrigger.CLAIMED, Book.OWNED),
    BookTransition(Book.RECLAIMING, BookTrigger.CLAIM_REFUSED, Book.HELD),
    BookTransition(Book.RECLAIMING, BookTrigger.STORE_LOST, Book.HELD),
    BookTransition(Book.RECLAIMING, BookTrigger.SURENESS_ENDED, Book.HELD),
    BookTransition(Book.RECLAIMING, BookTrigger.TAKEN, Book.FENCED),
    BookTransition(Book.RECLAIMING, BookTrigger.GAVE_UP, Book.FREE),
    #
    BookTransition(Book.RELEASING, BookTrigger.RELEASED, Book.FREE),
    BookTransition(Book.RELEASING, BookTrigger.TAKEN, Book.FENCED),
    BookTransition(Book.RELEASING, BookTrigger.SURENESS_ENDED, Book.FREE),
    #
    BookTransition(Book.ENDING, BookTrigger.RELEASED, Book.FREE),
    BookTransition(Book.ENDING, BookTrigger.TAKEN, Book.FENCED),
    BookTransition(Book.ENDING, BookTrigger.SURENESS_ENDED, Book.FREE),
    #
    BookTransition(Book.FENCED, BookTrigger.LISTED, Book.FREE),
)

NODE_MACHINE = machine_of(Node, NODE_TRANSITIONS, Node.JOINING)
BOOK_MACHINE = machine_of(Book, BOOK_TRANSITIONS, Book.FREE)
_NEXT_NODE = read_table(NODE_MACHINE, Node, NodeTrigger)
_NEXT_BOOK = read_table(BOOK_MACHINE, Book, BookTrigger)


class ANode(Protocol):
    """What the node's table moves."""

    state: Node


class ABook(Protocol):
    """What the book's table moves."""

    state: Book


class TenureError(Exception):
    """A trigger that the table doesn't allow in that state: a bug in the caller."""


def move_node(node: ANode, trigger: NodeTrigger) -> Node:
    """Move it, and return its new state. Raises TenureError, with nothing changed."""
    target = _NEXT_NODE.get((node.state, trigger))
    if target is None:
        raise TenureError(f"no transition for {trigger.value} of a node in {node.state.value}")
    node.state = target
    return target


def move_book(book: ABook, trigger: BookTrigger) -> Book:
    """Move it, and return its new state. Raises TenureError, with nothing changed."""
    target = _NEXT_BOOK.get((book.state, trigger))
    if target is None:
        raise TenureError(f"no transition for {trigger.value} of a book in {book.state.value}")
    book.state = target
    return target


def may(book: ABook, trigger: BookTrigger) -> bool:
    """Whether the table has such a row."""
    return (book.state, trigger) in _NEXT_BOOK
