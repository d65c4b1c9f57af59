"""STOMP: what a new server is told, frame by frame."""

import pytest
from dialect_session import DialectSession, binary, text
from reknit_core.dialect.byte_stream import MAX_UNIT
from reknit_core.dialect.interpreter import Verdict
from reknit_core.dialect.speech import Beat, Message, Offer
from reknit_core.side import Side


def frame(command: str, body: str = "", **headers: str) -> str:
    lines = "".join(f"{name.replace('_', '-')}:{value}\n" for name, value in headers.items())
    return f"{command}\n{lines}\n{body}\0"


CONNECT = frame("CONNECT", accept_version="1.2", heart_beat="1000,2000")
CONNECTED = frame("CONNECTED", version="1.2", heart_beat="4000,0")
SUBSCRIBE = frame("SUBSCRIBE", id="0", destination="/a")


def connected() -> DialectSession:
    session = DialectSession("stomp")
    session.client(*text(CONNECT))
    assert session.passes(*text(CONNECTED)) == text(CONNECTED)
    return session


def reconnected(session: DialectSession, position: int | None = None) -> list[str]:
    """All that a new server is told behind CONNECT."""
    session.lose(position)
    assert session.words() == [CONNECT.encode()]
    assert session.words() == []
    assert session.passes(*text(CONNECTED)) == []
    return [word.decode() for word in session.words()]


def test_connected_and_subscribed_again() -> None:
    session = connected()
    session.client(*text(SUBSCRIBE, frame("SEND", "x", destination="/b")))
    assert reconnected(session) == [SUBSCRIBE]
    assert session.is_open


def test_the_older_words() -> None:
    session = DialectSession("stomp")
    stomp = frame("STOMP", accept_version="1.1")
    session.client(*text(stomp))
    session.server(*text(frame("CONNECTED", version="1.1")))
    old = "SUBSCRIBE\ndestination:/a\n\n\0"  # 1.0 needs no id
    session.client(*text(old))
    session.lose()
    assert session.words() == [stomp.encode()]
    session.server(*text(frame("CONNECTED", version="1.1")))
    assert session.words() == [old.encode()]


def test_an_unsubscribe_that_the_server_will_hear_yet_has_something_to_take_back() -> None:
    session = connected()
    session.client(*text(SUBSCRIBE))
    before = session.end
    session.client(*text(frame("UNSUBSCRIBE", id="0")))
    assert reconnected(session, before) == [SUBSCRIBE]
    assert reconnected(session) == [], "a server has heard it"
    assert session.keys == [("connect",)]


def test_an_unsubscribe_with_a_receipt_stands_until_that() -> None:
    session = connected()
    unsubscribe = frame("UNSUBSCRIBE", id="0", receipt="r")
    session.client(*text(SUBSCRIBE, unsubscribe))
    assert reconnected(session) == [SUBSCRIBE, unsubscribe]
    receipt = text(frame("RECEIPT", receipt_id="r"))
    assert session.passes(*receipt) == receipt
    assert reconnected(session) == []


def test_a_later_subscription_of_the_same_name_stands() -> None:
    session = connected()
    session.client(*text(SUBSCRIBE, frame("UNSUBSCRIBE", id="0", receipt="r"), SUBSCRIBE))
    session.server(*text(frame("RECEIPT", receipt_id="r")))
    assert reconnected(session) == [SUBSCRIBE]


def test_a_send_stands_until_its_receipt() -> None:
    session = connected()
    send = frame("SEND", "x", destination="/a", receipt="1")
    session.client(*text(send))
    assert reconnected(session) == [send]
    session.server(*text(frame("RECEIPT", receipt_id="1")))
    assert session.interpreter.confirmed == session.end
    assert reconnected(session) == []
    session.client(*text(send))
    assert session.lose(repeats=False) == []
    assert session.is_lost, "a client would wait for its receipt for ever"


def test_the_receipt_of_a_subscription_is_heard_once() -> None:
    session = connected()
    subscribe = frame("SUBSCRIBE", id="0", destination="/a", receipt="s")
    receipt = text(frame("RECEIPT", receipt_id="s"))
    session.client(*text(subscribe))
    assert session.passes(*receipt) == receipt
    assert reconnected(session) == [subscribe]
    assert session.passes(*receipt) == []


def test_an_open_transaction_is_begun_anew() -> None:
    session = connected()
    begin = frame("BEGIN", transaction="t")
    one = frame("SEND", "1", destination="/a", transaction="t")
    session.client(*text(begin, one))
    assert reconnected(session) == [begin, one]
    before = session.end
    session.client(*text(frame("COMMIT", transaction="t")))
    assert reconnected(session, before) == [begin, one], "COMMIT follows from the queue"
    assert reconnected(session) == []


def test_a_transaction_stands_until_the_receipt_of_its_commit() -> None:
    session = connected()
    frames = [
        frame("BEGIN", transaction="t"),
        frame("SEND", "1", destination="/a", transaction="t", receipt="1"),
        frame("COMMIT", transaction="t", receipt="c"),
    ]
    session.client(*text(*frames, frame("BEGIN", transaction="u")))
    session.server(*text(frame("RECEIPT", receipt_id="1")))
    assert reconnected(session) == [*frames, frame("BEGIN", transaction="u")]
    assert session.passes(*text(frame("RECEIPT", receipt_id="1"))) == []
    session.server(*text(frame("RECEIPT", receipt_id="c")))
    assert reconnected(session) == [frame("BEGIN", transaction="u")]


def test_a_transaction_that_ends_while_its_receipts_are_to_come() -> None:
    session = connected()
    session.client(*text(frame("BEGIN", transaction="t", receipt="b")))
    session.server(*text(frame("RECEIPT", receipt_id="b")))
    session.client(*text(frame("COMMIT", transaction="t")))
    assert not session.is_lost
    session.client(*text(frame("BEGIN", transaction="u", receipt="b")))
    session.client(*text(frame("COMMIT", transaction="u")))
    assert session.is_lost, "nobody says whether it was heard"


@pytest.mark.parametrize(
    "said", [frame("SUBSCRIBE", id="1", destination="/a", ack="client"), frame("ACK", id="1")]
)
def test_messages_that_are_acknowledged_can_not_be_followed(said: str) -> None:
    session = connected()
    session.client(*text(said))
    assert session.is_lost


def test_heartbeats_as_agreed() -> None:
    session = connected()
    assert session.interpreter.beat(Side.CLIENT) is None, "the server wants none"
    assert session.interpreter.beat(Side.SERVER) == Beat(Message(b"\n", True), 4.0)
    assert session.client(*text("\n")) == [Verdict(text("\n")[0])]
    assert session.client(*text("\n"), away=True) == [Verdict(None)]
    assert session.server(*text("\r\n"), away=True) == [Verdict(None)]


def test_a_server_that_agrees_to_other_than_the_lost_one() -> None:
    session = connected()
    session.lose()
    session.words()
    other = frame("CONNECTED", version="1.2", heart_beat="1,1")
    assert session.server(*text(other))[0].falls_back


def test_an_error_is_the_clients_or_ends_the_session() -> None:
    session = connected()
    error = text(frame("ERROR", message="no"))
    assert session.passes(*error) == error
    session.lose()
    session.words()
    assert session.server(*error)[0].falls_back


def test_frames_that_span_messages_and_several_in_one() -> None:
    session = connected()
    everything = SUBSCRIBE + "\n\n" + frame("SEND", "a\0b", destination="/a", content_length="3")
    everything += "\r\n" + frame("SEND", "x", receipt="1").replace("\n", "\r\n")
    session.client(*text(*everything))
    assert session.keys[1:] == [("subscribe", "0"), ("receipt", "1")]
    assert not session.is_lost
    other = connected()
    other.client(*text(everything))
    assert other.keys == session.keys


def test_headers_are_unescaped_and_the_first_counts() -> None:
    session = connected()
    session.client(*text("SUBSCRIBE\nid:a\\cb\\\\\\n\\x\nid:other\n\n\0"))
    assert session.keys[1:] == [("subscribe", "a:b\\\n\\x")]


def test_a_server_that_is_lost_within_a_frame() -> None:
    session = connected()
    whole = "MESSAGE\ndestination:/a\nmessage-id:1\nsubscription:0\n\nbody\0"
    assert session.passes(*text(whole[:9], whole[9:])) == text(whole)
    assert session.passes(*text(whole[:-1])) == []
    session.lose()
    assert not session.is_lost, "the client has heard nothing of it"
    large = text(whole[:-1] + "a" * MAX_UNIT)
    session = connected()
    assert session.passes(*large) == large
    session.lose()
    assert session.is_lost


def test_a_client_that_is_cut_within_a_frame_begins_it_anew() -> None:
    session = connected()
    half, rest = SUBSCRIBE[:12], SUBSCRIBE[12:]
    session.client(*text(half, rest))
    assert reconnected(session, session.end - len(rest)) == [half]
    assert session.is_open


def test_binary_messages_stay_binary() -> None:
    session = connected()
    send = frame("SEND", "x", receipt="1").encode()
    session.client(*binary(send))
    session.lose()
    session.interpreter.words()
    session.server(*text(CONNECTED))
    assert session.interpreter.words() == binary(send)


def test_large_frames_are_passed_over() -> None:
    session = connected()
    large = "x" * MAX_UNIT
    session.client(*text(frame("SEND", large, destination="/a"), SUBSCRIBE))
    sized = frame("SEND", large, destination="/a", content_length=str(len(large)))
    session.client(*text(sized[:99], sized[99:999], sized[999:], frame("BEGIN", transaction="t")))
    session.client(*text(large[:9]))
    assert [key[0] for key in session.keys] == ["connect", "subscribe", "transaction"]
    assert not session.is_lost
    session = connected()
    session.client(*text(frame("SEND", large, destination="/a", receipt="1")))
    assert session.is_lost


@pytest.mark.parametrize(
    "data",
    [
        "SEND\ncontent-length:1\n\nabc\0",
        "SEND\ncontent-length:x\n\n\0",
        "SEND\nnonsense\n\n\0",
        "SEND\0",
        "x" * (MAX_UNIT + 1),
    ],
)
def test_what_is_no_stomp_can_not_be_followed(data: str) -> None:
    session = connected()
    assert session.client(*text(data)) == [Verdict(text(data)[0])]
    assert session.is_lost


def test_a_client_that_begins_anew_is_known() -> None:
    assert connected().client(*text(CONNECT), returned=True)[0].begins_anew


@pytest.mark.parametrize("version", ["10", "11", "12"])
def test_by_what_it_is_chosen(version: str) -> None:
    assert DialectSession("stomp").dialect.speaks(Offer("/", f"v{version}.stomp"))
    assert not DialectSession("stomp").dialect.speaks(Offer("/stomp", None))
