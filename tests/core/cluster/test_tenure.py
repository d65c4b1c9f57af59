"""A node's tenure, step by step: what it does with each event, and what it never does."""

from reknit_core.cluster.commands import (
    AskPromise,
    Check,
    Claim,
    Command,
    Drop,
    GoOn,
    List,
    Look,
    Probe,
    Promise,
    Read,
    Renew,
    StandStill,
    WriteAnew,
)
from reknit_core.cluster.events import (
    Began,
    Claimed,
    Found,
    Listed,
    Looked,
    Probed,
    PromiseAsked,
    Promised,
    Renewed,
    Replayed,
    StoreBack,
    StoreLost,
    Top,
)
from reknit_core.cluster.states import Book, Node
from reknit_core.cluster.tenure.tenure import Tenure
from reknit_core.cluster.times import Times

TIMES = Times()
AB = frozenset({"a", "b"})
B = frozenset({"b"})


class Desk:
    """A tenure with its clock, and what came out of it."""

    def __init__(self, name: str = "a") -> None:
        self.tenure = Tenure(name, TIMES)
        self.now = 100.0

    def does(self, *events: object) -> list[Command]:
        """What comes of these events, now."""
        for event in events:
            self.tenure.handle(event, self.now)  # type: ignore[arg-type]
        return self.tenure.commands()

    def wait(self, seconds: float) -> list[Command]:
        """What comes of time that passes without an answer to anything."""
        self.now += seconds
        self.tenure.handle_timeout(self.now)
        return self.tenure.commands()

    def serve(self, seconds: float, leases: frozenset[str] = AB, **books: Listed) -> list[Command]:
        """Let time pass while the store answers looks and renewals; all other commands."""
        until, others = self.now + seconds, []
        queue = self.tenure.commands()
        while True:
            while queue:
                match queue.pop(0):
                    case Look():
                        seen = Looked(self.now, leases, books, {"b": AB})
                        queue += self.does(seen)
                    case Renew() as renew:
                        tops = {b: Top(self.tenure.books[b][1], "a") for b in renew.books}
                        queue += self.does(Renewed(self.now, tops))
                    case other:
                        others.append(other)
            deadline = self.tenure.next_deadline()
            if deadline is None or deadline > until:
                self.now = until
                return others
            self.now = max(self.now, deadline)
            self.tenure.handle_timeout(self.now)
            queue = self.tenure.commands()


def sure() -> Desk:
    """A node with one book of its own."""
    desk = Desk()
    assert desk.does(StoreBack()) == [Look()]
    assert desk.does(Looked(desk.now, B, {})) == [Renew(B, (), compares=True)]
    assert not desk.tenure.is_sure(desk.now)
    assert desk.does(Renewed(desk.now, {})) == [GoOn()]
    assert desk.tenure.is_sure(desk.now)
    desk.does(Began("x", 1))
    assert desk.serve(0.5) == [List("x", "a", 1)]
    return desk


def test_it_is_sure_for_less_than_a_lease_from_when_it_asked() -> None:
    desk = sure()
    desk.serve(10, x=Listed("a", 1))
    desk.now += 3.4
    assert desk.tenure.is_sure(desk.now)
    assert StandStill() in desk.wait(1.2)
    assert not desk.tenure.is_sure(desk.now)
    assert desk.tenure.books["x"] == (Book.HELD, 1)


def test_sureness_that_was_lost_is_regained_by_a_claim() -> None:
    desk = sure()
    desk.serve(10, x=Listed("a", 1))
    desk.wait(6)
    desk.does(Looked(desk.now, B, {"x": Listed("a", 1)}))
    assert Claim("x", 2) in desk.does(Renewed(desk.now, {"x": Top(1, "a")}))
    assert not desk.tenure.is_sure(desk.now)
    commands = desk.does(Claimed("x", 2))
    assert commands == [List("x", "a", 2), WriteAnew("x", 2), GoOn()]
    assert desk.tenure.is_sure(desk.now)


def test_a_book_that_another_has_taken_is_dropped() -> None:
    desk = sure()
    desk.serve(10, x=Listed("a", 1))
    desk.wait(6)
    desk.does(Looked(desk.now, AB, {"x": Listed("b", 2)}))
    commands = desk.does(Renewed(desk.now, {"x": Top(2, "b")}))
    assert [each for each in commands if not isinstance(each, Renew)] == [Drop("x"), GoOn()]


def test_after_too_long_it_gives_up() -> None:
    desk = sure()
    desk.serve(10, x=Listed("a", 1))
    assert desk.wait(70)[:2] == [StandStill(), Drop("x")]
    assert desk.tenure.state is Node.JOINING


def test_a_claim_waits_for_a_lease_and_a_probe() -> None:
    desk = Desk()
    desk.does(StoreBack(), Looked(100.0, AB, {}), Renewed(100.0, {}))
    lost = Listed("b", 7)
    assert desk.serve(4.8, frozenset("a"), y=lost) == []
    assert desk.serve(0.5, frozenset("a"), y=lost) == [Probe("b")]
    assert desk.does(Probed("b", is_sure=False)) == [Check("y")]
    assert desk.does(Found("y", Top(7, "b"))) == [Claim("y", 8)]
    assert desk.does(Claimed("y", 8)) == [List("y", "a", 8), Read("y", 8)]
    desk.does(Replayed("y"))
    assert desk.tenure.books["y"] == (Book.OWNED, 8)


def test_an_owner_that_says_it_is_sure_keeps_its_book() -> None:
    desk = Desk()
    desk.does(StoreBack(), Looked(100.0, AB, {}), Renewed(100.0, {}))
    assert desk.serve(5.3, frozenset("a"), y=Listed("b", 7)) == [Probe("b")]
    assert desk.does(Probed("b", is_sure=True)) == []


def test_without_the_store_it_is_sure_while_all_promise() -> None:
    desk = sure()
    desk.serve(1, x=Listed("a", 1))
    ask = AskPromise(("b",), {"x": 1})
    assert desk.does(StoreLost()) == [ask]
    for _ in range(20):
        desk.does(Promised("b", desk.now, agreed=True))
        assert desk.wait(1) == [ask]
        assert desk.tenure.is_sure(desk.now)
    assert desk.tenure.state is Node.BY_PROMISE
    desk.does(Promised("b", desk.now, agreed=False))
    assert StandStill() in desk.wait(4.5)


def test_it_is_not_sure_by_promise_for_ever() -> None:
    desk = sure()
    desk.does(StoreLost())
    while desk.tenure.is_sure(desk.now) and desk.now < 1000:
        desk.does(Promised("b", desk.now, agreed=True))
        desk.wait(1)
    assert 100 + 600 <= desk.now <= 100 + 602


def test_a_promise_binds() -> None:
    desk = Desk()
    desk.does(StoreBack(), Looked(100.0, AB, {}), Renewed(100.0, {}))
    lost = Listed("b", 7)
    assert desk.serve(4, y=lost) == []
    assert Promise("b", agreed=True) in desk.does(PromiseAsked("b", {"y": 7}))
    assert desk.serve(4.9, frozenset("a"), y=lost) == []
    assert desk.serve(1, frozenset("a"), y=lost) == [Probe("b")]


def test_who_has_claimed_promises_nothing() -> None:
    desk = Desk()
    desk.does(StoreBack(), Looked(100.0, AB, {}), Renewed(100.0, {}))
    desk.serve(5.3, frozenset("a"), y=Listed("b", 7))
    desk.does(Probed("b", is_sure=False), Found("y", Top(7, "b")))
    assert desk.does(PromiseAsked("b", {"y": 7})) == [Promise("b", agreed=False)]
    desk.does(StoreLost())
    assert Promise("b", agreed=False) in desk.does(PromiseAsked("b", {"y": 7}))


def test_who_was_not_known_waits() -> None:
    desk = Desk("c")
    desk.does(StoreBack(), Looked(100.0, frozenset("c"), {}), Renewed(100.0, {}))
    lost, c = Listed("b", 7), frozenset("c")
    assert desk.serve(604, c, y=lost) == []
    assert desk.serve(2, c, y=lost) == [Probe("b")]


def test_a_book_that_is_begun_by_an_unsure_node_stands_still() -> None:
    desk = sure()
    desk.now += 6
    desk.does(Began("y", 1))
    assert desk.tenure.state_of("y") is Book.HELD
