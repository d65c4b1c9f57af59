"""A node: carries out what its tenure decides, over a connection to the store.

The connection is made again whenever it breaks. Commands go out in the order in which the tenure
gives them; each answer is told to it as an event.
"""

import time
from collections import deque
from collections.abc import Awaitable, Callable, Mapping
from functools import partial
from logging import ERROR, INFO, WARNING
from math import inf
from typing import Protocol, assert_never

import hiredis
import trio
from reknit_core.cluster.bookkeeping import EntryId
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
    Claimed,
    ClaimRefused,
    Event,
    Found,
    Listed,
    Looked,
    Probed,
    PromiseAsked,
    Promised,
    Renewed,
    StoreBack,
    StoreLost,
    Top,
)
from reknit_core.cluster.states import Node as NodeState
from reknit_core.cluster.tenure.tenure import Tenure
from reknit_core.cluster.times import Times

from reknit.cluster import layout as read
from reknit.cluster.connecting import Access, connect
from reknit.cluster.layout import Layout, Whereabouts
from reknit.cluster.redis import Batch, Redis, RedisError, Words, refused
from reknit.observe.logs import tell

PAUSES = (0.2, 0.4, 0.6, 0.8, 1.0)  # seconds between attempts to connect; the last one again

_CLOCK = getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC)  # goes on while the machine sleeps


def clock() -> float:
    """The time by which a tenure goes (seconds)."""
    return time.clock_gettime(_CLOCK)


class Library(Protocol):
    """Who has the books in memory."""

    def last(self, book: str) -> EntryId | None:
        """The last entry that was made for it; None: the store can't have all of it."""

    def obey(self, command: Read | WriteAnew | Release | End | Drop) -> None:
        """Do that with a book."""

    def writes(self) -> None:
        """What the store has of the books can be gone on from, or is being written anew."""


class Peers(Protocol):
    """The other nodes, as this one speaks to them."""

    def see(self, addresses: Mapping[str, str], books: Mapping[str, Listed]) -> None:
        """The store's lists: where the nodes are that have a lease, and whose the books are."""

    def news(self) -> None:
        """Something else is known of the books, or of the store."""

    def probe(self, node: str, told: Callable[[bool], None]) -> None:
        """Ask that node whether it is sure of its books."""

    def ask_promise(
        self, node: str, books: Mapping[str, int], told: Callable[[bool], None]
    ) -> None:
        """Ask that node to claim none of these for a lease."""


class Node:
    """The node `name`. Its tenure knows of nothing but what is heard here.

    `where`: it is found there. `peers`: None where there is no way to the other nodes. `redis`:
    the connection. `trouble`: why the store can't be used, for people; empty: it can.
    """

    def __init__(
        self,
        name: str,
        access: Access,
        layout: Layout,
        times: Times,
        library: Library,
    ) -> None:
        self.name = name
        self.where = Whereabouts("", name)
        self._access = access
        self.layout = layout
        self._lease = times.lease
        self._library = library
        self.tenure = Tenure(name, times)
        self._todo: deque[Command] = deque()
        self._is_obeying = False
        self._sleep: trio.CancelScope | None = None
        self._nursery: trio.Nursery | None = None
        self._news = trio.Event()
        self.peers: Peers | None = None
        self._promising: dict[str, Callable[[bool], None]] = {}  # nodes that wait for a promise
        self.redis: Redis | None = None
        self.ahead = 0.0
        self.trouble = ""
        self.nodes = 1  # that have a lease
        self.claims = {"won": 0, "lost": 0}
        self.looks = 0
        """How often it has seen the store's lists."""
        self.waits_for_books = True
        """Whether there are books that it is to have, and hasn't yet."""

    # -- The connection ------------------------------------------------------------------------

    async def connect(self) -> None:
        """Have a connection. Raises RedisError."""
        connected = await connect(self._access)
        self.redis = connected.redis
        self.ahead = connected.ahead

    async def run(self) -> None:
        """Go on until cancelled; connect() comes before."""
        async with trio.open_nursery() as self._nursery:
            self._nursery.start_soon(self._keep_time)
            while True:
                if self.redis is None:
                    await self._connect_again()
                assert self.redis is not None
                self._nursery.start_soon(self.redis.watch)
                self.hear(StoreBack())
                await self.redis.lost.wait()
                if self.tenure.state is NodeState.LEFT:
                    return
                self._tell_trouble(self.redis.reason)
                self.redis = None
                self.hear(StoreLost())

    async def _connect_again(self) -> None:
        pauses = iter(PAUSES)
        pause = 0.0
        while self.redis is None:
            pause = next(pauses, pause)
            await trio.sleep(pause)
            try:
                await self.connect()
            except RedisError as error:
                self._tell_trouble(str(error))

    def lose(self, reason: str) -> None:
        """The store doesn't do what it should: have another connection to it."""
        if self.redis is not None:
            self.redis.close(reason)

    def _tell_trouble(self, reason: str) -> None:
        if not self.trouble:
            text = "the store %(store)s can't be used, sessions go on without: %(reason)s"
            tell(ERROR, "store_trouble", text, store=str(self._access), reason=reason)
        self.trouble = reason

    def _end_trouble(self) -> None:
        if self.trouble:
            self.trouble = ""
            tell(WARNING, "store_again", "the store %(store)s is back", store=str(self._access))

    # -- The tenure ----------------------------------------------------------------------------

    def is_sure(self) -> bool:
        """Whether this node may write to its sessions' connections."""
        return self.tenure.is_sure(clock())

    async def news(self) -> None:
        """Return when something has come of something that was heard, or of the time."""
        await self._news.wait()

    def hear(self, event: Event) -> None:
        """Tell the tenure, and do what comes of it."""
        self.tenure.handle(event, clock())
        self._obey()

    async def _keep_time(self) -> None:
        while True:
            deadline = self.tenure.next_deadline()
            wait = inf if deadline is None else max(0.0, deadline - clock())
            with trio.CancelScope() as self._sleep:
                await trio.sleep(min(wait, 3600.0))
            self.tenure.handle_timeout(clock())
            self._obey()

    def _obey(self) -> None:
        self._todo.extend(self.tenure.commands())
        if self._is_obeying:
            return  # the one who does goes on with these, so that the order stays
        self._is_obeying = True
        try:
            while self._todo:
                self._do(self._todo.popleft())
        finally:
            self._is_obeying = False
        self._news.set()
        self._news = trio.Event()
        if self.peers is not None:
            self.peers.news()
        if self._sleep is not None:
            self._sleep.cancel()

    def _do(self, command: Command) -> None:
        match command:
            case Look():
                nodes, books = self.layout.nodes, self.layout.books
                self._ask([("HGETALL", nodes), ("HGETALL", books)], self._looked)
            case Renew():
                self._renew(command)
            case Check():
                if self.redis is not None:
                    self.start(self.look_at, self.redis, command.book)
            case Claim():
                claim = self.layout.claim(
                    command.book, command.epoch, self.name, makes=command.makes
                )
                self._ask(
                    [claim], lambda redis, batch, sent_at: self._claimed(redis, batch, command)
                )
            case List():
                self._send(self.layout.list_book(command.book, command.owner, command.epoch))
            case Unlist():
                self._send(self.layout.unlist_book(command.book))
            case Resign():
                self._send(*self.layout.resign(self.name))
            case Read() | WriteAnew() | Release() | End() | Drop():
                self._library.obey(command)
            case Probe(node):
                self._probe(node)
            case AskPromise():
                self._ask_promise(command)
            case Promise():
                answer = self._promising.pop(command.node, None)
                if answer is not None:
                    answer(command.agreed)
            case StandStill():
                text = "sessions stand still: their node may not be sure of them any more"
                tell(WARNING, "stand_still", text)
            case GoOn():
                tell(INFO, "go_on", "the node %(node)s has its sessions", node=self.name)
            case _:
                assert_never(command)

    # -- Other nodes -----------------------------------------------------------------------------

    def _probe(self, node: str) -> None:
        if self.peers is None:
            self.hear(Probed(node, is_sure=False))
        else:
            self.peers.probe(node, lambda is_sure: self.hear(Probed(node, is_sure=is_sure)))

    def _ask_promise(self, asking: AskPromise) -> None:
        if self.peers is None:
            return
        sent_at = clock()
        for node in asking.nodes:
            self.peers.ask_promise(node, asking.books, partial(self._promised, node, sent_at))

    def _promised(self, node: str, sent_at: float, agreed: bool) -> None:
        self.hear(Promised(node, sent_at, agreed))

    def ask_promise(
        self, node: str, books: Mapping[str, int], answer: Callable[[bool], None]
    ) -> None:
        """That node asks that none of these is claimed for a lease."""
        self._promising[node] = answer
        self.hear(PromiseAsked(node, books))

    # -- Commands to the store -----------------------------------------------------------------

    def _send(self, *commands: Words) -> None:
        """Nobody waits for the answers: what was not done shows, and is done later."""
        if self.redis is not None:
            self.redis.send(commands)

    def _ask(
        self,
        commands: list[Words],
        told: Callable[[Redis, Batch, float], Awaitable[None]],
    ) -> None:
        redis = self.redis
        if redis is None:
            return
        batch = redis.send(commands)
        self.start(self._answer, redis, batch, clock(), told)

    def start(self, task: Callable[..., Awaitable[None]], *arguments: object) -> None:
        """Let it go on beside."""
        assert self._nursery is not None
        self._nursery.start_soon(task, *arguments)

    async def _answer(
        self,
        redis: Redis,
        batch: Batch,
        sent_at: float,
        told: Callable[[Redis, Batch, float], Awaitable[None]],
    ) -> None:
        """What goes wrong ends the connection: then nothing that was asked is answered."""
        try:
            for reply in await redis.answers(batch):
                if isinstance(reply, hiredis.ReplyError) and not read.is_refusal(reply):
                    raise refused(reply)
            await told(redis, batch, sent_at)
        except RedisError as error:
            redis.close(str(error))

    async def _looked(self, redis: Redis, batch: Batch, sent_at: float) -> None:
        nodes = read.read_nodes(batch.replies[0])
        books = read.read_books(batch.replies[1])
        owners = {listed.owner for listed in books.values()}
        names = sorted(owners | nodes.keys())
        replies = await redis.ask(
            *(("GET", self.layout.lease(name)) for name in names),
            *(("GET", self.layout.known(name)) for name in names),
        )
        leases = frozenset(
            name for name, reply in zip(names, replies, strict=False) if reply is not None
        )
        known = {
            name: read.read_known(reply) | self._at_this_place(nodes.get(name))
            for name, reply in zip(names, replies[len(names) :], strict=True)
        }
        gone = nodes.keys() - leases - owners - {self.name}
        self._send(*(self.layout.forget_node(name) for name in gone))
        self.looks += 1
        self.nodes = len(leases | {self.name})
        self.hear(Looked(sent_at, leases, books, known))
        if self.peers is not None:
            there = {name: nodes[name].address for name in leases & nodes.keys()}
            self.peers.see({name: where for name, where in there.items() if where}, books)
        self.waits_for_books = any(
            listed.owner != self.name
            and self.name in known[listed.owner]
            and (listed.owner not in leases or self._at_this_place(nodes.get(listed.owner)))
            for listed in books.values()
        )

    def _at_this_place(self, other: Whereabouts | None) -> frozenset[str]:
        """An earlier process at this node's place runs no more, so it needs no promise of it."""
        is_here = other is not None and other.place == self.where.place
        return frozenset((self.name,)) if is_here else frozenset()

    def _renew(self, command: Renew) -> None:
        layout = self.layout
        commands = layout.renew(self.name, self.where, command.known, self._lease)
        begin = len(commands)
        if not command.compares:
            for book in command.books:
                commands += [layout.above(book, self.epoch(book)), layout.size(book)]

        async def renewed(redis: Redis, batch: Batch, sent_at: float) -> None:
            tops: dict[str, Top | None] = {}
            if command.compares:
                for book in command.books:
                    tops[book] = await self._top(redis, book)
            else:
                replies = iter(batch.replies[begin:])
                for book, reply, size in zip(command.books, replies, replies, strict=True):
                    above = read.read_entries(reply)
                    is_mine = Top(self.epoch(book), None) if size else None
                    tops[book] = read.read_top(above[0], []) if above else is_mine
            self.hear(Renewed(sent_at, tops))
            if command.compares:
                self._library.writes()
            self._end_trouble()

        self._ask(commands, renewed)

    def epoch(self, book: str) -> int:
        """That under which this node has it, or had it."""
        return self.tenure.books[book][1]

    async def look_at(self, redis: Redis, book: str) -> None:
        """Look at a book's top, and tell the tenure."""
        try:
            top = await self._top(redis, book)
        except RedisError as error:
            redis.close(str(error))
        else:
            self.hear(Found(book, top))

    async def _top(self, redis: Redis, book: str) -> Top | None:
        """Raises RedisError."""
        (reply,) = await redis.ask(self.layout.top(book))
        entries = read.read_entries(reply)
        if not entries:
            return None
        last = entries[0]
        (reply,) = await redis.ask(self.layout.claimed(book, last.id.epoch))
        top = read.read_top(last, read.read_entries(reply))
        is_whole = last.id == self._library.last(book)
        return Top(top.epoch, top.owner, released=top.released, is_whole=is_whole)

    async def _claimed(self, redis: Redis, batch: Batch, claim: Claim) -> None:
        (reply,) = batch.replies
        if isinstance(reply, bytes):
            self.claims["won"] += 1
            self.hear(Claimed(claim.book, claim.epoch))
        else:
            self.claims["lost"] += 1
            self.hear(ClaimRefused(claim.book, claim.epoch))
