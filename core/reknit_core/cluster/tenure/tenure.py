"""A node's tenure: whether it is sure of its books, and which books of others it claims.

Five rules say what a node may do, so that of each book at most one running node is sure.

1. It writes only while it is sure: until a little less than a lease after it sent the last
   renewal that was answered with yes and found its books at its own epochs.
2. Sureness that was lost is lost. It stands still; a book that is another's now is dropped; one
   that nobody took it has again by a claim only, which is a new epoch.
3. A claim waits. It is made over a connection that has stood for a whole lease, only where the
   owner's lease is absent, no promise binds, and the owner doesn't answer that it is sure.
4. Without the store, the others' word. A node that has lost it asks all that it knew to promise
   not to claim its books for a lease. While all do, it is sure. A promise binds whether or not the
   promiser sees the store; who has claimed already refuses.
5. Who wasn't known waits: a node that the owner wouldn't have asked claims only after the longest
   time that the owner can be sure without the store.

Each claim is of exactly the epoch above the top that was read. So what a node has seen may be old:
an owner that wasn't sure then can be sure now only by a claim, after which the other one fails.

The way to call it is that of all machines of the core: handle() events, handle_timeout() at
next_deadline(), and carry out commands() after each. Time is passed in: seconds of a clock that
goes on while the machine sleeps.
"""

from math import inf
from typing import assert_never

from reknit_core.cluster.commands import (
    AskPromise,
    Command,
    GoOn,
    Look,
    Promise,
    Renew,
    Resign,
    StandStill,
)
from reknit_core.cluster.events import (
    Answer,
    Began,
    Claimed,
    ClaimRefused,
    Emptied,
    Event,
    Found,
    Leave,
    Looked,
    Probed,
    PromiseAsked,
    Promised,
    Released,
    Renewed,
    Replayed,
    StoreBack,
    StoreLost,
)
from reknit_core.cluster.states import Book, Node, NodeTrigger, move_node
from reknit_core.cluster.tenure.keeping import Keeping
from reknit_core.cluster.tenure.promises import Acquaintances, Promises
from reknit_core.cluster.tenure.sight import Sight
from reknit_core.cluster.times import Times

_IN_OFFICE = (Node.SURE, Node.BY_PROMISE, Node.LEAVING)


class Tenure:
    """The node `name`, whose name is of one run. It begins `joining`, with no book."""

    def __init__(self, name: str, times: Times) -> None:
        self.name = name
        self.state = Node.JOINING
        self._times = times
        self._out: list[Command] = []
        self._promises = Promises(times)
        self._acquaintances = Acquaintances(times)
        self._keeping = Keeping(name, self._promises, self._acquaintances, self._out)
        self._sight: Sight | None = None  # while there is a connection to the store
        self._until = -inf  # when its lease, or what it was promised, isn't sure any more
        self._renewed_at = -inf
        self._stands_since = inf
        self._leaves_by = inf
        self._named: frozenset[str] = frozenset()  # who is known, as the last renewal says
        self._is_looking = self._is_renewing = False
        self._compares = True  # until the first renewal of a connection is answered
        self._next_look = self._next_renewal = self._next_release = -inf

    # -- What is so ----------------------------------------------------------------------------

    def is_sure(self, now: float) -> bool:
        """Whether this node may write now. Ask before each session's write."""
        return now < self._until and self.state is not Node.STANDING_STILL

    def next_deadline(self) -> float | None:
        """When handle_timeout() is to be called, if no event comes before; None for never."""
        if self.state is Node.LEFT:
            return None
        times = [self._until if self._until > -inf else inf]
        if self.state is Node.STANDING_STILL:
            times.append(self._stands_since + self._times.patience)
        if self._may_look:
            times.append(self._next_look)
        if self._may_renew or self._may_ask:
            times.append(self._next_renewal)
        if self._may_release:
            times.append(self._next_release)
        deadline = min(times)
        return None if deadline == inf else deadline

    @property
    def books(self) -> dict[str, tuple[Book, int]]:
        """The books that this node has to do with: state and epoch, by name."""
        return {each.name: (each.state, each.epoch) for each in self._keeping.holdings}

    def state_of(self, book: str) -> Book:
        """Where that book is, as this node sees it."""
        holding = self._keeping.holdings.get(book)
        return Book.FREE if holding is None else holding.state

    def epoch_of(self, book: str) -> int:
        """The epoch under which this node has it, or had it; 0 if it never had."""
        holding = self._keeping.holdings.get(book)
        return 0 if holding is None else holding.epoch

    def commands(self) -> list[Command]:
        """What is to be done, in this order; each once."""
        commands = self._out[:]
        self._out.clear()
        return commands

    # -- What happens --------------------------------------------------------------------------

    def handle_timeout(self, now: float) -> None:
        """Time has passed."""
        if self.state is not Node.LEFT:
            self._expire(now)
            self._act(now)

    def handle(self, event: Event, now: float) -> None:
        """Something has happened. Once the node has left, nothing does any more."""
        if self.state is not Node.LEFT:
            self._expire(now)
            self._take(event, now)
            self._act(now)

    def _take(self, event: Event, now: float) -> None:
        match event:
            case StoreBack():
                self._sight = Sight(self.name, self._times, now)
                self._compares = True
                self._next_look = self._next_renewal = now
            case StoreLost():
                self._sight = None
                self._is_looking = self._is_renewing = False
                self._next_renewal = now
                self._keeping.lose_store()
            case PromiseAsked():
                self._promise(event, now)
            case Promised():
                self._promises.answered(event.node, event.sent_at, agreed=event.agreed)
                self._rely_on_promises(now)
            case Began():
                self._keeping.begin(event.book, event.epoch, connected=self._sight is not None)
                if not self.is_sure(now):  # made by one who hasn't noticed that time has passed
                    self._keeping.lose_sureness()
            case Emptied():
                self._keeping.emptied(event.book, connected=self._sight is not None)
            case Leave():
                self._leave(event, now)
            case _:
                if self._sight is not None:
                    self._hear(event, self._sight, now)

    def _hear(self, event: Answer, sight: Sight, now: float) -> None:
        """What comes of having a connection to the store."""
        match event:
            case Looked():
                self._looked(event, sight)
            case Renewed():
                self._renewed(event, sight, now)
            case Found():
                self._keeping.found(event, sight, now)
            case Claimed():
                self._keeping.claimed(event)
            case ClaimRefused():
                self._keeping.claim_refused(event)
            case Replayed():
                self._keeping.replayed(event.book)
                self._consider(sight)
            case Released():
                self._keeping.released(event.book)
            case Probed():
                self._keeping.claiming.probed(event, sight)
            case _:
                assert_never(event)

    # -- The clock -----------------------------------------------------------------------------

    def _expire(self, now: float) -> None:
        """Sureness ends by itself, and so does standing still."""
        if -inf < self._until <= now:
            ended_at = self._until
            self._lose_sureness()
            if self.state is Node.LEAVING:
                self._keeping.give_up()
                self._go(NodeTrigger.SURENESS_ENDED)
            elif self.state is not Node.STANDING_STILL:
                move_node(self, NodeTrigger.SURENESS_ENDED)
                self._stands_since = ended_at
                self._out.append(StandStill())
        if now >= self._stands_since + self._times.patience:
            self._lose_sureness()
            self._keeping.give_up()
            self._stands_since = inf
            move_node(self, NodeTrigger.GAVE_UP)

    def _lose_sureness(self) -> None:
        self._until = -inf
        self._keeping.lose_sureness()

    def _act(self, now: float) -> None:
        """What is due, and what has become possible."""
        has_lease = self._until > -inf
        if self.state is Node.STANDING_STILL and has_lease and not self._keeping.stands_still:
            self._go_on(NodeTrigger.REGAINED)
        if self.state is Node.LEAVING and self._keeping.is_empty:
            self._go(NodeTrigger.NOTHING_LEFT)
        if self._may_look and now >= self._next_look:
            self._is_looking = True
            self._next_look = now + self._times.look
            self._out.append(Look())
        if now >= self._next_renewal:
            if self._may_renew:
                self._renew(now)
            elif self._may_ask:
                self._ask(now)
        if self._may_release and now >= self._next_release:
            self._release(now)

    # -- The store -----------------------------------------------------------------------------

    @property
    def _others(self) -> frozenset[str]:
        """The other nodes that have a lease, as far as it can be seen now."""
        if self._sight is None or self._sight.last is None:
            return frozenset()
        return self._sight.last.leases - {self.name}

    @property
    def _may_look(self) -> bool:
        return self._sight is not None and not self._is_looking and self.state is not Node.LEFT

    @property
    def _may_renew(self) -> bool:
        has_looked = self._sight is not None and self._sight.last is not None
        return has_looked and not self._is_renewing and self.state is not Node.LEFT

    def _renew(self, now: float) -> None:
        self._is_renewing = True
        self._next_renewal = now + self._times.renewal
        self._named = self._others
        books = tuple(each.name for each in self._keeping.holdings.in_memory)
        compares = self._compares or self.state is Node.STANDING_STILL
        self._out.append(Renew(self._named, books, compares))

    def _looked(self, seen: Looked, sight: Sight) -> None:
        self._is_looking = False
        sight.look(seen)
        self._acquaintances.meet(self._others)
        if not self._compares:
            self._keeping.listed(seen)
        if self.name not in seen.leases:
            self._next_renewal = -inf  # the store has forgotten it
        self._consider(sight)

    def _consider(self, sight: Sight) -> None:
        if self.state is Node.SURE:
            self._keeping.claiming.consider(sight)

    def _renewed(self, renewed: Renewed, sight: Sight, now: float) -> None:
        self._is_renewing = False
        until = renewed.sent_at + self._times.sure
        if now >= until:
            return
        self._acquaintances.named(self._named, now)
        self._renewed_at = renewed.sent_at
        self._until = max(until, self._until)
        for holding in self._keeping.holdings.in_memory:
            if holding.name in renewed.tops:
                top = renewed.tops[holding.name]
                self._keeping.renewed(holding, top, sight, renewed.sent_at)
                if self._compares and holding.state in (Book.RELEASING, Book.ENDING):
                    self._keeping.finish(holding, top)
        if self._compares and sight.last is not None:
            self._compares = False
            self._keeping.listed(sight.last)
            self._keeping.check_uncertain()
        if self.state is Node.JOINING:
            self._go_on(NodeTrigger.RENEWED)
        elif self.state is Node.BY_PROMISE:
            move_node(self, NodeTrigger.RENEWED)

    def _go_on(self, trigger: NodeTrigger) -> None:
        move_node(self, trigger)
        self._stands_since = inf
        self._out.append(GoOn())

    # -- The others' word ----------------------------------------------------------------------

    @property
    def _may_ask(self) -> bool:
        return self._sight is None and self.state in _IN_OFFICE

    def _ask(self, now: float) -> None:
        self._next_renewal = now + self._times.renewal
        nodes = self._acquaintances.names
        if nodes:
            self._out.append(AskPromise(nodes, self._keeping.holdings.epochs))
        else:
            self._rely_on_promises(now)

    def _rely_on_promises(self, now: float) -> None:
        """Without the store: sure while all promise, but not for ever."""
        if not self._may_ask:
            return
        promised = self._promises.sure_until(self._acquaintances.names, now)
        until = min(promised, self._renewed_at + self._times.alone)
        if until > self._until:
            self._until = until
            if self.state is Node.SURE:
                move_node(self, NodeTrigger.PROMISED)

    def _promise(self, asked: PromiseAsked, now: float) -> None:
        agreed = self._keeping.may_promise(asked.books)
        if agreed:
            self._promises.bind(asked.books, now)
        self._out.append(Promise(asked.node, agreed))

    # -- Leaving -------------------------------------------------------------------------------

    def _leave(self, leave: Leave, now: float) -> None:
        """Books go one by one, if there is another node to have them; else they empty here."""
        if self.state is Node.LEAVING:
            return
        self._leaves_by = leave.until
        self._next_release = now
        self._keeping.claiming.stop()
        if self.state in _IN_OFFICE:
            move_node(self, NodeTrigger.LEAVE)
        else:
            self._lose_sureness()
            self._keeping.give_up()
            self._go(NodeTrigger.LEAVE)

    def _go(self, trigger: NodeTrigger) -> None:
        move_node(self, trigger)
        self._until = -inf
        if self._sight is not None:
            self._out.append(Resign())

    @property
    def _may_release(self) -> bool:
        has_whom = bool(self._others) and not self._compares
        return self.state is Node.LEAVING and has_whom and self._keeping.has_some

    def _release(self, now: float) -> None:
        pause = (self._leaves_by - now) / len(self._keeping.holdings.having(Book.OWNED))
        self._next_release = now + max(0.0, pause)
        self._keeping.release_one()
