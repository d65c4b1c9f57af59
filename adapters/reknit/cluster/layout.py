"""How a cluster lies in the store: keys, and the commands that read and write them.

    PREFIX:nodes           hash: every node that is, or was, with its address and place
    PREFIX:node:NAME       string, for a lease: the node lives
    PREFIX:known:NAME      string, for a day: the nodes that it knew when it last said so
    PREFIX:books           hash: every book, with its owner, epoch and whether it is released
    PREFIX:book:BOOK       stream: reknit_core.cluster.bookkeeping
    PREFIX:session:DIGEST  string: in which book a session is, and its nonce

PREFIX is "reknit:" and the cluster's name. Each command touches one key.
"""

from collections.abc import Iterable
from typing import TypeVar

import hiredis
import msgspec
from reknit_core.cluster.bookkeeping import CLAIMED, RELEASED, Append, Entry, EntryId
from reknit_core.cluster.directory import Lookup
from reknit_core.cluster.events import Listed, Top

from reknit.cluster.redis import RedisError, Reply, Words

DAY = 86_400_000  # milliseconds
ENDED = b"x"  # the kind of a book's last entry

# What a session's key holds may be another session's by now, if its client has begun anew.
_DELETE_IF = "if redis.call('get',KEYS[1])==ARGV[1] then redis.call('del',KEYS[1]) end"
_REPLACE_IF = (
    "if redis.call('get',KEYS[1])==ARGV[1] then redis.call('set',KEYS[1],ARGV[2]) return 1 end "
    "return 0"
)


class Whereabouts(msgspec.Struct, array_like=True):
    """Where a node is reached, empty for nowhere; and its place: no two processes run at one."""

    address: str
    place: str


class _Book(msgspec.Struct, array_like=True):
    owner: str
    epoch: int
    released: bool


class _Session(msgspec.Struct, array_like=True):
    book: str
    nonce: bytes


T = TypeVar("T")


class Layout:
    """The keys of the cluster with that name."""

    def __init__(self, cluster: str) -> None:
        self._prefix = f"reknit:{cluster}:"
        self.nodes = self._prefix + "nodes"
        self.books = self._prefix + "books"

    def lease(self, node: str) -> str:
        """The key of a node's lease."""
        return f"{self._prefix}node:{node}"

    def known(self, node: str) -> str:
        """The key of whom a node knew."""
        return f"{self._prefix}known:{node}"

    def book(self, name: str) -> str:
        """The key of a book."""
        return f"{self._prefix}book:{name}"

    def session(self, digest: bytes) -> str:
        """The key of a session."""
        return f"{self._prefix}session:{digest.hex()}"

    # -- Nodes ---------------------------------------------------------------------------------

    def renew(
        self, node: str, where: Whereabouts, known: Iterable[str], seconds: float
    ) -> list[Words]:
        """Say whom the node knows, where it is, and that it lives. The last answer counts."""
        names = msgspec.msgpack.encode(sorted(known))
        return [
            ("SET", self.known(node), names, "PX", DAY),
            ("HSET", self.nodes, node, msgspec.msgpack.encode(where)),
            ("SET", self.lease(node), "", "PX", round(seconds * 1000)),
        ]

    def resign(self, node: str) -> list[Words]:
        """The node has left."""
        return [
            ("DEL", self.lease(node)),
            ("HDEL", self.nodes, node),
            ("DEL", self.known(node)),
        ]

    def forget_node(self, node: str) -> Words:
        """It died, and all its books are others' now."""
        return ("HDEL", self.nodes, node)

    # -- Books ---------------------------------------------------------------------------------

    def list_book(self, book: str, owner: str, epoch: int, *, released: bool = False) -> Words:
        """Say whose the book is."""
        value = msgspec.msgpack.encode(_Book(owner, epoch, released))
        return ("HSET", self.books, book, value)

    def unlist_book(self, book: str) -> Words:
        """There is no such book."""
        return ("HDEL", self.books, book)

    def claim(self, book: str, epoch: int, node: str, *, makes: bool) -> Words:
        """Begin another epoch of the book."""
        key, place = self.book(book), bytes(EntryId(epoch, 0))
        if makes:
            return ("XADD", key, place, CLAIMED, node)
        return ("XADD", key, "NOMKSTREAM", place, CLAIMED, node)

    def append(self, entry: Append) -> Words:
        """Append it, and remove what is needed no more."""
        book, place, kind, data, keep_from = entry
        how: Words = () if kind == CLAIMED else ("NOMKSTREAM",)
        if kind == ENDED:
            how = (*how, "MAXLEN", "=", 1)
        elif keep_from is not None:
            how = (*how, "MINID", "=", bytes(keep_from))
        return ("XADD", self.book(book.name), *how, bytes(place), kind, memoryview(data))

    def end(self, book: str) -> Words:
        """Let what is left of the book expire: nobody may take its name for a new one before."""
        return ("PEXPIRE", self.book(book), DAY)

    def top(self, book: str) -> Words:
        """The last entry."""
        return ("XREVRANGE", self.book(book), "+", "-", "COUNT", 1)

    def above(self, book: str, epoch: int) -> Words:
        """The first entry of a later epoch: small, as it is a claim; mostly there is none."""
        return ("XRANGE", self.book(book), bytes(EntryId(epoch + 1, 0)), "+", "COUNT", 1)

    def size(self, book: str) -> Words:
        """How many entries it has: none, if the store doesn't know it any more."""
        return ("XLEN", self.book(book))

    def claimed(self, book: str, epoch: int) -> Words:
        """The entry that began the epoch, if it is there still."""
        place = bytes(EntryId(epoch, 0))
        return ("XRANGE", self.book(book), place, place)

    def read(self, book: str, after: EntryId | None, count: int) -> Words:
        """So many entries, from the one behind that on."""
        begin = b"-" if after is None else b"(" + bytes(after)
        return ("XRANGE", self.book(book), begin, "+", "COUNT", count)

    # -- Sessions ------------------------------------------------------------------------------

    def find_session(self, digest: bytes) -> Words:
        """What the store has of it."""
        return ("GET", self.session(digest))

    def put_session(self, digest: bytes, found: Lookup) -> list[Words]:
        """Say where it is, unless there is one already; the last answer is what there is then.

        One command for both is known from Redis 7.0 on only.
        """
        key = self.session(digest)
        return [("SET", key, _session(found), "NX"), ("GET", key)]

    def replace_session(self, digest: bytes, old: Lookup, new: Lookup) -> Words:
        """Say where it is in place of one that has ended; 1 if it was as old says."""
        key = self.session(digest)
        return ("EVAL", _REPLACE_IF, 1, key, _session(old), _session(new))

    def end_session(self, digest: bytes, found: Lookup) -> Words:
        """It is over, unless it is another one by now."""
        return ("EVAL", _DELETE_IF, 1, self.session(digest), _session(found))


# -- Answers -----------------------------------------------------------------------------------


def _session(found: Lookup) -> bytes:
    return msgspec.msgpack.encode(_Session(found.book, found.nonce))


def read_session(reply: Reply) -> Lookup | None:
    """The answer to a GET of its key. Raises RedisError."""
    if reply is None:
        return None
    found = _decode(reply, _Session)
    return Lookup(found.book, found.nonce)


def read_hash(reply: Reply) -> dict[str, bytes]:
    """A hash's fields. Raises RedisError."""
    if not isinstance(reply, list):
        raise _strange(reply)
    parts = [part for part in reply if isinstance(part, bytes)]
    return {key.decode(): value for key, value in zip(parts[::2], parts[1::2], strict=True)}


def read_books(reply: Reply) -> dict[str, Listed]:
    """The list of books. Raises RedisError."""
    books = {name: _decode(value, _Book) for name, value in read_hash(reply).items()}
    return {name: Listed(book.owner, book.epoch, book.released) for name, book in books.items()}


def read_nodes(reply: Reply) -> dict[str, Whereabouts]:
    """All nodes. Raises RedisError."""
    return {name: _decode(value, Whereabouts) for name, value in read_hash(reply).items()}


def read_known(reply: Reply) -> frozenset[str]:
    """Whom a node knew. Raises RedisError."""
    return frozenset(_decode(reply, list[str])) if reply is not None else frozenset()


def read_entries(reply: Reply) -> list[Entry]:
    """Entries of a book. Raises RedisError."""
    if not isinstance(reply, list):
        raise _strange(reply)
    return [_entry(each) for each in reply]


def _entry(reply: Reply) -> Entry:
    match reply:
        case [bytes(place), [bytes(kind), bytes(data)]]:
            return Entry(EntryId.read(place), kind, data)
        case _:
            raise _strange(reply)


def read_top(top: Entry, claimed: list[Entry]) -> Top:
    """What the last entry says, with the one that began its epoch, if it is there still."""
    owner = next((each.data.decode() for each in (*claimed, top) if each.kind == CLAIMED), None)
    return Top(top.id.epoch, owner, released=top.kind == RELEASED)


def is_refusal(reply: Reply) -> bool:
    """Whether an entry was refused since a later one is there."""
    return isinstance(reply, hiredis.ReplyError) and "equal or smaller" in str(reply)


def _decode(reply: Reply, kind: type[T]) -> T:
    if isinstance(reply, bytes):
        try:
            return msgspec.msgpack.decode(reply, type=kind)
        except msgspec.MsgspecError:
            pass
    raise _strange(reply)


def _strange(reply: Reply) -> RedisError:
    if isinstance(reply, hiredis.ReplyError):
        return RedisError(str(reply))
    return RedisError("it holds what this version of reknit doesn't understand")
