"""A node of the simulated cluster: a tenure, and what an adapter does for it.

Its sessions are numbers: a sweep adds one to a book, writes it ahead, and then confirms it, which
stands for any write to a session's connections.
"""

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any, Protocol, assert_never

from reknit_core.cluster.commands import (
    AskPromise,
    Check,
    Claim,
    Command,
    Drop,
    End,
    GoOn,
    List,
    Look,
    Probe,
    Promise,
    Read,
    Release,
    Renew,
    Resign,
    StandStill,
    Unlist,
    WriteAnew,
)
from reknit_core.cluster.events import (
    Began,
    Claimed,
    ClaimRefused,
    Emptied,
    Event,
    Found,
    Leave,
    Listed,
    Looked,
    Probed,
    PromiseAsked,
    Promised,
    Released,
    Renewed,
    Replayed,
    StoreBack,
    StoreLost,
    Top,
)
from reknit_core.cluster.states import Book, Node
from reknit_core.cluster.tenure.holdings import LIVE
from reknit_core.cluster.tenure.tenure import Tenure
from reknit_core.cluster.times import Times

from reknit.memory.network import MemoryNetwork
from reknit.verify.cluster.store import Entry, Refused, Store
from reknit.verify.cluster.wire import NOT_REPLICATED, Wire

OWN_BOOKS = 2
PROBE_LIMIT = 0.3  # seconds
RECONNECT = (0.2, 1.0)  # seconds between two attempts to reach the store
SWEEP = 0.8  # seconds between two sweeps, on average
REPLAY = (0.02, 1.0)  # seconds that it takes to revive a book's sessions


@dataclass
class Memory:
    """What a node has of a book. `last`: the number of the last entry that was made for it."""

    epoch: int
    last: int
    items: set[int] = field(default_factory=set)
    is_whole: bool = True

    def next(self) -> tuple[int, int]:
        """The id of another entry."""
        self.last += 1
        return self.epoch, self.last


class Cluster(Protocol):
    """What is around a node."""

    network: MemoryNetwork
    times: Times
    claims: int
    """How many have succeeded."""

    def connect(self, node: "SimulatedNode", done: Callable[[Wire | None], None]) -> None:
        """Try to reach the store."""

    def tell(
        self, sender: "SimulatedNode", to: str, action: "Callable[[SimulatedNode], None]"
    ) -> None:
        """Have that done at another node, if it can be reached."""

    def number(self) -> int:
        """A new one."""

    def confirm(self, node: "SimulatedNode", book: str, item: int) -> None:
        """Something is written to a connection."""

    def looks(self, node: "SimulatedNode") -> None:
        """Something has happened at that node: look whether all is well."""

    def written(self, book: str, items: frozenset[int]) -> None:
        """A node has heard that a store has these."""

    def let_go(self, book: str, *, is_over: bool) -> None:
        """A node hasn't got it any more; `is_over`: its sessions had ended."""


class SimulatedNode:
    """One node. Its clock has another zero than the others', and goes a little faster or slower."""

    def __init__(self, name: str, cluster: Cluster, tenure: Tenure, pace: float) -> None:
        self.name = name
        self.tenure = tenure
        self.memory: dict[str, Memory] = {}
        self.wire: Wire | None = None
        self.is_alive = True
        self.is_paused = False
        self.is_over = False
        """Whether its sessions have ended, and none begins."""
        self._cluster = cluster
        self._network = cluster.network
        self._pace = pace
        self._inbox: list[Callable[[], None]] = []
        self._readings: dict[str, object] = {}
        self._unconfirmed: dict[int, str] = {}  # items that are being written ahead, by book
        self._asked_at: dict[str, float] = {}  # by node: when it asked for a promise, by its clock
        self._armed: float | None = None
        self._made = 0
        self._connect()
        self._later(self._random.expovariate(1 / SWEEP), self._sweep)

    @property
    def _random(self) -> Any:
        return self._network.random

    @property
    def now(self) -> float:
        """Seconds, by its own clock."""
        return 1000.0 + self._network.now * self._pace

    def is_sure_of(self, book: str) -> bool:
        """Whether it would write to that book's connections now."""
        is_sure = self.is_alive and self.tenure.is_sure(self.now)
        return is_sure and self.tenure.state_of(book) in LIVE

    # -- Running -------------------------------------------------------------------------------

    def run(self, action: Callable[[], None]) -> None:
        """Do that now, or when the node isn't paused any more."""
        if not self.is_alive:
            return
        if self.is_paused:
            self._inbox.append(action)
        else:
            action()

    def _later(self, seconds: float, action: Callable[[], None]) -> None:
        self._network.after(seconds, partial(self.run, action))

    def pause(self) -> None:
        """It stands still, and doesn't know."""
        self.is_paused = True

    def resume(self) -> None:
        """It goes on: with what has come, or with its timers first."""
        if not self.is_paused or not self.is_alive:
            return
        self.is_paused = False
        if self._random.random() < 0.5:
            self._time_out()
        inbox, self._inbox = self._inbox, []
        for action in inbox:
            self.run(action)

    def kill(self) -> None:
        """It is gone, with all it has."""
        self.is_alive = False
        if self.wire is not None:
            self.wire.close()

    def hear(self, event: Event) -> None:
        """Something has happened."""
        if self._network.log is not None:
            self._network.note(f"{self.name} > {event}")
        self.tenure.handle(event, self.now)
        self._obey()

    def _time_out(self) -> None:
        self.tenure.handle_timeout(self.now)
        self._obey()

    def _obey(self) -> None:
        for command in self.tenure.commands():
            if self._network.log is not None:
                self._network.note(f"{self.name} < {command}")
            self._do(command)
        self._cluster.looks(self)
        deadline = self.tenure.next_deadline()
        if deadline is not None and deadline != self._armed:
            self._armed = deadline
            at = (deadline - 1000.0) / self._pace + 1e-6
            self._network.at(at, partial(self.run, partial(self._ring, deadline)))

    def _ring(self, deadline: float) -> None:
        if deadline == self._armed:
            self._armed = None
            self._time_out()

    # -- The store -----------------------------------------------------------------------------

    def _connect(self) -> None:
        self._cluster.connect(self, lambda wire: self.run(partial(self._connected, wire)))

    def _connected(self, wire: Wire | None) -> None:
        if self.tenure.state is Node.LEFT:
            return
        if wire is None:
            self._later(self._random.uniform(*RECONNECT), self._connect)
            return
        self.wire = wire
        self.hear(StoreBack())

    def lost(self) -> None:
        """The connection to the store is over. What waits for an answer goes out without."""
        if self.wire is None:
            return
        self.wire.close()
        self.wire = None
        self.hear(StoreLost())
        waiting, self._unconfirmed = self._unconfirmed, {}
        for item, book in waiting.items():
            if book in self.memory:
                self._write(book, self.memory[book].epoch, item)
        self._connect()

    def _ask(
        self,
        command: Callable[[Store], Any],
        answered: Callable[[Any], None] = lambda _: None,
        *,
        waits: bool = False,
    ) -> None:
        """A command to the store. One whose answer doesn't count ends the connection."""
        if self.wire is not None:
            lose_or = partial(self._lose_or, answered)
            self.wire.send(command, lose_or, waits=waits)

    def _lose_or(self, answered: Callable[[Any], None], result: Any) -> None:
        if result is NOT_REPLICATED:
            self.lost()
        else:
            answered(result)

    def _append(
        self,
        book: str,
        entry: Entry,
        done: Callable[[], None],
        *,
        anew: bool = False,
        makes: bool = False,
    ) -> None:
        """Write an entry; what `anew` writes takes the place of all before."""

        def command(store: Store) -> Refused | None:
            refused = store.append(book, entry, makes=makes)
            if anew and refused is None:
                store.trim(book, entry.id)
            return refused

        self._try(book, command, done)

    def _try(
        self, book: str, command: Callable[[Store], Refused | None], done: Callable[[], None]
    ) -> None:
        """What may be refused, as the book has another top."""

        def answered(refused: Refused | None) -> None:
            if refused is None:
                done()
            else:
                self.hear(Found(book, refused.top))

        self._ask(command, answered)

    # -- Commands ------------------------------------------------------------------------------

    def _do(self, command: Command) -> None:
        sent_at = self.now
        match command:
            case Look():
                self._ask(
                    lambda store: store.look(), lambda seen: self.hear(Looked(sent_at, *seen))
                )
            case Renew():
                self._renew(command, sent_at)
            case Check(book):
                self._ask(lambda store: store.top(book), lambda top: self.hear(Found(book, top)))
            case Claim(book, epoch, makes):
                self._ask(
                    lambda store: store.claim(book, epoch, self.name, makes=makes),
                    partial(self._claimed, book, epoch),
                    waits=True,
                )
            case List(book, owner, epoch):
                self._ask(lambda store: store.enter(book, Listed(owner, epoch)))
            case Unlist(book):
                self._ask(lambda store: store.unlist(book))
            case Read(book, epoch):
                self._read(book, epoch)
            case WriteAnew(book):
                self._write_anew(book)
            case Release(book):
                self._let_go(book, Listed(self.name, command.epoch, released=True))
            case End(book):
                self._let_go(book, None)
            case Resign():
                self._ask(lambda store: store.resign(self.name))
            case AskPromise():
                asked = PromiseAsked(self.name, command.books)
                for node in command.nodes:
                    self._cluster.tell(self, node, lambda other: other.asked(asked, sent_at))
            case Promise(node, agreed):
                answer = Promised(self.name, self._asked_at.pop(node), agreed)
                self._cluster.tell(self, node, lambda other: other.hear(answer))
            case Probe(node):
                self._probe(node)
            case Drop(book):
                self._readings.pop(book, None)
                if self.memory.pop(book, None) is not None:
                    self._cluster.let_go(book, is_over=False)
            case StandStill() | GoOn():
                pass
            case _:
                assert_never(command)

    def asked(self, asked: PromiseAsked, sent_at: float) -> None:
        """Another node asks for a promise; `sent_at` is by its clock."""
        if self.tenure.state is not Node.LEFT:
            self._asked_at[asked.node] = sent_at
            self.hear(asked)

    def _renew(self, renew: Renew, sent_at: float) -> None:
        lasts = {book: self.memory[book] for book in renew.books if book in self.memory}
        ids = {book: (memory.epoch, memory.last) for book, memory in lasts.items()}
        whole = {book for book, memory in lasts.items() if memory.is_whole}
        epochs = {book: self.tenure.epoch_of(book) for book in renew.books}

        def look_at(store: Store, book: str) -> Top | None:
            top = store.top(book)
            if top is None:
                return None
            if renew.compares:
                is_whole = book in whole and store.streams[book].top == ids[book]
                return replace(top, is_whole=is_whole)
            return top if top.epoch > epochs[book] else Top(epochs[book], None)

        def command(store: Store) -> dict[str, Top | None]:
            store.renew(self.name, renew.known, self._cluster.times.lease)
            return {book: look_at(store, book) for book in renew.books}

        self._ask(command, lambda tops: self.hear(Renewed(sent_at, tops)), waits=True)

    def _claimed(self, book: str, epoch: int, taken: bool) -> None:
        if not taken:
            self.hear(ClaimRefused(book, epoch))
            return
        self._cluster.claims += 1
        if book in self.memory:
            self.memory[book].epoch = epoch
        self.hear(Claimed(book, epoch))

    def _read(self, book: str, epoch: int) -> None:
        token = self._readings[book] = object()

        def revive(items: frozenset[int]) -> None:
            if self._readings.get(book) is token:
                self.memory[book] = Memory(epoch, 0, set(items))
                self._write_anew(book, replayed, makes=False)

        def replayed() -> None:
            if self._readings.pop(book, None) is token:
                self.hear(Replayed(book))

        def answered(stream: Any) -> None:
            if stream is None:
                self.hear(Found(book, None))
            else:
                self._later(self._random.uniform(*REPLAY), partial(revive, stream.items))

        self._ask(lambda store: store.streams.get(book), answered)

    def _write_anew(
        self, book: str, done: Callable[[], None] = lambda: None, *, makes: bool = True
    ) -> None:
        memory = self.memory[book]
        memory.is_whole = True
        items = frozenset(memory.items)

        def written() -> None:
            self._cluster.written(book, items)
            done()

        self._append(book, Entry(memory.next(), items=items), written, anew=True, makes=makes)

    def _let_go(self, book: str, listed: Listed | None) -> None:
        """Release it, or, without `listed`, end it."""
        memory = self.memory[book]
        if not memory.is_whole:
            self._write_anew(book)
        entry = Entry(memory.next(), released=listed is not None, ended=listed is None)

        def done() -> None:
            if self.memory.pop(book, None) is not None:
                self._cluster.let_go(book, is_over=listed is None)
            self.hear(Released(book))

        def command(store: Store) -> Refused | None:
            refused = store.append(book, entry)
            if refused is None and listed is not None:
                store.enter(book, listed)
            elif refused is None:
                store.unlist(book)
            return refused

        self._try(book, command, done)

    def _probe(self, node: str) -> None:
        answers: list[bool] = []

        def over() -> None:
            if not answers:
                answered(False)

        def answered(is_sure: bool) -> None:
            if not answers:
                answers.append(is_sure)
                self.hear(Probed(node, is_sure))

        def probed(other: SimulatedNode) -> None:
            is_sure = other.tenure.is_sure(other.now)
            self._cluster.tell(other, self.name, lambda _: answered(is_sure))

        self._cluster.tell(self, node, probed)
        self._later(PROBE_LIMIT, over)

    # -- Sessions ------------------------------------------------------------------------------

    def leave(self, seconds: float) -> None:
        """It is told to stop."""
        self.hear(Leave(self.now + seconds))

    def end_sessions(self) -> None:
        """All have ended, in all its books."""
        self.is_over = True
        for book, (state, _) in self.tenure.books.items():
            if state is Book.OWNED:
                self.hear(Emptied(book))

    def _sweep(self) -> None:
        if self.tenure.state is Node.LEFT:
            return
        self._later(self._random.expovariate(1 / SWEEP), self._sweep)
        if self.is_over:
            self.end_sessions()
            return
        owned = [book for book, (state, _) in self.tenure.books.items() if state is Book.OWNED]
        own = sum(book.startswith(f"{self.name}.") for book in owned)
        if own < OWN_BOOKS and self.tenure.state is Node.SURE:
            self._begin()
        for book in owned:
            if book in self.memory and self.tenure.is_sure(self.now):
                self._add(book)

    def _begin(self) -> None:
        self._made += 1
        book = f"{self.name}.{self._made}"
        self.memory[book] = Memory(1, 0)
        self.hear(Began(book, 1))
        self._ask(lambda store: store.claim(book, 1, self.name, makes=True))

    def _add(self, book: str) -> None:
        memory = self.memory[book]
        item = self._cluster.number()
        memory.items.add(item)
        if self.wire is None:
            memory.is_whole = False
            self._write(book, memory.epoch, item)
            return
        epoch = memory.epoch
        self._unconfirmed[item] = book

        def done() -> None:
            self._cluster.written(book, frozenset((item,)))
            if self._unconfirmed.pop(item, None) is not None:
                self._write(book, epoch, item)

        entry = Entry(memory.next(), items=frozenset((item,)))
        self._append(book, entry, done)

    def _write(self, book: str, epoch: int, item: int) -> None:
        """The one place where something is written to a connection: only while sure."""
        is_here = self.tenure.state_of(book) is Book.OWNED and book in self.memory
        if is_here and self.tenure.epoch_of(book) == epoch and self.tenure.is_sure(self.now):
            self._cluster.confirm(self, book, item)
