"""How a node comes to a book that another has left: suspect, probe, check, claim."""

from reknit_core.cluster.commands import Check, Claim, Command, List, Probe, Unlist
from reknit_core.cluster.events import Found, Listed, Probed, Top
from reknit_core.cluster.states import Book, BookTrigger
from reknit_core.cluster.tenure.holdings import Holding, Holdings
from reknit_core.cluster.tenure.promises import Acquaintances, Promises
from reknit_core.cluster.tenure.sight import Sight

_IN_HAND = (Book.CLAIMING, Book.REPLAYING)


class Claiming:
    """One book after the other, so that others may take the next. Commands go to `out`."""

    __slots__ = (
        "_acquaintances",
        "_book",
        "_holdings",
        "_node",
        "_out",
        "_probed",
        "_promises",
        "_unsure",
    )

    def __init__(
        self,
        node: str,
        holdings: Holdings,
        promises: Promises,
        acquaintances: Acquaintances,
        out: list[Command],
    ) -> None:
        self._node = node
        self._holdings = holdings
        self._promises = promises
        self._acquaintances = acquaintances
        self._out = out
        self.stop()

    def stop(self) -> None:
        """What was asked gets no answer any more, and what was answered is old."""
        self._book: str | None = None  # the one that is asked about
        self._probed: str | None = None  # the owner that is asked, if it is
        self._unsure: set[str] = set()  # owners without a lease that did not say they are sure

    def consider(self, sight: Sight) -> None:
        """Ask about the first book that may be claimed, if none is in hand."""
        assert sight.last is not None
        self._unsure -= sight.last.leases
        if self._book is not None or self._holdings.having(*_IN_HAND):
            return
        for book in sight.candidates(self._promises):
            if self._holdings.open(book).state is Book.FREE:
                self._ask(book, sight.last.books[book])
                return

    def _ask(self, book: str, listed: Listed) -> None:
        self._book = book
        if listed.released or listed.owner == self._node or listed.owner in self._unsure:
            self._out.append(Check(book))
        else:
            self._probed = listed.owner
            self._out.append(Probe(listed.owner))

    def probed(self, probed: Probed, sight: Sight) -> None:
        """The owner has answered, or not."""
        if probed.node != self._probed:
            return
        book, listed = self._book, self._listed(sight)
        self._book = self._probed = None
        if not probed.is_sure and book is not None and listed is not None:
            self._unsure.add(probed.node)
            self._ask(book, listed)

    def found(self, found: Found, sight: Sight, now: float) -> bool:
        """The book's top, if that was asked for here: claim it if it is as the list said."""
        if found.book != self._book:
            return False
        listed = self._listed(sight)
        self._book = None
        holding = self._holdings.open(found.book)
        if listed is None or holding.state is not Book.FREE:
            return True
        if found.top is None or found.top.ended:
            self._out.append(Unlist(found.book))
        elif found.top.epoch > listed.epoch:
            # A claim that the list doesn't have yet, or never gets as who made it is down. Whether
            # its owner is sure must be seen after it.
            self._out.append(List(found.book, found.top.owner or "", found.top.epoch))
        else:
            truth = Listed(listed.owner, found.top.epoch, found.top.released)
            if sight.allows(found.book, truth, self._promises):
                self._succeed(listed.owner, sight, now)
                self.claim(holding, found.top)
        return True

    def _listed(self, sight: Sight) -> Listed | None:
        """What the list says now of the book that is asked about."""
        if self._book is None or sight.last is None:
            return None
        return sight.last.books.get(self._book)

    def _succeed(self, owner: str, sight: Sight, now: float) -> None:
        assert sight.last is not None
        heirs = {owner, *sight.last.known.get(owner, ())} - {self._node}
        self._acquaintances.succeed(heirs, now)

    def claim(self, holding: Holding, top: Top | None) -> None:
        """Ask for the next epoch. Without a stream, it is one that is in memory here."""
        holding.move(BookTrigger.CLAIM)
        holding.in_doubt = (holding.epoch if top is None else top.epoch) + 1
        if top is None:  # nobody looks for a stream that isn't listed
            self._out.append(List(holding.name, self._node, holding.in_doubt))
        self._out.append(Claim(holding.name, holding.in_doubt, makes=top is None))
