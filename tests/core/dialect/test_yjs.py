"""y-websocket and hocuspocus: synchronised again, document by document."""

import pytest
from dialect_session import DialectSession, binary
from reknit_core.dialect.interpreter import Verdict
from reknit_core.dialect.protocols.lib0 import Lib0Error, Lib0Reader, array, number
from reknit_core.dialect.speech import Message

STEP_1 = b"\0\0" + array(b"\0")
LATER_STEP_1 = b"\0\0" + array(b"\1\2\3")
STEP_2 = b"\0\1" + array(b"...")
UPDATE = b"\0\2" + array(b"...")


def awareness(*clients: tuple[int, int, str]) -> bytes:
    entries = (
        number(client) + number(clock) + array(state.encode()) for client, clock, state in clients
    )
    return b"\1" + array(number(len(clients)) + b"".join(entries))


def named(data: bytes, document: str = "doc") -> bytes:
    return array(document.encode()) + data


AUTH = named(b"\2\0" + array(b"token"))
AUTHENTICATED = named(b"\2\2" + array(b"read-write"))


def test_the_document_is_synchronised_again() -> None:
    session = DialectSession("y-websocket")
    me = awareness((500, 1, '{"a":1}'))
    session.client(*binary(STEP_1, me, LATER_STEP_1, UPDATE, STEP_2))
    session.lose()
    assert session.words() == [me, LATER_STEP_1]
    assert session.is_open
    for each in (STEP_1, STEP_2, UPDATE, me):
        assert session.passes(*binary(each)) == binary(each), "answers pass"


def test_only_what_the_client_says_of_itself() -> None:
    session = DialectSession("y-websocket")
    session.client(*binary(awareness((500, 1, "{}")), awareness((7, 3, "{}"), (500, 2, '"x"'))))
    session.client(*binary(awareness((7, 4, "{}"))))
    session.lose()
    assert session.words() == [awareness((500, 2, '"x"'))]
    session.client(*binary(awareness((500, 3, "null"))))
    assert session.keys == []


def test_hocuspocus_authenticates_first() -> None:
    session = DialectSession("hocuspocus")
    other = [named(b"\2\0" + array(b"t"), "b"), named(STEP_1, "b")]
    session.client(*binary(AUTH, named(STEP_1), named(awareness((5, 1, "{}"))), *other))
    assert session.passes(*binary(AUTHENTICATED)) == binary(AUTHENTICATED)
    session.server(*binary(named(b"\2\2" + array(b"read-write"), "b")))
    session.lose()
    assert session.words() == [AUTH]
    assert session.passes(*binary(AUTHENTICATED)) == []
    assert session.words() == [named(STEP_1), named(awareness((5, 1, "{}"))), other[0]]
    assert session.passes(*binary(named(b"\2\2" + array(b"read-write"), "b"))) == []
    assert session.words() == [other[1]]
    assert session.is_open


@pytest.mark.parametrize("answer", [b"\2\1" + array(b"no"), b"\2\2" + array(b"readonly")])
def test_hocuspocus_refuses_or_allows_less(answer: bytes) -> None:
    session = DialectSession("hocuspocus")
    session.client(*binary(AUTH))
    session.server(*binary(AUTHENTICATED))
    session.lose()
    session.words()
    assert session.server(*binary(named(answer)))[0].falls_back


def test_a_first_refusal_is_the_clients() -> None:
    session = DialectSession("hocuspocus")
    session.client(*binary(AUTH))
    denied = binary(named(b"\2\1" + array(b"no")))
    assert session.passes(*denied) == denied


@pytest.mark.parametrize("by", ["client", "server"])
def test_a_document_that_is_left(by: str) -> None:
    session = DialectSession("hocuspocus")
    session.client(*binary(AUTH, named(STEP_1), named(STEP_1, "b")))
    getattr(session, by)(*binary(named(b"\7" + array(b"provider_initiated"))))
    assert session.keys == [("sync", "b")]


@pytest.mark.parametrize("name", ["y-websocket", "hocuspocus"])
@pytest.mark.parametrize("data", [b"", b"\xff" * 9, b"\1\xff", b"\3abc", b"\0", b"\1\2\5\1"])
def test_what_can_not_be_read_means_nothing(name: str, data: bytes) -> None:
    session = DialectSession(name)
    assert session.client(*binary(data)) == [Verdict(Message(data, False))]
    assert session.server(*binary(data)) == [Verdict(Message(data, False))]
    assert session.keys == []
    session.client(Message(STEP_1, True))
    assert session.keys == []


@pytest.mark.parametrize("value", [0, 1, 127, 128, 300, 2**53 - 1])
def test_numbers(value: int) -> None:
    assert Lib0Reader(number(value)).number() == value


def test_numbers_without_end() -> None:
    with pytest.raises(Lib0Error):
        Lib0Reader(b"\xff" * 99).number()
