"""A session goes to a process that does not know its dialect: never on in a half-known state."""

import json
from collections.abc import Mapping

import pytest
from own_dialect import RULES
from reknit_core.dialect.choice import NO_DIALECTS, Choice, Dialects
from reknit_core.dialect.registry import registry
from reknit_core.dialect.speech import Conversation, Dialect
from reknit_core.durable.frozen import freeze, thaw
from reknit_core.lifecycle import State
from reknit_core.play.player import Player
from reknit_core.proxy.contexts import Contexts

OPENING = """
@0.000 > client connected subprotocols=mine
@0.000 > server connected
@0.000 > server accepts subprotocol=mine
"""
OTHER = RULES.replace("welcome", "hello")
COMMENT = "# The same rules\n" + RULES.replace('["mine"]', '["mine", "yours"]')
CONNECT = 'CONNECT {"verbose":false}\r\n'
LOGIN, WELCOME = '{"type":"login"}', '{"type":"welcome"}'


def by_file(text: str) -> Dialects:
    return Choice(registry().with_file(text, "mine.toml")[0], "auto")


class Moving(Player):
    """A player whose session can go to another process, with other dialects."""

    def __init__(self, dialects: Dialects) -> None:
        super().__init__()
        self._use(dialects)

    def _use(self, dialects: Dialects) -> None:
        old = self.contexts
        self.contexts = Contexts(old._policy, old.servers.upstreams, old._randomness, dialects)

    def play(self, text: str) -> list[str]:
        """Play these lines; what came out of them."""
        played = [self.do(line) for line in text.strip().splitlines()]
        return [line.strip() for lines in played for line in lines if not line.startswith("@")]

    def move(self, dialects: Dialects) -> list[str]:
        """Another process takes over; what comes of it."""
        stage = self._stage
        assert stage is not None
        frozen = freeze(stage.driver.context, self.now)
        self._use(dialects)
        stage.driver.context = thaw(self.contexts, frozen, self.now)
        begin = len(self.lines)
        stage.driver.settle(self.now)
        self.do(f"@{self.now:.6f} > wait")
        return [line.strip() for line in self.lines[begin:] if not line.startswith("@")]


def begun() -> Moving:
    player = Moving(by_file(RULES))
    player.play(OPENING)
    player.play(f"@0.1 > client message {json.dumps(LOGIN)}")
    player.play(f"@0.2 > server message {json.dumps(WELCOME)}")
    return player


LOST = """
@1.000 > server lost
"""
BACK = """
@2.000 > server connected
@2.000 > server accepts subprotocol=mine
"""


@pytest.mark.parametrize("dialects", [NO_DIALECTS, by_file(OTHER)], ids=["none", "other rules"])
def test_a_session_whose_dialect_is_not_known_ends_with_its_server(dialects: Dialects) -> None:
    player = begun()
    assert "< dialect mine unknown" in player.move(dialects)
    assert player.context is not None
    assert player.context.dialect == "mine"
    assert player.play('@0.3 > client message "a"') == ['< server message "a"']
    assert player.play('@0.4 > server message "b"') == ['< client message "b"']
    assert any(line.startswith("< client close 1012") for line in player.play(LOST))


@pytest.mark.parametrize("text", [RULES, COMMENT], ids=["same", "same rules"])
def test_a_session_whose_dialect_is_known_lives_on(text: str) -> None:
    player = begun()
    assert player.move(by_file(text)) == []
    player.play(LOST)
    assert f"< server message {json.dumps(LOGIN)}" in player.play(BACK)


def test_a_session_that_is_being_told_of_goes_no_further() -> None:
    """The new server has heard half of it, and would hear the rest without the beginning."""
    player = begun()
    player.play(LOST)
    player.play('@1.5 > client message "while you were away"')
    player.play(BACK)
    assert player.context is not None
    assert player.context.state is State.REOPENING
    played = player.move(NO_DIALECTS)
    assert "< dialect mine unknown" in played
    assert not any(line.startswith("< server message") for line in played)
    (close,) = (line for line in played if line.startswith("< client close"))
    assert close == '< client close 1012 "its dialect is not known here"'


def test_a_session_with_half_a_word_held_back_goes_no_further() -> None:
    player = Moving(Choice(registry(), "nats"))
    player.play(OPENING)
    player.play(f"@0.1 > client message {json.dumps(CONNECT)}")
    assert player.play('@0.2 > server message "INFO {"') == []  # it may have to be left out
    played = player.move(NO_DIALECTS)
    assert '< client close 1012 "its dialect is not known here"' in played


class Own(Dialect):
    """One with a name that others have."""

    summary = "Nothing is said again."

    def __init__(self, name: str) -> None:
        self._name = name

    @property
    def name(self) -> str:
        return self._name

    def converse(self, state: Mapping[str, object] | None = None) -> Conversation | None:
        return Talk()


class Talk(Conversation):
    """Nothing means anything."""


def by_class(name: str) -> Dialects:
    return Choice(registry().with_objects({"acme": Own(name)}), name)


def by_rules(name: str) -> Dialects:
    return Choice(registry().with_file(RULES.replace('"mine"', f'"{name}"', 1), "f")[0], name)


@pytest.mark.parametrize("name", ["mqtt", "nats", "stomp", "phoenix", "signalr", "hocuspocus"])
@pytest.mark.parametrize("before", ["built-in", "class", "file"])
@pytest.mark.parametrize("after", ["built-in", "class", "file"])
def test_another_dialect_of_the_same_name_is_not_gone_on_with(
    name: str, before: str, after: str
) -> None:
    kinds = {"built-in": Choice(registry(), name), "class": by_class(name), "file": by_rules(name)}
    player = Moving(kinds[before])
    player.play(OPENING)
    forgotten = f"< dialect {name} unknown"
    assert (forgotten in player.move(kinds[after])) is (before != after)
