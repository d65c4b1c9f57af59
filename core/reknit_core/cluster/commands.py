"""What comes out of a node's tenure: what the adapter must do, in this order.

Each command to the store is answered by an event, or by StoreLost. They go out in this order on
one connection.
"""

from collections.abc import Mapping
from dataclasses import dataclass

# -- To the store -------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Look:
    """Read the leases, the list of books, and what owners without a lease knew: Looked."""


@dataclass(frozen=True, slots=True)
class Renew:
    """Write `known`, the nodes that this one knows, then its lease, then look at `books`: Renewed.

    `compares`: it is the first time on this connection, or the node stands still: the top is to be
    read with its owner, and whether it is the last entry that was made here. Else it is enough to
    see that there is a stream, and no higher epoch in it.
    With replicas, the lease counts only once they have it.
    """

    known: frozenset[str]
    books: tuple[str, ...]
    compares: bool


@dataclass(frozen=True, slots=True)
class Check:
    """Read a book's top: Found."""

    book: str


@dataclass(frozen=True, slots=True)
class Claim:
    """Append the entry `epoch`-0 that says whose the book is now: Claimed or ClaimRefused.

    `makes`: only if there is no such stream; else only if there is one. With replicas, it counts
    only once they have it.
    """

    book: str
    epoch: int
    makes: bool = False


@dataclass(frozen=True, slots=True)
class List:
    """Write into the list of books that this one is `owner`'s, at `epoch`. Has no answer.

    An empty owner is one that nobody knows.
    """

    book: str
    owner: str
    epoch: int


@dataclass(frozen=True, slots=True)
class Unlist:
    """Take a book out of the list, as it has no stream, or is over. Has no answer."""

    book: str


@dataclass(frozen=True, slots=True)
class Read:
    """Read the book, let its sessions live here, and write it anew under `epoch`: Replayed."""

    book: str
    epoch: int


@dataclass(frozen=True, slots=True)
class WriteAnew:
    """Write all that the book holds anew under `epoch`; make its stream if there is none."""

    book: str
    epoch: int


@dataclass(frozen=True, slots=True)
class Release:
    """Write what is new, then that the book is given up, here and in the list: Released.

    Its connections are cut before, and nothing is written to them from now on.
    """

    book: str
    epoch: int


@dataclass(frozen=True, slots=True)
class End:
    """The book is over: write that into it, let it expire, take it out of the list: Released."""

    book: str
    epoch: int


@dataclass(frozen=True, slots=True)
class Resign:
    """Take this node's lease out of the store: it has left. Has no answer."""


# -- To other nodes -----------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class AskPromise:
    """Ask each of `nodes` not to claim these books, with their epochs, for a lease: Promised."""

    nodes: tuple[str, ...]
    books: Mapping[str, int]


@dataclass(frozen=True, slots=True)
class Promise:
    """Answer that node's PromiseAsked."""

    node: str
    agreed: bool


@dataclass(frozen=True, slots=True)
class Probe:
    """Ask a node whether it is sure: Probed, within the time that a connection may take."""

    node: str


# -- To this node -------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Drop:
    """The book isn't this node's any more: cut its connections by RST, forget its sessions.

    Nothing is written, nothing is deleted, and none of its timers may run.
    """

    book: str


@dataclass(frozen=True, slots=True)
class StandStill:
    """Read and write nothing; new handshakes get 503."""


@dataclass(frozen=True, slots=True)
class GoOn:
    """The node is sure again: read and write."""


Command = (
    Look
    | Renew
    | Check
    | Claim
    | List
    | Unlist
    | Read
    | WriteAnew
    | Release
    | End
    | Resign
    | AskPromise
    | Promise
    | Probe
    | Drop
    | StandStill
    | GoOn
)
