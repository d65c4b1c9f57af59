"""The dialects that are data: what their rules make of conversations."""

import json
from random import Random

import pytest
from dialect_session import DialectSession, text
from reknit_core.dialect.interpreter import Verdict
from reknit_core.dialect.ruled.builtin import FILES, built_in
from reknit_core.dialect.ruled.glance import Glance
from reknit_core.dialect.ruled.patterns import Pattern
from reknit_core.dialect.ruled.rules import Index, RuledConversation, Rules
from reknit_core.dialect.ruled.rules_file import read_rules
from reknit_core.dialect.speech import Message
from reknit_core.side import Side

ANYTHING = Pattern(())
BOOT = '[2,"1","BootNotification",{}]'
ACCEPTED = '[3,"1",{"status":"Accepted"}]'


def booted() -> DialectSession:
    session = DialectSession("ocpp")
    session.client(*text(BOOT))
    assert session.passes(*text(ACCEPTED)) == text(ACCEPTED)
    return session


def test_a_charge_point_is_booted_again_and_its_calls_made_again() -> None:
    session = booted()
    heartbeat, meter = '[2,"2","Heartbeat",{}]', '[2,"3","MeterValues",{}]'
    session.client(*text(heartbeat, meter))
    assert session.passes(*text('[3,"2",{}]')) == text('[3,"2",{}]'), "not BootNotification's"
    session.lose()
    assert session.words() == [BOOT.encode()]
    assert session.passes(*text('[3,"3",{}]')) == text('[3,"3",{}]')
    assert session.words() == [], "still none of its"
    assert session.passes(*text(ACCEPTED)) == []
    assert session.words() == [], "that call has its answer"
    session.client(*text(meter))
    session.lose()
    session.words()
    session.server(*text(ACCEPTED))
    assert session.words() == [meter.encode()]


@pytest.mark.parametrize(
    "answer", ['[3,"1",{"status":"Rejected"}]', '[4,"1","InternalError","",{}]']
)
def test_a_server_that_does_not_take_a_charge_point(answer: str) -> None:
    session = booted()
    session.lose()
    session.words()
    assert session.server(*text(answer))[0].falls_back


def test_a_second_boot_is_answered() -> None:
    session = booted()
    session.client(*text(BOOT.replace("1", "9")))
    accepted = text(ACCEPTED.replace("1", "9"))
    assert session.passes(*accepted) == accepted


@pytest.mark.parametrize(
    ("name", "ask", "answer"),
    [
        ("ocpp", '[2,"7","Heartbeat",{}]', '[3,"7",{}]'),
        ("jsonrpc", '{"jsonrpc":"2.0","id":7,"method":"a"}', '{"jsonrpc":"2.0","id":7,"result":1}'),
    ],
)
def test_each_side_counts_its_own_calls(name: str, ask: str, answer: str) -> None:
    session = DialectSession(name)
    session.client(*text(ask))
    session.server(*text(ask))
    session.client(*text(answer))
    assert len(session.keys) == 1, "the client answered the server's"
    session.server(*text(answer))
    assert session.keys == []


@pytest.mark.parametrize(
    ("name", "ask", "told"),
    [
        ("ocpp", '[2,"7","Heartbeat",{}]', [4, "7", "GenericError"]),
        ("jsonrpc", '{"jsonrpc":"2.0","id":7,"method":"a"}', 7),
    ],
)
def test_what_is_not_repeated_is_told(name: str, ask: str, told: object) -> None:
    session = DialectSession(name)
    session.client(*text(ask))
    (failed,) = session.lose(repeats=False)
    document = json.loads(failed.data)
    assert (document[:3] if isinstance(document, list) else document["id"]) == told
    assert not session.is_lost


def test_a_heartbeat_without_an_answer_is_said_again() -> None:
    session = DialectSession("graphql-transport-ws")
    ping, pong = text('{"type":"ping"}', '{"type":"pong"}')
    session.client(ping)
    session.lose()
    assert session.words() == [ping.data]
    assert session.passes(pong) == [pong]
    assert session.keys == []
    assert session.client(ping, away=True) == [Verdict(None, Message(b'{"type":"pong"}', True))]
    assert session.keys == []


@pytest.mark.parametrize(("name", "beat"), [("graphql-ws", "ka"), ("actioncable", "ping")])
def test_heartbeats_are_not_kept_for_who_is_away(name: str, beat: str) -> None:
    session = DialectSession(name)
    (message,) = text(json.dumps({"type": beat, "message": 1}))
    assert session.server(message, away=True) == [Verdict(None)]
    assert session.server(message) == [Verdict(message)]


def test_rules_of_one_kind_have_their_keys_in_common() -> None:
    one = '[[statement]]\nkind = "a"\nkey = "id"\nmatch = { type = "%s" }\n'
    rules = read_rules('name = "a"\n' + one % "x" + one % "y", "a.toml")
    session = DialectSession(rules)
    session.client(*text('{"type":"x","id":1}', '{"type":"y","id":1}'))
    assert session.keys == [("a", 1)]


def test_references_without_end_are_forgotten() -> None:
    rule = '[[statement]]\nkey = "id"\nref = "ref"\nmatch = { id = { present = true } }\n'
    rule += "awaits = { a = 1 }\n"
    session = DialectSession(read_rules(f'name = "a"\n{rule}', "a.toml"), limit=1 << 24)
    conversation = session.interpreter
    for number in range(1200):
        conversation.from_client(*text(f'{{"id":{number},"ref":1}}'), number, server_away=False)
    frozen = conversation.freeze()["conversation"]
    assert isinstance(frozen, dict)
    assert len(frozen["refs"]) == 1024


# -- Most messages are only glanced at -------------------------------------------------------------

GLANCED_AT = [rules for rules in map(built_in, FILES) if not rules.ends]
WORDS = sorted(
    {"next", "data", "\\u0070ing", "2.0"}
    | {
        str(value)
        for rules in GLANCED_AT
        for rule in rules.statements
        for pattern in (rule.match, *rule.awaits, *rule.settled_by, *rule.settled_by_server)
        for _, wanted in pattern.places
        if isinstance(wanted, tuple)
        for value in wanted
    }
)


def some_document(random: Random) -> str:
    """Members in any order, twice, with escapes, of any type; sometimes cut."""
    names = ["type", "id", "jsonrpc", "method", "result", "command", "\\u0074ype", "payload"]
    values = [f'"{word}"' for word in WORDS] + ["1", "null", "{}", '["ping"]', '{"type":"ping"}']
    members = [f'"{random.choice(names)}":{random.choice(values)}' for _ in range(3)]
    said = random.choice(["{%s}", " {%s}", "[{%s}]", "{%s", "{%s}x"]) % ",".join(members)
    return said if random.random() < 0.9 else said.replace('"', "", 1)


@pytest.mark.long
@pytest.mark.parametrize("rules", GLANCED_AT, ids=lambda rules: rules.name)
def test_what_a_glance_excludes_means_nothing(rules: Rules) -> None:
    random = Random(1)
    for _ in range(5000):
        data = some_document(random).encode()
        for side in Side:
            seeing, glancing = RuledConversation(rules), RuledConversation(rules)
            seeing._index = Index(rules.statements, rules.beats, rules.greetings)
            seeing._index.glances = dict.fromkeys(Side, Glance([ANYTHING]))
            message = Message(data, True)
            assert glancing.hear(side, message) == seeing.hear(side, message), data


@pytest.mark.parametrize(
    ("name", "side", "data"),
    [
        ("graphql-transport-ws", Side.SERVER, b'{"id":"1","type":"next","payload":{}}'),
        ("graphql-ws", Side.SERVER, b'{"id":"1","type":"data","payload":{}}'),
        ("graphql-transport-ws", Side.CLIENT, b'{"type":"pong"}'),
        ("actioncable", Side.CLIENT, b'{"command":"message","identifier":"a","data":"b"}'),
    ],
)
def test_an_applications_data_is_only_glanced_at(name: str, side: Side, data: bytes) -> None:
    rules = built_in(name)
    assert rules.index.glances[side].excludes(data)
    assert not Glance([ANYTHING]).excludes(data)
