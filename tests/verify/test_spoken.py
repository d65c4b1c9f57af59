"""Sessions in a dialect over simulated hours: their servers die and forget, no client notices."""

from dataclasses import replace

import pytest
from compiled_form import REPLACES_A_FUNCTION
from reknit.memory.network import Conditions
from reknit.verify.simulation.languages import LANGUAGES, Diary, Language
from reknit.verify.simulation.spoken import SpokenPlan, SpokenResult, converse
from reknit_core.dialect.interpreter import Interpreter
from reknit_core.dialect.registry import registry
from reknit_core.dialect.speech import Message
from reknit_core.dialect.statements import Kept, Statements
from reknit_core.leg.leg import Leg
from reknit_core.lifecycle import State, Trigger
from reknit_core.queue.backlog import Backlog

PLAN = SpokenPlan(sessions=6, duration=1200.0, forget=0.0)
FORGETFUL = SpokenPlan(
    sessions=4,
    duration=600.0,
    ask_every=2.0,
    leave_every=15.0,
    forget=0.8,
    conditions=Conditions(latency=(0.0005, 0.05), capacity=256, partial=0.3, part=50),
)
"""Sockets are full: a client's first word comes before all is sent that was for its former life."""
EACH = pytest.mark.parametrize("language", LANGUAGES.values(), ids=list(LANGUAGES))


def check(result: SpokenResult) -> None:
    assert result.broken == []
    assert result.answered == result.asked > 500
    assert result.deaths > 30
    assert result.events > 300
    assert result.repeated > 0  # heard by a server that died before it had answered


@pytest.mark.long
@EACH
@pytest.mark.parametrize("seed", [2, 3, 4])
@pytest.mark.parametrize("leave_every", [0.0, 300.0])
def test_all_is_answered_though_servers_die(
    language: Language, seed: int, leave_every: float
) -> None:
    result = converse(seed, language, replace(PLAN, leave_every=leave_every))
    check(result)
    assert result.begun == PLAN.sessions
    assert result.states[State.REOPENING] > 30
    assert Trigger.SERVER_INFORMED in result.triggers


@pytest.mark.long
@EACH
def test_a_server_that_is_harsh_may_end_its_session_and_nothing_is_lost(language: Language) -> None:
    result = converse(2, language, replace(PLAN, harsh=True, outage=15.0, restart_every=100.0))
    check(result)
    assert result.begun > PLAN.sessions


@EACH
@pytest.mark.parametrize("seed", [2, 3, 4])
def test_a_client_that_has_forgotten_all_begins_anew(language: Language, seed: int) -> None:
    """On its connection or, where it has counted or its first word is cut, in another session."""
    result = converse(seed, language, FORGETFUL)
    assert result.broken == []
    assert result.answered == result.asked
    assert min(result.anew, result.elsewhere) > 0
    assert result.triggers[Trigger.CLIENT_BEGAN_ANEW] > 0


def test_a_seed_gives_the_same_course_each_time() -> None:
    plan = replace(PLAN, sessions=2, forget=0.3)
    first, again, other = (converse(seed, LANGUAGES["mqtt"], plan) for seed in (1, 1, 2))
    assert first == again
    assert first != other


# -- It can tell right from wrong ------------------------------------------------------------------


@REPLACES_A_FUNCTION
@EACH
def test_a_server_that_is_not_told_is_found(
    language: Language, monkeypatch: pytest.MonkeyPatch
) -> None:
    def nothing(self: Statements, position: int) -> list[Kept]:
        return []

    monkeypatch.setattr(Statements, "before", nothing)
    broken = converse(1, language, replace(PLAN, sessions=1)).broken
    assert any("a server heard" in what or "is dead" in what for what in broken), broken


@REPLACES_A_FUNCTION
@EACH
def test_an_answer_that_comes_twice_is_found(
    language: Language, monkeypatch: pytest.MonkeyPatch
) -> None:
    def never(self: Statements, key: object) -> bool:
        return False

    monkeypatch.setattr(Statements, "answer", never)
    broken = converse(1, language, replace(PLAN, sessions=1)).broken
    assert any("a client heard" in what for what in broken), broken


@REPLACES_A_FUNCTION
@pytest.mark.long
@EACH
def test_a_queue_that_goes_on_before_the_answer_is_found(
    language: Language, monkeypatch: pytest.MonkeyPatch
) -> None:
    def at_once(self: Interpreter) -> None:
        self.hold = float("inf")

    monkeypatch.setattr(Interpreter, "_hold_on", at_once)
    plan = replace(PLAN, sessions=3, ask_every=0.5)
    assert converse(1, language, plan).broken


@REPLACES_A_FUNCTION
@EACH
def test_what_is_kept_of_a_former_life_is_found(
    language: Language, monkeypatch: pytest.MonkeyPatch
) -> None:
    def nothing(self: Backlog, position: int) -> tuple[int, int]:
        return 0, 0

    monkeypatch.setattr(Backlog, "begin_at", nothing)
    assert converse(2, language, FORGETFUL).broken


@REPLACES_A_FUNCTION
@EACH
def test_a_close_for_nothing_is_found(language: Language, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Leg, "_can_begin_anew", lambda self, dialogue: False)
    broken = converse(2, language, FORGETFUL).broken
    assert any("could begin anew on its connection" in what for what in broken), broken


@EACH
def test_the_ends_are_strict(language: Language) -> None:
    diary = Diary(asked=1)
    client, server = language.client(diary), language.server(diary)
    assert server.event() is None
    server.hear(client.ask(1))
    assert len(diary.wrong) == 1  # before it has begun
    word = client.begin()
    server = language.server(diary)
    (answer,) = server.hear(word)
    server.hear(word)
    assert len(diary.wrong) == 2
    (subscribe,) = client.hear(answer)
    client.hear(answer)
    assert len(diary.wrong) == 3
    for said in server.hear(subscribe):
        client.hear(said)
    event = server.event()
    assert event is not None
    client.hear(event)
    assert diary.unanswered == [1]
    for said in server.hear(client.ask(1)):
        client.hear(said)
    assert (diary.events, diary.unanswered, len(diary.wrong)) == (1, [], 3)


@EACH
def test_the_ends_speak_the_dialect(language: Language) -> None:
    dialect = registry().find(language.subprotocol)
    conversation = dialect.converse()
    assert conversation is not None
    interpreter = Interpreter(conversation, 1 << 20)
    client = language.client(Diary())
    for word in (client.begin(), client.ask(1)):
        message = Message(word, language.is_text)
        assert interpreter.from_client(message, len(word), server_away=False).passes == message
    assert len(interpreter.statements) == 2
