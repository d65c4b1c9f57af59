"""What can happen in a scenario, as data. How each action is written stands in grammar.py."""

from dataclasses import dataclass
from enum import Enum

from reknit_core.side import Side
from reknit_core.wire.inband import Expected


class ScenarioError(ValueError):
    """What is wrong with a scenario: where, what, and what is allowed instead."""

    def __init__(self, what: str, allowed: str, line: int | None = None) -> None:
        where = "" if line is None else f"line {line}: "
        super().__init__(f"{where}{what}; allowed: {allowed}")
        self.what = what
        self.allowed = allowed
        self.line = line

    def at_line(self, line: int) -> "ScenarioError":
        """The same, with the line's number."""
        return ScenarioError(self.what, self.allowed, line)


@dataclass(frozen=True, slots=True)
class ClientConnects:
    """A client's opening handshake comes in."""

    target: str
    connection_id: str | None
    resume: str | None
    received: int | None
    takes: int | None
    subprotocols: tuple[str, ...]
    deflate: str | None
    authorization: str | None = None
    origin: str | None = None
    cookie: str | None = None
    token: str | None = None
    host: str | None = None
    via: str | None = None


@dataclass(frozen=True, slots=True)
class ServerConnects:
    """The dial has a transport. With a generation: the event says that number."""

    generation: int | None


@dataclass(frozen=True, slots=True)
class DialFails:
    """The dial got no transport."""

    generation: int | None
    reason: str
    answered: bool = False


@dataclass(frozen=True, slots=True)
class ServerAccepts:
    """The server answers the opening handshake with 101."""

    subprotocol: str | None
    deflate: str | None
    info: str | None
    received: int | None
    reconnect: str | None = None


@dataclass(frozen=True, slots=True)
class ServerRefuses:
    """The server answers the opening handshake with another status."""

    status: int
    body: bytes


@dataclass(frozen=True, slots=True)
class Sends:
    """A peer's bytes arrive, one piece a read; `rest` stays under way.

    `raw`: at any time, whatever the protocol says.
    """

    side: Side
    pieces: tuple[bytes, ...]
    rest: bytes = b""
    raw: bool = False


@dataclass(frozen=True, slots=True)
class SendsRest:
    """What a cut message left under way arrives."""

    side: Side


@dataclass(frozen=True, slots=True)
class AnswersProbe:
    """A peer answers the proxy's own last Ping."""

    side: Side


@dataclass(frozen=True, slots=True)
class Ends:
    """A peer's stream ends without a Close frame."""

    side: Side


@dataclass(frozen=True, slots=True)
class Breaks:
    """A connection is reset. With a generation: the event says that number.

    `answered`: its TLS has failed, which may be said after its handshake.
    """

    side: Side
    generation: int | None
    answered: bool = False


@dataclass(frozen=True, slots=True)
class Takes:
    """How many bytes that side's socket takes from now on, behind the handshake; None: all."""

    side: Side
    limit: int | None


@dataclass(frozen=True, slots=True)
class Acknowledges:
    """How many bytes that side's system acknowledges from now on; None: all."""

    side: Side
    limit: int | None


@dataclass(frozen=True, slots=True)
class ShutsDown:
    """The operator ends the session."""

    code: int
    reason: str
    server_code: int | None


@dataclass(frozen=True, slots=True)
class Asks:
    """The operator has a request to a peer."""

    side: Side
    text: str
    expected: Expected


@dataclass(frozen=True, slots=True)
class StopsAsking:
    """The operator waits no longer for the reply."""

    side: Side


class Passing(Enum):
    """Nothing but time."""

    WAIT = "wait"
    TIMEOUT = "timeout"
    STALLED = "stalled"


Action = (
    ClientConnects
    | ServerConnects
    | DialFails
    | ServerAccepts
    | ServerRefuses
    | Sends
    | SendsRest
    | AnswersProbe
    | Ends
    | Breaks
    | Takes
    | Acknowledges
    | ShutsDown
    | Asks
    | StopsAsking
    | Passing
)
