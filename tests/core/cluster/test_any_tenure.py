"""A node's tenure under any events in any order, beside a small model of what it may do.

The model keeps what was said to the node, and works out anew, rule by rule, what that allows. It
never looks into the tenure.
"""

from math import inf
from random import Random

import pytest
from reknit_core.cluster import commands as c
from reknit_core.cluster import events as e
from reknit_core.cluster.states import Book, Node
from reknit_core.cluster.tenure.tenure import Tenure
from reknit_core.cluster.times import Times

TIMES = Times(alone=30.0, patience=12.0)
ME, OTHERS, BOOKS = "a", ("b", "c"), ("x", "y", "z")
LIVE = (Book.REPLAYING, Book.OWNED)
STORE = (c.Look, c.Renew, c.Check, c.Claim, c.List, c.Unlist, c.Read, c.WriteAnew, c.Release, c.End)


class AnyEvents:
    """What may happen, whatever the node does."""

    def __init__(self, random: Random) -> None:
        self.random = random
        self.tenure = Tenure(ME, TIMES)
        self.now = 50.0
        self.step = 0
        self.connected_at: float | None = None
        self.asked: list[tuple[float, c.Command]] = []  # what has no answer yet, and since when
        self.seen: e.Looked | None = None
        self.absent: dict[str, float] = {}
        self.until = -inf  # as lease and promises have it
        self.renewed_at = -inf
        self.chain_began = 0  # the step since which the lease, or promises, have stood
        self.had_at: dict[str, int] = {}  # by book: the step in which it was claimed or begun
        self.promised_by: dict[str, float] = {}
        self.must_promise: tuple[str, ...] = ()
        self.bound: dict[str, float] = {}
        self.leases: frozenset[str] = frozenset()
        self.books: dict[str, e.Listed] = {}
        self.known: dict[str, frozenset[str]] = {}
        self.in_doubt: dict[str, int] = {}  # by book: an epoch that may have been claimed

    # -- Events --------------------------------------------------------------------------------

    def hear(self, event: e.Event) -> None:
        """Tell the node, and look at what it does."""
        self.step += 1
        self._expire()
        if isinstance(event, e.Found):
            self.in_doubt.pop(event.book, None)
        self.tenure.handle(event, self.now)
        self._obey()

    def _expire(self) -> None:
        if self.now >= self.until:
            self.until = -inf

    def _obey(self) -> None:
        for command in self.tenure.commands():
            if isinstance(command, STORE):
                assert self.connected_at is not None, f"{command} without a store"
            if isinstance(command, c.AskPromise):
                self.must_promise = command.nodes
            if isinstance(command, c.Claim):
                self._judge(command)
                self.in_doubt[command.book] = command.epoch
            self.asked.append((self.now, command))
        if self.connected_at is None and not self.must_promise and self.until > -inf:
            until = min(self.now + TIMES.sure, self.renewed_at + TIMES.alone)  # it knew no other
            self.until = max(self.until, until)

    def wait(self, seconds: float) -> None:
        """Time passes, with or without the node noticing."""
        self.now += seconds
        self.step += 1
        self._expire()
        self.tenure.handle_timeout(self.now)
        self._obey()

    def be_punctual(self) -> None:
        """Time passes up to the next deadline, which then is gone."""
        deadline = self.tenure.next_deadline()
        if deadline is not None:
            self.wait(max(0.0, deadline - self.now))
            later = self.tenure.next_deadline()
            assert later is None or later > self.now

    def store_back(self) -> None:
        self.connected_at, self.seen, self.absent = self.now, None, {}
        self.hear(e.StoreBack())

    def store_lost(self) -> None:
        self.connected_at, self.must_promise = None, ()
        self.asked = [each for each in self.asked if not isinstance(each[1], STORE)]
        self.hear(e.StoreLost())

    def _take(self, *kinds: type) -> tuple[float, c.Command] | None:
        """The first such command that has no answer."""
        for each in self.asked:
            if isinstance(each[1], kinds):
                self.asked.remove(each)
                return each
        return None

    def looked(self) -> None:
        if taken := self._take(c.Look):
            self.seen = e.Looked(taken[0], self.leases, self.books, self.known)
            owners = {listed.owner for listed in self.books.values()} - self.leases
            self.absent = {o: self.absent.get(o, taken[0]) for o in owners}
            self.hear(self.seen)

    def be_served(self, seconds: float) -> None:
        """All goes well for a while: what is asked for is answered, as the store is."""
        until = self.now + seconds
        if self.connected_at is None:
            self.store_back()
        while self.now < until and self.tenure.state is not Node.LEFT:
            self.looked()
            self.renewed(dict.fromkeys(BOOKS), own=True)
            self.probed(is_sure=False)
            self.checked()
            self.answered(yes=True, top=None)
            deadline = self.tenure.next_deadline()
            self.wait(max(0.0, min(until, deadline or until) - self.now))

    def checked(self) -> None:
        """A check finds what the list says."""
        if taken := self._take(c.Check):
            assert isinstance(taken[1], c.Check)
            listed = self.books.get(taken[1].book)
            top = listed and e.Top(listed.epoch, listed.owner, listed.released)
            self.hear(e.Found(taken[1].book, top))

    def renewed(self, answers: dict[str, e.Top | None], own: bool) -> None:
        if taken := self._take(c.Renew):
            sent_at, renew = taken
            assert isinstance(renew, c.Renew)
            found = {
                book: e.Top(self.tenure.epoch_of(book), ME) if own else answers[book]
                for book in renew.books
            }
            self._expire()
            if self.now < sent_at + TIMES.sure and self.tenure.state is not Node.LEFT:
                if self.until == -inf:
                    self.chain_began = self.step + 1
                self.until = max(self.until, sent_at + TIMES.sure)
                self.renewed_at = sent_at
            self.hear(e.Renewed(sent_at, found))

    def answered(self, yes: bool, top: e.Top | None) -> None:
        """A claim, a check, a reading, a release."""
        taken = self._take(c.Claim, c.Check, c.Read, c.Release, c.End)
        match taken and taken[1]:
            case c.Claim(book, epoch):
                if yes:
                    self.had_at[book] = self.step + 1
                self.in_doubt.pop(book, None)
                self.hear(e.Claimed(book, epoch) if yes else e.ClaimRefused(book, epoch))
            case c.Check(book):
                self.hear(e.Found(book, top))
            case c.Read(book):
                self.hear(e.Replayed(book))
            case c.Release(book) | c.End(book):
                self.hear(e.Released(book))

    def write_was_refused(self, book: str, top: e.Top | None) -> None:
        self.hear(e.Found(book, top))

    def promised(self, node: str, agreed: bool) -> None:
        if taken := self._take(c.AskPromise):
            sent_at, ask = taken
            assert isinstance(ask, c.AskPromise)
            for each in ask.nodes:
                if each == node or agreed:
                    self._promised(each, sent_at, agreed)

    def _promised(self, node: str, sent_at: float, agreed: bool) -> None:
        if agreed:
            self.promised_by[node] = max(sent_at, self.promised_by.get(node, sent_at))
        else:
            self.promised_by.pop(node, None)
        self._expire()
        if self.until > -inf:
            given = [self.promised_by.get(each, -inf) for each in self.must_promise]
            asked_at = min(given, default=-inf)
            until = min(asked_at + TIMES.sure, self.renewed_at + TIMES.alone)
            self.until = max(self.until, until)
        self.hear(e.Promised(node, sent_at, agreed))

    def promise_asked(self, node: str, book: str, epoch: int) -> None:
        self.hear(e.PromiseAsked(node, {book: epoch}))
        taken = self._take(c.Promise)
        if self.tenure.state is Node.LEFT:
            assert taken is None
            return
        assert taken is not None
        answer = taken[1]
        assert isinstance(answer, c.Promise)
        if answer.agreed:
            assert self.tenure.state_of(book) not in LIVE
            assert self.in_doubt.get(book, 0) <= epoch
            self.bound[book] = self.now + TIMES.lease

    def probed(self, is_sure: bool) -> None:
        if taken := self._take(c.Probe):
            assert isinstance(taken[1], c.Probe)
            self.hear(e.Probed(taken[1].node, is_sure))

    def begin(self, book: str) -> None:
        is_new = self.tenure.state is Node.SURE and book not in self.tenure.books
        if is_new and (self.seen is None or book not in self.seen.books):
            self.had_at[book] = self.step + 1
            self.hear(e.Began(book, 1))

    def emptied(self, book: str) -> None:
        if self.tenure.state_of(book) is Book.OWNED:
            self.hear(e.Emptied(book))

    def leave(self) -> None:
        self.hear(e.Leave(self.now + 5.0))

    # -- By chance -----------------------------------------------------------------------------

    def do_something(self) -> None:
        """Anything, mostly what leads on."""
        random = self.random
        match random.choice("sssssswwwwlbnnppptarcuuxeL"):
            case "s":
                self.be_served(random.choice((0.5, 2.0, 6.0)))
            case "w":
                self.wait(random.choice((0.0, 0.01, 0.3, 1.0, 4.6, 8.0, 20.0)))
            case "l" if self.connected_at is not None:
                self.store_lost()
            case "b" if self.connected_at is None:
                self.store_back()
            case "n":
                self.be_punctual()
            case "p":
                self.promised(random.choice(OTHERS), random.random() < 0.8)
            case "t":
                self.promise_asked(random.choice(OTHERS), random.choice(BOOKS), self._epoch())
            case "a":
                self.answered(random.random() < 0.7, self._top())
            case "r":
                self.renewed({book: self._top() for book in BOOKS}, own=random.random() < 0.3)
            case "c":
                self.looked()
            case "u":
                self._change_store()
            case "x" if self.connected_at is not None:
                self.write_was_refused(random.choice(BOOKS), self._top())
            case "e":
                self.emptied(random.choice(BOOKS))
                self.begin(random.choice(BOOKS))
                self.probed(random.random() < 0.3)
            case "L" if random.random() < 0.1:
                self.leave()
        self.is_sure_only_as_long_as_it_may()
        self.what_it_has_was_claimed_since_it_was_last_unsure()
        self.who_has_left_has_nothing()

    def _epoch(self) -> int:
        return self.random.randint(1, 4)

    def _some_nodes(self) -> frozenset[str]:
        return frozenset(node for node in (ME, *OTHERS) if self.random.random() < 0.6)

    def _top(self) -> e.Top | None:
        random = self.random
        if random.random() < 0.2:
            return None
        owner = random.choice((ME, *OTHERS, None))
        return e.Top(self._epoch(), owner, random.random() < 0.1, is_whole=random.random() < 0.5)

    def _change_store(self) -> None:
        random = self.random
        self.leases = self._some_nodes()
        self.known = {node: self._some_nodes() for node in OTHERS if random.random() < 0.7}
        self.books = {
            book: e.Listed(random.choice((ME, *OTHERS)), self._epoch(), random.random() < 0.1)
            for book in BOOKS
            if random.random() < 0.6
        }

    # -- What may be ---------------------------------------------------------------------------

    def _judge(self, claim: c.Claim) -> None:
        """Rules 3 to 5, from what was said."""
        assert self.connected_at is not None
        assert self.seen is not None
        if self.tenure.state is Node.STANDING_STILL:
            at = self.renewed_at
            assert at - self.connected_at >= TIMES.lease
            assert self.bound.get(claim.book, -inf) <= at
            return
        assert self.tenure.state is Node.SURE
        assert not claim.makes
        at, listed = self.seen.sent_at, self.seen.books[claim.book]
        assert at - self.connected_at >= TIMES.lease
        assert claim.epoch <= listed.epoch + 1
        if self.bound.get(claim.book, -inf) > at:
            return  # the stream says that it is released
        if listed.owner == ME or listed.released:
            return
        assert listed.owner not in self.seen.leases or claim.epoch <= listed.epoch + 1
        if listed.owner not in self.seen.leases:
            was_known = ME in self.seen.known.get(listed.owner, ())
            waited = at - self.absent[listed.owner]
            assert was_known or waited >= TIMES.alone + TIMES.lease

    def is_sure_only_as_long_as_it_may(self) -> None:
        if self.tenure.is_sure(self.now):
            assert self.now < self.until

    def what_it_has_was_claimed_since_it_was_last_unsure(self) -> None:
        if self.tenure.is_sure(self.now):
            for book, (state, _) in self.tenure.books.items():
                if state in LIVE:
                    assert self.had_at[book] >= self.chain_began

    def who_has_left_has_nothing(self) -> None:
        if self.tenure.state is Node.LEFT:
            assert not self.tenure.is_sure(self.now)
            assert self.tenure.next_deadline() is None


SEEDS = 150
STEPS = 60


@pytest.mark.parametrize("seed", range(0, SEEDS, 10))
def test_any_events(seed: int) -> None:
    for each in range(seed, seed + 10):
        play(each)


def play(seed: int) -> None:
    """One life. To see one again, play its seed."""
    node = AnyEvents(Random(seed))
    for _ in range(STEPS):
        node.do_something()
