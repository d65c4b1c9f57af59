"""The form of a frozen context: complete, checked, of one version; time stands still in it."""

from pathlib import Path

import msgspec
import pytest
from reknit_core.commands import Dial
from reknit_core.counters import Counters
from reknit_core.durable import frozen
from reknit_core.durable.frozen import FrozenError, freeze
from reknit_core.durable.upgrade import BEFORE
from reknit_core.events import ConnectionLost
from reknit_core.form import Form
from reknit_core.leg.dialling import Dialling
from reknit_core.leg.leg_forms import (
    FrozenClient,
    FrozenLeg,
    FrozenProbe,
    FrozenRetry,
    FrozenServer,
)
from reknit_core.leg.legs import IncomingWebSocket, OutgoingWebSocket
from reknit_core.leg.probe import Probe
from reknit_core.leg.retry import Retry
from reknit_core.lifecycle import State
from reknit_core.play.player import Player, parse
from reknit_core.policy.policy import Policy
from reknit_core.policy.upstream import Upstream
from reknit_core.proxy.contexts import Contexts
from reknit_core.queue.backlog import Backlog
from reknit_core.queue.backlog_form import FrozenBacklog
from reknit_core.queue.budget import Budget
from reknit_core.session.context import ContextStateMachine
from reknit_core.session.course import Away, Course
from reknit_core.session.ending import Ending
from reknit_core.session.forms import (
    FrozenAway,
    FrozenContext,
    FrozenCourse,
    FrozenEnding,
    FrozenTelling,
)
from reknit_core.session.surroundings import Surroundings
from reknit_core.session.telling import Telling
from reknit_core.session.waiting_room import WaitingRoom
from reknit_core.side import Side
from reknit_core.terms.binding import Binding
from reknit_core.terms.habits import Habits
from reknit_core.terms.pinned import Pinned
from reknit_core.terms.terms_forms import FrozenBinding, FrozenPinned
from reknit_core.wire.frames import FrameScanner
from reknit_core.wire.handshake import ClientHandshake, ServerHandshake
from reknit_core.wire.wire_forms import FrozenAnswer, FrozenRequest, FrozenScanner, ServerRequest

UPSTREAM = Upstream("server.test", 80)


def slots(kind: type) -> set[str]:
    """The names of all its attributes, whether it is compiled or not."""
    compiled = getattr(kind, "__mypyc_attrs__", None)
    if compiled is not None:
        return set(compiled)
    if kind is ClientHandshake:
        return set(vars(ClientHandshake()))
    if kind is ServerHandshake:
        return set(vars(ServerHandshake(ServerRequest("/", "host", (), (), None), b"")))
    return {name for base in kind.__mro__ for name in getattr(base, "__slots__", ())}


LEFT_OUT = {
    # Of the policy, the upstream and each other: they come from the new process.
    Backlog: {"eager", "budget", "_window", "_stride"}
    # Found anew.
    | {"alarm", "_packed", "_kept_back"},
    FrameScanner: {"_first", "_limit", "_mask", "_nonce"}
    # What the last scan has found: it was acted upon.
    | {"boundary", "controls", "messages", "violation"}
    | {"_turn"},
    Probe: set(),
    # What is known of the messages is the context's.
    IncomingWebSocket: {"dialogue", "other", "policy", "source"},
    OutgoingWebSocket: {"dialogue", "other", "policy", "source"},
    Dialling: slots(Retry)  # of these there is a form in the form
    # A round over the servers begins anew.
    | {"tried"},
    Retry: {"_policy", "_seed"},
    # What is known of the messages is the context's.
    Ending: {"_pinned", "_policy", "telling"},
    Telling: {"_client", "_server"},
    Course: set(),
    Away: set(),
    ContextStateMachine: {"_policy", "_surroundings", "_counters", "_bounded", "_confirms"}
    # None is there while a context is frozen; and one that was thawed needs attention.
    | {"_commands", "attention"},
    Pinned: set(),
    Binding: set(),
    ClientHandshake: {"rest", "_key", "_subprotocols"}
    # It stands in what the server is told.
    | {"secure"},
    ServerHandshake: {"_head", "_answer"},
}
FORMS = {
    Backlog: FrozenBacklog,
    FrameScanner: FrozenScanner,
    Probe: FrozenProbe,
    IncomingWebSocket: FrozenClient,
    OutgoingWebSocket: FrozenServer,
    Dialling: FrozenServer,
    Retry: FrozenRetry,
    Ending: FrozenEnding,
    Telling: FrozenTelling,
    Course: FrozenCourse,
    Away: FrozenAway,
    ContextStateMachine: FrozenContext,
    Pinned: FrozenPinned,
    Binding: FrozenBinding,
    ClientHandshake: FrozenRequest,
    ServerHandshake: FrozenAnswer,
}
NAMES = {  # where a form has another name for an attribute
    Dialling: {"at": "dial_at", "begun": "since"},
    Retry: {"_needed_at": "since"},
    OutgoingWebSocket: {"dialling": "retry"},
    ContextStateMachine: {"_armed": "asked"},
}


def fields(form: type[Form]) -> set[str]:
    """The names of all that it keeps, what both legs have among them."""
    names = set(form.__struct_fields__)
    return names - {"leg"} | set(FrozenLeg.__struct_fields__) if "leg" in names else names


@pytest.mark.parametrize("kind", FORMS, ids=lambda kind: kind.__name__)
def test_every_field_is_frozen_or_left_out_on_purpose(kind: type) -> None:
    form = fields(FORMS[kind])
    names = NAMES.get(kind, {})
    missing = {name for name in slots(kind) if names.get(name, name).lstrip("_") not in form}
    assert missing == LEFT_OUT[kind]


@pytest.mark.parametrize("form", dict.fromkeys(FORMS.values()), ids=lambda form: form.__name__)
def test_every_field_of_a_form_is_an_attribute_of_something(form: type[Form]) -> None:
    kinds = [kind for kind in FORMS if FORMS[kind] is form]
    there = {
        NAMES.get(kind, {}).get(name, name).lstrip("_") for kind in kinds for name in slots(kind)
    }
    made = {"now", "parted"}
    assert fields(form) - made <= there


def test_every_moment_is_a_moment() -> None:
    """A float that is no moment is a duration, which another clock doesn't change."""
    durations = {
        (form.__name__, name)
        for form in (FrozenLeg, *FORMS.values())
        for name, kind in form.__annotations__.items()
        if kind is float
    }
    assert durations == {("FrozenRetry", "wait"), ("FrozenAway", "seconds")}


def test_another_form_has_another_version() -> None:
    """The file holds `freeze(waiting(), 4.0)` in the form of that version."""
    file = Path(__file__).with_name(f"frozen_context_{frozen.VERSION}.bin")
    assert file.is_file(), "a new version: keep a context in its form"
    data = file.read_bytes()
    thawed = thaw(data)
    thawed.commands()
    assert freeze(thawed, 4.0) == data, "the form has changed: count VERSION up"


def test_the_form_before_this_one_is_read_too() -> None:
    """The file is of the last release: what it says of the session is what it said then."""
    data = Path(__file__).with_name(f"frozen_context_{BEFORE}.bin").read_bytes()
    before, now = thaw(data), thaw(freeze(waiting(), 4.0))
    assert before.state is now.state
    assert before.connection_id == now.connection_id
    assert before.client.queue.mark == now.client.queue.mark
    assert b"".join(before.client.queue.since(0)) == b"".join(now.client.queue.since(0))
    assert before.next_deadline() == now.next_deadline()
    before.commands()
    again = frozen.decode(freeze(before, 4.0))
    assert again.client.leg.heard == 3.5


@pytest.mark.parametrize("lost", ["client", "server", "pinned", "now"])
def test_a_form_before_this_one_that_lacks_something_is_refused(lost: str) -> None:
    data = Path(__file__).with_name(f"frozen_context_{BEFORE}.bin").read_bytes()
    form = msgspec.msgpack.decode(data[12:])
    del form[lost]
    with pytest.raises(FrozenError, match=lost):
        thaw(frozen.with_head(msgspec.msgpack.encode(form), BEFORE))


# -- Whole contexts ----------------------------------------------------------------------------


def played(*events: str, policy: str = "delivery=at-least-once") -> ContextStateMachine:
    player = Player(parse(f"policy {policy}").policy)
    for event in ("@0 > client connected", "@0 > server connected", "@0 > server accepts", *events):
        player.do(event)
    assert player.context is not None
    return player.context


def waiting() -> ContextStateMachine:
    """The server is away, the client's messages wait, and one of them is half there."""
    return played(
        '@1 > client message "one" "two"',
        "@2 > server lost",
        '@3 > client message "three"',
        '@3.5 > client partial "four and more" bytes=9',
    )


def test_what_is_not_a_frozen_context_is_refused() -> None:
    data = freeze(waiting(), 4.0)
    other = data[:6] + (frozen.VERSION + 1).to_bytes(2, "big") + data[8:]
    forms = f"form {frozen.VERSION + 1}; forms {BEFORE} and {frozen.VERSION} can be read"
    with pytest.raises(FrozenError, match=forms):
        thaw(other)
    for size in range(len(data)):
        with pytest.raises(FrozenError):
            thaw(data[:size])
    for place in range(len(data)):
        damaged = data[:place] + bytes([data[place] ^ 0x20]) + data[place + 1 :]
        with pytest.raises(FrozenError):
            thaw(damaged)


def test_a_form_with_other_fields_is_refused_with_the_reason() -> None:
    form = msgspec.to_builtins(frozen.decode(freeze(waiting(), 4.0)), builtin_types=(bytes,))
    form["client"]["leg"]["heard"] = "yesterday"
    body = msgspec.msgpack.encode(form)
    with pytest.raises(
        FrozenError, match=r"Expected `float`, got `str` - at `\$.client.leg.heard`"
    ):
        thaw(frozen.with_head(body))


def thaw(data: bytes, now: float = 4.0, policy: Policy | None = None) -> ContextStateMachine:
    budget = Budget(1 << 30)
    counters = Counters()
    context = ContextStateMachine.thawed(
        frozen.decode(data),
        Surroundings(policy or Policy(), UPSTREAM, budget, counters, Habits(), WaitingRoom()),
        now,
    )
    assert budget.used == context.client.queue.held + context.server.queue.held
    return context


def test_time_stands_still_between_the_clocks_of_two_processes() -> None:
    thawed = thaw(freeze(waiting(), 4.0), now=1004.0)
    (dial,) = thawed.commands()
    assert isinstance(dial, Dial)
    assert dial.at == 1003.0
    assert thawed.client.heard == 1003.5
    assert thawed.next_deadline() == 1003.5 + Policy().heartbeat_interval
    assert thawed.client.queue.count == 3
    away = thaw(freeze(played("@2 > client lost"), 3.0), now=1.0)
    assert away.next_deadline() == 5.0  # as the grace was 5 seconds, of which 1 has passed


def test_a_ping_that_is_not_written_yet_is_known_again() -> None:
    policy = "delivery=at-least-once confirm_bytes=1"
    context = played("@1 > client takes nothing", '@1 > server message "x"', policy=policy)
    thawed = thaw(freeze(context, 2.0))
    client = thawed.client
    assert client.probe.ping
    assert client.probe.ping is client.lane[-1][1]
    thawed.advance(Side.CLIENT, len(b"".join(thawed.pending(Side.CLIENT))), 5.0)
    assert not client.probe.ping
    assert client.probe.sent_at == 5.0


def test_a_thawed_context_obeys_the_policy_of_its_new_process() -> None:
    data = freeze(waiting(), 4.0)
    thawed = thaw(data, policy=Policy(client_grace=7.0, heartbeat_interval=0.0))
    thawed.commands()
    thawed.handle(ConnectionLost(Side.CLIENT, thawed.client.generation, "reset"), 4.0)
    assert thawed.state is State.BOTH_DOWN
    assert thawed.next_deadline() == 11.0


def test_thawed_contexts_can_be_resumed_by_their_id() -> None:
    sessions = Contexts(Policy(), UPSTREAM, bytes)
    context = waiting()
    thawed = frozen.thaw(sessions, freeze(context, 4.0), 4.0)
    assert list(sessions) == [thawed]
    assert thawed.connection_id == context.connection_id
    assert thawed.resumable
    sessions.forget(thawed)
    assert not len(sessions)


def test_a_thawed_context_that_is_over_does_not_take_a_newer_ones_place() -> None:
    sessions = Contexts(Policy(), UPSTREAM, bytes)
    newer = frozen.thaw(sessions, freeze(waiting(), 4.0), 4.0)
    closing = played('@1 > client close 1000 "done"')
    assert closing.state is State.CLOSING
    assert not closing.resumable
    older = frozen.thaw(sessions, freeze(closing, 2.0), 2.0)
    assert len(sessions) == 1
    assert list(sessions) == [newer, older]
    sessions.forget(older)
    assert list(sessions) == [newer]


@pytest.mark.parametrize("version", [frozen.VERSION, BEFORE])
def test_whose_session_it_is_can_be_read_without_thawing_it(version: int) -> None:
    data = Path(__file__).with_name(f"frozen_context_{version}.bin").read_bytes()
    assert frozen.id_of(data) == thaw(data).connection_id
    for damaged in (b"", data[:20], data[:12] + b"\xc1"):
        with pytest.raises(FrozenError):
            frozen.id_of(damaged)
