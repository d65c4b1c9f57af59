"""Recorded conversations are read from three forms, and mistakes in them are told."""

import json
from pathlib import Path

import pytest
from reknit_core.dialect.speech import Message, Offer
from reknit_core.play.recording import Recording, RecordingError, Said, read_recordings
from reknit_core.side import Side

HELLO = Said(Side.CLIENT, Message(b'{"a":"\xc3\xa9"}', True))
BYTES = Said(Side.SERVER, Message(b"\0\1\2", False))
LINES = """
{"target": "/chat?x=1", "subprotocol": "mine"}
{"from": "client", "text": "{\\"a\\":\\"\\u00e9\\"}"}

{"from": "server", "base64": "AAEC"}
"""


def har(*entries: object) -> str:
    return json.dumps({"log": {"version": "1.2", "creator": {}, "entries": entries}})


def entry(*messages: object, **more: object) -> dict[str, object]:
    """As Chrome exports it."""
    return {
        "_resourceType": "websocket",
        "request": {"method": "GET", "url": "wss://host.test/chat?x=1"},
        "response": {
            "status": 101,
            "headers": [{"name": "Sec-WebSocket-Protocol", "value": "mine"}],
        },
        "_webSocketMessages": messages,
        **more,
    }


SENT = {"type": "send", "time": 1559370000.637034, "opcode": 1, "data": '{"a":"é"}'}
RECEIVED = {"type": "receive", "time": 1559370000.7, "opcode": 2, "data": "AAEC"}


def test_json_lines() -> None:
    said = (HELLO, BYTES)
    assert read_recordings(LINES, "r") == [Recording("r", Offer("/chat?x=1", "mine"), said)]
    one = '\ufeff{"from": "server", "base64": "AAEC"}'
    assert read_recordings(one, "r") == [Recording("r", None, (BYTES,))]
    assert read_recordings('{"target": "/"}\n', "r") == [Recording("r", Offer("/", None), ())]


def test_a_browsers_har() -> None:
    page = {"request": {"url": "https://host.test/"}, "response": {}}
    closes = {"type": "send", "time": 1, "opcode": 8, "data": "A+g="}
    error = {"type": "error", "data": "reset"}
    plain = entry(RECEIVED, response={}, request={"url": "ws://host.test"})
    nameless = entry({"type": "send", "data": SENT["data"]}, request=None, response=None)
    text = har(page, entry(SENT, closes, RECEIVED, error), plain, nameless)
    assert read_recordings(text, "a.har") == [
        Recording("wss://host.test/chat?x=1", Offer("/chat?x=1", "mine"), (HELLO, BYTES)),
        Recording("ws://host.test", Offer("/", None), (BYTES,)),
        Recording("a.har, entry 3", None, (HELLO,)),
    ]


def test_a_scenario() -> None:
    text = r"""
@0.000 > client connected subprotocols=mine
@0.000 > server connected
@0.000 > server accepts subprotocol=mine
@0.100 > client message "{\"a\":\"\u00e9\"}" in 2 parts
@0.150 > client ping
@0.200 > server message binary hex=000102
@0.300 > server lost
@0.400 > client message "behind that"
"""
    assert read_recordings(text, "s") == [Recording("s", Offer("/", "mine"), (HELLO, BYTES))]


def test_messages_keep_their_order_where_one_spans_several_pieces() -> None:
    text = """
@0 > client connected
@0 > client message part first "a"
@0 > server message "b"
@0 > client message part last "c"
"""
    said = read_recordings(text.replace("message part", "part"), "s")[0].said
    assert [(each.side, each.message.data) for each in said] == [
        (Side.SERVER, b"b"),
        (Side.CLIENT, b"ac"),
    ]


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ('{"from": "client", "text": "a"}\n{"from": ', "r, line 2: no JSON: "),
        ('{"from": "me", "text": "a"}', 'r, line 1: {"from": "me", "text": "a"} is no message; '),
        ('{"from": "client"}', 'r, line 1: {"from": "client"} is no message; allowed: a message'),
        ('{"from": "client", "text": "a", "at": 1}', "r, line 1: {"),
        ('{"from": "client", "text": 7}', "r, line 1: {"),
        ('{"from": "client", "base64": "!"}', "r, line 1: ! is no base64: "),
        ('{"from": "client", "text": "a"}\n{"target": "/"}', "r, line 2: {"),
        ('{"target": 7}', 'r, line 1: {"target": 7} is no handshake; allowed: a handshake'),
        ('{"target": "/", "path": 7}', "r, line 1: {"),
        ('{"a": 1}\n7', 'r, line 1: {"a": 1} is no message'),
        ('{"from": "client", "text": "a"}\n7', "r, line 2: 7 is no message"),
        ('{"a":' * 5000, "r, line 1: no JSON: "),
        ('{"log": 7}', "r: its log has no entries; allowed: a browser's HAR"),
        ('{"log": {"entries": {}}}', "r: its log has no entries; allowed: a browser's HAR"),
        (har(), "r: no entry has WebSocket messages; allowed: a HAR as Chrome exports it"),
        (har(7, {}), "r: no entry has WebSocket messages; "),
        (har(entry(), {"_webSocketMessages": 7}), "r, entry 1: _webSocketMessages is no list"),
        (har(entry(7)), "r, entry 0, message 0: 7 is not allowed; allowed: type"),
        (har(entry(SENT, {"type": "send", "opcode": 1, "data": 7})), "r, entry 0, message 1: {"),
        (har(entry({"type": "send"})), "r, entry 0, message 0: {"),
        (har(entry({**RECEIVED, "data": "é"})), "r, entry 0, message 0: é is no base64: "),
        (har(entry(request={"url": "ws://[a/"})), "r, entry 0: ws://[a/ is no URL: "),
        ("", ""),
        ("once upon a time", "r: line 1: "),
        ("[1]", "r: line 1: "),
        ('@0 > client message "a" compressed', "r: "),
    ],
)
def test_mistakes(text: str, told: str) -> None:
    if not told:
        assert len(read_recordings(text, "r")) == 1
        return
    with pytest.raises(RecordingError) as caught:
        read_recordings(text, "r")
    assert str(caught.value).startswith(told)


def test_what_a_browser_has_written() -> None:
    """By Playwright, with Chromium: a text each way, twice, and bytes each way."""
    file = Path(__file__).parent / "chromium.har"
    (recording,) = read_recordings(file.read_text(), file.name)
    assert recording.offer == Offer("/graphql", "graphql-transport-ws")
    assert [each.side for each in recording.said] == [Side.CLIENT, Side.SERVER] * 3
    assert recording.said[0].message == Message(b'{"type":"connection_init"}', True)
    assert recording.said[4].message == Message(b"\0\1\2", False)
