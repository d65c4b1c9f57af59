"""Where a queue is cut within something, and what is known of that."""

from collections.abc import Callable

import pytest
from reknit_core.dialect.halves import MAX_CUTS, MAX_KEPT, Halves
from reknit_core.dialect.interpreter import Interpreter
from reknit_core.dialect.protocols.mqtt import Mqtt
from reknit_core.dialect.speech import Message

UNKNOWN = Message(b"", False)


def half(data: bytes) -> Message:
    return Message(data, False)


def thawed(halves: Halves) -> Halves:
    again = Halves()
    again.thaw(halves.freeze())
    return again


@pytest.mark.parametrize("seen", [lambda halves: halves, thawed])
def test_too_many_are_not_known_from_the_first_one_too_many(
    seen: Callable[[Halves], Halves],
) -> None:
    halves = Halves()
    for end in range(1, MAX_CUTS + 10):
        halves.add(end * 10, half(b"a"))
    halves = seen(halves)
    assert halves.at(MAX_CUTS * 10) == half(b"a")
    assert halves.at(MAX_CUTS * 10 + 5) is None
    assert halves.at(MAX_CUTS * 10 + 10) == UNKNOWN
    assert halves.at(MAX_CUTS * 10 + 90) == UNKNOWN
    assert halves.at(MAX_CUTS * 10 + 100) is None


def test_there_is_room_again_when_the_first_are_forgotten() -> None:
    halves = Halves()
    for end in range(1, MAX_CUTS + 2):
        halves.add(end, half(b"a"))
    halves.forget(100)
    halves.add(MAX_CUTS + 2, half(b"b"))
    assert halves.at(99) is None
    assert halves.at(100) == half(b"a")
    assert halves.at(MAX_CUTS + 1) == UNKNOWN
    assert halves.at(MAX_CUTS + 2) == half(b"b")
    halves.forget(MAX_CUTS + 2)
    assert halves.at(MAX_CUTS + 1) is None


def test_too_many_bytes_are_not_known() -> None:
    halves = Halves()
    halves.add(1, half(b"a" * MAX_KEPT))
    halves.add(2, half(b"b"))
    halves.add(3, half(b""))
    assert halves.at(1) == half(b"a" * MAX_KEPT)
    assert halves.at(2) == halves.at(3) == UNKNOWN
    halves.forget(2)
    assert halves.at(1) is None
    assert halves.at(2) == UNKNOWN


def test_a_client_that_writes_each_packet_in_pieces_goes_on_as_long_as_its_outage_is() -> None:
    """MQTT.js: 400 PUBLISHes are some 2,000 messages."""
    conversation = Mqtt().converse()
    session = Interpreter(conversation, 1 << 20)
    end = 0
    for number in range(1, 2001):
        identifier = number.to_bytes(2, "big")
        for piece in (b"\x32\x06", b"\x00\x01", b"a", identifier, b"x"):
            end += 10
            session.from_client(Message(piece, False), end, server_away=True)
    session.server_lost()
    session.reopen(0, repeats=True)
    assert not session.is_lost
