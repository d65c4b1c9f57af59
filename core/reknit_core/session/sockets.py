"""The two legs of a session: the client's and the server's, by their names in the design."""

import json
from math import inf

from wsproto.frame_protocol import FrameProtocol

from reknit_core.policy.policy import Policy
from reknit_core.queue.backlog import Backlog
from reknit_core.session.retry import Retry
from reknit_core.session.websocket import WebSocket
from reknit_core.side import Side
from reknit_core.wire.handshake import ClientHandshake, ServerHandshake
from reknit_core.wire.headers import HeaderList


class IncomingWebSocket(WebSocket):
    """The client's leg. Its queue holds client messages that wait for the server."""

    side = Side.CLIENT

    __slots__ = ("handshake", "hello")

    def __init__(self, queue: Backlog, source: Backlog, policy: Policy) -> None:
        super().__init__(queue, source, policy)
        self.handshake: ClientHandshake | None = None
        self.hello = False  # whether this client wants to be greeted by a message


class OutgoingWebSocket(WebSocket):
    """The server's leg. Its queue holds server messages that wait for the client."""

    side = Side.SERVER

    __slots__ = ("dial_at", "handshake", "retry", "since", "wall")

    def __init__(self, queue: Backlog, source: Backlog, policy: Policy, retry: Retry) -> None:
        super().__init__(queue, source, policy)
        self.handshake: ServerHandshake | None = None
        self.retry = retry
        self.dial_at = inf  # when the last dial was due
        self.since = inf  # when the current handshake began
        self.wall: float | None = None  # and the time of day, if it is known


def hello_frame(headers: HeaderList) -> bytes:
    """A text message to a client with what the proxy's own headers say, as a JSON object."""
    text = json.dumps({name.decode(): value.decode() for name, value in headers})
    return bytes(FrameProtocol(client=False, extensions=[]).send_data(text))
