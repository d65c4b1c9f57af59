"""Fuzzes the state machine against the reference model; Hypothesis chooses and shrinks.

A machine of rules plays one session event by event. After each event the model reads what came
out and looks at the context. In the end the session is left in peace: then everything must
arrive, and the session must close. A failure is the session's lines as a scenario file.
"""

from collections.abc import Callable
from sys import exc_info
from typing import Any

from hypothesis import HealthCheck, Phase, Verbosity, seed, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    precondition,
    rule,
    run_state_machine_as_test,
)
from reknit_core.events import Side
from reknit_core.lifecycle import State
from reknit_core.play.scenario import DEFAULT_POLICY
from reknit_core.policy import SETTINGS, Delivery, Overflow, Policy

from reknit.fuzz_session import FailedSessionError, FuzzedSession
from reknit.model_end import End

_SIDES = st.sampled_from(Side)
_SIZES = st.sampled_from([0, 0, 0, 40, 70, 130, 300, 3000])
_PARTS = st.sampled_from([1, 1, 1, 2, 3])
_PIECES = st.sampled_from([None, None, 1, 7, 50])
_COUNTS = st.sampled_from(["none", "none", "none", "right", "right", "fewer", "more"])
_WAITS = st.sampled_from([0.0, 0.001, 0.05, 0.1, 0.1, 0.3, 1.0, 2.5])
_ROOM = st.sampled_from(["all", "all", "nothing", "1", "9", "60", "200"])
_ONE_IN_FOUR = st.sampled_from([False, False, False, True])
_OVERFLOW = st.sampled_from([Overflow.PAUSE, Overflow.PAUSE, Overflow.PAUSE, *Overflow])

_POLICY = {
    "delivery": st.sampled_from(Delivery),
    "confirm_bytes": st.sampled_from([262144, 1, 120]),
    "confirm_after": st.sampled_from([0.1, 0.0, 1.0]),
    "replay_window": st.sampled_from([65536, 0, 150]),
    "queue_bytes": st.sampled_from([4194304, 100, 400]),
    "queue_messages": st.sampled_from([65536, 2, 5]),
    "overflow_to_server": _OVERFLOW,
    "overflow_to_client": _OVERFLOW,
    "heartbeat_interval": st.sampled_from([0.0, 2.0]),
    "heartbeat_timeout": st.sampled_from([20.0, 1.0, 3.0]),
    "retry_limit": st.sampled_from([3, 3, 3, 60, 1, 0]),
    "retry_backoff": st.sampled_from([1.0, 2.0]),
    "retry_reset": st.sampled_from([10.0, 0.0]),
    "client_grace": st.sampled_from([5.0, 60.0, 1.5]),
    "handshake_wait": st.sampled_from([15.0, 15.0, 2.5]),
    "close_timeout": st.sampled_from([5.0, 0.5]),
}
_FIXED = {name: getattr(DEFAULT_POLICY, name) for name in SETTINGS if name not in _POLICY}


@st.composite
def policies(draw: Callable[[Any], Any]) -> Policy:
    """Policies whose limits a short session reaches."""
    return Policy(**_FIXED, **{name: draw(choice) for name, choice in _POLICY.items()})


class SessionMachine(RuleBasedStateMachine):
    """One session, with everything that can happen to it."""

    session: FuzzedSession

    @initialize(
        policy=policies(), waits=_ONE_IN_FOUR, answers=st.sets(_SIDES), may_end=_ONE_IN_FOUR
    )
    def begin(self, policy: Policy, waits: bool, answers: set[Side], may_end: bool) -> None:
        """The client comes.

        `waits`: the server has not answered yet. `answers`: the ends that answer the proxy's own
        Pings at once. `may_end`: whether the session may be ended on purpose before the peace.
        """
        self.may_end = may_end
        self.session = session = FuzzedSession(policy, answers)
        session.do("client connected")
        if not waits:
            session.reach_server()
            session.accept()

    def teardown(self) -> None:
        """Nothing goes wrong any more."""
        if exc_info()[0] is None and hasattr(self, "session"):
            self.session.make_peace()

    # -- Messages ------------------------------------------------------------------------------

    @rule(side=_SIDES, sizes=st.lists(_SIZES, min_size=1, max_size=4), binary=st.booleans())
    def messages(self, side: Side, sizes: list[int], binary: bool) -> None:
        """Whole messages in one read."""
        session = self.session
        if end := session.pick(side, session.can_send):
            names = " ".join(session.name(end) for _ in sizes)
            size = f" size={sizes[-1]}" if sizes[-1] else ""
            session.say(end, f"message {names}{size}{' binary' if binary else ''}")

    @rule(side=_SIDES, size=_SIZES, parts=_PARTS, pieces=_PIECES)
    def pieces(self, side: Side, size: int, parts: int, pieces: int | None) -> None:
        """A message in fragments, in several reads."""
        session = self.session
        if end := session.pick(side, session.can_send):
            split = f" split={max(pieces, size // 20)}" if pieces else ""
            session.say(end, f"message {self._padded(end, size)} in {parts} parts{split}")

    @rule(side=_SIDES, parts=_PARTS, binary=st.booleans())
    def empty(self, side: Side, parts: int, binary: bool) -> None:
        """An empty message."""
        session = self.session
        if end := session.pick(side, session.can_send):
            session.say(end, f'message "" in {parts} parts{" binary" if binary else ""}')

    @rule(side=_SIDES, size=_SIZES, parts=_PARTS)
    def partial(self, side: Side, size: int, parts: int) -> None:
        """The first half of a message."""
        session = self.session
        if end := session.pick(side, session.can_send):
            session.say(end, f"partial {self._padded(end, size)} in {parts} parts")

    @rule(side=_SIDES)
    def rest(self, side: Side) -> None:
        """The other half."""
        if end := self.session.pick(side, lambda end: end.here and bool(end.rest)):
            self.session.say(end, "rest")

    @rule(side=_SIDES)
    def part(self, side: Side) -> None:
        """A fragment; other events may come before the next one."""
        session = self.session
        if end := session.pick(side, session.can_say):
            place = "last" if end.in_message else "first"
            session.say(end, f"part {place} {session.name(end)}")

    @rule(side=_SIDES)
    def ping(self, side: Side) -> None:
        """A Ping of an end's own."""
        session = self.session
        if end := session.pick(side, session.can_say):
            session.say(end, f"ping {session.name(end)}")

    @rule(side=_SIDES)
    def answer(self, side: Side) -> None:
        """A Pong to the other end's Ping."""
        session = self.session
        if end := session.pick(side, lambda end: bool(end.questions) and session.can_say(end)):
            session.say(end, end.questions.pop(0).replace("ping", "pong", 1))

    @rule(side=_SIDES)
    def confirm(self, side: Side) -> None:
        """A Pong to the proxy's own Ping."""
        session = self.session
        if end := session.pick(side, session.is_pinged):
            session.say(end, "pong probe")

    @rule(side=_SIDES, room=_ROOM)
    def takes(self, side: Side, room: str) -> None:
        """A socket takes more or less."""
        if end := self.session.pick(side, lambda end: end.here):
            self.session.say(end, f"takes {room}")

    def _padded(self, end: End, size: int) -> str:
        return f"{self.session.name(end)} size={max(size, 8)}"

    # -- Coming and going ----------------------------------------------------------------------

    @rule(side=_SIDES, how=st.sampled_from(["lost", "reset"]))
    def lose(self, side: Side, how: str) -> None:
        """A connection is lost."""
        if end := self.session.pick(side, lambda end: end.here):
            self.session.say(end, how)

    @precondition(lambda self: self.session.state is not State.CLOSED)
    @rule(count=_COUNTS, takes=st.sampled_from([None, None, None, 0, 30]), takes_over=_ONE_IN_FOUR)
    def client_connects(self, count: str, takes: int | None, takes_over: bool) -> None:
        """The client returns, or takes over."""
        client = self.session.model.client
        if takes_over or not client.here:
            room = "" if takes is None else f" takes={takes}"
            self.session.do(f"client connected{self._count(client, count)}{room}")

    @precondition(lambda self: self.session.model.life.dial_at is not None)
    @rule(count=_COUNTS)
    def server_returns(self, count: str) -> None:
        """The server is reached, and accepts."""
        self.session.reach_server()
        self.session.accept(self._count(self.session.model.server, count))

    @precondition(lambda self: self.session.model.life.dial_at is not None)
    @rule(connects=st.booleans())
    def dial(self, connects: bool) -> None:
        """The dial is over."""
        if connects:
            self.session.reach_server()
        elif self.session.dial_is_due():
            self.session.do("server dial failed")

    @rule(answer=st.sampled_from(["accepts", "accepts", "other", "401", "503"]), count=_COUNTS)
    def server_answers(self, answer: str, count: str) -> None:
        """The server answers the handshake."""
        session, server = self.session, self.session.model.server
        match answer:
            case "accepts":
                session.accept(self._count(server, count))
            case "other":
                session.accept(" subprotocol=other")
            case _ if server.here and not server.talks:
                session.do(f"server refuses status={answer}")

    @rule(side=_SIDES, what=st.sampled_from(["reset", "connected", "dial failed"]))
    def late(self, side: Side, what: str) -> None:
        """A late event of the first connection."""
        possible = side is Side.SERVER or what == "reset"
        if possible and self.session.generation(side) > 1:
            self.session.do(f"{side.value} {what} generation=1")

    def _count(self, end: End, count: str) -> str:
        had = len(end.incoming.had)
        number = {"right": had, "fewer": had // 2, "more": had + 1}.get(count)
        return "" if number is None else f" received={number}"

    # -- Time ----------------------------------------------------------------------------------

    @rule(duration=_WAITS)
    def time(self, duration: float) -> None:
        """Time passes."""
        self.session.wait(duration)

    @rule(before=st.sampled_from([0.0, 0.0, 0.001]))
    def deadline(self, before: float) -> None:
        """Time passes up to the next deadline, or a tick before."""
        deadline, at = self.session.deadline, self.session.at
        if deadline is not None and deadline - before > at:
            self.session.wait(deadline - before - at)

    @precondition(lambda self: self.may_end)
    @rule(duration=st.sampled_from([0.5, 3.0, 30.0]))
    def stall(self, duration: float) -> None:
        """Time passes in which the proxy stands still."""
        self.session.stall(duration)

    # -- The end -------------------------------------------------------------------------------

    @rule(side=_SIDES, code=st.sampled_from([1001, 1012]))
    def leave(self, side: Side, code: int) -> None:
        """An end closes, and says by the code that it will come back."""
        if code in self.session.model.policy.retry_codes(side) or self.may_end:
            self._close(side, str(code))

    @precondition(lambda self: self.may_end)
    @rule(side=_SIDES, what=st.sampled_from(["1000", '4000 "bye"', ""]))
    def close(self, side: Side, what: str) -> None:
        """An end closes for good."""
        self._close(side, what)

    @precondition(lambda self: self.may_end)
    @rule(really=_ONE_IN_FOUR)
    def shut_down(self, really: bool) -> None:
        """The operator ends the session."""
        if really:
            self.session.do('shutdown 1001 "stop"')

    @precondition(lambda self: self.may_end and self.session.goes_on)
    @rule(side=_SIDES, really=_ONE_IN_FOUR)
    def violate(self, side: Side, really: bool) -> None:
        """An end breaks the protocol."""
        if really and (end := self.session.pick(side, self.session.can_send)):
            self.session.say(end, "raw hex=8300")

    def _close(self, side: Side, what: str) -> None:
        if end := self.session.pick(side, self.session.can_say):
            self.session.say(end, f"close {what}".rstrip())


def run(examples: int, steps: int, seed_number: int) -> str | None:
    """Play that many sessions of up to that many events, chosen by the seed.

    Returns None if all held, else the shortest failure found, as a scenario file.
    """
    options = settings(
        max_examples=examples,
        stateful_step_count=steps,
        database=None,
        deadline=None,
        derandomize=False,
        print_blob=False,
        report_multiple_bugs=False,
        phases=(Phase.generate, Phase.shrink),
        suppress_health_check=list(HealthCheck),
        verbosity=Verbosity.quiet,
    )
    try:
        run_state_machine_as_test(seed(seed_number)(SessionMachine), settings=options)
    except FailedSessionError as failed:
        return failed.scenario
    return None
