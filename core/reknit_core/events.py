"""What goes into a context: lifecycle events. Bytes go in through receive_data instead."""

from dataclasses import dataclass

from reknit_core.side import Side
from reknit_core.wire.handshake import ClientHandshake
from reknit_core.wire.inband import Expected


@dataclass(frozen=True, slots=True)
class ClientConnected:
    """A client's opening handshake is complete: the session's first one, or its return.

    `received`: how many messages of this session it says that it has received. `hello`: whether
    it wants to be told in a first message what the 101 answer's headers say, as a browser can't
    read them. `address`: its IP address; empty: it has none.
    """

    handshake: ClientHandshake
    received: int | None = None
    hello: bool = False
    address: str = ""


@dataclass(frozen=True, slots=True)
class ServerConnected:
    """The transport that Dial number `generation` asked for is up; no byte has been sent on it.

    `wall`: the time of day (seconds since 1970), if the adapter knows it.
    """

    generation: int
    wall: float | None = None


@dataclass(frozen=True, slots=True)
class DialFailed:
    """Dial number `generation` got no transport; `reason` is for people.

    `answered`: the server is there, but nothing was agreed on with it, as its TLS failed.
    """

    generation: int
    reason: str
    answered: bool = False


@dataclass(frozen=True, slots=True)
class ConnectionLost:
    """Connection number `generation` of a leg broke without end of stream: a reset, a time-out.

    `answered`: the peer is there, but its TLS has failed, which may be said after its handshake: a
    client's certificate is refused so (RFC 8446, section 4.4.2.4 and 6.2).
    """

    side: Side
    generation: int
    reason: str
    answered: bool = False


@dataclass(frozen=True, slots=True)
class Shutdown:
    """The proxy stops, or an operator ends the session: both legs are closed with `code`.

    `server_code`: what the server gets instead, if that is another.
    """

    code: int
    reason: str
    server_code: int | None = None


@dataclass(frozen=True, slots=True)
class Ask:
    """The operator has a request to that side's peer: the text of a message.

    Answered follows: with the first message of that peer that is JSON with the `expected` fields.
    """

    side: Side
    text: str
    expected: Expected


@dataclass(frozen=True, slots=True)
class StopAsking:
    """The operator waits no longer: what that side's peer sends is the other end's again."""

    side: Side


Event = (
    ClientConnected | ServerConnected | DialFailed | ConnectionLost | Shutdown | Ask | StopAsking
)
