"""Phoenix channels: joined again, in both versions of the serializer."""

import json

import pytest
from dialect_session import DialectSession, binary
from reknit_core.dialect.interpreter import Verdict
from reknit_core.dialect.speech import Message, Offer
from reknit_core.side import Side

OK = {"status": "ok", "response": {}}


def event(
    version: int,
    topic: str,
    name: str,
    ref: str | None,
    join: str | None = None,
    payload: object = None,
) -> Message:
    payload = {} if payload is None else payload
    if version == 2:
        return Message(json.dumps([join, ref, topic, name, payload]).encode(), True)
    members = {"topic": topic, "event": name, "payload": payload, "ref": ref}
    if join is not None:
        members["join_ref"] = join
    return Message(json.dumps(members).encode(), True)


def joined(version: int) -> DialectSession:
    session = DialectSession("phoenix")
    session.client(event(version, "room:1", "phx_join", "1", "1"))
    reply = event(version, "room:1", "phx_reply", "1", "1", OK)
    assert session.passes(reply) == [reply]
    return session


versions = pytest.mark.parametrize("version", [1, 2])


@versions
def test_channels_are_joined_again(version: int) -> None:
    session = joined(version)
    session.lose()
    assert session.words() == [event(version, "room:1", "phx_join", "1", "1").data]
    assert session.is_open
    reply = event(version, "room:1", "phx_reply", "1", "1", OK)
    assert session.passes(reply) == []
    other = event(version, "room:1", "phx_reply", "2", "1", OK)
    assert session.passes(other) == [other], "of a push"


@versions
def test_a_server_that_refuses_a_join(version: int) -> None:
    session = joined(version)
    session.lose()
    session.words()
    refused = event(version, "room:1", "phx_reply", "1", "1", {"status": "error", "response": {}})
    assert session.server(refused)[0].falls_back


@versions
def test_a_channel_that_is_left(version: int) -> None:
    session = joined(version)
    before = session.end
    session.client(event(version, "room:1", "phx_leave", "2", "1"))
    session.lose(before)
    assert len(session.words()) == 1, "there is something to leave"
    session.lose()
    assert session.words() == []
    assert session.keys == []


@versions
@pytest.mark.parametrize("name", ["phx_close", "phx_error"])
def test_a_channel_that_the_server_closes(version: int, name: str) -> None:
    session = joined(version)
    session.client(event(version, "room:1", "phx_join", "5", "5"))
    old = event(version, "room:1", name, "1", "1" if version == 2 else None)
    assert session.passes(old) == [old]
    assert session.keys == [("join", "room:1")], "that was the earlier join"
    session.server(event(version, "room:1", name, "5", "5" if version == 2 else None))
    assert session.keys == []


@versions
def test_heartbeats(version: int) -> None:
    session = joined(version)
    beat = event(version, "phoenix", "heartbeat", "9")
    (verdict,) = session.client(beat, away=True)
    assert verdict.passes is None
    assert verdict.reply is not None
    assert json.loads(verdict.reply.data) == json.loads(
        event(version, "phoenix", "phx_reply", "9", None, OK).data
    )
    session.client(beat)
    session.lose()
    assert beat.data in session.words()
    reply = event(version, "phoenix", "phx_reply", "9", None, OK)
    assert session.passes(reply) == [reply]
    assert session.keys == [("join", "room:1")]
    own = session.interpreter.beat(Side.CLIENT)
    assert own is not None
    assert own.every == 30.0
    said = json.loads(own.message.data)
    ref = said[1] if version == 2 else said["ref"]
    assert session.passes(event(version, "phoenix", "phx_reply", ref, None, OK)) == []


def test_a_live_view_is_not_joined_again() -> None:
    session = DialectSession("phoenix")
    session.client(event(2, "lv:phx-F1", "phx_join", "1", "1"))
    assert session.is_lost


def test_binary_pushes_pass() -> None:
    session = joined(2)
    for data in (b"\0\1\1\6\4", b'["1","2","room:1","phx_leave",{}]'):
        assert session.client(*binary(data)) == [Verdict(Message(data, False))]
    assert session.keys == [("join", "room:1")]


@pytest.mark.parametrize(
    "text", ["[1,2,3]", '["1",true,"a","phx_join",{}]', "{}", "[]", "[[],1,1,1,1]"]
)
def test_what_is_no_event_means_nothing(text: str) -> None:
    session = DialectSession("phoenix")
    message = Message(text.encode(), True)
    assert session.client(message) == [Verdict(message)]
    assert session.keys == []


def test_channels_without_end_are_too_many() -> None:
    session = DialectSession("phoenix", limit=1 << 24)
    for number in range(1100):
        session.interpreter.from_client(
            event(2, f"a:{number}", "phx_join", "1", "1"), 1, server_away=False
        )
    assert session.is_lost


@pytest.mark.parametrize(
    ("target", "is_one"),
    [
        ("/socket/websocket?token=a&vsn=2.0.0", True),
        ("/socket/websocket?vsn=1.0.0&token=a", True),
        ("/realtime/v1/websocket?apikey=a&vsn=1.0.0", True),
        ("/socket/websocket", False),
        ("/socket?vsn=2.0.0", False),
        ("/socket/websocket?vsn=2.0.0.1", False),
        ("/a?b=/websocket?vsn=2.0.0", False),
    ],
)
def test_by_what_it_is_chosen(target: str, is_one: bool) -> None:
    assert DialectSession("phoenix").dialect.speaks(Offer(target, None)) is is_one
