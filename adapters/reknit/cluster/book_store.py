"""Keeps the sessions in books of Redis or Valkey, and brings those back that a dead node has left.

If the store is away, the sessions go on without it, as long as their node may be sure of them. When
it is back, they are written anew.
"""

import secrets
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from logging import INFO, WARNING
from time import time

import hiredis
import trio
from reknit_core import ContextStateMachine
from reknit_core.cluster.bookkeeping import FIRST, RELEASED, Append, Book, Books, EntryId, Reading
from reknit_core.cluster.commands import Drop, End, Read, Release, WriteAnew
from reknit_core.cluster.events import Began, Emptied, Leave, Released, Replayed
from reknit_core.cluster.secret import Secret
from reknit_core.cluster.states import Book as BookState
from reknit_core.cluster.states import Node as NodeState
from reknit_core.cluster.times import Times
from reknit_core.counters import Histogram
from reknit_core.proxy.contexts import Contexts

from reknit.cluster.connecting import Access
from reknit.cluster.layout import ENDED, Layout, Whereabouts, is_refusal, read_entries
from reknit.cluster.node import Node, clock
from reknit.cluster.place import place_of
from reknit.cluster.redis import Batch, Redis, RedisError, Words, refused
from reknit.cluster.session_keys import SessionKeys
from reknit.observe.logs import LOG, tell
from reknit.settings.addresses import Address
from reknit.state.directory import StateError
from reknit.state.reviving import Reviving
from reknit.state.store import Home, Measure, Remote

OWN = 8  # books of a node: so many others can share its sessions when it dies
SLICE = 16  # sessions that are brought back, or written anew, in one go
PIECE = 256 * 1024  # bytes of a book that are read in one go
LEAVING = 2.0  # seconds in which the store must have heard that this node leaves

_COMING = (BookState.CLAIMING, BookState.REPLAYING)


def keep_in(
    access: Access, cluster: str, secret: Secret, times: Times
) -> Callable[[Contexts, Home], "BookStore"]:
    """Makes a store that keeps sessions there."""
    return lambda contexts, home: BookStore(access, cluster, secret, times, contexts, home)


class BookStore:
    """Keeps `contexts` in the store, and hands those to `home` that it brings back.

    `trouble`: why they are not kept, for people; empty: they are.
    """

    def __init__(
        self,
        access: Access,
        cluster: str,
        secret: Secret,
        times: Times,
        contexts: Contexts,
        home: Home,
    ) -> None:
        self._access = access
        self._layout = layout = Layout(cluster)
        self._lease = times.lease
        self._contexts = contexts
        self._home = home
        name = secrets.token_hex(8)
        self.node = Node(name, access, layout, times, self)
        self.books = Books(name.encode(), OWN, lambda: secrets.token_hex(8))
        self.reached_at = ""
        """Where other nodes reach this one; to be set before it begins."""
        self.keys = SessionKeys(layout, secret, self.node, self.books)
        self._redis: Redis | None = None  # that which is written to
        self._has_skipped = False  # something was not written, as the store was away
        self._batch: Batch | None = None  # what the sweep waits for
        self._sent: Sequence[Append] = ()
        self._readings: dict[str, trio.CancelScope] = {}
        self._restored = self._fenced = 0
        self._acks = Histogram()

    @property
    def remote(self) -> Remote:
        """Itself."""
        return self

    @property
    def trouble(self) -> str:
        """Why sessions are not kept, for people; empty: they are."""
        return self.node.trouble

    @property
    def name(self) -> str:
        """The store and the cluster."""
        return f"{self._access} ({self._layout.books})"

    def measures(self) -> Iterable[Measure]:
        """How it does."""
        node = self.node
        states = Counter(state.value for state, _ in node.tenure.books.values())
        yield Measure("reknit_store_bytes", "Bytes of this node's books.", self.books.size)
        text = "1 while sessions are not kept, as the store can't be used."
        yield Measure("reknit_store_trouble", text, bool(self.trouble))
        text = "Until the store has what a round of the loop has written."
        yield Measure("reknit_store_ack_seconds", text, self._acks)
        text = "Books that this node has to do with."
        yield Measure(
            "reknit_books", text, {each.value: states[each.value] for each in BookState}, "state"
        )
        text = "Books that this node has tried to claim."
        yield Measure("reknit_claims_total", text, node.claims, "result")
        text = "Books of this node that are another's now."
        yield Measure("reknit_fenced_total", text, self._fenced)
        yield Measure("reknit_nodes", "Nodes with a lease, this one included.", node.nodes)

    # -- Each sweep ----------------------------------------------------------------------------

    def commit(self, contexts: Iterable[ContextStateMachine], now: float) -> None:
        """Send what is new of these contexts."""
        redis = self._redis
        if redis is None or redis.lost.is_set():
            self._has_skipped = True
            return
        try:
            appends = list(self.books.commit(contexts, now, time() + self.node.ahead))
        except Exception:  # a bug of ours must not end the sessions
            LOG.exception("sessions can't be kept")
            self._has_skipped = True
            self.node.lose("an error of the proxy")
            return
        news, self.books.begun = self.books.begun, []
        if not appends:
            return
        begun = [each.book.name for each in appends if each.id == FIRST]
        if begun:  # listed first: nobody would look for one that isn't
            redis.send([self._layout.list_book(book, self.node.name, 1) for book in begun])
        redis.send(self.keys.begun(news))
        self._sent = appends
        self._batch = redis.send([self._layout.append(each) for each in appends])
        redis.send(self.keys.take_ended())
        for book in begun:
            self.node.hear(Began(book, 1))

    async def written(self) -> None:
        """Return when the store has what was sent, and this node is sure of its sessions."""
        batch, self._batch = self._batch, None
        if batch is not None and self._redis is not None:
            try:
                replies = await self._redis.answers(batch)
                self._acks.observe(trio.current_time() - batch.sent_at)
            except RedisError:
                self._has_skipped = True  # nobody knows what of it is there
            else:
                for sent, reply in zip(self._sent, replies, strict=True):
                    if not isinstance(reply, bytes):
                        await self._missed(sent, reply)
        while not self.node.is_sure():
            await self.node.news()

    async def _missed(self, sent: Append, reply: object) -> None:
        """The store hasn't taken that: the tenure is to find out what it means."""
        if reply is None or (isinstance(reply, hiredis.ReplyError) and is_refusal(reply)):
            if self._redis is not None:
                await self.node.look_at(self._redis, sent.book.name)
            return
        reason = refused(reply) if isinstance(reply, hiredis.ReplyError) else "a strange answer"
        self._has_skipped = True
        self.node.lose(str(reason))

    def is_sure(self) -> bool:
        """Whether what the store has may be passed on now."""
        return self.node.is_sure()

    def forget(self, context: ContextStateMachine) -> None:
        """The session is over."""
        book = self.books.forget(context)
        self.keys.over(context, book)
        if book is not None and self.books.is_over(book):
            self.node.hear(Emptied(book.name))

    # -- The beginning and the end -------------------------------------------------------------

    async def begin(self, addresses: Sequence[Address]) -> None:
        """Connect. Raises StateError."""
        self.node.where = Whereabouts(self.reached_at, place_of(addresses))
        try:
            await self.node.connect()
        except RedisError as error:
            raise StateError(f"can't use the store {error}") from None

    async def run(self, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Be a node of the cluster, until cancelled. Started: what it is to have is here."""
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self.node.run)
            began = trio.current_time()
            while not self._is_ready():
                await self.node.news()
            seconds = trio.current_time() - began
            text = "restored %(sessions)d sessions from %(path)s in %(seconds).3f seconds"
            number, path = self._restored, str(self._access)
            tell(INFO, "restored", text, sessions=number, path=path, seconds=seconds)
            task_status.started()

    def _is_ready(self) -> bool:
        """Whether it has all the books that it is to have before it serves anybody."""
        node = self.node
        states = [state for state, _ in node.tenure.books.values()]
        is_coming = any(state in _COMING for state in states) or node.waits_for_books
        return node.tenure.state is NodeState.SURE and node.looks > 0 and not is_coming

    async def take_over(self) -> None:
        """Not yet: see the settings."""
        raise NotImplementedError

    def close(self) -> None:
        """Leave all for the next node."""
        self.node.lose("it is not used any more")

    async def end(self) -> None:
        """Leave nothing, as no session goes on."""
        node = self.node
        node.hear(Leave(clock()))
        for book in self.books:
            if not book.is_new:
                node.hear(Emptied(book.name))
            elif node.redis is not None:
                node.redis.send([self._layout.unlist_book(book.name)])
        with trio.move_on_after(LEAVING):
            while node.tenure.state is not NodeState.LEFT:
                await node.news()
            if node.redis is not None:
                await self._is_told(node.redis)
        self.close()

    async def _is_told(self, redis: Redis) -> None:
        """Return when all that was sent has an answer, or it is too late for that."""
        try:
            await redis.ask(("ROLE",))
        except RedisError as error:
            tell(WARNING, "state_left", "this node may seem to live: %(reason)s", reason=str(error))

    def state_of(self, name: str) -> BookState:
        """What a book is to this node."""
        known = self.node.tenure.books.get(name)
        if known is not None:
            return known[0]
        return BookState.FREE if self.books.get(name) is None else BookState.OWNED

    # -- What the tenure wants -----------------------------------------------------------------

    def last(self, book: str) -> EntryId | None:
        """The last entry that was made for it; None: the store can't have all of it."""
        known = self.books.get(book)
        return None if known is None or self._has_skipped else known.top

    def writes(self) -> None:
        """What the store has can be gone on from, or is being written anew."""
        self._redis = self.node.redis
        if self._has_skipped:
            self._has_skipped = False
            self.node.start(self._touch, list(self._contexts))

    def obey(self, command: Read | WriteAnew | Release | End | Drop) -> None:
        """Do that with a book."""
        match command:
            case Read():
                self.node.start(self._read, command.book, command.epoch)
            case WriteAnew():
                self._write_anew(command.book, command.epoch)
            case Release():
                self._release(command.book)
            case End():
                self._end(command.book)
            case Drop():
                self._fenced += 1
                self._drop(command.book)

    def _write_anew(self, name: str, epoch: int) -> None:
        book, redis = self.books.get(name), self.node.redis
        if book is None or redis is None:
            return
        book.begin_anew(epoch)
        redis.send([self._layout.append(book.claim(self.node.name.encode()))])
        self.node.start(self._touch, list(book.contexts))

    async def _touch(self, contexts: list[ContextStateMachine]) -> None:
        """Have these written, in slices, so that others aren't held up."""
        for start in range(0, len(contexts), SLICE):
            self._home.touch(contexts[start : start + SLICE])
            self.keys.put_again(contexts[start : start + SLICE])
            await trio.lowlevel.checkpoint()

    def _release(self, name: str) -> None:
        book = self.books.get(name)
        if book is None:
            return
        contexts = list(book.contexts)
        appends = [*book.commit(contexts, trio.current_time(), time() + self.node.ahead)]
        appends.append(book.entry(RELEASED))
        said = self._layout.list_book(name, self.node.name, book.epoch, released=True)
        self._last_words(name, [*map(self._layout.append, appends), said])
        self._drop(name)

    def _end(self, name: str) -> None:
        book = self.books.get(name)
        if book is None:
            return
        last = self._layout.append(book.entry(ENDED))
        self._last_words(name, [last, self._layout.end(name), self._layout.unlist_book(name)])
        self.books.drop(book)

    def _last_words(self, name: str, commands: list[Words]) -> None:
        redis = self.node.redis
        if redis is not None:
            self.node.start(self._released, redis, redis.send(commands), name)

    async def _released(self, redis: Redis, batch: Batch, name: str) -> None:
        try:
            await redis.answers(batch)
        except RedisError:
            return
        self.node.hear(Released(name))

    def _drop(self, name: str) -> None:
        reading = self._readings.pop(name, None)
        if reading is not None:
            reading.cancel()
        book = self.books.get(name)
        if book is not None:
            self._home.drop(self.books.drop(book))

    # -- Reading a book ------------------------------------------------------------------------

    async def _read(self, name: str, epoch: int) -> None:
        with trio.CancelScope() as scope:
            self._readings[name] = scope
            try:
                await self._replay(name, epoch)
            except RedisError as error:
                self.node.lose(str(error))
        if self._readings.get(name) is scope:
            del self._readings[name]

    async def _replay(self, name: str, epoch: int) -> None:
        """Raises RedisError."""
        began = trio.current_time()
        reading = await self._entries(name)
        for problem in reading.problems:
            text = "a block in %(book)s can't be read: %(reason)s"
            tell(WARNING, "state_damaged", text, book=name, reason=str(problem))
        reviving = Reviving(self._contexts, str(self._access), self.node.ahead)
        book = Book(name, epoch, reading.top.number, reading.size)
        found = list(reading.replay.kept.values())
        try:
            for start in range(0, len(found), SLICE):
                now = trio.current_time()
                for context in reviving.revive(found[start : start + SLICE], now):
                    book.adopt(context)
                await trio.lowlevel.checkpoint()
        except trio.Cancelled:
            self._home.drop(book.contexts)
            raise
        reviving.tell(len(reading.replay.given_up))
        self.books.add(book)
        self._restored += len(book.contexts)
        self._home.adopt(list(book.contexts))
        self.node.start(self._touch, list(book.contexts))
        text = "has %(sessions)d sessions of the book %(book)s after %(seconds).3f seconds"
        seconds = trio.current_time() - began
        tell(INFO, "claimed", text, sessions=len(book.contexts), book=name, seconds=seconds)
        self.node.hear(Replayed(name))
        if self.books.is_over(book):
            self.node.hear(Emptied(name))

    async def _entries(self, name: str) -> Reading:
        """All of the book, in pieces. Raises RedisError."""
        reading = Reading()
        after: EntryId | None = None
        count = 16
        while True:
            redis = self.node.redis
            if redis is None:
                raise RedisError("it is away")
            (reply,) = await redis.ask(self._layout.read(name, after, count))
            entries = read_entries(reply)
            if not entries:
                return reading
            for entry in entries:
                reading.read(entry)
                await trio.lowlevel.checkpoint()
            after = reading.top
            size = sum(len(entry.data) for entry in entries)
            count = max(1, count // 2) if size > PIECE else min(2 * count, 1024)
