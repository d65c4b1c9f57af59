"""MQTT: what a new broker is told, packet by packet."""

import pytest
from dialect_session import DialectSession, binary
from reknit_core.dialect.byte_stream import MAX_UNIT
from reknit_core.dialect.interpreter import Verdict
from reknit_core.dialect.protocols.packets import Kind, packet
from reknit_core.dialect.speech import LostError, Message, Offer
from reknit_core.side import Side

CONNACK = b"\x20\x02\x00\x00"
PINGREQ = b"\xc0\x00"
PINGRESP = b"\xd0\x00"


def name(value: str) -> bytes:
    return len(value).to_bytes(2, "big") + value.encode()


def connect(level: int = 4, keepalive: int = 60, *, clean: bool = True) -> bytes:
    properties = b"\x00" if level == 5 else b""
    head = (
        name("MQTT" if level > 3 else "MQIsdp")
        + bytes((level, 2 * clean))
        + keepalive.to_bytes(2, "big")
    )
    return packet(0x10, head + properties + name("me"))


def subscribe(number: int, *topics: str, v5: bool = False) -> bytes:
    body = b"".join(name(topic) + b"\x01" for topic in topics)
    return packet(0x82, number.to_bytes(2, "big") + (b"\x00" if v5 else b"") + body)


def unsubscribe(number: int, topic: str) -> bytes:
    return packet(0xA2, number.to_bytes(2, "big") + name(topic))


def publish(number: int, qos: int = 1, payload: bytes = b"x", topic: str = "t") -> bytes:
    identifier = number.to_bytes(2, "big") if qos else b""
    return packet(0x30 | qos << 1, name(topic) + identifier + payload)


def about(kind: Kind, number: int, rest: bytes = b"") -> bytes:
    flags = 2 if kind is Kind.PUBREL else 0
    return packet(kind << 4 | flags, number.to_bytes(2, "big") + rest)


def connected(*, connack: bytes = CONNACK, first: bytes = b"") -> DialectSession:
    session = DialectSession("mqtt")
    session.client(*binary(first or connect()))
    assert session.passes(*binary(connack)) == binary(connack)
    return session


def reconnected(session: DialectSession, *, connack: bytes = CONNACK) -> list[bytes]:
    """All that a new broker is told behind CONNECT."""
    session.lose()
    assert session.words()[0][0] >> 4 == Kind.CONNECT
    assert session.words() == []
    assert session.passes(*binary(connack)) == [], "the client has had one"
    return session.words()


def test_connected_and_subscribed_again() -> None:
    session = connected()
    session.client(*binary(subscribe(1, "a", "b")))
    suback = about(Kind.SUBACK, 1, b"\x01\x01")
    assert session.passes(*binary(suback)) == binary(suback)
    said = reconnected(session)
    assert said == [subscribe(0xFFFF, "a"), subscribe(0xFFFE, "b")]
    assert session.passes(*binary(about(Kind.SUBACK, 0xFFFF, b"\x01"))) == []
    assert session.passes(*binary(about(Kind.SUBACK, 0xFFFE, b"\x01"))) == []
    assert session.is_open


def test_a_subscribe_without_an_answer_is_repeated_as_it_was() -> None:
    session = connected()
    session.client(*binary(subscribe(1, "a", "b")))
    assert reconnected(session) == [subscribe(1, "a", "b")]
    suback = about(Kind.SUBACK, 1, b"\x01\x01")
    assert session.passes(*binary(suback)) == binary(suback)
    assert reconnected(session) == [subscribe(0xFFFF, "a"), subscribe(0xFFFE, "b")]


def test_what_is_unsubscribed_is_not_subscribed_again() -> None:
    session = connected()
    session.client(*binary(subscribe(1, "a", "b"), unsubscribe(2, "a")))
    session.server(*binary(about(Kind.SUBACK, 1, b"\1\1"), about(Kind.UNSUBACK, 2)))
    assert reconnected(session) == [subscribe(0xFFFF, "b")]


def test_an_unsubscribe_without_an_answer_is_repeated() -> None:
    session = connected()
    session.client(*binary(unsubscribe(2, "a")))
    assert reconnected(session) == [unsubscribe(2, "a")]
    unsuback = about(Kind.UNSUBACK, 2)
    assert session.passes(*binary(unsuback)) == binary(unsuback)


def test_a_refused_filter_is_not_subscribed_again() -> None:
    session = connected()
    session.client(*binary(subscribe(1, "a", "b")))
    session.server(*binary(about(Kind.SUBACK, 1, b"\x80\x01")))
    assert reconnected(session) == [subscribe(0xFFFF, "b")]
    assert session.server(*binary(about(Kind.SUBACK, 0xFFFF, b"\x80")))[0].falls_back


@pytest.mark.parametrize("qos", [1, 2])
def test_a_publish_stands_until_it_is_acknowledged(qos: int) -> None:
    session = connected()
    session.client(*binary(publish(7, qos)))
    again = bytes((publish(7, qos)[0] | 8,)) + publish(7, qos)[1:]
    assert reconnected(session) == [again]
    if qos == 1:
        puback = about(Kind.PUBACK, 7)
    else:
        session.server(*binary(about(Kind.PUBREC, 7)))
        pubrel = about(Kind.PUBREL, 7)
        session.client(*binary(pubrel))
        assert reconnected(session) == [again, pubrel], "the lost broker had the message alone"
        assert session.passes(*binary(about(Kind.PUBREC, 7))) == [], "the client has had one"
        puback = about(Kind.PUBCOMP, 7)
    assert session.passes(*binary(puback)) == binary(puback)
    assert reconnected(session) == []


RECEIVED = publish(7, 2, b"\0x")  # of version 5, too: it has no properties
AGAIN = bytes((RECEIVED[0] | 8,)) + RECEIVED[1:]


def released(first: bytes, connack: bytes) -> DialectSession:
    """A session whose client has sent a PUBLISH of QoS 2, and its PUBREL."""
    session = connected(first=first, connack=connack)
    session.client(*binary(RECEIVED))
    assert session.passes(*binary(about(Kind.PUBREC, 7))) == binary(about(Kind.PUBREC, 7))
    session.client(*binary(about(Kind.PUBREL, 7)))
    return session


@pytest.mark.parametrize("level", [3, 4, 5])
def test_a_broker_that_may_have_the_session_has_what_was_received(level: int) -> None:
    """Of version 3.1 none says that it has."""
    rest = b"\0" if level == 5 else b""
    connack = packet(0x20, bytes((level > 3, 0)) + rest)
    session = released(connect(level, clean=False), connack)
    assert reconnected(session, connack=connack) == [about(Kind.PUBREL, 7)]


def test_a_publish_that_was_received_is_not_said_again_at_most_once() -> None:
    session = released(connect(5), CONNACK)
    assert session.lose(repeats=False) == [], "the client knows that it was received"
    assert session.words() == [connect(5)]
    session.server(*binary(CONNACK))
    assert session.words() == [about(Kind.PUBREL, 7)]


def test_what_was_received_and_not_yet_released_is_received_once() -> None:
    session = connected()
    session.client(*binary(RECEIVED))
    session.server(*binary(about(Kind.PUBREC, 7)))
    assert reconnected(session) == [AGAIN]
    assert session.passes(*binary(about(Kind.PUBREC, 7))) == []
    session.client(*binary(about(Kind.PUBREL, 7)))
    assert reconnected(session) == [AGAIN, about(Kind.PUBREL, 7)]


def test_a_broker_that_receives_very_much_can_not_be_followed() -> None:
    session = connected()
    for each in range(1, 4097):
        session.server(*binary(about(Kind.PUBREC, each)))
    assert not session.interpreter.is_lost
    session.server(*binary(about(Kind.PUBREC, 4097)))
    assert session.interpreter.is_lost


def test_an_identifier_that_is_used_again_was_not_received() -> None:
    session = released(connect(5), CONNACK)
    session.server(*binary(about(Kind.PUBCOMP, 7)))
    session.client(*binary(RECEIVED))
    assert reconnected(session) == [AGAIN]
    pubrec = binary(about(Kind.PUBREC, 7))
    assert session.passes(*pubrec) == pubrec


def test_quality_of_service_0_is_not_repeated() -> None:
    session = connected()
    session.client(*binary(publish(0, 0)))
    assert reconnected(session) == []


def test_an_acknowledgement_is_the_confirmation() -> None:
    session = connected()
    assert session.interpreter.confirmed == session.end
    session.client(*binary(publish(1), publish(2)))
    session.server(*binary(about(Kind.PUBACK, 1)))
    assert session.interpreter.confirmed == session.end - len(publish(2))
    session.client(*binary(publish(3) + publish(4)))
    session.server(*binary(about(Kind.PUBACK, 3)))
    assert session.interpreter.confirmed == session.end - 2 * len(publish(3)), "4 may be lost"


def test_a_publish_is_not_repeated_where_that_is_promised() -> None:
    session = connected()
    session.client(*binary(publish(7)))
    assert session.lose(repeats=False) == []
    assert session.is_lost, "version 3.1.1 has no way to say so"
    session = connected(first=connect(5), connack=b"\x20\x03\x00\x00\x00")
    v5 = packet(0x32, name("t") + b"\x00\x07\x00x")
    session.client(*binary(v5))
    assert session.lose(repeats=False) == binary(b"\x40\x03\x00\x07\x80")
    assert not session.is_lost


def test_version_5_keeps_the_properties_of_a_subscription() -> None:
    session = connected(first=connect(5), connack=b"\x20\x03\x00\x00\x00")
    entry = name("a") + b"\x2d"
    session.client(*binary(packet(0x82, b"\x00\x01\x02\x0b\x05" + entry)))
    session.server(*binary(packet(0x90, b"\x00\x01\x00\x01")))
    session.lose()
    session.words()
    session.server(*binary(b"\x20\x03\x00\x00\x00"))
    assert session.words() == [packet(0x82, b"\xff\xff\x02\x0b\x05" + entry)]


@pytest.mark.parametrize("qos", [0, 1])
def test_a_topic_alias_can_not_be_followed(qos: int) -> None:
    session = connected(first=connect(5), connack=b"\x20\x03\x00\x00\x00")
    identifier = b"\x00\x07" if qos else b""
    session.client(*binary(packet(0x30 | qos << 1, name("t") + identifier + b"\x03\x23\x00\x01x")))
    assert session.is_lost


def test_a_broker_that_does_not_take_up_the_session_again() -> None:
    session = connected(connack=b"\x20\x02\x01\x00")
    session.lose()
    session.words()
    assert session.server(*binary(CONNACK))[0].falls_back, "the client relies on its session"
    session = connected()
    session.lose()
    session.words()
    assert session.server(*binary(b"\x20\x02\x01\x00")) == [Verdict(None)]


def test_a_broker_that_refuses() -> None:
    session = DialectSession("mqtt")
    session.client(*binary(connect()))
    assert not session.server(*binary(b"\x20\x02\x00\x05"))[0].falls_back, "that is the client's"
    session = connected()
    session.lose()
    session.words()
    assert session.server(*binary(b"\x20\x02\x00\x05"))[0].falls_back


def test_pings_are_answered_while_the_broker_is_away() -> None:
    session = connected()
    ping = binary(PINGREQ)
    assert session.client(*ping) == [Verdict(ping[0])]
    assert session.client(*ping, away=True) == [Verdict(ping[0])], "an earlier one stands"
    assert PINGREQ in reconnected(session)
    assert session.passes(*binary(PINGRESP)) == binary(PINGRESP)
    assert session.client(*ping, away=True) == [Verdict(None, Message(PINGRESP, False))]
    assert PINGREQ not in reconnected(session)


def test_pings_are_sent_while_the_client_is_away() -> None:
    session = connected(first=connect(keepalive=10))
    assert session.interpreter.beat(Side.CLIENT) == (Message(PINGREQ, False), 5.0)
    assert session.interpreter.beat(Side.SERVER) is None
    assert session.server(*binary(PINGRESP), away=True) == [Verdict(None)]
    session.client(*binary(PINGREQ))
    assert session.server(*binary(PINGRESP), away=True) == [Verdict(binary(PINGRESP)[0])]


def test_packets_that_span_messages_and_several_in_one() -> None:
    session = connected()
    session.client(*binary(*(bytes((byte,)) for byte in subscribe(1, "a"))))
    session.client(*binary(publish(2) + publish(3)[:4], publish(3)[4:] + publish(4)))
    assert session.keys[1:] == [
        ("subscribe", 1),
        ("filter", "a"),
        ("publish", 2),
        ("publish", 3),
        ("publish", 4),
    ]


def test_an_answer_that_spans_messages_is_left_out() -> None:
    session = connected()
    session.client(*binary(subscribe(1, "a")))
    session.server(*binary(about(Kind.SUBACK, 1, b"\x01")))
    session.lose()
    session.words()
    incoming = publish(1, 0, b"y")
    message = CONNACK + incoming
    passed = session.passes(*binary(message[:3], message[3:6], message[6:]))
    assert b"".join(part.data for part in passed) == incoming
    assert session.words() == [subscribe(0xFFFF, "a")]


def test_a_client_that_is_cut_within_a_packet_begins_it_anew() -> None:
    session = connected()
    data = publish(2, 1, bytes(100))
    session.client(*binary(data[:40], data[40:]))
    session.lose(session.end - len(data) + 40)
    assert session.words() == [connect()]
    session.server(*binary(CONNACK))
    assert session.words() == [data[:40]]
    assert session.is_open
    assert not session.is_lost


def test_a_client_that_is_cut_within_too_large_a_packet() -> None:
    session = connected()
    data = publish(0, 0, bytes(2 * MAX_UNIT))
    session.client(*binary(data[:MAX_UNIT], data[MAX_UNIT:]))
    assert not session.is_lost
    session.lose(session.end - len(data) + MAX_UNIT)
    assert session.is_lost
    session = connected()
    session.client(*binary(publish(1, 1, bytes(2 * MAX_UNIT))))
    assert session.is_lost, "it can't be kept"


def test_a_broker_that_is_lost_within_a_packet() -> None:
    """aedes writes each packet in pieces: of one that is not whole the client has heard nothing."""
    session = connected()
    whole = publish(1, 0, bytes(9))
    assert session.passes(*binary(whole[:1], whole[1:5])) == []
    session.lose()
    assert not session.is_lost
    session = connected()
    assert session.passes(*binary(whole[:5], whole[5:] + whole[:5])) == binary(whole)
    assert session.passes(*binary(whole[5:])) == binary(whole)
    large = publish(1, 0, bytes(MAX_UNIT))[:-9]
    assert session.passes(*binary(large)) == binary(large)
    session.lose()
    assert session.is_lost, "the client has heard the half of it"


@pytest.mark.parametrize(
    "data",
    [b"\x30\xff\xff\xff\xff\x01", packet(0x82, b"\x00"), packet(0x10, b"\x00\x09MQ")],
)
def test_what_is_no_mqtt_can_not_be_followed(data: bytes) -> None:
    session = connected()
    assert session.client(*binary(data))[0].passes == Message(data, False)
    assert session.is_lost
    assert session.passes(*binary(b"\x90", b"\x30\x00")) == binary(b"\x90", b"\x30\x00")


def test_a_client_that_begins_anew_is_known() -> None:
    session = connected()
    assert session.client(*binary(connect()), returned=True)[0].begins_anew
    assert not DialectSession("mqtt").client(*binary(connect()), returned=True)[0].begins_anew


def test_a_broker_that_goes_away() -> None:
    session = connected(first=connect(5), connack=b"\x20\x03\x00\x00\x00")
    assert session.passes(*binary(b"\xe0\x01\x8b")) == binary(b"\xe0\x01\x8b")
    assert session.is_lost


def test_what_is_held_back_goes_on_when_nothing_will_be_left_out() -> None:
    session = connected(first=connect(5), connack=b"\x20\x03\x00\x00\x00")
    gone = binary(b"\xe0\x01\x8b" + b"\x90\x03\x00")
    assert session.passes(*gone) == gone
    session = connected()
    assert session.passes(*binary(b"\x90")) == []
    session.client(*binary(b"\x30\xff\xff\xff\xff\x01"))
    assert session.passes(*binary(b"\x03")) == binary(b"\x90\x03")


@pytest.mark.long
def test_many_open_subscribes_are_too_many() -> None:
    session = connected()
    for number in range(1, 258):
        session.client(*binary(subscribe(number, "a")))
    assert session.is_lost


def test_by_what_it_is_chosen() -> None:
    session = DialectSession("mqtt")
    assert session.dialect.speaks(Offer("/", "mqtt"))
    assert session.dialect.speaks(Offer("/mqtt", "mqttv3.1"))
    assert not session.dialect.speaks(Offer("/mqtt", None))


def many(first: int, count: int) -> list[str]:
    return [f"{number:05d}" for number in range(first, first + count)]


def heard(session: DialectSession, *packets: bytes) -> None:
    """From the client, without another process: that takes its time with thousands."""
    for each in packets:
        session.end += len(each)
        session.interpreter.from_client(Message(each, False), session.end, server_away=False)


@pytest.mark.long
def test_more_filters_than_there_are_identifiers_are_more_than_can_be_told() -> None:
    session = DialectSession("mqtt", 1 << 24)
    heard(session, connect())
    session.interpreter.from_server(Message(CONNACK, False), client_away=False)
    for number in range(1, 15):
        heard(session, subscribe(number, *many(number * 5000, 5000)))
        suback = packet(0x90, number.to_bytes(2, "big") + bytes(5000))
        session.interpreter.from_server(Message(suback, False), client_away=False)
    interpreter = session.interpreter
    assert len(interpreter.statements) == 70_001
    interpreter.server_lost()
    interpreter.reopen(session.end, repeats=True)
    interpreter.words()
    interpreter.from_server(Message(CONNACK, False), client_away=False)
    with pytest.raises(LostError):
        interpreter.words()


def test_filters_that_nobody_answers_for_are_bounded() -> None:
    session = DialectSession("mqtt", 1 << 24)
    heard(session, connect())
    for number in range(1, 4):
        heard(session, subscribe(number, *many(0, 5000)))
        assert not session.is_lost
    heard(session, subscribe(4, *many(0, 5000)))
    assert session.is_lost


def test_a_client_that_begins_anew_while_a_server_is_told_has_asked_for_nothing() -> None:
    """Whether another process has taken over meanwhile, or not."""
    session = DialectSession("mqtt")
    heard(session, connect() + subscribe(1, "a"))
    interpreter = session.interpreter
    interpreter.server_lost()
    interpreter.reopen(session.end, repeats=True)
    heard(session, connect())
    assert interpreter.words() == binary(connect()), "the one before that, as the queue has the new"
    (connack,) = binary(CONNACK)
    interpreter.from_server(connack, client_away=False)
    words = [binary(subscribe(1, "a"))[0], binary(subscribe(0xFFFF, "a"))[0]]
    assert interpreter.words() == words
