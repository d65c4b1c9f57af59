"""A context as data: for another process that goes on with it, or the next one after a crash.

    b"reknit" | version, 2 bytes | CRC-32 of what follows, 4 bytes | FrozenContext as MessagePack

Numbers are big-endian. The classes below are the form. What follows from the policy and the
upstream is not in it: they are those of the process that goes on. A changed form gets another
VERSION.
"""

import struct
from functools import cache
from typing import Any, NewType, TypeVar, get_type_hints
from zlib import crc32

import msgspec

from reknit_core.lifecycle import State
from reknit_core.queue.stream import Mark
from reknit_core.session.leg import Phase
from reknit_core.session.pinned import Pinned
from reknit_core.session.session import Session
from reknit_core.session.transit import Transit
from reknit_core.session.websocket import NOBODY, WebSocket
from reknit_core.wire.handshake import ClientHandshake, ServerHandshake, ServerRequest

VERSION = 5

_MAGIC = b"reknit"
_HEAD = struct.Struct(">6sHI")

Moment = NewType("Moment", float)
"""Seconds on the clock of the process that froze the context; `FrozenContext.now` is one."""


class FrozenError(ValueError):
    """No frozen context that can be read; the text says why, for people."""


class Form(msgspec.Struct, forbid_unknown_fields=True):
    """What is kept of an object: fields with the names of its slots, without underscores."""


class FrozenBacklog(Form):
    """One direction's queue: see Backlog."""

    chunks: list[bytes]
    base: int
    cursor: int
    offset: int
    handed: int
    received: int
    marks: list[Mark]
    confirmed: int
    confirmed_count: int
    sent: int
    tail: int
    count: int
    dropped: int


class FrozenScanner(Form):
    """Where in a frame and a message a peer's stream stands: see FrameScanner."""

    held: bytes
    stopped: bool
    open: bool
    size: int
    heads: int
    skip: int
    skip_ends: bool
    behind: bool
    plain: bool


class FrozenRetry(Form):
    """The attempts to reach the server: see Retry."""

    attempt: int
    refusals: int
    reason: str
    accepted_at: Moment
    since: Moment
    wait: float


class FrozenRequest(Form):
    """A client's request that waits for its answer, as it was read: see ClientHandshake."""

    address: str
    head: bytes


class FrozenAnswer(Form):
    """A request to the server, its key, and the answer so far: see ServerHandshake."""

    asked: ServerRequest
    key: bytes
    received: bytes


class FrozenLeg(Form):
    """One leg: see WebSocket. `ping`: the place in the lane of the proxy's own unwritten Ping."""

    queue: FrozenBacklog
    scanner: FrozenScanner | None
    ping: int | None
    phase: Phase
    generation: int
    early: bytes
    lane: list[tuple[int, bytes]]
    heard: Moment
    probe: int
    probed: Moment
    probe_mark: Mark
    missed: int
    confirm_at: Moment
    pinged: bytes | None
    full: bool
    asked: bool
    loaded: bool
    transit: Transit | None
    drained: Moment
    ended: bool


class FrozenClient(FrozenLeg):
    """The client's leg: see IncomingWebSocket."""

    handshake: FrozenRequest | None
    hello: bool


class FrozenServer(FrozenLeg):
    """The server's leg: see OutgoingWebSocket."""

    handshake: FrozenAnswer | None
    retry: FrozenRetry
    since: Moment
    wall: float | None
    dial_at: Moment


class FrozenContext(Form):
    """A whole context at the time `now`; `parted`: whether its legs no longer know each other."""

    now: Moment
    parted: bool
    client: FrozenClient
    server: FrozenServer
    state: State
    pinned: Pinned
    nonce: bytes
    asked: Moment
    opening_until: Moment
    grace_until: Moment
    close_until: Moment
    drain_to: tuple[int, int]
    parting: tuple[int, str]
    recover: bool


# Fields that are no plain copies of a slot.
_NOT_SLOTS = frozenset(
    ("now", "parted", "client", "server", "queue", "scanner", "handshake", "retry", "ping")
)
_Form = TypeVar("_Form", bound=Form)


# -- Bytes -------------------------------------------------------------------------------------


def encode(frozen: FrozenContext) -> bytes:
    """A frozen context as bytes."""
    return with_head(msgspec.msgpack.encode(frozen))


def with_head(body: bytes) -> bytes:
    """A form's MessagePack with what goes in front of it."""
    return _HEAD.pack(_MAGIC, VERSION, crc32(body)) + body


def decode(data: bytes) -> FrozenContext:
    """Read what encode() wrote. Raises FrozenError for anything else."""
    if len(data) < _HEAD.size or not data.startswith(_MAGIC):
        raise FrozenError("this is no frozen context")
    _, version, check = _HEAD.unpack_from(data)
    if version != VERSION:
        raise FrozenError(f"a context frozen in form {version}; form {VERSION} can be read")
    body = memoryview(data)[_HEAD.size :]
    if crc32(body) != check:
        raise FrozenError("a frozen context that is cut off or damaged")
    try:
        return msgspec.msgpack.decode(body, type=FrozenContext)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise FrozenError(f"a frozen context that can't be read: {error}") from None


# -- Freezing ----------------------------------------------------------------------------------


def freeze(session: Session, now: float) -> FrozenContext:
    """What a context is at the time `now` (seconds); valid until the context goes on."""
    client, server = session.client, session.server
    request, answer = client.handshake, server.handshake
    return _take(
        FrozenContext,
        session,
        now=now,
        parted=client.other is NOBODY,
        client=_take(
            FrozenClient,
            client,
            handshake=request and _take(FrozenRequest, request),
            **_parts(client),
        ),
        server=_take(
            FrozenServer,
            server,
            handshake=answer and _take(FrozenAnswer, answer),
            retry=_take(FrozenRetry, server.retry),
            **_parts(server),
        ),
    )


def _parts(leg: WebSocket) -> dict[str, Any]:
    places = [place for place, (_, data) in enumerate(leg.lane) if data is leg.ping]
    return {
        "queue": _take(FrozenBacklog, leg.queue),
        "scanner": leg.scanner and _take(FrozenScanner, leg.scanner),
        "ping": places[0] if places else None,
    }


def _take(form: type[_Form], source: Any, **given: object) -> _Form:
    """The form, its fields taken from an object's slots but for those that are given."""
    taken = {name: getattr(source, _slot(source, name)) for name, _ in _fields(form)}
    return form(**{**taken, **given})


# -- Thawing -----------------------------------------------------------------------------------


def restore(session: Session, frozen: FrozenContext, now: float) -> None:
    """Make a new context what the frozen one was; between its `now` and this one time stood still.

    The form's lists become the context's own.
    """
    shift = now - frozen.now
    _give(session, frozen, shift)
    client, server = session.client, session.server
    for leg, form in ((client, frozen.client), (server, frozen.server)):
        _give(leg, form, shift)
        _give(leg.queue, form.queue, shift)
        leg.queue.budget.used += leg.queue.held
        leg.source.eager |= leg.phase is Phase.CLOSE_RECEIVED  # see WebSocket.confirm_no_more()
        if form.ping is not None:
            leg.ping = leg.lane[form.ping][1]
        if form.scanner is not None:
            deflate = frozen.pinned.compression is not None
            leg.scanner = leg.new_scanner(deflate=deflate, nonce=frozen.nonce)
            _give(leg.scanner, form.scanner, shift)
    _give(server.retry, frozen.server.retry, shift)
    if frozen.client.handshake is not None:
        request = frozen.client.handshake
        client.handshake = ClientHandshake(request.address)
        client.handshake.receive_data(request.head)
    if frozen.server.handshake is not None:
        answer = frozen.server.handshake
        server.handshake = ServerHandshake.again(answer.asked, answer.key, answer.received)
    if frozen.parted:
        client.other = server.other = NOBODY


def _give(target: Any, form: Form, shift: float) -> None:
    """Put the form's fields into an object's slots."""
    for name, is_moment in _fields(type(form)):
        value = getattr(form, name)
        setattr(target, _slot(target, name), value + shift if is_moment else value)


@cache
def _fields(form: type[Form]) -> tuple[tuple[str, bool], ...]:
    """The form's fields that are copies of slots, and which of them are moments."""
    hints = get_type_hints(form)
    names = [name for name in form.__struct_fields__ if name not in _NOT_SLOTS]
    return tuple((name, hints[name] is Moment) for name in names)


def _slot(target: Any, name: str) -> str:
    return f"_{name}" if hasattr(target, f"_{name}") else name
