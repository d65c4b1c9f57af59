"""The two tables of a cluster: what they can reach, and that the machines go the same way."""

from contextlib import suppress
from dataclasses import dataclass
from itertools import product

import pytest
from reknit_core.cluster.states import (
    BOOK_MACHINE,
    BOOK_TRANSITIONS,
    NODE_MACHINE,
    NODE_TRANSITIONS,
    Book,
    BookTrigger,
    Node,
    NodeTrigger,
    TenureError,
    move_book,
    move_node,
)
from transitions import MachineError


@dataclass(slots=True)
class ANode:
    state: Node


@dataclass(slots=True)
class ABook:
    state: Book


@pytest.mark.parametrize(("state", "trigger"), list(product(Node, NodeTrigger)))
def test_a_node_with_every_trigger(state: Node, trigger: NodeTrigger) -> None:
    fired, driven = ANode(state), ANode(state)
    targets = [row.target for row in NODE_TRANSITIONS if row[:2] == (state, trigger)]
    if targets:
        assert [move_node(fired, trigger)] == targets
    else:
        with pytest.raises(TenureError, match=f"no transition for {trigger.value} of a node in"):
            move_node(fired, trigger)
    with suppress(MachineError):
        NODE_MACHINE.events[trigger.name].trigger(driven)
    assert fired.state is driven.state


@pytest.mark.parametrize(("state", "trigger"), list(product(Book, BookTrigger)))
def test_a_book_with_every_trigger(state: Book, trigger: BookTrigger) -> None:
    fired, driven = ABook(state), ABook(state)
    targets = [row.target for row in BOOK_TRANSITIONS if row[:2] == (state, trigger)]
    if targets:
        assert [move_book(fired, trigger)] == targets
    else:
        with pytest.raises(TenureError, match=f"no transition for {trigger.value} of a book in"):
            move_book(fired, trigger)
    with suppress(MachineError):
        BOOK_MACHINE.events[trigger.name].trigger(driven)
    assert fired.state is driven.state


def test_every_state_is_reached_and_only_who_has_left_stays() -> None:
    nodes, books = {Node.JOINING}, {Book.FREE}
    for _ in range(len(Node) + len(Book)):
        nodes |= {row.target for row in NODE_TRANSITIONS if row.source in nodes}
        books |= {row.target for row in BOOK_TRANSITIONS if row.source in books}
    assert (nodes, books) == (set(Node), set(Book))
    assert set(Node) - {row.source for row in NODE_TRANSITIONS} == {Node.LEFT}
    assert set(Book) == {row.source for row in BOOK_TRANSITIONS}


def test_sureness_that_was_lost_is_had_again_by_a_claim_only() -> None:
    ways = {row[:2] for row in BOOK_TRANSITIONS if row.target is Book.OWNED}
    assert ways == {
        (Book.FREE, BookTrigger.BEGAN),
        (Book.REPLAYING, BookTrigger.REPLAYED),
        (Book.RECLAIMING, BookTrigger.CLAIMED),
    }
