"""The opening handshake of both legs (RFC 6455, section 4), on wsproto.

What is forwarded, replaced and stripped on the way to the server and back stands in
`headers.py`. wsproto 1.3.2 drops what follows a request's blank line and has no size limit, so
the head is split off and measured here. One of the common shape takes the shortcut
(`heads/shortcut.py`), which comes to the same; wsproto reads and writes all others.
"""

import re

import h11
from wsproto.connection import ConnectionType
from wsproto.events import AcceptConnection, RejectConnection, Request
from wsproto.extensions import Extension
from wsproto.frame_protocol import FrameProtocol
from wsproto.handshake import H11Handshake
from wsproto.utilities import ProtocolError

from reknit_core.wire.deflate import NAME as DEFLATE
from reknit_core.wire.headers import HeaderList, reason_phrase, says_upgrade, value_of
from reknit_core.wire.heads import shortcut
from reknit_core.wire.heads.ambiguity import MAX_HEADERS, ambiguity, origin_form
from reknit_core.wire.heads.outcomes import (
    NO_UPGRADE,
    NOT_HANDED_OVER,
    Accepted,
    Failed,
    Refusal,
    UpgradeRequest,
    refusal,
)
from reknit_core.wire.heads.refused import AnswerReader
from reknit_core.wire.wire_forms import FrozenAnswer, FrozenRequest, ServerRequest

__all__ = [
    "NO_UPGRADE",
    "Accepted",
    "ClientHandshake",
    "Failed",
    "Refusal",
    "ServerHandshake",
    "UpgradeRequest",
    "encode_refusal",
    "header_lines",
    "refusal",
    "shutting_down",
]

MAX_HEAD = 16 * 1024  # bytes of a request's or response's head
COME_BACK_AFTER = 1  # seconds: others may take a client at once that this proxy no longer takes
MAX_REFUSAL = 1024 * 1024  # bytes of a server's refusal that is passed on
MAX_ANSWER = MAX_HEAD + MAX_REFUSAL  # bytes of it as it comes: with interim answers, in chunks

_END = b"\r\n\r\n"
_HOST_LINE = re.compile(rb"(?im)^(host[ \t]*:)[^\r\n]*")
_NO_HOST = b"-"  # for wsproto, which reads and writes every Host as IDNA 2003, and fails at others
BARE = frozenset((204, 304))  # answers that have no body, whatever they say of its length
_BAD_LINE = re.compile(rb"(?<!\r)\n|\r\n[ \t]")  # ends without CR, or is folded
_TOKEN = re.compile(r"[A-Za-z0-9!#$%&'*+.^_`|~-]+")  # RFC 9110, 5.6.2
_KEY = re.compile(r"[A-Za-z0-9+/]{22}==")  # 16 bytes in base64
_QUOTED = re.compile(r": bytearray\(b.*", re.DOTALL)  # h11 quotes lines, which may hold secrets
_EMPTY_LINE = re.compile(rb"\n\r?\n")
_INTERIM = re.compile(rb"HTTP/1\.\d 1(?!01)\d\d[ \r]")


_BARE = Failed("a line of the answer's head ends without CR, or is folded")
_BEGINNING = b"HTTP/1."
_OTHERS = (
    (b"\x15", "TLS, not HTTP: the upstream's URL should begin with wss://"),  # an alert
    (b"SSH-", "SSH, not HTTP"),
    (b"HTTP/", "of another version of HTTP"),
)


def _foreign(answer: bytes) -> str | None:
    """What is wrong with an answer that isn't HTTP/1; None: as far as it is in, it may be that."""
    beginning = answer[: len(_BEGINNING)]
    known = (_BEGINNING, *(begins for begins, _ in _OTHERS))
    if beginning == _BEGINNING or any(begins.startswith(answer) for begins in known):
        return None
    kind = next((name for begins, name in _OTHERS if answer.startswith(begins)), "not HTTP")
    return f"the server's answer is {kind}"


def _told(error: ProtocolError) -> str:
    """What wsproto or h11 says of an answer, without what the answer says itself."""
    text = _QUOTED.sub("", str(error.__context__ or error))
    name = text.removeprefix("unrecognized subprotocol ")
    return text if name == text else "the server takes a subprotocol that was not offered"


def shutting_down(message: str) -> Refusal:
    """The answer to a client that comes while the proxy, or its session, goes."""
    return refusal(503, "shutting_down", message, ((b"retry-after", b"%d" % COME_BACK_AFTER),))


class ClientHandshake:
    """The client's leg until it is open: reads the request, then answers it.

    `address`: the client's IP address, as the adapter sees it; empty: it has none (a unix socket).
    `secure`: whether the client came by TLS.
    """

    def __init__(self, address: str = "", *, secure: bool = False) -> None:
        self.address = address
        self.secure = secure
        self.head = b""  # the request as far as it is in
        self.rest = b""  # what follows the request: frames that came early
        self._key = b""  # the request's Sec-WebSocket-Key, and what else its answer needs
        self._subprotocols: tuple[str, ...] = ()

    def frozen(self) -> FrozenRequest:
        """The handshake as data: what was read of the request."""
        return FrozenRequest(self.address, self.head)

    @classmethod
    def thawed(cls, form: FrozenRequest) -> "ClientHandshake":
        """A handshake that has read as much of the request."""
        handshake = cls(form.address)
        handshake.receive_data(form.head)
        return handshake

    @classmethod
    def read_before(
        cls, address: str, data: bytes, size: int, request: UpgradeRequest, *, secure: bool
    ) -> "ClientHandshake":
        """A handshake that has read this request in another process, as `size` bytes of `data`."""
        handshake = cls(address, secure=secure)
        handshake.head = data
        handshake._complete(request, size)
        return handshake

    def receive_data(self, data: bytes) -> UpgradeRequest | Refusal | None:
        """Read on; None while the request isn't complete. Never raises."""
        new = max(0, len(self.head) - len(_END) + 1)  # what is older was looked at before
        self.head += data
        end = self.head.find(_END, new)
        if 0 <= end <= MAX_HEAD:
            common = shortcut.read_request(self.head[: end + len(_END)])
            if common is not None:
                return self._complete(common, end + len(_END))
        size = end if end >= 0 else len(self.head) - len(_END) + 1
        if _BAD_LINE.search(self.head, new, min(end if end >= 0 else MAX_HEAD, MAX_HEAD)):
            return _bad("a line of the request's head ends without CR, or is folded")
        if size > MAX_HEAD:
            return refusal(431, "head_too_large", f"the request's head is over {MAX_HEAD} bytes")
        if end < 0:
            return None
        head = self.head[: end + len(_END)]
        if head.count(b"\r\n") - 2 > MAX_HEADERS:
            return refusal(431, "too_many_headers", f"the request has over {MAX_HEADERS} headers")
        return self._complete(read_long_way(head), len(head))

    def _complete(self, outcome: UpgradeRequest | Refusal, size: int) -> UpgradeRequest | Refusal:
        """The request is read, and so many bytes were its own."""
        self.head, self.rest = self.head[:size], self.head[size:]
        if isinstance(outcome, UpgradeRequest):
            self._key = (value_of(outcome.headers, b"sec-websocket-key") or "").encode()
            self._subprotocols = outcome.subprotocols
        return outcome

    def accept(self, subprotocol: str | None, headers: HeaderList) -> bytes:
        """The 101 answer as bytes.

        `headers`: without what belongs to one hop. Raises LocalProtocolError, wsproto's or h11's,
        if they can't stand in an answer, or the client has not offered the subprotocol.
        """
        if subprotocol is None or subprotocol in self._subprotocols:
            common = shortcut.written_answer(self._key, subprotocol, headers)
            if common is not None:
                return common
        return self.accept_long_way(subprotocol, headers)

    def accept_long_way(self, subprotocol: str | None, headers: HeaderList) -> bytes:
        """As accept(), by wsproto."""
        return _read_by_wsproto(self.head).send(
            AcceptConnection(subprotocol=subprotocol, extra_headers=list(headers))
        )

    def refuse(self, answer: Refusal) -> bytes:
        """The refusing answer as bytes; the connection ends after it."""
        if answer.close is None:
            return encode_refusal(answer)
        first = self._subprotocols[0] if self._subprotocols else None  # browsers insist on one
        return self.accept(first, ()) + FrameProtocol(False, []).close(*answer.close)


def read_long_way(head: bytes) -> UpgradeRequest | Refusal:
    """A client's request as wsproto and our own checks take it; `head`: up to its blank line."""
    try:
        (request,) = _read_by_wsproto(head).events()
    except ProtocolError as error:
        return _explain(error, head)
    except UnicodeError:
        return _bad("a header of the WebSocket handshake is not ASCII")
    assert isinstance(request, Request)  # wsproto raises otherwise
    return _check(request, head)


def _check(request: Request, head: bytes) -> UpgradeRequest | Refusal:
    """What wsproto leaves to be checked."""
    if not head.partition(b"\r\n")[0].endswith(b"HTTP/1.1"):
        return NO_UPGRADE  # in an older version Upgrade means nothing (RFC 9110, 7.8)
    lines = header_lines(head)
    problem = ambiguity(lines, head)
    if problem is not None:
        return _bad(problem)
    headers = tuple((bytes(name), bytes(value)) for name, value in request.extra_headers)
    if not _KEY.fullmatch(value_of(headers, b"sec-websocket-key") or ""):
        return _bad("Sec-WebSocket-Key is not 16 bytes in base64")
    host = value_of(lines, b"host") or ""
    target = origin_form(request.target, host)
    if target is None:
        return _bad("the request's target is no path of the host in Host")
    subprotocols = tuple(name for name in request.subprotocols if name)  # as of `a,`
    if not all(_TOKEN.fullmatch(name) for name in subprotocols):
        return _bad("Sec-WebSocket-Protocol has a name that is no token")
    return UpgradeRequest(
        target=target,
        host=host,
        headers=headers,
        subprotocols=subprotocols,
        extensions=tuple(str(extension) for extension in request.extensions),
    )


def _explain(error: ProtocolError, head: bytes) -> Refusal:
    if error.__context__ is not None:  # h11's error: not even HTTP
        return _bad(f"malformed request: {_QUOTED.sub('', str(error.__context__))}")
    hint = getattr(error, "event_hint", None)
    if isinstance(hint, RejectConnection) and hint.status_code == 426:
        return _BAD_VERSION
    if re.search(rb"(?im)^upgrade[ \t]*:[ \t]*websocket[ \t]*\r$", head):
        return _bad(str(error))
    return NO_UPGRADE


def _read_by_wsproto(head: bytes) -> H11Handshake:
    """A server's handshake that has read this request. Raises ProtocolError or UnicodeError."""
    handshake = H11Handshake(ConnectionType.SERVER)
    handshake.receive_data(_HOST_LINE.sub(rb"\1 " + _NO_HOST, head))
    return handshake


def _bad(message: str) -> Refusal:
    return refusal(400, "bad_request", message)


_BAD_VERSION = refusal(
    426,
    "bad_version",
    "Sec-WebSocket-Version must be 13",
    ((b"upgrade", b"websocket"), (b"sec-websocket-version", b"13")),
)


def encode_refusal(answer: Refusal) -> bytes:
    """A refusing answer as bytes, complete in itself, for a connection that ends after it."""
    connection = h11.Connection(h11.SERVER)
    headers = list(answer.headers)
    if answer.status not in BARE:
        headers.append((b"content-length", b"%d" % len(answer.body)))
    upgrade = says_upgrade(answer.headers)
    headers.append((b"connection", b"close, upgrade" if upgrade else b"close"))
    head = h11.Response(
        status_code=answer.status, headers=headers, reason=reason_phrase(answer.reason)
    )
    parts = (head, h11.Data(data=answer.body), h11.EndOfMessage())
    return b"".join(connection.send(part) or b"" for part in parts)


class _Offer(Extension):
    """Carries a permessage-deflate offer through wsproto unread; the parameters are ours."""

    name = DEFLATE

    def __init__(self, offer: str) -> None:
        self._parameters = offer.partition(";")[2].strip()

    def offer(self) -> bool | str:
        return self._parameters or True


class ServerHandshake:
    """The server's leg until it is open: sends the request, then reads the answer.

    `key`: the request's Sec-WebSocket-Key, by which the answer is checked: 16 bytes in base64,
    others for each connection (RFC 6455, 4.1).
    """

    def __init__(self, request: ServerRequest, key: bytes) -> None:
        self.asked = request
        self.key = key
        self.received = b""  # the answer as far as it is in
        self._head: bytes | None = b""  # None once the head was read
        self._answer: AnswerReader | None = None  # of one that is no 101

    def frozen(self) -> FrozenAnswer:
        """The handshake as data."""
        return FrozenAnswer(self.asked, self.key, self.received)

    @classmethod
    def thawed(cls, form: FrozenAnswer) -> "ServerHandshake":
        """A handshake that is under way: with its key, and as much of the answer as there was."""
        handshake = cls(form.asked, form.key)
        handshake.receive_data(form.received)
        return handshake

    def request(self) -> bytes:
        """The request as bytes. Raises LocalProtocolError, h11's, if it can't be one."""
        common = shortcut.written_request(self.asked, self.key)
        return self.ask_long_way()[1] if common is None else common

    def ask_long_way(self) -> tuple[H11Handshake, bytes]:
        """As request(), by wsproto: its handshake, which waits for the answer, and the bytes."""
        request = self.asked
        handshake = H11Handshake(ConnectionType.CLIENT)
        data = handshake.send(
            Request(
                target=request.target,
                host=_NO_HOST.decode(),
                extra_headers=[*request.pinned, *request.headers],
                subprotocols=list(request.subprotocols),
                extensions=[_Offer(request.deflate)] if request.deflate else [],
            )
        )
        made, handshake._nonce = handshake._nonce or b"", self.key  # it takes none
        data = data.replace(b"Key: " + made, b"Key: " + self.key, 1)
        return handshake, data.replace(b"Host: " + _NO_HOST, b"Host: " + request.host.encode(), 1)

    def receive_data(self, data: bytes) -> Accepted | Refusal | Failed | None:
        """Read on; None while the answer isn't complete. Never raises."""
        self.received += data
        outcome = self._receive(data)
        if outcome is None and len(self.received) > MAX_ANSWER:
            return self.so_far or Failed(f"the answer is over {MAX_ANSWER} bytes")
        return outcome

    def _receive(self, data: bytes) -> Accepted | Refusal | Failed | None:
        if self._answer is not None:
            return self._read_on(self._answer, data)
        if self._head is None:
            return None  # the answer was given before
        self._head += data
        while True:
            foreign = _foreign(self._head)
            if foreign is not None:
                return Failed(foreign)
            end = self._head.find(_END)
            size = end if end >= 0 else len(self._head) - len(_END) + 1
            if size > MAX_HEAD:
                return Failed(f"the answer's head is over {MAX_HEAD} bytes")
            # A head whose end is an empty line without CR never ends; nor may it go on behind one.
            if _EMPTY_LINE.search(self._head, 0, end + 2 if end >= 0 else len(self._head)):
                return _BARE
            if end < 0:
                return None
            head, rest = self._head[: end + len(_END)], self._head[end + len(_END) :]
            common = shortcut.read_answer(head, rest, self.asked, self.key)
            if common is not None:
                self._head = None
                return common
            if _INTERIM.match(head):
                self._head = rest  # an interim answer: the final one follows (RFC 9110, 15.2)
                continue
            self._head = None
            if head[9:12] != b"101":
                self._answer = AnswerReader(MAX_REFUSAL)
                return self._read_on(self._answer, head + rest)
            return self.read_long_way(head, rest)

    def receive_eof(self) -> Refusal | Failed:
        """The server ended its stream: a refusal's body may end this way, or be cut short."""
        return self.so_far or Failed(
            "the server closed the connection during the handshake", cut=True
        )

    @property
    def so_far(self) -> Refusal | None:
        """The refusal with as much of its body as has come; None if its head isn't complete."""
        answer = self._answer
        if answer is None or not answer.status:
            return None
        return Refusal(answer.status, answer.headers, answer.body, reason=answer.reason)

    def _read_on(self, answer: AnswerReader, data: bytes) -> Refusal | Failed | None:
        try:
            return self.so_far if answer.receive_data(data) else None
        except h11.RemoteProtocolError as error:  # in the body: the status is known
            return self.so_far or Failed(_QUOTED.sub("", str(error)))

    def read_long_way(self, head: bytes, rest: bytes) -> Accepted | Failed | None:
        """A 101 answer as wsproto and our own checks take it; `rest`: what follows its `head`."""
        if _BAD_LINE.search(head):
            return _BARE
        handshake, _ = self.ask_long_way()
        try:
            handshake.receive_data(head)
        except ProtocolError as error:
            return Failed(_told(error))
        except UnicodeError:
            return Failed("a header of the answer's WebSocket handshake is not ASCII")
        for event in handshake.events():
            assert isinstance(event, AcceptConnection)  # nothing else comes of a 101
            extensions = tuple(
                extension.strip()
                for value in _values(head, b"sec-websocket-extensions")
                for extension in value.split(",")
            )
            return Accepted(event.subprotocol, extensions, _written(head), rest)
        return None


def _written(head: bytes) -> HeaderList:
    """The headers of a 101 that are not the handshake's own, with their names' own capitals."""
    pairs = (line.partition(b":") for line in head.removesuffix(_END).split(b"\r\n")[1:])
    return tuple(
        (name, value.strip(b" \t"))
        for name, _, value in pairs
        if name.lower() not in NOT_HANDED_OVER
    )


def header_lines(head: bytes) -> HeaderList:
    """The headers as they stand in a head: wsproto hands some over only in part."""
    found = []
    for line in head.removesuffix(_END).split(b"\r\n")[1:]:
        name, _, value = line.partition(b":")
        found.append((name.lower(), value.strip()))
    return tuple(found)


def _values(head: bytes, name: bytes) -> list[str]:
    return [value.decode("latin-1") for key, value in header_lines(head) if key == name]
