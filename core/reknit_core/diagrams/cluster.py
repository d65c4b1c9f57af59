"""The life of a cluster's node, and of a book as a node sees it, from their tables."""

from enum import Enum

from reknit_core.cluster.states import BOOK_TRANSITIONS, NODE_TRANSITIONS, Book, Node
from reknit_core.diagrams.tables import dot, mermaid

NODE_NOTES: dict[Enum, str] = {
    Node.JOINING: "no lease yet",
    Node.SURE: "its lease stands",
    Node.BY_PROMISE: "no store; all others promise",
    Node.STANDING_STILL: "reads and writes nothing",
    Node.LEAVING: "gives its books away",
    Node.LEFT: "over",
}
BOOK_NOTES: dict[Enum, str] = {
    Book.FREE: "another's, or nobody's",
    Book.CLAIMING: "asked for",
    Book.REPLAYING: "ours, is read",
    Book.OWNED: "its sessions are here",
    Book.HELD: "here, and stands still",
    Book.RECLAIMING: "asked for again",
    Book.RELEASING: "is given away",
    Book.ENDING: "has no session any more",
    Book.FENCED: "another has taken it",
}


def node_mermaid() -> list[str]:
    """A node's life as a Mermaid state diagram."""
    return mermaid(NODE_TRANSITIONS, Node.JOINING, Node.LEFT)


def node_dot() -> list[str]:
    """The same as a Graphviz graph."""
    return dot("node", NODE_TRANSITIONS, Node.JOINING, NODE_NOTES, Node.LEFT)


def book_mermaid() -> list[str]:
    """A book's life, as one node sees it, as a Mermaid state diagram."""
    return mermaid(BOOK_TRANSITIONS, Book.FREE)


def book_dot() -> list[str]:
    """The same as a Graphviz graph."""
    return dot("book", BOOK_TRANSITIONS, Book.FREE, BOOK_NOTES)


def cluster_index() -> list[str]:
    """What the page of diagrams says of them."""
    return [
        "## A node of a cluster",
        "",
        "It may write to the connections of its books while it is sure: `sure`, `by_promise` or",
        "`leaving` ([dot](cluster_node.dot)).",
        "",
        "```mermaid",
        *node_mermaid(),
        "```",
        "",
        "## A book, as one node sees it",
        "",
        "[dot](cluster_book.dot)",
        "",
        "```mermaid",
        *book_mermaid(),
        "```",
    ]
