"""Where each session is, as the store says it to all nodes: in which book."""

from collections.abc import Awaitable, Callable, Iterable
from typing import Any

import trio
from reknit_core import ContextStateMachine
from reknit_core.cluster.bookkeeping import Book, Books
from reknit_core.cluster.directory import KeysError, Lookup
from reknit_core.cluster.secret import Secret

from reknit.cluster.layout import Layout, read_session
from reknit.cluster.node import Node
from reknit.cluster.redis import RedisError, Words

Found = Callable[[Lookup | KeysError | None, float], None]
Replaced = Callable[[bool | KeysError, float], None]


class SessionKeys:
    """The keys of sessions, which only those who have the secret can tell from an id."""

    def __init__(self, layout: Layout, secret: Secret, node: Node, books: Books) -> None:
        self._layout = layout
        self._secret = secret
        self._node = node
        self._books = books
        self._reserved: dict[bytes, Lookup] = {}  # by nonce: said before the session is kept
        self._ended: list[Words] = []  # to be said behind the end in the book

    # -- Of sessions that clients name ---------------------------------------------------------

    def look_up(self, connection_id: str, nonce: bytes | None, told: Found) -> None:
        """What the store has of it; with a nonce: if that is nothing, then it is here from now on.

        `told` hears it later.
        """
        self._node.start(self._tell, self._look_up(connection_id, nonce), told)

    async def _look_up(self, connection_id: str, nonce: bytes | None) -> Lookup | None:
        digest = self._secret.digest(connection_id)
        if nonce is None:
            replies = await self._ask(self._layout.find_session(digest))
            return read_session(replies[-1])
        here, listed = self._place(nonce)
        replies = await self._ask(*listed, *self._layout.put_session(digest, here))
        found = read_session(replies[-1])
        if found != here:
            return found
        self._reserved[nonce] = here
        return None

    def replace(self, connection_id: str, old: Lookup, nonce: bytes, told: Replaced) -> None:
        """Have that nonce's there in place of the old one. `told` hears whether it is so, later."""
        self._node.start(self._tell, self._replace(connection_id, old, nonce), told)

    async def _replace(self, connection_id: str, old: Lookup, nonce: bytes) -> bool:
        here, listed = self._place(nonce)
        digest = self._secret.digest(connection_id)
        replies = await self._ask(*listed, self._layout.replace_session(digest, old, here))
        if replies[-1] != 1:
            return False
        self._reserved[nonce] = here
        return True

    def give_back(self, connection_id: str, nonce: bytes) -> None:
        """The session with that nonce has not begun after all."""
        here = self._reserved.pop(nonce, None)
        if here is not None:
            self._send([self._layout.end_session(self._secret.digest(connection_id), here)])

    def _place(self, nonce: bytes) -> tuple[Lookup, list[Words]]:
        """The book for it, and what is to be said first: nobody would look for one in no list."""
        book = self._books.choose(nonce)
        listed = [self._layout.list_book(book.name, self._node.name, 1)] if book.is_new else []
        return Lookup(book.name, nonce), listed

    async def _ask(self, *commands: Words) -> list[Any]:
        redis = self._node.redis
        if redis is None:
            raise RedisError("it is away")
        return await redis.ask(*commands)

    async def _tell(self, asking: Awaitable[Any], told: Callable[[Any, float], None]) -> None:
        try:
            outcome = await asking
        except RedisError as error:
            outcome = KeysError(str(error))
        await trio.lowlevel.checkpoint()  # never within the call that has begun it
        told(outcome, trio.current_time())

    # -- Of sessions that are kept ---------------------------------------------------------------

    def begun(self, contexts: Iterable[ContextStateMachine]) -> list[Words]:
        """What is to be said of sessions that are to be kept from now on, before they are."""
        commands: list[Words] = []
        for context in contexts:
            if self._reserved.pop(context.nonce, None) is None:
                commands += self._put(context)
        return commands

    def _put(self, context: ContextStateMachine) -> list[Words]:
        book = self._books.of(context)
        if book is None:
            return []
        return self._layout.put_session(*self._key(context, book))

    def put_again(self, contexts: Iterable[ContextStateMachine]) -> None:
        """Say once more where these are: the store may have forgotten it."""
        self._send([command for context in contexts for command in self._put(context)])

    def over(self, context: ContextStateMachine, book: Book | None) -> None:
        """The session is over; it was in that book, or was never kept."""
        if book is not None:
            self._ended.append(self._layout.end_session(*self._key(context, book)))
        else:
            self.give_back(context.connection_id, context.nonce)

    def take_ended(self) -> list[Words]:
        """What is to be said of those that are over, once their books say so."""
        ended, self._ended = self._ended, []
        return ended

    def _key(self, context: ContextStateMachine, book: Book) -> tuple[bytes, Lookup]:
        return self._secret.digest(context.connection_id), Lookup(book.name, context.nonce)

    def _send(self, commands: list[Words]) -> None:
        """Nobody waits for the answers."""
        if self._node.redis is not None and commands:
            self._node.redis.send(commands)
