"""All dialects by name: what there is, who is known by the handshake, and the users' own."""

import re

import pytest
from dialect_session import DialectSession, binary, text
from reknit_core.dialect.choice import Choice
from reknit_core.dialect.registry import BUILT_IN, Registry, registry
from reknit_core.dialect.ruled.mistakes import DialectError
from reknit_core.dialect.speech import Conversation, Dialect, Offer, State

NAMES = (
    "actioncable",
    "browser-automation",
    "graphql-transport-ws",
    "graphql-ws",
    "hocuspocus",
    "jsonrpc",
    "mqtt",
    "nats",
    "ocpp",
    "phoenix",
    "signalr",
    "socket.io",
    "sockjs",
    "stomp",
    "vite-hmr",
    "webpack-hmr",
    "y-websocket",
)
TOKEN = "dGhpcyBpcyBhIHRva2VuIQ"


class Own:
    name = "own"
    summary = "One of a user's."
    chosen_by = "subprotocol mqtt"
    ends = True

    def speaks(self, offer: Offer) -> bool:
        return offer.subprotocol == "mqtt"

    def converse(self, state: State | None = None) -> Conversation | None:
        return None


def test_what_there_is() -> None:
    assert registry().names == NAMES
    for dialect in registry():
        assert isinstance(dialect, Dialect)
        assert dialect.summary.endswith(".")
        assert registry().find(dialect.name) is dialect


@pytest.mark.parametrize(
    ("target", "subprotocol", "name"),
    [
        ("/", "mqtt", "mqtt"),
        ("/stomp", "v12.stomp", "stomp"),
        ("/graphql", "graphql-transport-ws", "graphql-transport-ws"),
        ("/socket/websocket?vsn=2.0.0", None, "phoenix"),
        ("/CP_1", "ocpp1.6", "ocpp"),
        (f"/chat?id={TOKEN}", None, "signalr"),
        (f"/chat?a=1&id={TOKEN}&access_token=x", None, "signalr"),
        ("/socket.io/?EIO=4&transport=websocket&sid=abc", None, "socket.io"),
        ("/echo/123/abcdefgh/websocket", None, "sockjs"),
        ("/?token=x", "vite-hmr", "vite-hmr"),
        ("/docs/_next/webpack-hmr?page=/", None, "webpack-hmr"),
        ("/devtools/browser/1-2-3", None, "browser-automation"),
        ("/session/0a1b-2c/se/bidi", None, "browser-automation"),
        # Ordinary applications.
        ("/", None, None),
        ("/ws", "chat", None),
        ("/chat?EIO=4", None, None),
        ("/chat?EIO=four&transport=websocket", None, None),
        ("/rooms/123/websocket", None, None),
        ("/rooms/1234/abcdefgh/websocket", None, None),
        ("/rooms/123/general8/websocket", None, None),
        ("/a?next=/echo/123/abcdefgh/websocket", None, None),
        ("/session/0a1b-2c", None, None),
        ("/session/0a1b-2c/chat", None, None),
        ("/devtools/chat", None, None),
        (f"/chat?id={TOKEN}", "chat", None),
        (f"/chat?id={TOKEN}x", None, None),
        ("/graphql", "json", None),
        ("/yjs/doc", None, None),
        ("/nats", "nats", None),
        ("/rpc", "jsonrpc", None),
    ],
)
def test_who_is_known_by_the_handshake(
    target: str, subprotocol: str | None, name: str | None
) -> None:
    chosen = registry().choose(Offer(target, subprotocol))
    assert (None if chosen is None else chosen.name) == name
    known = [each.name for each in registry() if each.speaks(Offer(target, subprotocol))]
    assert known == ([] if name is None else [name]), "no two dialects are meant"


def test_signalr_is_known_by_what_it_says_first() -> None:
    session = DialectSession("signalr")
    session.server(*text("hello"))
    session.client(*text('{"protocol":"json","version":1}\x1e', "{}"))
    assert session.is_lost
    for said in ('{"protocol":"json","version":1}', '{"version":1}\x1e', "[]\x1e", "\x1e", "hi"):
        session = DialectSession("signalr")
        session.client(*text(said, '{"protocol":"json","version":1}\x1e'))
        assert not session.is_lost, said
    session = DialectSession("signalr")
    session.client(*binary(b'{"protocol":"messagepack","version":1}\x1e'))
    assert session.is_lost


def test_a_name_that_is_not_known() -> None:
    with pytest.raises(DialectError) as caught:
        registry().find("mqttt")
    assert str(caught.value).startswith(
        "dialect 'mqttt' is not known; allowed: auto, none, actioncable, browser-automation, "
    )


def test_a_users_own_comes_first() -> None:
    own = registry().with_objects({"own of a.package": Own})
    assert own.names == tuple(sorted((*NAMES, "own")))
    chosen = own.choose(Offer("/", "mqtt"))
    assert chosen is not None
    assert chosen.name == "own"
    assert "own" not in registry().names
    assert (own.source("own"), own.source("mqtt")) == ("own of a.package", BUILT_IN)


def test_two_of_a_users_own_with_one_name() -> None:
    with pytest.raises(DialectError) as caught:
        registry().with_objects({"acme 1.0": Own, "other 2.0": Own()})
    assert str(caught.value).startswith("other 2.0: the name 'own' is taken by acme 1.0; allowed: ")


def test_a_file_takes_the_place_of_one_of_a_package() -> None:
    known, rules = registry().with_objects({"acme 1.0": Own}).with_file('name = "own"', "my.toml")
    assert known.find("own") is rules
    assert known.source("own") == "my.toml"


@pytest.mark.parametrize("dialect", [*registry()], ids=lambda dialect: dialect.name)
def test_what_people_are_told_of_each(dialect: Dialect) -> None:
    conversation = dialect.converse()
    assert dialect.ends is (conversation is None or dialect.name == "signalr")
    by_name = ("hocuspocus", "jsonrpc", "nats", "y-websocket")
    assert (dialect.chosen_by == "") is (dialect.name in by_name)


@pytest.mark.parametrize("dialect", [*registry()], ids=lambda dialect: dialect.name)
def test_people_are_told_the_subprotocols_that_show_it(dialect: Dialect) -> None:
    told = re.match(r"subprotocol (.*)", dialect.chosen_by)
    for name in re.split(r", | or ", told[1]) if told else ():
        assert dialect.speaks(Offer("/", name))


# -- Choice ----------------------------------------------------------------------------------------


def chosen(choice: Choice, target: str, subprotocol: str | None) -> str | None:
    dialect = choice.choose(Offer(target, subprotocol))
    return None if dialect is None else dialect.name


def test_one_dialect_is_for_all_sessions() -> None:
    choice = Choice(registry(), "nats")
    assert chosen(choice, "/", "mqtt") == chosen(choice, "/", None) == "nats"
    assert Choice(registry(), "none").choose(Offer("/", "mqtt")) is None


def test_of_several_the_handshake_chooses() -> None:
    known, _ = registry().with_file('name = "mine"\ntarget = "^/mine"', "mine.toml")
    several = Choice(known, "mine, stomp")
    with_auto = Choice(known, "stomp,auto")
    assert chosen(several, "/mine", None) == chosen(with_auto, "/mine", None) == "mine"
    assert chosen(several, "/mine", "v12.stomp") == "mine"  # the first
    assert chosen(with_auto, "/mine", "v12.stomp") == "stomp"
    assert (chosen(several, "/", "mqtt"), chosen(with_auto, "/", "mqtt")) == (None, "mqtt")
    assert several.named("mqtt") is registry().find("mqtt")
    assert several.named("other") is None


@pytest.mark.parametrize(
    ("dialect", "told"),
    [
        ("mqttt", "dialect 'mqttt' is not known; allowed: auto, none, "),
        ("auto,mqttt", "dialect 'mqttt' is not known; allowed: auto, none, "),
        ("none,mqtt", "none can't stand beside others; allowed: none alone"),
        ("mqtt,nats", "dialect 'nats' can't stand beside others, as no handshake shows it; "),
        ("mqtt,", "dialect '' is not known; allowed: "),
    ],
)
def test_a_choice_that_can_not_be_made(dialect: str, told: str) -> None:
    with pytest.raises(DialectError) as caught:
        Choice(registry(), dialect)
    assert str(caught.value).startswith(told)


def test_a_users_own_takes_the_place_of_a_built_in_one() -> None:
    own, rules = registry().with_file('name = "mqtt"\nsubprotocols = ["mqtt"]', "my.toml")
    assert own.names == NAMES
    assert own.find("mqtt") is rules
    assert own.choose(Offer("/", "mqtt")) is rules
    assert own.choose(Offer("/", "mqttv3.1")) is None


class Raises:
    def __init__(self) -> None:
        raise OSError("no such thing")


class Nameless(Own):
    name = ""


class Reserved(Own):
    name = "auto"


@pytest.mark.parametrize(
    ("given", "told"),
    [
        (
            7,
            "a.b: 7 is no dialect: it needs name, summary, chosen_by, ends, speaks() and ",
        ),
        (Raises, "a.b: OSError: no such thing"),
        (Reserved, "a.b: the name 'auto' is not allowed; allowed: lower-case letters, digits, "),
        (Nameless, "a.b: the name '' is not allowed; allowed: lower-case letters, digits, "),
    ],
)
def test_a_users_own_with_a_mistake(given: object, told: str) -> None:
    with pytest.raises(DialectError) as caught:
        registry().with_objects({"a.b": given})
    assert str(caught.value).startswith(told)


def test_a_file_with_a_reserved_name() -> None:
    with pytest.raises(DialectError, match=r"my.toml: the name 'none' is not allowed"):
        registry().with_file('name = "none"', "my.toml")


def test_an_empty_registry() -> None:
    assert Registry([]).names == ()
    assert Registry([]).choose(Offer("/", "mqtt")) is None
