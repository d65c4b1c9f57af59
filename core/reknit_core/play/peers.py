"""The far ends of a played session: what a client or a server sees, tells as phrases, and sends.

They stand where sockets and programs stand in a live proxy. What a peer sends waits here while
the proxy does not read, as it would in the socket.
"""

import json
from collections import deque

from reknit_core.leg.transit import Transit
from reknit_core.script.actions import ClientConnects, ServerAccepts
from reknit_core.script.phrases import FrameReader, quote
from reknit_core.side import Side
from reknit_core.wire.handshake import (
    Accepted,
    ClientHandshake,
    Failed,
    Refusal,
    ServerHandshake,
    UpgradeRequest,
    encode_refusal,
)
from reknit_core.wire.headers import HeaderList, value_of
from reknit_core.wire.wire_forms import ServerRequest

SESSION_ID = "session"  # a client that names no other id has this one
HOST = "proxy.test"  # what a client asks for that says nothing else

_END = b"\r\n\r\n"  # of a handshake
_DEFLATE = "permessage-deflate"
_KEY = b"dGhlIHNhbXBsZSBub25jZQ=="  # the client's: RFC 6455, section 1.3


class Peer:
    """One connection's far end."""

    side: Side

    def __init__(self, generation: int, nonce: bytes, room: int | None = None) -> None:
        self.generation = generation
        self.room: int | None = room
        """How many bytes its socket still takes, behind the handshake; None: all."""
        self.acks: int | None = None
        """How many more bytes its system acknowledges; None: all."""
        self.in_transit = Transit(0, 0)
        """What it has acknowledged of what its socket has taken."""
        self.unread: deque[bytes] = deque()
        """What it has sent and the proxy has not read."""
        self.ended = False
        """Its stream has ended, by its own doing; nothing more comes from it."""
        self.is_read = True
        """Whether the proxy reads from it."""
        self.rest = b""
        """The part of a cut message that is still under way."""
        self._nonce = nonce
        self._begun = False  # whether a handshake has begun to come in
        self._reader: FrameReader | None = None  # once the handshake is done

    @property
    def probe(self) -> bytes | None:
        """The payload of the proxy's last own Ping."""
        return self._reader.probe if self._reader else None

    @property
    def cut(self) -> bool:
        """Whether the proxy has begun a handshake, message or frame that it has not ended."""
        return self._begun if self._reader is None else self._reader.cut

    @property
    def may_send(self) -> bool:
        """Whether frames may come from it."""
        return True

    def take(self, offered: bytes) -> bytes:
        """As much of the offered bytes as its socket has room for."""
        if self.room is None:
            return offered
        handshake = 0
        if self._reader is None and self.room:
            handshake = offered.find(_END) + len(_END) if _END in offered else len(offered)
        data = offered[: handshake + self.room]
        self.room -= max(0, len(data) - handshake)
        return data

    def acknowledge(self, more: int) -> None:
        """The socket has taken `more` bytes, and its system acknowledges what it does."""
        left, arrived, _ = self.in_transit
        left += more
        new = left if self.acks is None else min(left, self.acks)
        if self.acks is not None:
            self.acks -= new
        self.in_transit = Transit(left - new, (arrived or 0) + new)

    def receive(self, data: bytes) -> list[str]:
        """Bytes from the proxy, as phrases."""
        if self._reader is not None:
            return self._reader.feed(data)
        if not data:
            return []  # to wsproto this would be the end of the stream
        phrases = self._shake_hands(data)
        self._begun = not phrases
        return phrases

    def _shake_hands(self, data: bytes) -> list[str]:
        raise NotImplementedError

    def _open(self, *, deflate: bool) -> FrameReader:
        masked = self.side is Side.SERVER
        self._reader = FrameReader(masked=masked, deflate=deflate, nonce=self._nonce)
        return self._reader


class ClientPeer(Peer):
    """A client: asks for a session, reads the answer."""

    side = Side.CLIENT

    def __init__(self, action: ClientConnects, name: str | None, nonce: bytes) -> None:
        super().__init__(0, nonce, action.takes)
        headers: list[tuple[bytes, bytes]] = []
        if action.resume is not None:
            headers.append((b"x-reconnect-id", action.resume.encode()))
        elif name is not None:
            headers.append((b"x-connection-id", name.encode()))
        if action.received is not None:
            headers.append((b"x-reconnect-received", str(action.received).encode()))
        shown = {
            b"authorization": action.authorization,
            b"origin": action.origin,
            b"cookie": action.cookie,
            b"via": action.via and f"1.1 {action.via}",
            b"x-reconnect-token": action.token,
        }
        headers += [(key, value.encode()) for key, value in shown.items() if value is not None]
        offer = None
        if action.deflate is not None:
            offer = "; ".join(filter(None, (_DEFLATE, action.deflate)))
        self._handshake = ServerHandshake(
            ServerRequest(
                action.target, action.host or HOST, tuple(headers), action.subprotocols, offer
            ),
            _KEY,
        )

    def request(self) -> bytes:
        """Its opening handshake."""
        return self._handshake.request()

    def _shake_hands(self, data: bytes) -> list[str]:
        match self._handshake.receive_data(data):
            case Accepted() as answer:
                reader = self._open(deflate=bool(answer.extensions))
                return [_response(answer), *reader.feed(answer.rest)]
            case Refusal() as answer:
                return [_refusal(answer)]
            case Failed() as failed:
                return [f"response invalid {quote(failed.reason.encode())}"]
            case None:
                return []


class ServerPeer(Peer):
    """A server: reads the request, answers it."""

    side = Side.SERVER

    def __init__(self, generation: int, nonce: bytes) -> None:
        super().__init__(generation, nonce)
        self._handshake = ClientHandshake()
        self._asked: UpgradeRequest | None = None
        self._answered = False

    @property
    def may_answer(self) -> bool:
        """Whether a request has come and waits for its answer."""
        return self._asked is not None and not self._answered

    @property
    def may_send(self) -> bool:
        """Whether it has accepted."""
        return self._reader is not None

    def accept(self, action: ServerAccepts) -> bytes:
        """Its answer 101, right or wrong."""
        self._answered = True
        headers: list[tuple[bytes, bytes]] = []
        if action.deflate is not None:
            value = "; ".join(filter(None, (_DEFLATE, action.deflate)))
            headers.append((b"sec-websocket-extensions", value.encode()))
        if action.info is not None:
            headers.append((b"x-reconnect-info", action.info.encode()))
        if action.received is not None:
            headers.append((b"x-reconnect-received", str(action.received).encode()))
        if action.reconnect is not None:
            headers.append((b"x-reconnect", action.reconnect.encode()))
        answer = self._handshake.accept(None, tuple(headers))
        if action.subprotocol is not None:  # wsproto would not let a server choose wrongly
            line = f"sec-websocket-protocol: {action.subprotocol}\r\n\r\n"
            answer = answer[:-2] + line.encode()
        self._open(deflate=action.deflate is not None)
        return answer

    def refuse(self, status: int, body: bytes) -> bytes:
        """Its answer with another status."""
        self._answered = True
        return encode_refusal(Refusal(status, (), body))

    def _shake_hands(self, data: bytes) -> list[str]:
        match self._handshake.receive_data(data):
            case UpgradeRequest() as request:
                self._asked = request
                return [_request(request)]
            case Refusal() as refusal:
                return [f"request invalid {quote(refusal.body.strip())}"]
            case None:
                return []


# -- Handshakes as phrases ---------------------------------------------------------------------


def _request(request: UpgradeRequest) -> str:
    words = ["request", request.target]
    if request.host != HOST:
        words.append(f"host={request.host}")
    if request.subprotocols:
        words.append(f"subprotocols={','.join(request.subprotocols)}")
    words += [f"deflate={_parameters(offer)}" for offer in request.extensions]
    return " ".join([*words, *_reconnect_headers(request.headers)])


def _response(answer: Accepted) -> str:
    words = ["response 101"]
    if answer.subprotocol is not None:
        words.append(f"subprotocol={answer.subprotocol}")
    words += [f"deflate={_parameters(extension)}" for extension in answer.extensions]
    return " ".join([*words, *_reconnect_headers(answer.headers)])


def _refusal(answer: Refusal) -> str:
    words = ["response", str(answer.status)]
    after = value_of(answer.headers, b"retry-after")
    if after is not None:
        words.append(f"retry-after={after}")
    try:
        body = json.loads(answer.body)
        words.append(f"error={body['error']}")
    except (ValueError, TypeError, KeyError):  # not an answer of the proxy's own
        if answer.body:
            words.append(quote(answer.body))
    return " ".join(words)


def _parameters(extension: str) -> str:
    """An extension's parameters; its name is permessage-deflate."""
    _, _, parameters = extension.partition(";")
    return quote(parameters.strip().encode())


def _reconnect_headers(headers: HeaderList) -> list[str]:
    return [
        f"{name.decode()}={_word(value)}"
        for name, value in headers
        if name.startswith(b"x-reconnect")
    ]


def _word(value: bytes) -> str:
    return value.decode() if value.isalnum() else quote(value)
