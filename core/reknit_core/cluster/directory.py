"""Where a session is: from what the store says of it to the node to which its client is brought."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from enum import Enum, auto

from reknit_core.cluster.events import Listed
from reknit_core.cluster.preface import Answer
from reknit_core.cluster.states import Book

MAX_REFUSED = 3  # times that a client's session is not where it should be, before it gets 503
_FRESH = 2  # views after which one was begun later than a look-up: one may have been under way


@dataclass(frozen=True, slots=True)
class Lookup:
    """What the store has of a session: the `book` that it is in, and its `nonce`."""

    book: str
    nonce: bytes


class KeysError(Exception):
    """The store has not answered; says why."""


class Step(Enum):
    """What to do for a client that names a session which isn't here."""

    LOOK_UP = auto()
    """Ask the store for it: found()."""
    ENDED = auto()
    """It has ended, if it isn't here meanwhile; where one begins in its stead: replaced()."""
    CREATE = auto()
    """There is none, and its id is this node's: begin it."""
    UNKNOWN = auto()
    """There is none."""
    HOLD = auto()
    """Let the client wait until there is news: again()."""
    GIVE_UP = auto()
    """Answer with 503, so that it comes again."""


@dataclass(frozen=True, slots=True)
class Forward:
    """Bring it to that node."""

    node: str
    address: str


Route = Step | Forward


class Directory:
    """Whose each book is, as far as `node` knows. `state_of` says what a book is to itself."""

    def __init__(self, node: str, state_of: Callable[[str], Book]) -> None:
        self.node = node
        self._state_of = state_of
        self._addresses: Mapping[str, str] = {}
        self._books: Mapping[str, Listed] = {}
        self.views = 0
        """How often it has seen the store's lists."""

    def see(self, addresses: Mapping[str, str], books: Mapping[str, Listed]) -> None:
        """The store's lists: the addresses of the nodes that have a lease, and the books."""
        self._addresses = addresses
        self._books = books
        self.views += 1

    def address(self, node: str) -> str | None:
        """Where that node is; None: it has no lease."""
        return self._addresses.get(node)

    def route(self, found: Lookup | None, since: int, *, creates: bool) -> Route:
        """Where a session is of which the store says that.

        `since`: how many views there were then. `creates`: whether an id that was free is this
        node's since.
        """
        if found is None:
            return Step.CREATE if creates else Step.UNKNOWN
        match self._state_of(found.book):
            case Book.OWNED:
                return Step.ENDED
            case Book.FREE:
                return self._elsewhere(found.book, since)
            case _:  # it comes, goes or stands still
                return Step.HOLD

    def _elsewhere(self, book: str, since: int) -> Route:
        listed = self._books.get(book)
        if listed is None:
            # A book that is new is listed soon; what is in none is left from one that is over.
            return Step.ENDED if self.views >= since + _FRESH else Step.HOLD
        address = self._addresses.get(listed.owner)
        if listed.released or listed.owner == self.node or address is None:
            return Step.HOLD  # somebody claims it
        return Forward(listed.owner, address)


class Search:
    """The way of one client to its session. After each call, do what it returns.

    `creates`: whether the client begins a session where there is none.
    """

    __slots__ = ("_creates", "_directory", "_found", "_is_known", "_refused", "_since", "_tried")

    def __init__(self, directory: Directory, *, creates: bool) -> None:
        self._directory = directory
        self._creates = creates
        self._found: Lookup | None = None
        self._is_known = False  # whether the store has said anything
        self._since = 0
        self._refused = 0
        self._tried = -1  # how many views there were when the node was not reached

    def found(self, found: Lookup | None) -> Route:
        """The store has answered."""
        self._found = found
        self._is_known = True
        self._since = self._directory.views
        return self._route()

    def replaced(self, is_done: bool) -> Route:
        """What the store had of the ended session was to be made that of a new one.

        It is not done where it was another's by then.
        """
        return Step.CREATE if is_done else Step.LOOK_UP

    def store_failed(self) -> Route:
        """The store has not answered."""
        self._is_known = False
        return Step.HOLD

    def again(self) -> Route:
        """There is news: of the books, or of the store."""
        if not self._is_known:
            return Step.LOOK_UP
        route = self._route()
        if isinstance(route, Forward) and self._tried == self._directory.views:
            return Step.HOLD
        return route

    def not_reached(self) -> Route:
        """The node could not be spoken to: with the next view it is tried again."""
        self._tried = self._directory.views
        return Step.HOLD

    def answered(self, answer: Answer) -> Route | None:
        """The node has answered; None: the client is there."""
        match answer:
            case Answer.YES:
                return None
            case Answer.NO:
                self._refused += 1
                return Step.GIVE_UP if self._refused >= MAX_REFUSED else Step.LOOK_UP
            case Answer.OTHER:
                return self.not_reached()  # it will not be listed much longer
            case Answer.BUSY:
                return Step.GIVE_UP

    def _route(self) -> Route:
        return self._directory.route(self._found, self._since, creates=self._creates)
