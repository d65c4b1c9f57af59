"""Any conversation at all, in any dialect: what must hold of what is kept and left out.

Half of what is said is of the dialect's own words, so that conversations get somewhere.
"""

from collections.abc import Callable
from math import inf

import msgspec
from reknit_core.dialect.byte_stream import MAX_UNIT
from reknit_core.dialect.interpreter import Interpreter, Verdict
from reknit_core.dialect.registry import registry
from reknit_core.dialect.speech import Dialect, Message
from reknit_core.dialect.statements import OVERHEAD

from reknit.verify.fuzz.choices import Choices, pieces

LIMIT = 16 * 1024  # bytes of statements
MAX_FROZEN = 1 << 20  # bytes of all that is kept of a conversation

_GRAPHQL = (
    b'{"type":"connection_init"}',
    b'{"type":"connection_ack"}',
    b'{"type":"subscribe","id":"1","payload":{"query":"{a}"}}',
    b'{"type":"start","id":"1","payload":{"query":"mutation{a}"}}',
    b'{"type":"complete","id":"1"}',
    b'{"type":"ping"}',
    b'{"type":"pong"}',
)
_YJS = (b"\0\0\1\0", b"\1\5\1\7\1\2{}", b"\0\2\1a", b"\1\7\1\7\1\4null")
WORDS: dict[str, tuple[bytes, ...]] = {
    "actioncable": (
        b'{"type":"welcome"}',
        b'{"command":"subscribe","identifier":"a"}',
        b'{"type":"confirm_subscription","identifier":"a"}',
        b'{"type":"reject_subscription","identifier":"a"}',
        b'{"command":"unsubscribe","identifier":"a"}',
        b'{"type":"ping","message":1}',
    ),
    "graphql-transport-ws": _GRAPHQL,
    "graphql-ws": _GRAPHQL,
    "hocuspocus": (
        *(b"\1d" + word for word in _YJS),
        b"\1d\2\0\1t",
        b"\1d\2\2\1w",
        b"\1d\2\1\1n",
        b"\1d\7\0",
    ),
    "jsonrpc": (
        b'{"jsonrpc":"2.0","id":1,"method":"a"}',
        b'{"jsonrpc":"2.0","id":1,"result":1}',
        b'{"jsonrpc":"2.0","id":1,"error":{}}',
    ),
    "mqtt": (
        b"\x10\x0e\0\4MQTT\4\2\0\x3c\0\2me",
        b"\x10\x0f\0\4MQTT\5\2\0\x3c\0\0\2me",
        b"\x20\2\0\0",
        b"\x20\3\0\0\0",
        b"\x82\6\0\1\0\1a\1",
        b"\x90\3\0\1\1",
        b"\x90\3\xff\xff\1",
        b"\x32\6\0\1t\0\7x",
        b"\x34\6\0\1t\0\7x",
        b"\x40\2\0\7",
        b"\x50\2\0\7",
        b"\x62\2\0\7",
        b"\x70\2\0\7",
        b"\xa2\5\0\2\0\1a",
        b"\xb0\2\0\2",
        b"\xc0\0",
        b"\xd0\0",
    ),
    "nats": (
        b'INFO {"a":1}\r\n',
        b'CONNECT {"verbose":false}\r\n',
        b"PING\r\n",
        b"PONG\r\n",
        b"SUB a 1\r\n",
        b"UNSUB 1 2\r\n",
        b"UNSUB 1\r\n",
        b"PUB a 2\r\nhi\r\n",
        b"MSG a 1 2\r\nhi\r\n",
        b"-ERR 'Authorization Violation'\r\n",
    ),
    "ocpp": (
        b'[2,"1","BootNotification",{}]',
        b'[3,"1",{"status":"Accepted"}]',
        b'[2,"2","Heartbeat",{}]',
        b'[3,"2",{}]',
        b'[4,"2","a","",{}]',
    ),
    "phoenix": (
        b'["1","1","a","phx_join",{}]',
        b'["1","1","a","phx_reply",{"status":"ok"}]',
        b'["1","1","a","phx_reply",{"status":"error"}]',
        b'["1","2","a","phx_leave",{}]',
        b'["1","1","a","phx_close",{}]',
        b'{"topic":"phoenix","event":"heartbeat","ref":"3","payload":{}}',
        b'[null,"3","phoenix","phx_reply",{"status":"ok"}]',
    ),
    "signalr": (b'{"protocol":"json","version":1}\x1e', b"{}\x1e"),
    "stomp": (
        b"CONNECT\nheart-beat:1,1\n\n\0",
        b"CONNECTED\nversion:1.2\nheart-beat:1,1\n\n\0",
        b"SUBSCRIBE\nid:0\nreceipt:s\n\n\0",
        b"UNSUBSCRIBE\nid:0\n\n\0",
        b"UNSUBSCRIBE\nid:0\nreceipt:u\n\n\0",
        b"RECEIPT\nreceipt-id:s\n\n\0",
        b"RECEIPT\nreceipt-id:u\n\n\0",
        b"SEND\nreceipt:r\ncontent-length:1\n\n\0\0",
        b"RECEIPT\nreceipt-id:r\n\n\0",
        b"BEGIN\ntransaction:t\n\n\0",
        b"SEND\ntransaction:t\n\nx\0",
        b"COMMIT\ntransaction:t\nreceipt:u\n\n\0",
        b"ABORT\ntransaction:t\n\n\0",
        b"ERROR\nmessage:no\n\n\0",
        b"\n",
    ),
    "y-websocket": _YJS,
}
"""What each dialect's two sides say, for a fuzzer to begin with."""

NAMES = (*WORDS,)
STREAMS = ("mqtt", "stomp", "nats")
"""Dialects whose messages may be cut anywhere."""


def feed_dialects(data: bytes) -> None:
    """A conversation with losses. A taken over one goes on the same, and little is kept of it."""
    choices = Choices(data)
    name = choices.pick(NAMES)
    dialect = registry().find(name)
    converse(choices, dialect, lambda: _message(choices, name), is_stream=name in STREAMS)


def converse(
    choices: Choices, dialect: Dialect, speak: Callable[[], Message], *, is_stream: bool
) -> None:
    """The same in that dialect; `speak` gives what a side says next."""
    here, there = (_begin(dialect) for _ in range(2))
    ends, said, passed = [0], b"", b""
    is_first = True
    while choices.more:
        deed, away = choices.number(8), choices.chance(4)
        if deed == 0:
            is_first = False
            position = ends[choices.number(min(256, len(ends)))]
            repeats = not choices.chance(4)
            for each in (here, there):
                each.server_lost()
                each.reopen(position, repeats=repeats)
        elif deed == 1:
            _check(here.words() == there.words(), "a taken over session says something else")
        elif deed < 5:
            message = speak()
            end = ends[-1] + len(message.data) + 1
            verdict = here.from_client(message, end, server_away=away)
            _same(verdict, there.from_client(message, end, server_away=away))
            _check(verdict.passes in (message, None), "a client's message is changed")
            if verdict.passes is not None:
                ends.append(end)
        else:
            message = speak()
            verdict = here.from_server(message, client_away=away)
            _same(verdict, there.from_server(message, client_away=away))
            _check(not (is_first and verdict.falls_back), "a first server is refused")
            if not away:
                said += message.data
                passed += verdict.passes.data if verdict.passes is not None else b""
        there = _taken_over(there, dialect)
        _check_kept(here)
        if is_first and not is_stream:
            _check(passed == said, "a first server's word is left out")
        elif is_first:
            _check(len(said) - len(passed) <= MAX_UNIT, "too much is held back")


def feed_streams(data: bytes) -> None:
    """Both directions, cut into messages or whole: the same is kept, and the same passes on."""
    choices = Choices(data)
    dialect = registry().find(choices.pick(STREAMS))
    client, _, server = choices.rest().partition(b"\xfe\xfe")
    whole, cut = _begin(dialect), _begin(dialect)
    whole.from_client(Message(client[1:], False), len(client), server_away=False)
    end = 0
    for piece in pieces(client):
        end += len(piece)
        cut.from_client(Message(piece, False), end, server_away=False)
    _check(whole.is_lost == cut.is_lost, "cut, it is lost, or not lost")
    if whole.is_lost:
        return
    _check(_said(whole) == _said(cut), "cut, other statements are made")
    passed = [
        b"".join(_passed(each, part) for part in parts)
        for each, parts in ((whole, [server[1:]]), (cut, [*pieces(server)]))
    ]
    _check(passed[0] == passed[1], "cut, something else passes on")
    _check(server[1:].startswith(passed[0]), "other bytes pass on than were said")
    _check(whole.is_lost == cut.is_lost, "cut, it is lost, or not lost")
    if not whole.is_lost:
        _check(_said(whole) == _said(cut), "cut, other statements stand")


def _begin(dialect: Dialect) -> Interpreter:
    conversation = dialect.converse()
    assert conversation is not None
    return Interpreter(conversation, LIMIT)


def _taken_over(interpreter: Interpreter, dialect: Dialect) -> Interpreter:
    state = msgspec.msgpack.decode(msgspec.msgpack.encode(interpreter.freeze()))
    conversation = dialect.converse(state["conversation"])
    assert conversation is not None
    taken = Interpreter(conversation, LIMIT)
    taken.thaw(state)
    return taken


def _message(choices: Choices, name: str) -> Message:
    """The dialect's own words, some with a change, or any bytes."""
    is_text = name not in ("mqtt", "nats", "hocuspocus", "y-websocket") and not choices.chance(8)
    how = choices.number(4)
    if how == 0:
        return Message(choices.some(60), is_text)
    word = choices.pick(WORDS[name])
    if how == 1:
        place = choices.number(len(word) + 1)
        return Message(word[:place] + choices.some(3) + word[place + choices.number(3) :], is_text)
    return Message(word + choices.pick(WORDS[name]) if how == 2 else word, is_text)


def _said(interpreter: Interpreter) -> list[object]:
    return [kept.statement for kept in interpreter.statements]


def _passed(interpreter: Interpreter, piece: bytes) -> bytes:
    passes = interpreter.from_server(Message(piece, False), client_away=False).passes
    return b"" if passes is None else passes.data


def _same(one: Verdict, other: Verdict) -> None:
    _check(one == other, f"a taken over session says {other}, not {one}")


def _check_kept(interpreter: Interpreter) -> None:
    statements = interpreter.statements
    most = 2 * LIMIT + OVERHEAD
    _check(statements.size <= most, f"{statements.size} bytes of statements are kept")
    frozen = len(msgspec.msgpack.encode(interpreter.freeze()))
    _check(frozen <= MAX_FROZEN, f"{frozen} bytes are kept of a conversation")
    is_done = interpreter.hold == inf
    _check(is_done or interpreter.is_reopening, "the queue is held back for nothing")


def _check(holds: bool, otherwise: str) -> None:
    if not holds:
        raise AssertionError(otherwise)


DIALECT_SEEDS = tuple(
    bytes((place,)) + b"\2\0\2\0\0\5\0\2\1\1\2\0\2\2\2\5\0\2\3\3\0\0\0\0\1\5\0\2\1\1\1"
    for place in range(len(NAMES))
)
STREAM_SEEDS = tuple(
    bytes((place,)) + b"\3" + b"".join(WORDS[name]) + b"\xfe\xfe\2" + b"".join(WORDS[name])
    for place, name in enumerate(STREAMS)
)
