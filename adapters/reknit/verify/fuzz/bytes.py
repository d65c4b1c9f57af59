"""Any bytes at all, for the core to survive: what a fuzzer feeds, and what must hold.

Each target takes bytes and raises where something is broken. None may raise by itself, hold more
than its bounds allow, or let through what a peer could misread. The bytes also say how they are
cut into reads. For the coverage-guided fuzzer see fuzz_guided.py.
"""

import base64
import hashlib
import re
from collections.abc import Callable, Iterable, Iterator

from reknit_core.events import ServerConnected
from reknit_core.leg.phase import Phase
from reknit_core.policy.policy import Policy
from reknit_core.policy.upstream import Upstream
from reknit_core.proxy.contexts import Contexts
from reknit_core.session.context import ContextStateMachine
from reknit_core.side import Side
from reknit_core.wire.frames import FrameScanner
from reknit_core.wire.handshake import (
    MAX_ANSWER,
    MAX_HEAD,
    NO_UPGRADE,
    ClientHandshake,
    Refusal,
    ServerHandshake,
    UpgradeRequest,
    encode_refusal,
    read_long_way,
)
from reknit_core.wire.heads import shortcut
from reknit_core.wire.wire_forms import FrozenAnswer, ServerRequest

from reknit.verify.fuzz.choices import Choices, pieces
from reknit.verify.fuzz.conversations import (
    DIALECT_SEEDS,
    STREAM_SEEDS,
    feed_dialects,
    feed_streams,
)
from reknit.verify.fuzz.files import RECORDING_SEEDS, RULE_SEEDS, feed_recordings, feed_rules
from reknit.verify.fuzz.happenings import play
from reknit.verify.fuzz.plain import BETWEEN, feed_plain
from reknit.verify.fuzz.prefaces import PREFACE_SEEDS, feed_prefaces
from reknit.verify.fuzz.proxy_header import PROXY_HEADER_SEEDS, feed_proxy_header

KEY = b"dGhlIHNhbXBsZSBub25jZQ=="  # RFC 6455, section 1.3
ACCEPT = base64.b64encode(
    hashlib.sha1(KEY + b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11", usedforsecurity=False).digest()
)
_UPSTREAM = Upstream("server.test", 80)
_REQUEST = (
    b"GET /chat?room=1 HTTP/1.1\r\nHost: proxy.test\r\nUpgrade: websocket\r\n"
    b"Connection: Upgrade\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: " + KEY + b"\r\n"
    b"Sec-WebSocket-Protocol: a, b\r\nSec-WebSocket-Extensions: permessage-deflate\r\n"
)
_ANSWER = (
    b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
    b"Sec-WebSocket-Accept: " + ACCEPT + b"\r\n"
)

# What may go out: a start line, and headers (RFC 9110, section 5) that end where they should.
_HEAD = re.compile(
    rb"[ -~]+[\t -~\x80-\xff]*\r\n(?:[A-Za-z0-9!#$%&'*+.^_`|~-]+: [^\0\r\n]*\r\n)+\r\n"
)
_ONCE = (b"host", b"upgrade", b"connection", b"sec-websocket-key", b"x-connection-id")
_NEVER = (b"content-length", b"transfer-encoding")


# -- Handshakes --------------------------------------------------------------------------------


def feed_request(data: bytes) -> None:
    """A client's request. What it brings about at the server is well-formed, and one request."""
    handshake = ClientHandshake("192.0.2.1")
    outcome: UpgradeRequest | ContextStateMachine | Refusal | None = None
    for piece in pieces(data):
        outcome = handshake.receive_data(piece)
        if outcome is not None:
            break
        _check(len(handshake.head) < MAX_HEAD + len(_END), "more of a request is kept than 16 KiB")
    if isinstance(outcome, UpgradeRequest) or outcome is NO_UPGRADE:
        long = read_long_way(handshake.head)
        _check(outcome == long, f"the shortcut takes {outcome}, the long one {long}")
    if isinstance(outcome, UpgradeRequest):
        contexts = Contexts(Policy(), _UPSTREAM, _randomness)
        outcome = contexts.connect(handshake, outcome, 0.0)
    if isinstance(outcome, Refusal):
        _check_head(encode_refusal(outcome))
    elif isinstance(outcome, ContextStateMachine):
        outcome.handle(ServerConnected(outcome.server.generation), 0.0)
        request = b"".join(outcome.pending(Side.SERVER))
        names = [line.partition(b":")[0].lower() for line in _check_head(request)]
        _check(all(names.count(name) == 1 for name in _ONCE), "not once in a request")
        _check(not any(name in names for name in _NEVER), "a body in a request")


def feed_answer(data: bytes) -> None:
    """A server's answer. What the client gets is well-formed, and little is kept meanwhile."""
    context = _dialled()
    asked = context.server.dialling.handshake
    assert asked is not None
    handshake = context.server.dialling.handshake = ServerHandshake.thawed(
        FrozenAnswer(asked.asked, KEY, b"")
    )
    _check_answer(asked.asked, data[1:])
    for piece in pieces(data):
        context.receive_data(Side.SERVER, piece, 0.0)
        if context.server.phase is not Phase.HANDSHAKE:
            break
        _check(len(handshake.received) <= MAX_ANSWER, f"over {MAX_ANSWER} bytes of an answer kept")
    else:
        context.receive_eof(Side.SERVER, 0.0)
    told = b"".join(context.pending(Side.CLIENT))
    if told:
        _check_head(told)


def _check_answer(asked: ServerRequest, data: bytes) -> None:
    """What the shortcut takes of an answer is what the long one does."""
    head, end, rest = data.partition(_END)
    common = shortcut.read_answer(head + end, rest, asked, KEY)
    if common is not None:
        long = ServerHandshake(asked, KEY).read_long_way(head + end, rest)
        _check(common == long, f"the shortcut takes {common}, the long one {long}")


def _dialled() -> ContextStateMachine:
    """A session whose server has been asked."""
    handshake = ClientHandshake("192.0.2.1")
    request = handshake.receive_data(_REQUEST + b"\r\n")
    assert isinstance(request, UpgradeRequest)
    context = Contexts(Policy(), _UPSTREAM, _randomness).connect(handshake, request, 0.0)
    assert isinstance(context, ContextStateMachine)
    context.handle(ServerConnected(context.server.generation), 0.0)
    context.advance(Side.SERVER, sum(map(len, context.pending(Side.SERVER))), 0.0)
    return context


_END = b"\r\n\r\n"


def _check_head(data: bytes) -> list[bytes]:
    """A request's or answer's head as it goes out; returns its headers' lines."""
    head = data[: data.find(_END) + len(_END)]
    _check(_HEAD.fullmatch(head) is not None, f"a malformed head goes out: {head!r}")
    return head.split(b"\r\n")[1:-2]


# -- Frames ------------------------------------------------------------------------------------


def feed_frames(data: bytes) -> None:
    """One direction's frames. In pieces or whole, the same comes out, and nothing is lost."""
    choices = Choices(data)
    masked, deflate = choices.chance(2), choices.chance(2)
    limit = choices.pick((125, 1000, 2**24))
    rest = choices.rest()
    whole = _scan(FrameScanner(masked=masked, deflate=deflate, limit=limit), [rest[1:]])
    cut = _scan(FrameScanner(masked=masked, deflate=deflate, limit=limit), pieces(rest))
    _check(cut == whole, f"cut into pieces, {whole} becomes {cut}")
    _check(rest[1:].startswith(whole[0]), "other bytes come out than went in")


def _in_turns(scanner: FrameScanner, pieces: Iterable[bytes]) -> Iterator[bytes]:
    """The pieces, and nothing more as often as the scanner has to go on."""
    for piece in pieces:
        yield piece
        while scanner.behind:
            yield b""


def _scan(
    scanner: FrameScanner, pieces: Iterable[bytes]
) -> tuple[bytes, int, int, list[bytes], object]:
    """What passes, where the last message ends, how many there are, control frames, violation."""
    passed, boundary, messages, controls = b"", 0, 0, []
    for piece in _in_turns(scanner, pieces):
        kept = scanner.scan(piece)
        if scanner.boundary:
            boundary = len(passed) + scanner.boundary
        if not scanner.plain:
            controls += [kept[found.start : found.end] for found in scanner.controls]
        passed += kept
        messages += scanner.messages
        if scanner.violation is not None:
            break
    return passed, boundary, messages, controls, scanner.violation


# -- All of them -------------------------------------------------------------------------------

TARGETS: dict[str, Callable[[bytes], None]] = {
    "request": feed_request,
    "answer": feed_answer,
    "plain": feed_plain,
    "frames": feed_frames,
    "session": play,
    "dialects": feed_dialects,
    "streams": feed_streams,
    "rules": feed_rules,
    "recordings": feed_recordings,
    "prefaces": feed_prefaces,
    "proxy header": feed_proxy_header,
}
"""By name. The first byte of a handshake says how it is cut into reads: 0 not at all."""

SEEDS: dict[str, tuple[bytes, ...]] = {
    "request": (
        b"\x00" + _REQUEST + b"\r\n",
        b"\x01" + _REQUEST + b"x-reconnect-id: a\r\nCookie: connection_id=b\r\n\r\n",
        b"\x07"
        + _REQUEST
        + b"x-connection-id: a\r\nContent-Length: 0\r\nX-Forwarded-For: b\r\n\r\n",
    ),
    "answer": (
        b"\x00" + _ANSWER + b"Sec-WebSocket-Protocol: a\r\nX-Reconnect-Info: b\r\n\r\n\x81\x01a",
        b"\x05" + _ANSWER + b"Sec-WebSocket-Extensions: permessage-deflate; "
        b"server_no_context_takeover; client_max_window_bits=9\r\n\r\n",
        b"\x00HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 401 No\r\nContent-Length: 2\r\n\r\nno",
        b"\x03HTTP/1.1 503 No\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nno\r\n0\r\n\r\n",
        b"\x00HTTP/1.1 302 Found\r\nLocation: /\r\n\r\nelsewhere",
    ),
    "plain": (
        b"\x00GET /a HTTP/1.1\r\nHost: h\r\nConnection: x\r\nX: y\r\n\r\nGET / HTTP/1.1\r\n"
        + BETWEEN
        + b"HTTP/1.1 103 Hints\r\nX: y\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nhi",
        b"\x09POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n2;a=b\r\nhi\r\n"
        b"0\r\nX: y\r\n\r\n"
        + BETWEEN
        + b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nhi\r\n0\r\nX: y\r\n\r\n",
        b"\x00HEAD / HTTP/1.0\r\nContent-Length: 2\r\n\r\nhi"
        + BETWEEN
        + b"HTTP/1.0 404 No\r\n\r\nhi",
    ),
    "frames": (
        b"\x00\x00\x00\x00\x81\x02hi\x89\x00\x01\x00\x80\x00\x88\x02\x03\xe8",
        b"\x01\x01\x00\x03\xc1\x82abcd\x01\x02\x82\xfe\x00\x7eabcd" + bytes(126),
        b"\x00\x00\x02\x00\x82\x7f\x00\x00\x00\x00\x00\x01\x00\x00" + bytes(65536),
    ),
    "session": (bytes(range(256)), bytes(40), b"\x01" * 60),
    "dialects": DIALECT_SEEDS,
    "streams": STREAM_SEEDS,
    "rules": RULE_SEEDS,
    "recordings": RECORDING_SEEDS,
    "prefaces": PREFACE_SEEDS,
    "proxy header": PROXY_HEADER_SEEDS,
}
"""What a fuzzer may begin with."""


def broken(target: str, data: bytes) -> str | None:
    """What these bytes break, for people, with how to see it again; None if all holds."""
    try:
        TARGETS[target](data)
    except Exception as error:
        what = str(error)
        if target != "session":  # else it is a scenario already
            again = f"from reknit.verify.fuzz.bytes import TARGETS\nTARGETS[{target!r}]"
            what = f"# {type(error).__name__}: {what}\n{again}(bytes.fromhex({data.hex()!r}))\n"
        return what
    return None


def _check(holds: bool, otherwise: str) -> None:
    if not holds:
        raise AssertionError(otherwise)


def _randomness(size: int) -> bytes:
    return b"~" * size
