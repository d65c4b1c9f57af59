"""What is kept of a conversation, and what a new server is told: with dialects that are data."""

import json
from math import inf

import pytest
from reknit_core.dialect.interpreter import Interpreter, Verdict
from reknit_core.dialect.registry import registry
from reknit_core.dialect.ruled.builtin import built_in
from reknit_core.dialect.speech import Message
from reknit_core.side import Side

LIMIT = 1 << 20


def message(**members: object) -> Message:
    return Message(json.dumps(members).encode(), True)


INIT = message(type="connection_init")
ACK = message(type="connection_ack")
TICKS = message(type="subscribe", id="1", payload={"query": "subscription { ticks }"})
NEXT = message(type="next", id="1", payload={"data": 1})


class Session:
    """An interpreter, with a queue whose messages are 10 bytes each."""

    def __init__(self, name: str = "graphql-transport-ws", limit: int = LIMIT) -> None:
        conversation = built_in(name).converse()
        assert conversation is not None
        self.interpreter = Interpreter(conversation, limit)
        self.end = 0

    def client(self, *messages: Message, away: bool = False) -> Verdict:
        for each in messages:
            self.end += 10
            verdict = self.interpreter.from_client(each, self.end, server_away=away)
        return verdict

    def server(self, *messages: Message, away: bool = False) -> Verdict:
        for each in messages:
            verdict = self.interpreter.from_server(each, client_away=away)
        return verdict

    def lost(self, position: int, *, repeats: bool = True) -> list[Message]:
        self.interpreter.server_lost()
        return self.interpreter.reopen(position, repeats=repeats)

    @property
    def keys(self) -> list[object]:
        return [kept.statement.key for kept in self.interpreter.statements]


def test_what_is_said_in_order_and_what_is_left_out() -> None:
    session = Session()
    session.client(INIT)
    assert session.server(ACK) == Verdict(ACK)
    session.client(TICKS)
    session.server(NEXT)
    interpreter = session.interpreter
    assert session.lost(20) == []
    assert interpreter.is_reopening
    assert interpreter.words() == [INIT]
    assert interpreter.words() == [], "the answer is awaited"
    assert interpreter.hold == 20
    assert session.server(ACK) == Verdict(None), "the client has had one"
    assert interpreter.words() == [TICKS]
    assert not interpreter.is_reopening
    assert interpreter.hold == inf
    assert session.server(NEXT) == Verdict(NEXT)


def test_what_stands_in_the_queue_is_not_said_and_holds_back_what_follows() -> None:
    session = Session()
    session.client(INIT, TICKS)
    interpreter = session.interpreter
    session.lost(0)
    assert interpreter.words() == []
    assert interpreter.is_reopening
    assert interpreter.hold == 10, "the queue goes as far as the statement that awaits"
    assert session.server(ACK) == Verdict(ACK), "the client has had none yet"
    assert not interpreter.is_reopening


def test_what_is_settled_is_not_said() -> None:
    session = Session()
    session.client(INIT, TICKS)
    session.server(ACK, message(type="complete", id="1"))
    session.client(message(type="subscribe", id="2"), message(type="complete", id="2"))
    assert session.keys == [("0",)]


def test_a_later_statement_with_the_same_key_takes_the_place() -> None:
    session = Session()
    other = message(type="subscribe", id="1", payload={})
    session.client(INIT, TICKS, other)
    session.server(ACK)
    session.lost(30)
    session.interpreter.words()
    session.server(ACK)
    assert session.interpreter.words() == [other]


PAY = message(type="subscribe", id="1", payload={"query": "mutation { pay }"})


def test_a_request_is_not_asked_twice_where_that_is_promised() -> None:
    session = Session()
    session.client(INIT, PAY)
    session.server(ACK)
    (told,) = session.lost(20, repeats=False)
    assert json.loads(told.data)["type"] == "error"
    assert json.loads(told.data)["id"] == "1"
    assert session.interpreter.words() == [INIT]
    session.server(ACK)
    assert not session.interpreter.is_reopening


def test_a_request_that_no_server_can_have_heard_is_asked() -> None:
    session = Session()
    session.client(INIT, PAY)
    session.server(ACK)
    assert session.lost(10, repeats=False) == []


@pytest.mark.parametrize(
    ("query", "is_repeated"),
    [
        ("subscription { ticks }", True),
        ("  query A { a }", True),
        ("{ a }", True),
        ("mutation { pay }", False),
        ("query A { a } mutation B { b }", False),
        ("fragment F on A { a } query B { ...F }", False),
        ("# mutation\n{ a }", False),
        (None, False),
    ],
)
def test_what_changes_nothing_is_asked_twice(query: str | None, is_repeated: bool) -> None:
    session = Session()
    session.client(INIT, message(type="subscribe", id="1", payload={"query": query}))
    session.server(ACK)
    assert (session.lost(20, repeats=False) == []) is is_repeated


def test_a_server_that_takes_back_what_it_had_granted() -> None:
    session = Session("actioncable")
    subscribe = message(command="subscribe", identifier="chat")
    session.client(subscribe)
    rejected = message(type="reject_subscription", identifier="chat")
    assert session.server(rejected) == Verdict(rejected), "the first answer is the client's"
    session.server(message(type="confirm_subscription", identifier="chat"))
    session.lost(10)
    session.interpreter.words()
    assert session.server(rejected).falls_back


def test_a_greeting_is_heard_once() -> None:
    session = Session("actioncable")
    welcome = message(type="welcome")
    assert session.server(welcome) == Verdict(welcome)
    session.lost(0)
    assert session.server(welcome) == Verdict(None)


def test_heartbeats_are_answered_in_the_lost_sides_place() -> None:
    session = Session()
    ping, pong = message(type="ping"), message(type="pong")
    assert session.client(ping) == Verdict(ping)
    assert session.client(ping, away=True) == Verdict(None, Message(b'{"type":"pong"}', True))
    assert session.server(pong) == Verdict(pong)
    assert session.server(ping, away=True) == Verdict(None, Message(b'{"type":"pong"}', True))


def test_a_beat_that_a_side_sends_by_itself() -> None:
    conversation = built_in("actioncable").converse()
    assert conversation is not None
    beat = conversation.beat(Side.SERVER)
    assert beat is not None
    assert (beat.message.data, beat.every) == (b'{"type":"ping"}', 3.0)
    assert conversation.beat(Side.CLIENT) is None


def test_too_much_to_keep_is_no_conversation_any_more() -> None:
    session = Session(limit=100_000)
    session.client(message(type="subscribe", id="1", payload="x" * 99_000))
    assert not session.interpreter.is_lost
    session.client(message(type="subscribe", id="1", payload="x" * 100_000))
    assert session.interpreter.why_lost.endswith(" bytes is too large to be kept")
    assert not session.interpreter.statements.size
    session = Session(limit=1000)
    for number in range(10):
        session.client(message(type="subscribe", id=str(number)))
    assert session.interpreter.is_lost


def test_the_size_of_what_is_kept_is_known() -> None:
    session = Session()
    session.client(INIT, TICKS, TICKS)
    size = session.interpreter.statements.size
    assert size == len(INIT.data) + len(TICKS.data) + 2 * 128
    session.client(message(type="complete", id="1"))
    assert session.interpreter.statements.size == len(INIT.data) + 128


def test_a_second_loss_begins_from_the_start() -> None:
    session = Session()
    session.client(INIT, TICKS)
    session.server(ACK)
    session.lost(20)
    assert session.interpreter.words() == [INIT]
    session.lost(20)
    assert session.interpreter.words() == [INIT]
    session.server(ACK)
    assert session.interpreter.words() == [TICKS]


@pytest.mark.parametrize(
    "data",
    [b"", b"{", b"[]", b"{}", b"\xff", b"null", b'{"type":[]}', b'{"type":"subscribe","id":{}}'],
)
def test_what_is_no_statement_means_nothing(data: bytes) -> None:
    session = Session()
    assert session.client(Message(data, True)) == Verdict(Message(data, True))
    assert session.server(Message(data, False)) == Verdict(Message(data, False))
    assert session.keys == []


# -- A client that has forgotten -------------------------------------------------------------------


def again(session: Session, *, returned: bool = True) -> Verdict:
    end = session.end + 10
    return session.interpreter.from_client(INIT, end, server_away=False, returned=returned)


def test_a_client_that_returns_and_begins_does_so_anew() -> None:
    session = Session()
    assert again(session) == Verdict(INIT)  # it had not begun
    session.server(ACK)
    kept = [*session.interpreter.statements]
    assert again(session) == Verdict(None, begins_anew=True)
    assert [*session.interpreter.statements] == kept
    assert again(session, returned=False) == Verdict(INIT)


def test_it_does_so_at_the_beginning_of_a_message_only() -> None:
    connect = b"\x10\x0e\0\4MQTT\4\2\0\x3c\0\2me"
    publish = b"\x30\4\0\1tx"

    def last_of(*parts: bytes) -> Verdict:
        conversation = registry().find("mqtt").converse()
        assert conversation is not None
        interpreter = Interpreter(conversation, LIMIT)
        for end, part in enumerate((connect, *parts), 1):
            verdict = interpreter.from_client(
                Message(part, False), 10 * end, server_away=False, returned=end > 1
            )
        return verdict

    anew = Verdict(None, begins_anew=True)
    within = Verdict(None, begins_anew=True, within=True)
    assert last_of(publish, connect) == anew
    assert last_of(connect + publish) == anew
    assert last_of(publish + connect) == within
    assert last_of(connect[:5], connect[5:]) == within


# -- What is said anew ----------------------------------------------------------------------------


def anew(token: int) -> Message:
    return message(type="connection_init", payload=token)


def test_what_others_rest_on_keeps_its_place_when_it_is_said_anew() -> None:
    session = Session()
    session.client(INIT, TICKS)
    session.server(ACK)
    session.client(anew(2))
    assert session.server(ACK) == Verdict(ACK), "the client has none to this one"
    session.lost(30)
    interpreter = session.interpreter
    assert interpreter.words() == [anew(2)]
    assert session.server(ACK) == Verdict(None)
    assert interpreter.words() == [TICKS]
    assert not interpreter.is_reopening


def test_what_is_said_anew_and_not_heard_yet_comes_behind_what_it_replaces() -> None:
    session = Session()
    session.client(INIT, TICKS)
    session.server(ACK)
    session.client(anew(2), anew(3))
    session.lost(20)
    interpreter = session.interpreter
    assert interpreter.words() == [INIT], "as the lost server knew it"
    assert session.server(ACK) == Verdict(None), "the client has had this answer"
    assert interpreter.words() == [TICKS]
    assert interpreter.hold == 30, "the queue has the others"
    assert session.server(ACK) == Verdict(ACK)
    assert interpreter.hold == 40
    assert session.server(ACK) == Verdict(ACK)
    assert not interpreter.is_reopening
    session.lost(30)
    assert interpreter.words() == [anew(2)], "and from between these"


def test_an_answer_to_what_was_said_before_confirms_nothing_behind_it() -> None:
    session = Session()
    session.client(INIT, TICKS, anew(2))
    session.server(ACK)
    assert session.interpreter.confirmed == 10
    session.server(ACK)
    assert session.interpreter.confirmed == 30


def test_what_a_server_has_heard_leaves_nothing_of_what_it_replaces() -> None:
    session = Session()
    session.client(INIT)
    (first,) = session.interpreter.statements
    session.client(*[anew(number) for number in range(100)])
    statements = session.interpreter.statements
    assert statements.size < 20 * first.size, "only some of them are kept"
    session.interpreter.heard_to(session.end)
    (last,) = statements
    assert (last.statement.said, statements.size) == (anew(99), last.size)
    assert last.size < 2 * first.size


def test_a_journal_learns_that_it_has_kept_its_place() -> None:
    session = Session()
    session.client(INIT, TICKS)
    statements = session.interpreter.statements
    before = statements.all()
    session.client(anew(2), message(type="subscribe", id="1"))
    gone, rows = statements.since(before)
    assert gone == [["operation", "1"]], "this one stands behind now"
    assert [row[0] for row in rows] == [["0"], ["operation", "1"]]
