"""Files that people write: dialects with any rules, any recordings. None ends in an exception."""

from reknit_core.dialect.registry import registry
from reknit_core.dialect.ruled.mistakes import DialectError
from reknit_core.dialect.ruled.rules_file import read_rules
from reknit_core.dialect.speech import Message
from reknit_core.play.recording import RecordingError, read_recordings
from reknit_core.play.rehearsal import rehearse

from reknit.verify.fuzz.choices import Choices
from reknit.verify.fuzz.conversations import NAMES, converse

_NAMES = ("id", "type", '"a.b"', "1", '"b.0"')
_VALUES = (
    '"x"',
    "1",
    "true",
    '["x", 2]',
    "{ present = true }",
    "{ present = false }",
    '{ matches = "x" }',
)
_KEYS = ("awaits", "answered_by", "refused_by", "settled_by", "settled_by_server")
_FLAGS = ("request = true", "begins = true", 'kind = "k"', 'ref = "type"', "fails = { id = 0 }")
_OTHERS = (
    '[[beat]]\nfrom = "client"\nmatch = { type = "x" }\nreply = { a = { b = 2 } }\ncopy = ["id"]',
    '[[beat]]\nfrom = "server"\nmatch = { type = "x" }',
    '[[beat]]\nfrom = "client"\nevery = 5\nreply = { 0 = "a", 1 = "b" }',
    "[[greeting]]\nmatch = { type = 1 }",
    'on_server_loss = "end"',
)
_JSON_NAMES = ('"id"', '"type"', '"a"', '"b"', '"0"')
_JSON = (
    '"x"',
    "1",
    "true",
    "null",
    "[]",
    "-0.0",
    "1e999",
    "9999999999999999999999",
    '{"b":"x"}',
    '["x",1]',
)


def feed_rules(data: bytes) -> None:
    """A dialect's file, and a conversation by its rules, if it has no mistake."""
    choices = Choices(data)
    text = choices.some(255).decode(errors="replace") if choices.chance(8) else _file(choices)
    try:
        rules = read_rules(text, "any.toml")
    except DialectError as error:
        if not str(error).startswith("any.toml"):
            raise AssertionError(f"a mistake without its place: {error}") from None
        return
    if not rules.ends:
        converse(choices, rules, lambda: _document(choices), is_stream=False)


def feed_recordings(data: bytes) -> None:
    """A recording, and what each dialect makes of it."""
    choices = Choices(data)
    dialect = registry().find(choices.pick(NAMES))
    text = choices.rest().decode(errors="replace")
    try:
        recordings = read_recordings(text, "any")
    except RecordingError as error:
        if not str(error).startswith("any"):
            raise AssertionError(f"a mistake without its place: {error}") from None
        return
    for recording in recordings:
        rehearse(dialect, recording)


def _file(choices: Choices) -> str:
    """Mostly as it must be."""
    lines = ['name = "any"']
    for _ in range(1 + choices.number(3)):
        lines += ["[[statement]]", f"match = {_pattern(choices)}"]
        lines += [f"key = {_path(choices)}"] if choices.chance(2) else []
        lines += [f"{key} = {_pattern(choices)}" for key in _KEYS if choices.chance(3)]
        lines += [flag for flag in _FLAGS if choices.chance(4)]
    lines += [other for other in _OTHERS if choices.chance(5)]
    if choices.chance(8):
        lines.insert(choices.number(len(lines)), choices.some(20).decode(errors="replace"))
    return "\n".join(lines)


def _path(choices: Choices) -> str:
    one, other = (choices.pick(_NAMES) for _ in range(2))
    return f'"{one}"'.replace('""', '"') if choices.chance(2) else f"[{_text(one)}, {_text(other)}]"


def _text(name: str) -> str:
    return name if name.startswith('"') else f'"{name}"'


def _pattern(choices: Choices) -> str:
    return f"{{ {choices.pick(_NAMES)} = {choices.pick(_VALUES)} }}"


def _document(choices: Choices) -> Message:
    """JSON of the names and values that rules speak of, or any bytes."""
    how = choices.number(8)
    if how == 0:
        return Message(choices.some(40), False)
    values = [choices.pick(_JSON) for _ in range(1 + choices.number(4))]
    if how == 1:
        return Message(f"[{','.join(values)}]".encode(), True)
    members = [f"{choices.pick(_JSON_NAMES)}:{value}" for value in values]
    return Message(f"{{{','.join(members)}}}".encode(), True)


RULE_SEEDS = (bytes(60), bytes(range(200)), bytes(range(255, 0, -3)) * 2, b"\1\2" * 60)
RECORDING_SEEDS = (
    b'\0{"target":"/a","subprotocol":"b"}\n{"from":"client","text":"a"}\n'
    b'{"from":"server","base64":"AAEC"}',
    b'\2{"log":{"entries":[{"request":{"url":"ws://h/a?b"},"response":{"headers":[]},'
    b'"_webSocketMessages":[{"type":"send","time":1,"opcode":1,"data":"{}"},'
    b'{"type":"receive","time":2,"opcode":2,"data":"AAEC"}]}]}}',
    b'\5@0 > client connected\n@0 > client message "a" in 2 parts\n@1 > server lost',
)
