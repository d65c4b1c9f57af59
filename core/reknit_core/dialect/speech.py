"""The words between a session and a dialect: messages in, what they mean out.

A dialect is what the proxy knows of a protocol inside WebSocket messages. It is pure: whole
messages go in, without frames, masks or compression, and what they mean comes out. It has no clock
and does no I/O. It never raises for what a peer sends: what it can't read means nothing to it, or,
where reading on could go wrong, that the conversation is `lost`.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import NamedTuple, Protocol, TypeVar, runtime_checkable

from reknit_core.side import Side

Key = tuple[str | int, ...]
"""By what a statement is found again: its kind first, then what the protocol has for a name."""

State = Mapping[str, object]
"""A conversation as data: of strings, bytes, numbers, booleans, None, lists and dictionaries."""


class Message(NamedTuple):
    """One WebSocket message: its payload, and whether it is text (RFC 6455, section 5.6)."""

    data: bytes
    is_text: bool


class LostError(Exception):
    """A conversation can't be followed any more."""


class Statement(NamedTuple):
    """What a new server must hear to know the session, or a request that is unanswered.

    `said`: the message by which a server is told. `awaits`: the server has to answer before it
    hears anything else. `is_request`: it is done with its answer, and asking twice may do twice.
    """

    key: Key
    said: Message
    awaits: bool = False
    is_request: bool = False


class Heard(NamedTuple):
    """What a message, or a part of one, means.

    From a client, what it says to the server:

    * `states`: statements to keep, each in place of an earlier one with the same key
    * `begins`: it begins the protocol, as every client does at first
    * `until_answered`: what it takes back is done only when the server says so

    From either side:

    * `settles`: the keys of statements that are done: answered for good, or taken back
    * `takes_back`: keys of statements that are done when a server has heard this message. They
      are said to one that will hear it yet, since it may not know how to take back what never was.
      Each stands for all keys that begin with it. From a server: those that waited for its answer
    * `reply`: what the other side would say at once, and says nothing else by; while it is away
      the proxy says it (a heartbeat's answer), and nothing of this message is kept
    * `is_beat`: it says only that its side is there: of no use to a side that is away
    * `lost`: the conversation can't be followed any more
    * `is_cut`: it ends within something: who hears on behind it, on another connection, would
      understand nothing. `half`: what must have been heard before, from a client; empty: that is
      too much to be kept

    From a server:

    * `answers`: keys of statements that this is the first answer to. It is passed on if the
      client has not had it; else it is left out
    * `refuses`: keys of statements that the server won't have
    * `is_ours`: it answers what only the proxy has said: it is left out
    * `greets`: a server says this of itself at the beginning of each connection: the client has
      had it, but for the first

    `part`: the bytes of the message that this is about; None: all of them. Parts that are left out
    are cut out of the message. Bytes that no part has are held back: a later message's part has
    them too.
    """

    states: tuple[Statement, ...] = ()
    begins: bool = False
    settles: tuple[Key, ...] = ()
    reply: Message | None = None
    lost: bool = False
    is_cut: bool = False
    half: bytes = b""
    takes_back: tuple[Key, ...] = ()
    until_answered: bool = False
    is_beat: bool = False
    answers: tuple[Key, ...] = ()
    refuses: tuple[Key, ...] = ()
    is_ours: bool = False
    greets: bool = False
    part: bytes | None = None


NOTHING: tuple[Heard, ...] = ()
"""A message that the dialect has no interest in: most are."""


NEEDLESS = Message(b"", False)
"""See Conversation.fails()."""


class Beat(NamedTuple):
    """A heartbeat that a side sends by itself: the message, and the seconds between two."""

    message: Message
    every: float


class Conversation(Protocol):
    """What a dialect knows of one session. Whoever derives from it writes what differs."""

    __slots__ = ()

    def hear(self, side: Side, message: Message, *, away: bool = False) -> tuple[Heard, ...]:
        """What a message from that side means, part by part, in order. Never raises.

        `away`: the other side is, so that the proxy gives a `reply` in its place.
        """
        return NOTHING

    def again(self, statement: Statement) -> Message | None:
        """A statement as it is said once more, to a server that may have heard it before.

        None: another statement says it too. Raises LostError.
        """
        return statement.said

    def beat(self, side: Side) -> Beat | None:
        """What that side sends by itself, and the proxy in its place while it is away."""
        return None

    def fails(self, statement: Statement) -> Message | None:
        """What tells the client that this request is not asked again; None: nothing can.

        NEEDLESS: it need not be told.
        """
        return None

    def begins_again(self) -> None:
        """A new connection to a server begins: what was left half said on the old one is void.

        Raises LostError.
        """
        return

    def freeze(self) -> State:
        """What is to be known in another process, beside the statements."""
        return {}


class Thawing(Protocol):
    """A conversation that can become another process's."""

    def thaw(self, state: State) -> None:
        """Become what freeze() gave."""


C = TypeVar("C", bound=Thawing)


def taken_up(conversation: C, state: State | None) -> C:
    """A new conversation, which becomes the one that freeze() gave `state` of, if there is any."""
    if state is not None:
        conversation.thaw(state)
    return conversation


@dataclass(frozen=True, slots=True)
class Offer:
    """By what a dialect is chosen: the session's handshake, as the server has accepted it.

    `target`: path and query of the request. `subprotocol`: the agreed one.
    """

    target: str
    subprotocol: str | None


@runtime_checkable
class Dialect(Protocol):
    """A protocol that the proxy knows. Whoever derives from it writes what differs."""

    @property
    def name(self) -> str:
        """By which it is chosen and shown: lower-case letters, digits, dots and hyphens."""

    @property
    def summary(self) -> str:
        """One line for people: what lives on."""

    @property
    def chosen_by(self) -> str:
        """For people: by what of a handshake; empty: by its name only."""
        return ""

    @property
    def ends(self) -> bool:
        """For people: whether a server's loss ends a session."""
        return self.converse() is None

    def speaks(self, offer: Offer) -> bool:
        """Whether a session that opened so certainly speaks it: then `auto` chooses it."""
        return False

    def converse(self, state: State | None = None) -> Conversation | None:
        """A new session's conversation, or that one which freeze() gave `state` of.

        None: a server's loss ends the session, since its client begins anew by itself; or there
        is no going on from that state.
        """
        return None
