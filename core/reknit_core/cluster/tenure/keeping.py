"""The books of one node: what the store says of each, and what is to be done with it."""

from collections.abc import Mapping

from reknit_core.cluster.commands import (
    Check,
    Command,
    Drop,
    End,
    List,
    Read,
    Release,
    WriteAnew,
)
from reknit_core.cluster.events import Claimed, ClaimRefused, Found, Looked, Top
from reknit_core.cluster.states import Book, BookTrigger, may
from reknit_core.cluster.tenure.claiming import Claiming
from reknit_core.cluster.tenure.holdings import Holding, Holdings
from reknit_core.cluster.tenure.promises import Acquaintances, Promises
from reknit_core.cluster.tenure.sight import Sight

_GOING = (Book.RELEASING, Book.ENDING)


class Keeping:
    """Moves the node's books by their table. Commands go to `out`.

    `sight`, where it is passed, is what the store looks like over the connection that there is.
    """

    __slots__ = ("_node", "_out", "_promises", "claiming", "holdings")

    def __init__(
        self,
        node: str,
        promises: Promises,
        acquaintances: Acquaintances,
        out: list[Command],
    ) -> None:
        self._node = node
        self._promises = promises
        self._out = out
        self.holdings = Holdings()
        self.claiming = Claiming(node, self.holdings, promises, acquaintances, out)

    @property
    def stands_still(self) -> bool:
        """Whether a book waits to be claimed again."""
        return bool(self.holdings.having(Book.HELD, Book.RECLAIMING))

    @property
    def is_empty(self) -> bool:
        """Whether nothing is here, and nothing is about to be."""
        return not self.holdings.in_memory and not self.holdings.having(Book.CLAIMING)

    @property
    def has_some(self) -> bool:
        """Whether a book could be released."""
        return bool(self.holdings.having(Book.OWNED))

    def may_promise(self, books: Mapping[str, int]) -> bool:
        """Whether a node can be right that it has these, at those epochs."""
        return all(
            (holding := self.holdings.get(book)) is None or holding.may_be_promised(epoch)
            for book, epoch in books.items()
        )

    # -- By this node --------------------------------------------------------------------------

    def begin(self, book: str, epoch: int, *, connected: bool) -> None:
        """A new one. It is listed before anything is in it: else nobody would look for it."""
        holding = self.holdings.open(book)
        holding.epoch = epoch
        holding.move(BookTrigger.BEGAN)
        if connected:
            self._out.append(List(book, self._node, epoch))

    def replayed(self, book: str) -> None:
        """It has been read; unless it was lost meanwhile, it is in use."""
        holding = self.holdings.open(book)
        if may(holding, BookTrigger.REPLAYED):
            holding.move(BookTrigger.REPLAYED)

    def emptied(self, book: str, *, connected: bool) -> None:
        """It is over: say so in the store, now or when that is back."""
        holding = self.holdings.open(book)
        if may(holding, BookTrigger.EMPTIED):
            holding.move(BookTrigger.EMPTIED)
            if connected:
                self._out.append(End(book, holding.epoch))

    def release_one(self) -> None:
        """Give the next one to whoever claims it."""
        for holding in self.holdings.having(Book.OWNED)[:1]:
            holding.move(BookTrigger.RELEASE)
            self._out.append(Release(holding.name, holding.epoch))

    def released(self, book: str) -> None:
        """Nothing of it is here any more."""
        holding = self.holdings.open(book)
        if may(holding, BookTrigger.RELEASED):
            holding.move(BookTrigger.RELEASED)

    # -- By the clock --------------------------------------------------------------------------

    def lose_store(self) -> None:
        """What was asked for has no answer, and what is being read can't be read on."""
        self.claiming.stop()
        self._move_all(BookTrigger.STORE_LOST)

    def lose_sureness(self) -> None:
        """What is in memory stands still, and nothing more is claimed."""
        self.claiming.stop()
        self._move_all(BookTrigger.SURENESS_ENDED)

    def give_up(self) -> None:
        """What stands still is dropped."""
        self._move_all(BookTrigger.GAVE_UP)

    def _move_all(self, trigger: BookTrigger) -> None:
        for holding in self.holdings:
            if may(holding, trigger):
                self._move(holding, trigger)

    def _move(self, holding: Holding, trigger: BookTrigger) -> None:
        """If its sessions were here, and are no more, they are dropped."""
        was_in_memory = holding.is_in_memory
        holding.move(trigger)
        if was_in_memory and not holding.is_in_memory:
            self._out.append(Drop(holding.name))

    # -- By the store --------------------------------------------------------------------------

    def listed(self, seen: Looked) -> None:
        """The list of books: it says whose ours are, and a fenced one is like any other's again."""
        for holding in self.holdings:
            listed = seen.books.get(holding.name)
            match holding.state:
                case Book.OWNED if listed is None or (listed.owner, listed.epoch) != (
                    self._node,
                    holding.epoch,
                ):
                    self._out.append(List(holding.name, self._node, holding.epoch))
                case Book.FENCED if listed is not None:
                    holding.move(BookTrigger.LISTED)
                case Book.FREE | Book.FENCED if listed is None and not holding.is_uncertain:
                    self.holdings.forget(holding.name)

    def renewed(self, holding: Holding, top: Top | None, sight: Sight, sent_at: float) -> None:
        """The top of a book in memory, as it was found with a renewal sent at `sent_at`."""
        if self._is_taken(holding, top, sight):
            self._move(holding, BookTrigger.TAKEN)
        elif holding.state is Book.HELD:
            self._reclaim(holding, top, sight, sent_at)
        else:
            self._mend(holding, top)

    def _reclaim(self, holding: Holding, top: Top | None, sight: Sight, sent_at: float) -> None:
        """Have a book again that stands still, if the store says that it is this node's."""
        if top is not None and top.epoch == holding.epoch and top.owner != self._node:
            return  # asked for before it stood still: whose it is was not looked up
        is_settled = sight.is_settled_for(holding.name, top, sent_at)
        if is_settled and not self._promises.binds(holding.name, sent_at):
            self.claiming.claim(holding, top)

    def finish(self, holding: Holding, top: Top | None) -> None:
        """What was to be written when the last connection broke is written now, if it was not."""
        if top is not None and (top.released or top.ended):
            self._move(holding, BookTrigger.RELEASED)
            return
        if holding.is_behind(top):
            self._write_anew(holding)
        if holding.state is Book.RELEASING:
            self._out.append(Release(holding.name, holding.epoch))
        elif holding.state is Book.ENDING:
            self._out.append(End(holding.name, holding.epoch))

    def found(self, found: Found, sight: Sight, now: float) -> None:
        """The top of any book."""
        if self.claiming.found(found, sight, now):
            return
        holding = self.holdings.get(found.book)
        if holding is None:
            return
        if holding.is_in_memory:
            if self._is_taken(holding, found.top, sight):
                self._move(holding, BookTrigger.TAKEN)
            elif holding.state in _GOING:
                self.finish(holding, found.top)
            else:
                self._mend(holding, found.top)
        elif holding.is_uncertain:
            self._clear_up(holding, found.top)

    def check_uncertain(self) -> None:
        """Look what became of claims whose answers were lost."""
        for holding in self.holdings:
            if holding.is_uncertain:
                self._out.append(Check(holding.name))

    def claimed(self, claimed: Claimed) -> None:
        """It has a new epoch, which is this node's."""
        holding = self.holdings.open(claimed.book)
        self._out.append(List(claimed.book, self._node, claimed.epoch))
        was = holding.state
        if not may(holding, BookTrigger.CLAIMED):
            return  # sureness has ended meanwhile: it is claimed anew, as one that is listed
        holding.epoch, holding.in_doubt = claimed.epoch, 0
        holding.move(BookTrigger.CLAIMED)
        if was is Book.CLAIMING:
            self._out.append(Read(claimed.book, claimed.epoch))
        else:
            self._out.append(WriteAnew(claimed.book, claimed.epoch))

    def claim_refused(self, refused: ClaimRefused) -> None:
        """Somebody was faster."""
        holding = self.holdings.open(refused.book)
        holding.in_doubt = 0
        if may(holding, BookTrigger.CLAIM_REFUSED):
            holding.move(BookTrigger.CLAIM_REFUSED)

    def _is_taken(self, holding: Holding, top: Top | None, sight: Sight) -> bool:
        leases = frozenset() if sight.last is None else sight.last.leases
        return may(holding, BookTrigger.TAKEN) and holding.is_others(top, self._node, leases)

    def _mend(self, holding: Holding, top: Top | None) -> None:
        """The store may have forgotten what this node has in memory."""
        if holding.state is Book.OWNED and holding.is_behind(top):
            self._write_anew(holding)
        elif holding.state is Book.REPLAYING and (top is None or top.epoch < holding.epoch):
            self._move(holding, BookTrigger.STORE_LOST)

    def _write_anew(self, holding: Holding) -> None:
        """Listed first: its stream may be gone, and nobody looks for one that isn't listed."""
        self._out.append(List(holding.name, self._node, holding.epoch))
        self._out.append(WriteAnew(holding.name, holding.epoch))

    def _clear_up(self, holding: Holding, top: Top | None) -> None:
        holding.in_doubt = 0
        if top is not None and top.owner == self._node:
            self._out.append(List(holding.name, self._node, top.epoch))
