"""To which node a client is brought that names a session."""

from collections.abc import Mapping
from dataclasses import dataclass, field

import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule
from reknit_core.cluster.directory import (
    MAX_REFUSED,
    Directory,
    Forward,
    Lookup,
    Route,
    Search,
    Step,
)
from reknit_core.cluster.events import Listed
from reknit_core.cluster.preface import Answer
from reknit_core.cluster.states import Book

ADDRESSES = {"a": "192.0.2.1:9302", "b": "192.0.2.2:9302"}
FOUND = Lookup("book", b"nonce")
AT_B = Forward("b", "192.0.2.2:9302")


def directory(
    books: Mapping[str, Listed] | None = None, states: Mapping[str, Book] | None = None
) -> Directory:
    """As node a has it."""
    known = Directory("a", lambda book: (states or {}).get(book, Book.FREE))
    known.see(ADDRESSES, books or {})
    return known


def listed(owner: str, *, released: bool = False) -> Directory:
    return directory({"book": Listed(owner, 1, released)})


def route(known: Directory, *, creates: bool = False) -> Route:
    return Search(known, creates=creates).found(FOUND)


def test_a_session_of_another_node_is_that_ones() -> None:
    assert route(listed("b")) == AT_B
    assert listed("b").address("b") == "192.0.2.2:9302"


def test_what_the_store_does_not_have_is_begun_or_unknown() -> None:
    assert Search(directory(), creates=True).found(None) is Step.CREATE
    assert Search(directory(), creates=False).found(None) is Step.UNKNOWN


@pytest.mark.parametrize("creates", [True, False])
def test_a_book_whose_owner_has_no_lease_is_waited_for(creates: bool) -> None:
    assert route(listed("c"), creates=creates) is Step.HOLD


def test_a_book_that_is_given_up_is_waited_for() -> None:
    assert route(listed("b", released=True)) is Step.HOLD


def test_a_book_that_is_listed_as_this_nodes_and_is_not_held_is_waited_for() -> None:
    assert route(listed("a")) is Step.HOLD


@pytest.mark.parametrize("state", Book)
def test_a_book_of_this_node_counts_as_it_is_and_not_as_it_is_listed(state: Book) -> None:
    outcome = route(directory({"book": Listed("b", 1)}, {"book": state}))

    match state:
        case Book.OWNED:
            assert outcome is Step.ENDED
        case Book.FREE:
            assert outcome == AT_B
        case _:
            assert outcome is Step.HOLD


def test_a_book_in_no_list_is_waited_for_until_two_lists_were_read() -> None:
    known = directory()
    search = Search(known, creates=True)

    assert search.found(FOUND) is Step.HOLD
    known.see(ADDRESSES, {})
    assert search.again() is Step.HOLD  # it may have been read before the store was asked
    known.see(ADDRESSES, {})
    assert search.again() is Step.ENDED


def test_what_has_ended_is_replaced_or_looked_up_again() -> None:
    search = Search(directory({}, {"book": Book.OWNED}), creates=True)
    assert search.found(FOUND) is Step.ENDED

    assert search.replaced(True) is Step.CREATE
    assert search.replaced(False) is Step.LOOK_UP


def test_a_held_client_goes_on_with_the_news() -> None:
    known = listed("c")
    search = Search(known, creates=False)
    assert search.found(FOUND) is Step.HOLD

    known.see(ADDRESSES, {"book": Listed("b", 2)})

    assert search.again() == AT_B
    assert search.answered(Answer.YES) is None


def test_a_node_that_does_not_have_it_is_believed_three_times() -> None:
    search = Search(listed("b"), creates=False)
    search.found(FOUND)

    outcomes = [search.answered(Answer.NO) for _ in range(MAX_REFUSED)]

    assert outcomes == [Step.LOOK_UP, Step.LOOK_UP, Step.GIVE_UP]


@pytest.mark.parametrize(
    ("answer", "outcome"), [(Answer.BUSY, Step.GIVE_UP), (Answer.OTHER, Step.HOLD)]
)
def test_a_node_that_can_not_take_it(answer: Answer, outcome: Step) -> None:
    search = Search(listed("b"), creates=False)
    search.found(FOUND)

    assert search.answered(answer) is outcome


def test_without_an_answer_of_the_store_it_is_asked_again() -> None:
    known = listed("b")
    search = Search(known, creates=True)
    assert search.store_failed() is Step.HOLD
    assert search.again() is Step.LOOK_UP

    assert search.found(FOUND) == AT_B
    assert search.not_reached() is Step.HOLD
    assert search.again() is Step.HOLD  # nothing says that it could be better by now
    known.see(ADDRESSES, {"book": Listed("b", 1)})
    assert search.again() == AT_B
    assert search.store_failed() is Step.HOLD  # by a later look-up, after NO
    assert search.again() is Step.LOOK_UP


# -- A small world ----------------------------------------------------------------------------


@dataclass
class Session:
    """One that clients name. It stays in its book."""

    book: str
    is_alive: bool = True
    is_keyed: bool = True


@dataclass
class World:
    """What is so, whatever anybody knows of it."""

    leases: set[str] = field(default_factory=lambda: {"a", "b", "c"})
    owners: dict[str, str] = field(default_factory=dict)  # by book
    listed: dict[str, Listed] = field(default_factory=dict)
    sessions: list[Session] = field(default_factory=list)


class Homecomings(RuleBasedStateMachine):
    """Node a brings clients home, while it learns late of all that happens."""

    def __init__(self) -> None:
        super().__init__()
        self.world = World()
        self.states: dict[str, Book] = {}
        self.known = Directory("a", lambda book: self.states.get(book, Book.FREE))
        self.reading: dict[str, Listed] | None = None  # a list that is on its way
        self.reading_leases: set[str] = set()
        self.searches: list[tuple[Search, Session, Route]] = []
        self.made = 0

    @rule(node=st.sampled_from("abc"))
    def begin_session_in_new_book(self, node: str) -> None:
        if node not in self.world.leases:
            return
        self.made += 1
        book = f"book-{self.made}"
        self.world.owners[book] = node
        self.world.listed[book] = Listed(node, 1)
        if node == "a":
            self.states[book] = Book.OWNED
        self.world.sessions.append(Session(book))

    @precondition(lambda self: self.world.sessions)
    @rule(data=st.data(), is_unkeyed=st.booleans())
    def end_session(self, data: st.DataObject, is_unkeyed: bool) -> None:
        session = data.draw(st.sampled_from(self.world.sessions))
        session.is_alive = False
        session.is_keyed = session.is_keyed and not is_unkeyed  # else its node died before that

    @rule()
    def end_empty_books(self) -> None:
        for book in list(self.world.owners):
            if not any(each.is_alive and each.book == book for each in self.world.sessions):
                del self.world.owners[book], self.world.listed[book]
                self.states.pop(book, None)

    @rule(node=st.sampled_from("bc"))
    def die_or_come_back(self, node: str) -> None:
        self.world.leases ^= {node}

    @precondition(lambda self: self.world.owners)
    @rule(data=st.data(), by=st.sampled_from("abc"), state=st.sampled_from(Book))
    def claim(self, data: st.DataObject, by: str, state: Book) -> None:
        book = data.draw(st.sampled_from(sorted(self.world.owners)))
        if self.world.owners[book] in self.world.leases or by not in self.world.leases:
            return
        epoch = self.world.listed[book].epoch + 1
        self.world.owners[book] = by
        self.world.listed[book] = Listed(by, epoch)
        if by == "a":
            self.states[book] = Book.REPLAYING

    @rule()
    def replay(self) -> None:
        for book, state in self.states.items():
            if state is Book.REPLAYING:
                self.states[book] = Book.OWNED

    @rule()
    def begin_reading(self) -> None:
        if self.reading is None:
            self.reading = dict(self.world.listed)
            self.reading_leases = set(self.world.leases)

    @precondition(lambda self: self.reading is not None)
    @rule()
    def see(self) -> None:
        assert self.reading is not None
        self.known.see({node: f"at {node}" for node in self.reading_leases}, self.reading)
        self.reading = None
        self.searches = [(search, session, search.again()) for search, session, _ in self.searches]

    @precondition(lambda self: self.world.sessions)
    @rule(data=st.data(), creates=st.booleans())
    def come(self, data: st.DataObject, creates: bool) -> None:
        session = data.draw(st.sampled_from(self.world.sessions))
        search = Search(self.known, creates=creates)
        if session.is_keyed:
            route = search.found(Lookup(session.book, b"nonce"))
            assert route not in (Step.CREATE, Step.UNKNOWN)
            self.searches.append((search, session, route))
        else:
            assert search.found(None) is (Step.CREATE if creates else Step.UNKNOWN)

    @invariant()
    def no_living_session_is_said_to_have_ended(self) -> None:
        for _, session, route in self.searches:
            if route is Step.ENDED and session.is_alive:
                assert self.states.get(session.book) is Book.OWNED, "it is elsewhere"
            if isinstance(route, Forward):
                assert route.node != "a"
                assert route.address == f"at {route.node}"
        self.searches = [each for each in self.searches if each[2] is Step.HOLD]

    def teardown(self) -> None:
        """Once nothing changes any more, everybody gets somewhere."""
        for _ in range(3):
            self.begin_reading()
            self.see()
        for _, session, route in self.searches:
            owner = self.world.owners.get(session.book)
            if owner is None:
                assert route is Step.ENDED
            elif owner != "a" and owner in self.world.leases:
                assert route == Forward(owner, f"at {owner}")


TestHomecomings = Homecomings.TestCase


@given(st.lists(st.sampled_from([*Answer, "again", "lost", "found", "gone"]), max_size=30))
def test_a_client_does_not_go_round_for_ever(events: list[Answer | str]) -> None:
    search = Search(listed("b"), creates=True)
    refused = 0
    for event in events:
        match event:
            case "again":
                search.again()
            case "lost":
                search.store_failed()
            case "found":
                search.found(FOUND)
            case "gone":
                search.not_reached()
            case Answer():
                refused += event is Answer.NO
                outcome = search.answered(event)
                if event is Answer.NO and refused >= MAX_REFUSED:
                    assert outcome is Step.GIVE_UP
