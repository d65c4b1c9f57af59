"""Dialect files: what they may say, and how a mistake in one is told."""

import pytest
from reknit_core.dialect.ruled.builtin import FILES, built_in
from reknit_core.dialect.ruled.mistakes import DialectError
from reknit_core.dialect.ruled.rules_file import read_rules
from reknit_core.dialect.speech import Dialect, Offer


@pytest.mark.parametrize("name", FILES)
def test_the_built_in_files_can_be_read(name: str) -> None:
    rules = built_in(name)
    assert isinstance(rules, Dialect)
    assert rules.name == name
    assert rules.summary.endswith(".")
    assert (rules.converse() is None) is rules.ends


@pytest.mark.parametrize(
    ("target", "subprotocol", "name"),
    [
        ("/graphql", "graphql-transport-ws", "graphql-transport-ws"),
        ("/graphql", "graphql-ws", "graphql-ws"),
        ("/CP_1", "ocpp1.6", "ocpp"),
        ("/CP_1", "ocpp2.0.1", "ocpp"),
        ("/cable", "actioncable-v1-json", "actioncable"),
        ("/socket.io/?EIO=4&transport=websocket", None, "socket.io"),
        ("/echo/123/abcdefgh/websocket", None, "sockjs"),
        ("/?token=x", "vite-hmr", "vite-hmr"),
        ("/_next/webpack-hmr?page=/", None, "webpack-hmr"),
        ("/devtools/browser/1-2-3", None, "browser-automation"),
        ("/", None, None),
        ("/chat?id=7", "chat", None),
        ("/rpc", "jsonrpc", None),
    ],
)
def test_who_is_known_by_the_handshake(
    target: str, subprotocol: str | None, name: str | None
) -> None:
    offer = Offer(target, subprotocol)
    assert [rules for rules in FILES if built_in(rules).speaks(offer)] == ([name] if name else [])


GOOD = """name = "a"

[[statement]]
match = { type = "hello" }

[[statement]]
match = { type = ["a", "b"], id = { present = true } }
key = "id"
"""


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("", "line 1: name: is missing; allowed: lower-case letters"),
        ('name = "A b"', "line 1: name: 'A b' is not allowed; allowed: lower-case letters"),
        ('name = "a"\nnonsense = 1', "line 2: nonsense: unknown key; allowed: beat, greeting, "),
        ('name = "a"\nname = "b"\n', "Cannot overwrite a value"),
        ('name = "a"\non_server_loss = "wait"', "line 2: on_server_loss: 'wait' is not allowed"),
        ('name = "a.toml"', "line 1: name: 'a.toml' is not allowed; allowed: lower-case letters"),
        ('name = "a"\nsummary = 7', "line 2: summary: 7 is not allowed; allowed: one line of text"),
        ('name = "a"\nsummary = """a\nb"""', "line 2: summary: 'a\nb' is not allowed; allowed"),
        (
            'on_server_loss = "end"\n' + GOOD,
            "line 1: on_server_loss: 'end' is not allowed; allowed: ",
        ),
        (
            'name = "a"\non_server_loss = "end"\n[[beat]]\nfrom = "client"\nmatch = { a = 1 }',
            "line 2: on_server_loss: 'end' is not allowed; allowed: 'resume', where there is [[be",
        ),
        ('name = "a"\ntarget = ""', "line 2: target: '' is not allowed; allowed: a regular"),
        (
            'name = "a"\ntarget = "a{99999999999}"',
            "line 2: target: 'a{99999999999}' is not allowed",
        ),
        (
            'name = "a"\n[statement]\nmatch = 1',
            "line 2: statement: {match = 1} is not allowed (it is one table); allowed: [[s",
        ),
        (
            GOOD + 'kind = "beat"',
            "line 9: [[statement]] 2, kind: 'beat' is not allowed; allowed: lower",
        ),
        (
            GOOD + 'kind = "1"',
            "line 9: [[statement]] 2, kind: '1' is not allowed; allowed: lower-case",
        ),
        (
            GOOD + "fails = { a = 1 }",
            "line 9: [[statement]] 2, fails: {a = 1} is not allowed; allowed: o",
        ),
        (
            GOOD + 'ref = "a"',
            "line 9: [[statement]] 2, ref: 'a' is not allowed; allowed: only with awai",
        ),
        (
            GOOD.replace('key = "id"\n', "request = true\nsettled_by = { a = 1 }"),
            "line 8: [[statement]] 2, request: true is not allowed; allowed: true only with a ",
        ),
        (
            GOOD + 'kind = "k"\n[[statement]]\nkind = "k"\nmatch = { a = 1 }\nkey = ["a", "b"]',
            "line 13: [[statement]] 3, key: ['a', 'b'] is not allowed; allowed: as many paths as",
        ),
        (GOOD + "[statement.match]", "not valid TOML: Cannot"),
        (
            GOOD + "[statement.awaits]\n'a..b' = 1",
            "line 10: [[statement]] 2, awaits.a..b: 'a..b' is not a",
        ),
        (
            GOOD + "[[statement.awaits]]\nx.y = 1",
            "line 10: [[statement]] 2, awaits.x: {y = 1} is not",
        ),
        (
            GOOD + "awaits = { a = { matches = '(' } }",
            "line 9: [[statement]] 2, awaits.a: {matches = '('} is not allowed (the regular "
            "expression has a mistake: missing ), unterminated subpattern at position 0); allow",
        ),
        (
            GOOD + "awaits = { a = 1979-05-27 }",
            "line 9: [[statement]] 2, awaits.a: 1979-05-27 is not allo",
        ),
        (
            GOOD + "awaits = { a = [] }",
            "line 9: [[statement]] 2, awaits.a: [] is not allowed; allowed: a ",
        ),
        (
            GOOD + '[[beat]]\nfrom = "client"\nmatch = { a = 1 }\ncopy = ["x"]',
            "line 12: [[beat]] 1, copy: ",
        ),
        (
            GOOD + '[[beat]]\nfrom = "client"\nevery = 0.5\nreply = { a = 1 }',
            "line 11: [[beat]] 1, every: 0.5 is not allowed; allowed: 1 to 3600 seconds",
        ),
        (
            GOOD + '[[beat]]\nfrom = "client"\nevery = inf',
            "line 11: [[beat]] 1, every: inf is not allowed",
        ),
        (
            GOOD + '[[beat]]\nfrm = "client"',
            "line 10: [[beat]] 1, frm: unknown key; did you mean from? ",
        ),
        ("a = " + "[" * 5000, "not valid TOML: "),
        ("a = " + "1" * 5000, "not valid TOML: "),
        ("name", "not valid TOML: "),
        ('name = "a"\nsubprotocols = "x"', "line 2: subprotocols: 'x' is not allowed; allowed: a "),
        ('name = "a"\nsubprotocols = ["a b"]', "line 2: subprotocols: ['a b'] is not allowed"),
        (
            'name = "a"\ntarget = "("',
            "line 2: target: '(' is not allowed (the regular expression has a mistake: missing ), "
            "unterminated subpattern at position 0); allowed: a regular",
        ),
        ('name = "a"\nstatement = 1', "line 2: statement: 1 is not allowed; allowed: tables"),
        (
            GOOD + "mtch = 1",
            "line 9: [[statement]] 2, mtch: unknown key; did you mean match? allow",
        ),
        (GOOD + "\n[[statement]]\n", "line 10: [[statement]] 3, match: is missing; allowed: a "),
        (
            GOOD + "awaits = 3",
            "line 9: [[statement]] 2, awaits: 3 is not allowed; allowed: a table of",
        ),
        (GOOD + "awaits = { a.b = {} }", "line 9: [[statement]] 2, awaits.a: {b = {}} is not"),
        (
            GOOD + "request = true",
            "line 9: [[statement]] 2, request: true is not allowed; allowed: ",
        ),
        (
            GOOD + "request = 1",
            "line 9: [[statement]] 2, request: 1 is not allowed; allowed: true or",
        ),
        (GOOD.replace('"id"\n', '"a..b"\n'), "line 8: [[statement]] 2, key: 'a..b' is not allowed"),
        (
            GOOD.replace('"id"\n', "7\n"),
            "line 8: [[statement]] 2, key: 7 is not allowed; allowed: a p",
        ),
        (
            GOOD + '[[beat]]\nfrom = "x"',
            "line 10: [[beat]] 1, from: 'x' is not allowed; allowed: 'cli",
        ),
        (
            GOOD + '[[beat]]\nfrom = "client"\nevery = 1',
            "line 9: [[beat]] 1, reply: is missing; allowed: ",
        ),
        (GOOD + '[[beat]]\nfrom = "client"\nevery = -1', "line 11: [[beat]] 1, every: -1 is not"),
        (GOOD + "[[greeting]]\nmatch = {}", "line 10: [[greeting]] 1, match: {} is not allowed"),
    ],
)
def test_a_mistake_is_told_with_its_place(text: str, told: str) -> None:
    with pytest.raises(DialectError) as caught:
        read_rules(text, "my.toml")
    assert str(caught.value).startswith("my.toml")
    assert told in str(caught.value)


def test_a_good_file() -> None:
    rules = read_rules(GOOD, "my.toml")
    assert [rule.kind for rule in rules.statements] == ["0", "1"]
