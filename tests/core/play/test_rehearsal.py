"""A recording against a dialect: what a new server would be told, and what the rest means."""

import pytest
from reknit_core.dialect.registry import registry
from reknit_core.dialect.ruled.rules_file import read_rules
from reknit_core.dialect.speech import Conversation, Dialect, Heard, Message, State, Statement
from reknit_core.leg.dialogue import MIN_SEEN
from reknit_core.play.recording import Recording, Said
from reknit_core.play.rehearsal import Rehearsal, rehearse, shown
from reknit_core.side import Side

RULES = """
name = "mine"

[[greeting]]
match = { type = "hello" }

[[statement]]
match = { type = "login" }
awaits = { type = "welcome" }
begins = true

[[statement]]
match = { op = "sub" }
key = "topic"
settled_by = { op = "unsub" }

[[statement]]
match = { op = "call" }
key = "id"
settled_by_server = { op = "result" }
refused_by = { op = "no" }
request = true
fails = { op = "failed" }

[[beat]]
from = "client"
match = { type = "ping" }
reply = { type = "pong" }

[[beat]]
from = "server"
match = { type = "tick" }
"""


def play(dialect: Dialect, *said: str) -> Rehearsal:
    """`c` and `s` say who speaks."""
    sides = {"c": Side.CLIENT, "s": Side.SERVER}
    messages = [Said(sides[one[0]], Message(one[2:].encode(), True)) for one in said]
    return rehearse(dialect, Recording("r", None, tuple(messages)))


def test_a_whole_conversation() -> None:
    played = play(
        read_rules(RULES, "mine.toml"),
        's {"type":"hello"}',
        'c {"type":"login"}',
        's {"type":"welcome"}',
        'c {"op":"sub","topic":"a"}',
        'c {"op":"sub","topic":"b"}',
        'c {"op":"sub","topic":"b","more":1}',
        'c {"type":"ping"}',
        's {"type":"pong"}',
        's {"type":"tick"}',
        'c {"op":"unsub","topic":"a"}',
        'c {"op":"call","id":7}',
        'c {"op":"call","id":8}',
        's {"op":"result","id":7}',
        "c something else",
    )
    assert played.told == [
        'message 2: {"type":"login"}',
        "    then it must answer; message 3 was the answer, and is left out",
        'message 6: {"op":"sub","topic":"b","more":1}',
        'message 12: {"op":"call","id":8}',
        "    a request; with --delivery at-most-once it is not repeated: the client receives "
        '{"op":"failed","id":8}',
    ]
    assert played.findings == [
        "settled: message 7 by message 8, message 4 by message 10, message 11 by message 13",
        "left out, when a new server says it again: messages 1, 3",
        "beats: messages 7, 9",
    ]
    assert played.each == [
        '   1 server: {"type":"hello"}',
        "       a greeting: left out, when a new server says it",
        '   2 client: {"type":"login"}',
        "       begins the protocol",
        "       a statement, without a key; a new server must answer it before it hears more",
        '   3 server: {"type":"welcome"}',
        "       answers message 2",
        '   4 client: {"op":"sub","topic":"a"}',
        "       a statement, key 'a'",
        '   5 client: {"op":"sub","topic":"b"}',
        "       a statement, key 'b'",
        '   6 client: {"op":"sub","topic":"b","more":1}',
        "       a statement, key 'b'",
        '   7 client: {"type":"ping"}',
        '       a beat, answered while the other side is away by {"type":"pong"}',
        '   8 server: {"type":"pong"}',
        "       settles message 7",
        '   9 server: {"type":"tick"}',
        "       a beat, kept from a side that is away",
        '  10 client: {"op":"unsub","topic":"a"}',
        "       settles message 4",
        '  11 client: {"op":"call","id":7}',
        "       a request, key 7",
        '  12 client: {"op":"call","id":8}',
        "       a request, key 8",
        '  13 server: {"op":"result","id":7}',
        "       settles message 11",
        "  14 client: something else",
        "       passes, means nothing to the dialect",
    ]


def test_a_recording_that_ends_before_the_answer() -> None:
    played = play(read_rules(RULES, "m"), 'c {"type":"login"}', 'c {"op":"sub","topic":"a"}')
    assert played.told == [
        'message 1: {"type":"login"}',
        "    then it must answer; the recording has no answer to that",
    ]


def test_nothing_stands() -> None:
    rules = read_rules(RULES, "m")
    assert play(rules).told == play(rules, "c hello").told == ["nothing: no statement stands"]
    ends = registry().find("socket.io")
    assert play(ends, "c 40").told[0].startswith("nothing: a server's loss ends the session")


def test_a_rule_that_matches_what_lacks_its_key() -> None:
    rules = read_rules(RULES.replace('key = "topic"', 'key = ["topic", "a.rom"]'), "m")
    good, bad = '{"op":"sub","topic":"a","a":{"rom":1}}', '{"op":"sub","topic":"a","room":1}'
    assert play(rules, f"c {good}").findings == []
    played = play(rules, 'c {"type":"login"}', f"c {bad}")
    what = "matches [[statement]] 2, but has no text or whole number at 'a.rom', its key"
    assert played.findings == [f"warning: message 2 {what}"]
    assert played.each[-1].strip() == f"warning: it {what}"


ANSWERED = RULES.replace('key = "topic"', 'key = "topic"\nanswered_by = { op = "subbed" }')


def test_an_answer_to_nothing_that_was_said() -> None:
    rules = read_rules(ANSWERED, "m")
    sub = 'c {"op":"sub","topic":"a"}'
    assert play(rules, sub, 's {"op":"subbed","topic":"a"}').findings == [
        "left out, when a new server says it again: message 2"
    ]
    played = play(rules, sub, 's {"op":"subbed","topic":"b"}')
    what = "answers nothing that was said (key 'b')"
    assert played.findings == [f"warning: message 2 {what}"]
    assert played.each[-1].strip() == f"warning: it {what}"
    played = play(rules, 's {"type":"welcome"}')
    assert played.findings == ["warning: message 1 answers nothing that was said (without a key)"]


def test_an_answer_that_lacks_the_key_of_its_statement() -> None:
    rules = read_rules(ANSWERED, "m")
    played = play(rules, 'c {"op":"sub","topic":"a"}', 's {"op":"subbed","room":"a"}')
    what = (
        "matches what answers [[statement]] 2, but has no text or whole number at 'topic', its key"
    )
    assert played.findings == [f"warning: message 2 {what}"]


def test_a_conversation_that_can_not_be_followed() -> None:
    large = '{"op":"sub","topic":"' + "a" * (MIN_SEEN - 100) + '"}'
    played = play(read_rules(RULES, "m"), 'c {"type":"login"}', f"c {large}")
    (told,) = played.told
    why = f"a statement of {len(large):,} bytes is too large to be kept"
    assert told.startswith(f"nothing: message 2 can't be followed ({why}): from there on")
    assert played.each[-1].strip().startswith("can't be followed: from here on")


def test_a_message_that_is_too_large_for_a_session_is_too_large_here() -> None:
    rules = read_rules(RULES, "m")
    assert play(rules, "c " + "a" * MIN_SEEN).told == ["nothing: no statement stands"]
    (told,) = play(rules, "c hello", "s " + "a" * (MIN_SEEN + 1)).told
    why = "a message of more than 4,194,304 bytes could not be followed"
    assert told.startswith(f"nothing: message 2 can't be followed ({why}): from there on")


def test_what_is_said_in_other_words() -> None:
    """An MQTT client's PUBLISH goes out again with DUP set."""
    connect = b"\x10\x0e\0\4MQTT\4\2\0\x3c\0\2me"
    said = [(Side.CLIENT, connect), (Side.SERVER, b"\x20\2\0\0")]
    said += [(Side.CLIENT, b"\x32\6\0\1t\0\7x"), (Side.CLIENT, b"\x32\6\0\1t\0\x08x\xc0")]
    messages = tuple(Said(side, Message(data, False)) for side, data in said)
    played = rehearse(registry().find("mqtt"), Recording("r", None, messages))
    assert played.told[0].startswith("message 1: 16 bytes ")
    assert played.told[1] == "    then it must answer; message 2 was the answer, and is left out"
    assert played.told[2].startswith("message 3: 8 bytes :\\x06")
    assert played.told[-1].startswith("the half that it has not heard: 1 byte \\xc0")


class Odd(Dialect):
    name = "odd"
    summary = "Raises."

    def converse(self, state: State | None = None) -> Conversation | None:
        return OddConversation()


class OddConversation(Conversation):
    def hear(self, side: Side, message: Message, *, away: bool = False) -> tuple[Heard, ...]:
        return (Heard(states=(Statement(("a",), message),)),)

    def again(self, statement: Statement) -> Message | None:
        raise ZeroDivisionError


def test_a_class_that_raises() -> None:
    odd = registry().with_objects({"acme": Odd}).find("odd")
    (told,) = play(odd, "c a").told
    assert told.startswith("nothing more: the dialect's class has raised an exception")


@pytest.mark.parametrize(
    ("message", "text"),
    [
        (Message(b"a\nb\x1b", True), "a\\nb\\x1b"),
        (Message(b"\0'a\"", False), "4 bytes \\x00\\'a"),
        (Message(b"a" * 200, True), "a" * 97 + "..."),
        (Message(b"", True), ""),
    ],
)
def test_a_message_is_shown_on_one_line(message: Message, text: str) -> None:
    assert shown(message).startswith(text)
    assert len(shown(message)) <= 100
