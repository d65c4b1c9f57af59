"""The events' small grammar: `SIDE VERB ARGUMENTS` to an action.

Each verb stands once in the table at the end, with its usage for people.
"""

import json
from collections.abc import Callable
from functools import partial
from typing import NamedTuple

from reknit_core.script.actions import (
    Acknowledges,
    Action,
    AnswersProbe,
    Asks,
    Breaks,
    ClientConnects,
    DialFails,
    Ends,
    Passing,
    ScenarioError,
    Sends,
    SendsRest,
    ServerAccepts,
    ServerConnects,
    ServerRefuses,
    ShutsDown,
    StopsAsking,
    Takes,
)
from reknit_core.script.arguments import MAX_SIZE, Arguments
from reknit_core.script.phrases import close_payload, frame, message_frames
from reknit_core.side import Side
from reknit_core.wire.frames import Opcode

_MAX_PIECES = 4096


_TOKENS = r"[A-Za-z0-9._-]+"
_TEXT = r"[ -~]{0,200}"
_DEFLATE = r"[a-z0-9_=; ]{0,200}"
_GENERATION = (1, 10**9)


def _deflate(args: Arguments, default: str) -> str | None:
    """The parameters of permessage-deflate; None where it is not spoken of."""
    return default if args.flag("deflate") else args.option("deflate", _DEFLATE)


def _client_connected(args: Arguments) -> Action:
    subprotocols = args.option("subprotocols", rf"{_TOKENS}(?:,{_TOKENS})*")
    return ClientConnects(
        target=args.option("path", r"/[!-~]{0,200}") or "/",
        connection_id=args.option("id", _TEXT),
        resume=args.option("resume", _TEXT),
        received=args.number("received", 0, 10**9),
        takes=args.number("takes", 0, 10**8),
        subprotocols=tuple(subprotocols.split(",")) if subprotocols else (),
        deflate=_deflate(args, ""),
        authorization=args.option("authorization", _TEXT),
        origin=args.option("origin", _TEXT),
        cookie=args.option("cookie", _TEXT),
        token=args.option("token", _TEXT),
        host=args.option("host", r"[A-Za-z0-9.:-]{1,200}"),
        via=args.option("via", _TOKENS),
    )


def _server_connected(args: Arguments) -> Action:
    return ServerConnects(args.number("generation", *_GENERATION))


def _dial_failed(args: Arguments) -> Action:
    if not args.flag("failed"):
        raise args.wrong("a dial that did not fail")
    reason = args.option("reason", _TEXT) or "connection refused"
    answered = args.flag("answered")
    return DialFails(args.number("generation", *_GENERATION), reason, answered)


def _server_accepts(args: Arguments) -> Action:
    return ServerAccepts(
        subprotocol=args.option("subprotocol", _TOKENS),
        deflate=_deflate(args, "server_no_context_takeover"),
        info=args.option("info", _TEXT),
        received=args.number("received", 0, 10**9),
        reconnect=args.option("reconnect", "new|resumed"),
    )


def _server_refuses(args: Arguments) -> Action:
    status = args.number("status", 200, 599)
    if status is None:
        raise args.wrong("a status is missing")
    return ServerRefuses(status, (args.option("body", _TEXT) or "").encode())


def _messages(side: Side, args: Arguments) -> bytes:
    binary = args.flag("binary")
    compressed = args.flag("compressed")
    parts = args.between("in", "parts", 1, 4096) or 1
    payloads = args.payloads()
    if not payloads:
        raise args.wrong("a payload is missing")
    masked = side is Side.CLIENT
    return b"".join(
        message_frames(payload, binary=binary, masked=masked, parts=parts, compressed=compressed)
        for payload in payloads
    )


def _split(data: bytes, args: Arguments) -> tuple[bytes, ...]:
    size = args.number("split", 1, MAX_SIZE) or max(len(data), 1)
    if len(data) // size > _MAX_PIECES:
        raise args.wrong(f"split={size} (makes more than {_MAX_PIECES} pieces)")
    return tuple(data[start : start + size] for start in range(0, len(data), size))


def _message(side: Side, args: Arguments) -> Action:
    before = _before(side, args)
    return Sends(side, _split(before + _messages(side, args), args))


def _before(side: Side, args: Arguments) -> bytes:
    """A control frame that comes in one read with what follows it."""
    name = args.option("after", "ping|pong")
    if name is None:
        return b""
    opcode = Opcode.PING if name == "ping" else Opcode.PONG
    return frame(opcode, b"", masked=side is Side.CLIENT)


def _partial(side: Side, args: Arguments) -> Action:
    data = _messages(side, args)
    size = args.number("bytes", 1, len(data) - 1) or len(data) // 2
    return Sends(side, (data[:size],), rest=data[size:])


def _part(side: Side, args: Arguments) -> Action:
    place = args.word()
    if place not in ("first", "middle", "last"):
        raise args.wrong(f"part {place}")
    opcode = Opcode.BINARY if args.flag("binary") else Opcode.TEXT
    if place != "first":
        opcode = Opcode.CONTINUATION
    masked = side is Side.CLIENT
    before = _before(side, args)
    data = before + frame(opcode, args.payload(), masked=masked, final=place == "last")
    return Sends(side, _split(data, args))


def _ping(side: Side, args: Arguments) -> Action:
    return Sends(side, (frame(Opcode.PING, args.payload(125), masked=side is Side.CLIENT),))


def _pong(side: Side, args: Arguments) -> Action:
    if args.flag("probe"):
        return AnswersProbe(side)
    return Sends(side, (frame(Opcode.PONG, args.payload(125), masked=side is Side.CLIENT),))


def _close(side: Side, args: Arguments) -> Action:
    code = args.next_number(0, 65535)
    reason = args.payload(123)
    if code is None and reason:
        raise args.wrong("a reason without a code")
    data = frame(Opcode.CLOSE, close_payload(code, reason), masked=side is Side.CLIENT)
    return Sends(side, (data,))


def _raw(side: Side, args: Arguments) -> Action:
    data = args.payload()
    if not data:
        raise args.wrong("bytes are missing")
    return Sends(side, _split(data, args), raw=True)


def _rest(side: Side, args: Arguments) -> Action:
    return SendsRest(side)


def _lost(side: Side, args: Arguments) -> Action:
    args.option("code", "1006")  # RFC 6455, 7.1.5: what an end without a Close frame is called
    return Ends(side)


def _reset(side: Side, args: Arguments) -> Action:
    return Breaks(side, args.number("generation", *_GENERATION), args.flag("answered"))


def _takes(side: Side, args: Arguments) -> Action:
    return Takes(side, _limit(args))


def _acks(side: Side, args: Arguments) -> Action:
    return Acknowledges(side, _limit(args))


def _limit(args: Arguments) -> int | None:
    """A number of bytes; None: all."""
    if args.flag("all"):
        return None
    if args.flag("nothing"):
        return 0
    limit = args.next_number(0, 10**8)
    if limit is None:
        raise args.wrong("a number is missing")
    return limit


def _shutdown(args: Arguments) -> Action:
    code = args.next_number(1000, 4999)
    server_code = args.number("server", 1000, 4999)
    reason = args.payload(123)
    try:
        return ShutsDown(1001 if code is None else code, reason.decode(), server_code)
    except UnicodeDecodeError:
        raise args.wrong("a reason that is no text") from None


def _asked(side: Side, args: Arguments) -> Action:
    expected = args.option("expect", r"[\w.]+=[ -~]{1,200}")
    try:
        text = args.payload().decode()
        path, _, value = (expected or "").partition("=")
        return Asks(side, text, {path: json.loads(value)} if path else {})
    except ValueError:
        raise args.wrong("no text, or no JSON value") from None


def _unasked(side: Side, args: Arguments) -> Action:
    return StopsAsking(side)


def _pass(passing: Passing, args: Arguments) -> Action:
    return passing


class _Verb(NamedTuple):
    usage: str
    read: Callable[[Arguments], Action]


def _both(usage: str, read: Callable[[Side, Arguments], Action]) -> dict[str, _Verb]:
    verb = usage.split()[0]
    found = {}
    for side in Side:
        found[f"{side.value} {verb}"] = _Verb(f"client|server {usage}", partial(read, side))
    return found


_TEXTS = '"TEXT"|hex=HEX [size=N]'

_VERBS: dict[str, _Verb] = {
    "client connected": _Verb(
        "client connected [path=/PATH] [id=ID] [resume=ID] [received=N] [takes=N] "
        '[subprotocols=A,B] [deflate|deflate="PARAMETERS"] [authorization=TEXT] [origin=TEXT] '
        "[cookie=TEXT] [token=TOKEN] [host=NAME] [via=NAME]",
        _client_connected,
    ),
    "server connected": _Verb("server connected [generation=N]", _server_connected),
    "server dial": _Verb(
        'server dial failed [answered] [reason="TEXT"] [generation=N]', _dial_failed
    ),
    "server accepts": _Verb(
        "server accepts [subprotocol=A] [info=TEXT] [received=N] [reconnect=new|resumed] "
        '[deflate|deflate="PARAMETERS"]',
        _server_accepts,
    ),
    "server refuses": _Verb('server refuses status=N [body="TEXT"]', _server_refuses),
    **_both(
        f"message {_TEXTS} ... [binary] [in N parts] [compressed] [after=ping|pong] [split=N]",
        _message,
    ),
    **_both(f"partial {_TEXTS} [binary] [in N parts] [compressed] [bytes=N]", _partial),
    **_both("rest", _rest),
    **_both(f"part first|middle|last {_TEXTS} [binary] [after=ping|pong] [split=N]", _part),
    **_both(f"ping [{_TEXTS}]", _ping),
    **_both(f"pong probe|[{_TEXTS}]", _pong),
    **_both('close [CODE ["REASON"]]', _close),
    **_both(f"raw {_TEXTS} [split=N]", _raw),
    **_both("lost [code=1006]", _lost),
    **_both("reset [answered] [generation=N]", _reset),
    **_both("takes N|all|nothing", _takes),
    **_both("acks N|all|nothing", _acks),
    **_both('asked ["TEXT"] [expect="FIELD=VALUE"]', _asked),
    **_both("unasked", _unasked),
    "shutdown": _Verb('shutdown [CODE ["REASON"]] [server=CODE]', _shutdown),
    **{passing.value: _Verb(passing.value, partial(_pass, passing)) for passing in Passing},
}

USAGE: tuple[str, ...] = tuple(dict.fromkeys(verb.usage for verb in _VERBS.values()))
"""How each event is written."""


def read_action(words: list[str]) -> Action:
    """Read an event's words. Raises ScenarioError."""
    for length in (2, 1):
        verb = _VERBS.get(" ".join(words[:length]))
        if verb is not None:
            args = Arguments(words[length:], verb.usage)
            action = verb.read(args)
            args.done()
            return action
    raise ScenarioError(f"unknown event {' '.join(words[:2])!r}", "; ".join(USAGE))
