"""Every dialect against ends that lie to it: bounded memory, and never on in a half-known state."""

from collections.abc import Callable, Iterator
from time import process_time

import msgspec
import pytest
from dialect_session import DialectSession, text
from reknit.verify.fuzz.conversations import STREAMS, WORDS
from reknit_core.dialect.byte_stream import MAX_UNITS
from reknit_core.dialect.speech import Message
from reknit_core.dialect.statements import OVERHEAD

LIMIT = 64 * 1024  # bytes of statements
MOST_KEPT = 600_000  # bytes of all that is known of a session
BYTES = ("mqtt", "nats", "hocuspocus", "y-websocket")
ENOUGH = 2000  # statements: each takes more than OVERHEAD

BEGINNINGS = {
    "graphql-transport-ws": b'{"type":"connection_init"}',
    "graphql-ws": b'{"type":"connection_init"}',
    "mqtt": b"\x10\x0e\0\4MQTT\4\2\0\x3c\0\2me",
    "nats": b'CONNECT {"verbose":false}\r\n',
    "stomp": b"CONNECT\n\n\0",
}
ANSWERS = {
    "graphql-transport-ws": b'{"type":"connection_ack"}',
    "graphql-ws": b'{"type":"connection_ack"}',
    "mqtt": b"\x20\2\0\0",
    "stomp": b"CONNECTED\nversion:1.2\n\n\0",
}
STATEMENTS: dict[str, Callable[[int], bytes]] = {
    "actioncable": lambda n: b'{"command":"subscribe","identifier":"%d"}' % n,
    "graphql-transport-ws": lambda n: b'{"type":"subscribe","id":"%d"}' % n,
    "graphql-ws": lambda n: b'{"type":"start","id":"%d"}' % n,
    "hocuspocus": lambda n: b"\5%05d\0\0\1\0" % n,
    "jsonrpc": lambda n: b'{"jsonrpc":"2.0","id":%d,"method":"a"}' % n,
    "mqtt": lambda n: b"\x82\x0a\0\1\0\5%05d\1" % n,
    "nats": lambda n: b"SUB a %d\r\n" % n,
    "ocpp": lambda n: b'[2,"%d","Heartbeat",{}]' % n,
    "phoenix": lambda n: b'["%d","%d","a%d","phx_join",{}]' % (n, n, n),
    "stomp": lambda n: b"SUBSCRIBE\nid:%d\n\n\0" % n,
}
"""A client's statements without end, each with a name of its own."""


def said(name: str, *words: bytes) -> list[Message]:
    return [Message(word, name not in BYTES) for word in words]


def begun(name: str, limit: int = LIMIT) -> DialectSession:
    """A session that has begun its protocol."""
    session = DialectSession(name, limit)
    for side, words in ((session.client, BEGINNINGS), (session.server, ANSWERS)):
        if name in words:
            side(*said(name, words[name]))
    return session


def known(session: DialectSession) -> int:
    """Bytes of all that is known of it."""
    return len(msgspec.msgpack.encode(session.interpreter.freeze()))


@pytest.mark.parametrize("name", STATEMENTS)
def test_statements_without_end_end_the_session(name: str) -> None:
    session = begun(name)
    interpreter = session.interpreter
    lost_at = 0
    for number in range(ENOUGH):
        (message,) = said(name, STATEMENTS[name](number))
        session.end += len(message.data)
        verdict = interpreter.from_client(message, session.end, server_away=False)
        assert verdict.passes == message
        if interpreter.is_lost and not lost_at:
            lost_at = number
    assert 100 < lost_at < ENOUGH
    assert interpreter.statements.size <= LIMIT + LIMIT + OVERHEAD
    assert known(session) < MOST_KEPT


SMALL = {
    "mqtt": (b"\xc0\0", b"\xd0\0"),
    "nats": (b"PUB a 0\r\n\r\n", b"MSG a 1 0\r\n\r\n"),
    "stomp": (b"SEND\nd:a\n\n\0", b"MESSAGE\nd:a\n\n\0"),
}
"""Units of no interest: a client's, and a server's."""


@pytest.mark.parametrize("place", range(2), ids=["client", "server"])
@pytest.mark.parametrize("name", STREAMS)
def test_a_message_of_very_many_units_is_not_followed(name: str, place: int) -> None:
    """It is read at once: the others would have to wait for it."""
    session = begun(name)
    speak = (session.client, session.server)[place]
    word = SMALL[name][place]
    speak(*said(name, word * MAX_UNITS))
    assert not session.is_lost
    (much,) = said(name, word * (MAX_UNITS + 1))
    (verdict,) = speak(much)
    assert session.is_lost
    assert verdict.passes == much


@pytest.mark.parametrize("name", ANSWERS)
def test_a_server_that_never_answers_hears_no_more(name: str) -> None:
    """However much else it says: what awaits its answer holds all back."""
    session = begun(name)
    session.client(*said(name, STATEMENTS[name](1)))
    session.lose()
    assert session.words() == [BEGINNINGS[name]]
    for word in WORDS[name] * 3:
        if word == ANSWERS[name] or word.startswith((b"CONNECTED", b"\x20")):
            continue
        for verdict in session.server(*said(name, word)):
            if verdict.falls_back:
                return
        assert session.words() == []
        assert session.interpreter.awaited is not None
    assert not session.is_open


@pytest.mark.parametrize("name", WORDS)
def test_half_of_each_word_keeps_little(name: str) -> None:
    for word in WORDS[name]:
        for half in halves(word):
            for place in range(2):
                session = DialectSession(name, LIMIT)
                speak = (session.client, session.server)[place]
                speak(*said(name, half, word[len(half) :]))
                speak(*said(name, half))
                session.lose()
                if not session.is_lost:
                    session.words()
                assert known(session) < 4000


def halves(word: bytes) -> Iterator[bytes]:
    return (word[:place] for place in range(1, len(word), max(1, len(word) // 8)))


@pytest.mark.parametrize("name", [name for name in WORDS if name not in STREAMS])
def test_answers_in_the_wrong_order_pass_a_first_server(name: str) -> None:
    """It may say what it likes: only what a new one repeats is left out."""
    words = said(name, *reversed(WORDS[name]), *WORDS[name])
    assert begun(name).passes(*words) == words


LONG = b"n" * 50_000  # a name that no client gives
LONG_NAMES: dict[str, Callable[[int], bytes]] = {
    "hocuspocus": lambda n: b"\xd8\x86\3" + b"%08d" % n + LONG + b"\1\6\1\1\1\2{}",
    "nats": lambda n: b"SUB a %d" % n + LONG + b"\r\n",
    "phoenix": lambda n: b'["1","1","%d' % n + LONG + b'","phx_join",{}]',
    "stomp": lambda n: b"SUBSCRIBE\nid:1\nreceipt:%d" % n + LONG + b"\n\n\0",
}


@pytest.mark.parametrize("name", LONG_NAMES)
def test_names_that_are_long_take_no_room(name: str) -> None:
    """A conversation keeps names by itself, too: those count nowhere."""
    session = begun(name)
    for number in range(100):
        (message,) = said(name, LONG_NAMES[name](number))
        session.end += len(message.data)
        session.interpreter.from_client(message, session.end, server_away=False)
    assert session.is_lost
    assert known(session) < MOST_KEPT


def test_a_reference_that_no_other_process_could_have_ends_the_session() -> None:
    for event, topic in (("phx_join", "room"), ("heartbeat", "phoenix")):
        session = DialectSession("phoenix")
        reference = "9" * 40
        (verdict,) = session.client(*text(f'[null,{reference},"{topic}","{event}",{{}}]'))
        assert verdict.passes is not None
        assert session.is_lost


SECONDS = 30.0  # of the processor: what is bounded takes a tenth of one, what isn't takes minutes


@pytest.mark.long
def test_taking_back_costs_the_same_among_many() -> None:
    session = begun("stomp", 1 << 22)
    interpreter = session.interpreter
    subscribed = b"".join(map(STATEMENTS["stomp"], range(4000)))
    began = process_time()
    for _ in range(5):
        for words in (subscribed, b"UNSUBSCRIBE\nid:none\n\n\0" * 8_000):
            session.end += len(words)
            interpreter.from_client(Message(words, True), session.end, server_away=False)
            assert process_time() - began < SECONDS
    taken = b"".join(b"UNSUBSCRIBE\nid:%d\n\n\0" % number for number in range(4000))
    session.end += len(taken)
    interpreter.from_client(Message(taken, True), session.end, server_away=True)
    assert len(interpreter.statements) == 4001
    interpreter.heard_to(session.end)
    assert session.keys == [("connect",)]


def test_a_unit_in_tiny_parts_is_not_read_anew_with_each() -> None:
    session = begun("stomp")
    head = b"SEND\n" + b"a:\n" * 15_000
    began = process_time()
    for part in (head, b"\n", *(b"x" for _ in range(10_000))):
        session.end += len(part)
        verdict = session.interpreter.from_client(
            Message(part, True), session.end, server_away=False
        )
        assert verdict.passes is not None
        assert process_time() - began < SECONDS
    assert session.is_lost


@pytest.mark.parametrize(
    ("name", "head"),
    [("stomp", b"SEND\ncontent-length:9999\n\n"), ("mqtt", b"\x32\x93\x4e\0\1a\0\1")],
)
def test_a_unit_of_known_size_may_come_in_any_parts(name: str, head: bytes) -> None:
    session = begun(name)
    rest = 10_000 if name == "stomp" else 10_003 - 5
    for part in (head, *(b"\0" for _ in range(rest))):
        session.end += len(part)
        session.interpreter.from_client(*said(name, part), session.end, server_away=False)
    assert not session.is_lost
    assert session.interpreter.statements.get(("publish", 1)) or name == "stomp"
    session.client(*said(name, STATEMENTS[name](1)))
    assert len(session.keys) > 1
