"""NATS: what a new server is told, line by line."""

import pytest
from dialect_session import DialectSession, binary
from reknit_core.dialect.byte_stream import MAX_UNIT
from reknit_core.dialect.interpreter import Verdict
from reknit_core.dialect.speech import Message, Offer
from reknit_core.side import Side

INFO = b'INFO {"server_id":"A"}\r\n'
OTHER_INFO = b'INFO {"server_id":"B"}\r\n'
CONNECT = b'CONNECT {"verbose":false,"lang":"python"}\r\n'
PING, PONG = b"PING\r\n", b"PONG\r\n"


def connected() -> DialectSession:
    session = DialectSession("nats")
    assert session.passes(*binary(INFO)) == binary(INFO)
    session.client(*binary(CONNECT, PING))
    assert session.passes(*binary(PONG)) == binary(PONG)
    return session


def reconnected(session: DialectSession, position: int | None = None) -> list[bytes]:
    """All that a new server is told behind CONNECT."""
    session.lose(position)
    assert session.passes(*binary(OTHER_INFO)) == []
    assert session.words() == [CONNECT, PING]
    assert session.words() == []
    assert session.passes(*binary(PONG)) == []
    return session.words()


def test_connected_and_subscribed_again() -> None:
    session = connected()
    session.client(*binary(b"SUB a.* 1\r\n", b"sub b group 2\r\n", b"PUB a 2\r\nhi\r\n"))
    assert reconnected(session) == [b"SUB a.* 1\r\n", b"SUB b group 2\r\n"]
    assert session.is_open


def test_connect_and_ping_in_one_message() -> None:
    session = DialectSession("nats")
    session.server(*binary(INFO))
    session.client(*binary(CONNECT + PING))
    session.server(*binary(PONG))
    assert reconnected(session) == []


def test_a_connection_that_no_server_has_answered_yet() -> None:
    session = DialectSession("nats")
    session.server(*binary(INFO))
    session.client(*binary(CONNECT, PING))
    session.lose()
    session.server(*binary(OTHER_INFO))
    assert session.words() == [CONNECT, PING]
    assert session.passes(*binary(PONG)) == binary(PONG)
    assert session.is_open
    session.lose(len(CONNECT))
    assert session.words() == [CONNECT]
    assert session.interpreter.hold == session.end, "PING stands in the queue"
    assert session.passes(*binary(INFO, PONG)) == []
    assert session.is_open


def test_an_unsubscribed_subject_is_not_subscribed_again() -> None:
    session = connected()
    session.client(*binary(b"SUB a 1\r\nSUB b 2\r\n", b"UNSUB 1\r\n"))
    assert reconnected(session) == [b"SUB b 2\r\n"]


def test_what_is_left_of_a_limit() -> None:
    session = connected()
    session.client(*binary(b"SUB a 1\r\n", b"UNSUB 1 3\r\n"))
    session.server(*binary(b"MSG a 1 2\r\nhi\r\n", b"HMSG a 1 r 2 4\r\nhihi\r\nMSG a 9 0\r\n\r\n"))
    assert reconnected(session) == [b"SUB a 1\r\nUNSUB 1 1\r\n"]
    session.server(*binary(b"MSG a 1 r 0\r\n\r\n"))
    assert reconnected(session) == []
    session.client(*binary(b"SUB a 1\r\n"))
    session.server(*binary(b"MSG a 1 0\r\n\r\n"))
    session.client(*binary(b"UNSUB 1 1\r\n"))
    assert reconnected(session) == []


def test_a_ping_without_a_pong_is_repeated() -> None:
    session = connected()
    session.client(*binary(b"SUB a 1\r\n", PING))
    assert reconnected(session) == [b"SUB a 1\r\n", PING]
    assert session.passes(*binary(PONG)) == binary(PONG)
    assert session.passes(*binary(PONG)) == [], "none was asked for"
    assert reconnected(session) == [b"SUB a 1\r\n"]


def test_pings_are_answered_in_the_others_place() -> None:
    session = connected()
    assert session.client(*binary(PING), away=True) == [Verdict(None, Message(PONG, False))]
    assert session.server(*binary(PING), away=True) == [Verdict(None, Message(PONG, False))]
    assert session.server(*binary(PING)) == [Verdict(Message(PING, False))]
    session.client(*binary(b"PUB a 0\r\n\r\n"))
    assert session.client(*binary(PING), away=True) == [Verdict(Message(PING, False))], "a flush"
    assert session.client(*binary(PING), away=True) == [Verdict(Message(PING, False))]
    assert session.passes(*binary(PONG, PONG)) == binary(PONG, PONG)
    assert session.client(*binary(PING), away=True) == [Verdict(None, Message(PONG, False))]
    assert session.interpreter.beat(Side.CLIENT) is None


def test_later_infos_pass() -> None:
    session = connected()
    assert session.passes(*binary(OTHER_INFO)) == binary(OTHER_INFO)
    session.lose()
    assert session.passes(*binary(INFO, OTHER_INFO)) == binary(OTHER_INFO)


def test_a_greeting_that_spans_messages_with_what_follows() -> None:
    session = connected()
    session.lose()
    data = OTHER_INFO + PING
    passed = session.passes(*binary(data[:2], data[2:9], data[9:-2], data[-2:]))
    assert b"".join(part.data for part in passed) == PING


@pytest.mark.parametrize(
    "connect",
    [
        b'CONNECT {"verbose":true}\r\n',
        b"CONNECT {}\r\n",
        b"CONNECT nonsense\r\n",
        b'CONNECT {"verbose":false,"sig":"abc"}\r\n',
    ],
)
def test_what_can_not_be_repeated(connect: bytes) -> None:
    session = DialectSession("nats")
    session.client(*binary(connect))
    assert session.is_lost


def test_a_server_that_refuses() -> None:
    session = connected()
    error = binary(b"-ERR 'Authorization Violation'\r\n")
    assert session.passes(*error) == error
    session.lose()
    session.words()
    assert session.server(*error)[0].falls_back
    permission = binary(b"-ERR 'Permissions Violation for Subscription to \"a\"'\r\n")
    assert session.passes(*permission) == permission


def test_payloads_are_passed_over_however_they_are_split() -> None:
    data = CONNECT + PING + b"PUB a 9\r\nSUB x 7\r\n\r\nHPUB a r 2 4\r\nabcd\r\nSUB b 2\r\n"
    session = DialectSession("nats")
    session.client(*binary(data))
    other = DialectSession("nats")
    other.client(*binary(*(bytes((byte,)) for byte in data)))
    assert session.keys == other.keys == [("connect",), ("hello",), ("sub", "2")]
    large = b"PUB a %d\r\n" % (2 * MAX_UNIT) + bytes(2 * MAX_UNIT) + b"\r\n"
    session.client(*binary(large[:70_000], large[70_000:] + b"SUB c 3\r\n"))
    assert session.keys[3:] == [("sub", "3")]
    assert not session.is_lost


def test_a_client_that_is_cut_within_a_payload_begins_it_anew() -> None:
    session = connected()
    session.client(*binary(b"PUB a 4\r\nab", b"cd\r\n"))
    assert reconnected(session, session.end - 4) == [b"PUB a 4\r\nab"]
    assert session.is_open


def test_a_server_that_is_lost_within_a_payload() -> None:
    session = connected()
    assert session.passes(*binary(b"MSG a 1 4\r\nab")) == []
    session.lose()
    assert not session.is_lost, "the client has heard nothing of it"
    large = binary(b"MSG a 1 99999\r\nab")
    session = connected()
    assert session.passes(*large) == large
    session.lose()
    assert session.is_lost


@pytest.mark.parametrize("data", [b"PUB a x\r\n", b"x" * 2**17, b"PUB a 99999999999\r\n"])
def test_what_is_no_nats_can_not_be_followed(data: bytes) -> None:
    session = connected()
    assert session.client(*binary(data)) == [Verdict(Message(data, False))]
    assert session.is_lost


def test_pings_without_end_are_too_many() -> None:
    session = connected()
    session.client(*binary(PING * 1100))
    assert session.is_lost


def test_it_is_chosen_by_name_only() -> None:
    assert not DialectSession("nats").dialect.speaks(Offer("/nats", "nats"))
    assert connected().client(*binary(CONNECT), returned=True)[0].begins_anew
