"""Users' own dialects that raise, or say what makes no sense: a session ends with its server."""

from collections.abc import Callable

import pytest
from dialect_session import DialectSession, text
from reknit_core.dialect.choice import Choice
from reknit_core.dialect.interpreter import Verdict
from reknit_core.dialect.registry import registry
from reknit_core.dialect.ruled.mistakes import DialectError
from reknit_core.dialect.speech import (
    Beat,
    Conversation,
    Dialect,
    Heard,
    LostError,
    Message,
    Offer,
    State,
    Statement,
)
from reknit_core.play.player import Player
from reknit_core.proxy.contexts import Contexts
from reknit_core.side import Side

HELLO = Message(b"+", True)


class Mine(Dialect):
    """The least that a dialect needs."""

    name = "mine"
    summary = "Says its hello again."

    def __init__(self, conversation: Callable[[], Conversation]) -> None:
        self._conversation = conversation

    def converse(self, state: State | None = None) -> Conversation | None:
        return self._conversation()


class Polite(Conversation):
    """Says `+` again."""

    def hear(self, side: Side, message: Message, *, away: bool = False) -> tuple[Heard, ...]:
        return (Heard(states=(Statement(("hello",), message),)),) if message == HELLO else ()


class World:
    """A session with such a conversation, and what was reported."""

    def __init__(self, conversation: Callable[[], Conversation] = Polite) -> None:
        self.reports: list[str] = []
        known = registry().with_objects(
            {"acme 1.0": Mine(conversation)},
            lambda source, what: self.reports.append(f"{source} {what}"),
        )
        self.session = DialectSession(known.find("mine"))


def test_what_it_does_not_say_is_said_for_it() -> None:
    world = World()
    session = world.session
    session.client(HELLO, *text("a"))
    assert session.interpreter.beat(Side.CLIENT) is None
    session.take_over()
    session.lose()
    assert session.words() == [b"+"]
    mine = Mine(Polite)
    assert (mine.chosen_by, mine.ends) == ("", False)
    assert not mine.speaks(Offer("/", None))
    assert world.reports == []


def raises(*_: object, **__: object) -> object:
    raise ZeroDivisionError("oh")


@pytest.mark.parametrize(
    "heard",
    [
        None,
        7,
        ("hello",),
        (Heard(states=("hello",)),),  # type: ignore[arg-type]
        (Heard(states=(Statement("hello", HELLO),)),),  # type: ignore[arg-type]
        (Heard(states=(Statement((), HELLO),)),),
        (Heard(states=(Statement((1.5,), HELLO),)),),  # type: ignore[arg-type]
        (Heard(states=(Statement((2**64,), HELLO),)),),
        (Heard(states=(Statement(("a",), b"+"),)),),  # type: ignore[arg-type]
        (Heard(states=(Statement(("a",), None),)),),  # type: ignore[arg-type]
        (Heard(states=(Statement(("a",), Message("+", True)),)),),  # type: ignore[arg-type]
        (Heard(states=(Statement(("a",), Message(b"\xff", True)),)),),
        (Heard(settles=(("a",), "b")),),  # type: ignore[arg-type]
        (Heard(answers="a"),),  # type: ignore[arg-type]
        (Heard(settles=7),),  # type: ignore[arg-type]
        (Heard(reply=b"a"),),  # type: ignore[arg-type]
        (Heard(part="a"),),  # type: ignore[arg-type]
        (Heard(half=None),),  # type: ignore[arg-type]
    ],
)
def test_what_makes_no_sense_is_reported_and_loses_the_conversation(heard: object) -> None:
    class Odd(Polite):
        def hear(self, side: Side, message: Message, *, away: bool = False) -> tuple[Heard, ...]:
            return heard  # type: ignore[return-value]

    world = World(Odd)
    assert world.session.client(*text("x")) == [Verdict(text("x")[0])]
    assert world.session.is_lost
    assert world.session.passes(*text("y")) == text("y")
    (report,) = world.reports
    assert report.startswith("acme 1.0 raised ")


def test_what_it_raises_is_reported_with_its_place() -> None:
    class Odd(Polite):
        hear = raises  # type: ignore[assignment]

    world = World(Odd)
    world.session.client(*text("x"))
    assert world.session.is_lost
    (report,) = world.reports
    assert report.startswith("acme 1.0 raised ZeroDivisionError: oh (test_guarded.py, line ")


@pytest.mark.parametrize("said", [7, b"+", ("+", True), (b"+",), (b"\xff", True)])
def test_a_statement_that_can_not_be_said_again(said: object) -> None:
    class Odd(Polite):
        def again(self, statement: Statement) -> Message | None:
            return said  # type: ignore[return-value]

    world = World(Odd)
    world.session.client(HELLO)
    world.session.lose()
    with pytest.raises(LostError):
        world.session.words()
    assert len(world.reports) == 1


def test_a_conversation_that_can_not_begin_again() -> None:
    class Odd(Polite):
        begins_again = raises  # type: ignore[assignment]

    world = World(Odd)
    world.session.client(HELLO)
    assert not world.session.is_lost
    world.session.interpreter.server_lost()
    assert world.session.is_lost


@pytest.mark.parametrize(
    "beat",
    [
        7,
        Beat(b"+", 5.0),  # type: ignore[arg-type]
        Beat(HELLO, 0.0),
        Beat(HELLO, float("nan")),
        Beat(HELLO, -1.0),
        Beat(HELLO, "5"),  # type: ignore[arg-type]
        Beat(HELLO, 1e9),
    ],
)
def test_a_beat_that_makes_no_sense_is_none(beat: object) -> None:
    class Odd(Polite):
        def beat(self, side: Side) -> Beat | None:
            return beat  # type: ignore[return-value]

    world = World(Odd)
    assert world.session.interpreter.beat(Side.CLIENT) is None
    assert len(world.reports) == 1


def test_a_state_that_no_other_process_can_read_ends_the_session_there() -> None:
    class Odd(Polite):
        def freeze(self) -> State:
            return {"a": object()}

    world = World(Odd)
    state = world.session.interpreter.freeze()["conversation"]
    assert isinstance(state, dict)
    assert world.session.dialect.converse(state) is None
    assert len(world.reports) == 1


def test_a_request_about_which_it_can_not_tell_the_client() -> None:
    class Odd(Polite):
        fails = raises  # type: ignore[assignment]

        def hear(self, side: Side, message: Message, *, away: bool = False) -> tuple[Heard, ...]:
            return (Heard(states=(Statement(("hello",), message, is_request=True),)),)

    world = World(Odd)
    world.session.client(HELLO)
    interpreter = world.session.interpreter
    interpreter.server_lost()
    assert interpreter.reopen(10**6, repeats=False) == []
    assert interpreter.is_lost


class HoldsBack(Polite):
    """Keeps `<` until more comes; raises for `!`."""

    def hear(self, side: Side, message: Message, *, away: bool = False) -> tuple[Heard, ...]:
        if side is Side.CLIENT:
            return super().hear(side, message)
        if message.data == b"!":
            raise ZeroDivisionError
        return (Heard(part=b""),) if message.data == b"<" else ()


def test_what_was_held_back_is_not_forgotten_by_raising() -> None:
    """The client would hear on within something."""
    world = World(HoldsBack)
    session = world.session
    assert session.passes(*text("<")) == []
    (verdict,) = session.server(*text("!"))
    assert verdict.falls_back
    world = World(HoldsBack)
    (verdict,) = world.session.server(*text("!"))
    assert not verdict.falls_back


def test_a_dialect_that_raises_for_a_handshake_is_not_chosen() -> None:
    class Odd(Mine):
        speaks = raises  # type: ignore[assignment]

    known = registry().with_objects({"acme 1.0": Odd(Polite)})
    chosen = known.choose(Offer("/", "mqtt"))
    assert chosen is not None
    assert chosen.name == "mqtt"


def test_a_dialect_that_raises_at_once_is_told_at_once() -> None:
    class Odd(Mine):
        converse = raises  # type: ignore[assignment]

    with pytest.raises(DialectError, match=r"^acme 1.0: ZeroDivisionError: oh$"):
        registry().with_objects({"acme 1.0": Odd(Polite)})


# -- In a session ----------------------------------------------------------------------------------


class Login(Conversation):
    """`+` awaits its answer `ok`; `a` is said again behind it, which raises."""

    def hear(self, side: Side, message: Message, *, away: bool = False) -> tuple[Heard, ...]:
        match message.data:
            case b"+":
                return (Heard(states=(Statement(("hello",), message, awaits=True),)),)
            case b"ok":
                return (Heard(answers=(("hello",),)),)
            case b"a":
                return (Heard(states=(Statement(("a",), message),)),)
        return ()

    def again(self, statement: Statement) -> Message | None:
        if statement.key == ("a",):
            raise ZeroDivisionError
        return statement.said


class RaisesAtOnce(Login):
    def again(self, statement: Statement) -> Message | None:
        raise ZeroDivisionError


@pytest.mark.parametrize("conversation", [Login, RaisesAtOnce])
def test_a_session_whose_dialect_raises_while_a_server_is_told_ends(
    conversation: type[Conversation],
) -> None:
    known = registry().with_objects({"acme 1.0": Mine(conversation)})
    player = Player()
    old = player.contexts
    choice = Choice(known, "mine")
    player.contexts = Contexts(old._policy, old.servers.upstreams, old._randomness, choice)
    script = """
        @0 > client connected
        @0 > server connected
        @0 > server accepts
        @0.1 > client message "+"
        @0.2 > server message "ok"
        @0.3 > client message "a"
        @1 > server lost
        @2 > server connected
        @2 > server accepts
        @2.1 > server message "ok"
    """
    played = [line for event in script.split("\n") if event.strip() for line in player.do(event)]
    assert '       < client close 1012 "a new server can\'t be told enough"' in played
    told = [line.strip() for line in played if line.startswith("       < server message")]
    first = ['< server message "+"', '< server message "a"']
    again = [] if conversation is RaisesAtOnce else ['< server message "+"']
    assert told == first + again
