"""What goes into a node's tenure: what the store, the other nodes and the operator say.

A node's name is of one run: who starts again has another. All times are seconds of this node's own
clock, one that goes on while the machine sleeps. `sent_at` is when the command went out: what it
gives counts from then, as nobody knows when it was carried out.

Once StoreLost has been told, no answer to an earlier command follows.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class Top:
    """What is newest in a book's stream.

    `owner`: the node that has claimed `epoch`, None if the store doesn't say it any more.
    `released`: it has given the book up. `ended`: the book is over, and expires. `is_whole`: the
    last entry is the last that this node has made for it, and none was left out; it counts in an
    answer to Renew with `compares` only.
    """

    epoch: int
    owner: str | None
    released: bool = False
    ended: bool = False
    is_whole: bool = True


@dataclass(frozen=True, slots=True)
class Listed:
    """What the store's list of books says of one: a hint, the stream's top is the truth."""

    owner: str
    epoch: int
    released: bool = False


# -- From the store -----------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class StoreBack:
    """A connection to the store's primary stands.

    It is told lost when it breaks, when a command is not answered in time, and when it turns out
    to lead to another run of the store, or to one that is no primary.
    """


@dataclass(frozen=True, slots=True)
class StoreLost:
    """There is no connection to the store any more."""


@dataclass(frozen=True, slots=True)
class Looked:
    """Answers Look: the nodes that have a lease, the books, and which nodes each owner knew.

    `known` may leave out owners that have a lease.
    """

    sent_at: float
    leases: frozenset[str]
    books: Mapping[str, Listed]
    known: Mapping[str, frozenset[str]] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Renewed:
    """Answers Renew with yes. `tops`: of each book that was asked for, None where none is there."""

    sent_at: float
    tops: Mapping[str, Top | None]


@dataclass(frozen=True, slots=True)
class Found:
    """Answers Check. Comes unasked where a write to a book was refused, or found no stream."""

    book: str
    top: Top | None


@dataclass(frozen=True, slots=True)
class Claimed:
    """Answers Claim with yes."""

    book: str
    epoch: int


@dataclass(frozen=True, slots=True)
class ClaimRefused:
    """Answers Claim with no: the stream has another top than it had, or is gone."""

    book: str
    epoch: int


@dataclass(frozen=True, slots=True)
class Replayed:
    """Answers Read: the book's sessions live here."""

    book: str


@dataclass(frozen=True, slots=True)
class Released:
    """Answers Release and End: it is written down, and nothing of the book is left here."""

    book: str


# -- From other nodes ---------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class PromiseAsked:
    """A node without the store asks that nobody claims its books for a lease; with their epochs."""

    node: str
    books: Mapping[str, int]


@dataclass(frozen=True, slots=True)
class Promised:
    """A node has answered AskPromise that was sent to it at `sent_at`."""

    node: str
    sent_at: float
    agreed: bool


@dataclass(frozen=True, slots=True)
class Probed:
    """Answers Probe: whether the node has answered, in time, that it is sure."""

    node: str
    is_sure: bool


# -- From this node -----------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Began:
    """A book of its own is to be made here, under a name that nobody else has, at `epoch`.

    Its stream is made once the commands that this brings have gone out.
    """

    book: str
    epoch: int


@dataclass(frozen=True, slots=True)
class Emptied:
    """A book has no session any more, and gets none."""

    book: str


@dataclass(frozen=True, slots=True)
class Leave:
    """The node stops: its books are to be with others by `until`."""

    until: float


Answer = Looked | Renewed | Found | Claimed | ClaimRefused | Replayed | Released | Probed
"""What comes of a command that is given only while there is a connection to the store."""

Event = StoreBack | StoreLost | PromiseAsked | Promised | Began | Emptied | Leave | Answer
