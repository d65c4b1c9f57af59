"""What comes out of a context: what the adapter must do, in this order."""

from dataclasses import dataclass
from enum import Enum

from reknit_core.lifecycle import State, Trigger
from reknit_core.side import Side


class Failure(Enum):
    """What an attempt that failed says of the server."""

    AWAY = "away"  # it gave no answer, or one that tells to come again later
    REFUSED = "refused"  # it answered, with what the session can't go on with
    FINAL = "final"  # it answered that it never will


@dataclass(frozen=True, slots=True)
class Dial:
    """Connect to the server at time `at` (seconds), then report ServerConnected or DialFailed.

    To which of several, the context's choose_server() says when that time has come.
    `attempt` is 0 for the session's first dial and counts the retries after a loss from 1.
    A Disconnect of the same generation calls the dial off.
    """

    generation: int
    attempt: int
    at: float


@dataclass(frozen=True, slots=True)
class AttemptFailed:
    """That attempt of Dial's has failed: for the log. `reason` is for people: short, printable.

    `server`: which of several; empty: there is one only, or none was dialled. `goes_on`: another
    one is dialled at once.
    """

    attempt: int
    failure: Failure
    reason: str
    server: str = ""
    goes_on: bool = False


@dataclass(frozen=True, slots=True)
class Disconnect:
    """Drop connection number `generation` of a leg, or the dial for it.

    `farewell` is written first if the socket takes it at once. With `linger` (seconds) above 0
    the adapter ends its own direction, discards what still arrives until the peer's end of
    stream or for that long, and only then closes: a reset would cost the peer our last bytes.
    """

    side: Side
    generation: int
    farewell: bytes = b""
    linger: float = 0.0


@dataclass(frozen=True, slots=True)
class Transitioned:
    """The context is now in `state`. In `closed` it can't be resumed: forget it.

    `with_server`: the session ends since its server was lost, and it does not wait for another.
    """

    trigger: Trigger
    state: State
    reason: str
    with_server: bool = False


@dataclass(frozen=True, slots=True)
class DialectChosen:
    """The session has begun, and its messages are understood by the dialect of that name.

    Not `known`: they were, in another process; here they are not, and it ends with its server.
    """

    name: str
    known: bool = True


@dataclass(frozen=True, slots=True)
class Dropped:
    """A full queue has cost messages that were meant for this side.

    `total`: since the session began. Said when that reaches 1, 2, 4, 8 and so on.
    """

    side: Side
    total: int


@dataclass(frozen=True, slots=True)
class Undelivered:
    """So many messages still waited for this side, and are lost.

    The session is over, or its client has begun anew, with another server.
    """

    side: Side
    messages: int
    bytes: int


@dataclass(frozen=True, slots=True)
class Answered:
    """The operator's request to that side is over: with the `reply`, or None and the `reason`."""

    side: Side
    reply: bytes | None
    reason: str


Command = (
    Dial
    | AttemptFailed
    | DialectChosen
    | Disconnect
    | Transitioned
    | Dropped
    | Undelivered
    | Answered
)
