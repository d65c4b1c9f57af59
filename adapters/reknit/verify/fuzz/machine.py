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
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)
from reknit_core.lifecycle import State
from reknit_core.policy.policy import SETTINGS, Delivery, GraceFor, OnServerLoss, Overflow, Policy
from reknit_core.script.scenario import DEFAULT_POLICY
from reknit_core.side import Side

from reknit.verify.fuzz.run import FailedSessionError, FuzzedSession
from reknit.verify.model.end import End

_SIDES = st.sampled_from(Side)
_SIZES = st.sampled_from([0, 0, 0, 40, 70, 130, 300, 3000])
_PARTS = st.sampled_from([1, 1, 1, 2, 3])
_PIECES = st.sampled_from([None, None, 1, 7, 50])
_LOSSES = st.sampled_from(["lost", "reset"])
_COUNTS = st.sampled_from(["none", "none", "right", "right", "right", "fewer", "more", "all"])
_FAILURES = st.sampled_from(
    [
        *("dial failed", "answered", "silent", "other", "hangs together"),
        *("400", "401", "404", "404", "503", "503"),
    ]
)
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
    "retry_limit": st.sampled_from([60, 60, 60, 3, 1, 0]),
    "refused_limit": st.sampled_from([15, 15, 1, 2]),
    "retry_backoff": st.sampled_from([1.0, 2.0]),
    "retry_reset": st.sampled_from([10.0, 0.0]),
    "client_grace": st.sampled_from([60.0, 60.0, 5.0, 1.5]),
    "handshake_wait": st.sampled_from([15.0, 15.0, 2.5]),
    "close_timeout": st.sampled_from([5.0, 0.5]),
    "resume_token": _ONE_IN_FOUR,
    "on_server_loss": st.sampled_from([OnServerLoss.RESUME, *OnServerLoss]),
    "grace_for": st.sampled_from(GraceFor),
    "require_minted_id": _ONE_IN_FOUR,
}
_FIXED = {name: getattr(DEFAULT_POLICY, name) for name in SETTINGS if name not in _POLICY}


@st.composite
def policies(draw: Callable[[Any], Any]) -> Policy:
    """Policies whose limits a short session reaches."""
    return Policy(**_FIXED, **{name: draw(choice) for name, choice in _POLICY.items()})


def _some(can: str) -> Callable[[Any], Any]:
    """A rule's precondition: that holds for one of the session's ends at least."""
    return precondition(lambda self: self.session.pick(Side.CLIENT, getattr(self.session, can)))


class SessionMachine(RuleBasedStateMachine):
    """One session after the other, with everything that can happen to it."""

    session: FuzzedSession

    @initialize(
        policy=policies(),
        waits=_ONE_IN_FOUR,
        answers=st.sets(_SIDES),
        may_end=_ONE_IN_FOUR,
        compresses=st.booleans(),
        proxies=st.sampled_from([(), (), tuple(Side), *((side,) for side in Side)]),
    )
    def begin(
        self,
        policy: Policy,
        waits: bool,
        answers: set[Side],
        may_end: bool,
        compresses: bool,
        proxies: tuple[Side, ...],
    ) -> None:
        """A client comes.

        `waits`: the server has not answered yet. `answers`: the ends that answer the proxy's own
        Pings at once. `may_end`: whether a session may be ended on purpose before the peace.
        `compresses`: whether both ends can. `proxies`: the ends that are another reknit.
        """
        self.may_end = may_end
        self.waits = waits
        self.session = FuzzedSession(policy, answers, compresses=compresses, proxies=proxies)
        self._connect()

    @invariant()
    def begin_again(self) -> None:
        """When all is over, another client comes."""
        if hasattr(self, "session") and self.session.is_over:
            self.session = self.session.another()
            self._connect()

    def _connect(self) -> None:
        self.session.connect_client()
        if not self.waits:
            self.session.reach_server()
            self.session.accept()

    def teardown(self) -> None:
        """Nothing goes wrong any more."""
        if exc_info()[0] is None and hasattr(self, "session"):
            self.session.make_peace()

    # -- Messages ------------------------------------------------------------------------------

    @_some("can_send")
    @rule(side=_SIDES, sizes=st.lists(_SIZES, min_size=1, max_size=4), binary=st.booleans())
    def messages(self, side: Side, sizes: list[int], binary: bool) -> None:
        """Whole messages in one read."""
        session = self.session
        if end := session.pick(side, session.can_send):
            names = " ".join(session.name(end) for _ in sizes)
            size = f" size={sizes[-1]}" if sizes[-1] else ""
            session.say(end, f"message {names}{size}{' binary' if binary else ''}")

    @_some("can_send")
    @rule(side=_SIDES, size=_SIZES, parts=_PARTS, pieces=_PIECES, empty=_ONE_IN_FOUR)
    def pieces(self, side: Side, size: int, parts: int, pieces: int | None, empty: bool) -> None:
        """A message in fragments, in several reads; it may be empty."""
        session = self.session
        if end := session.pick(side, session.can_send):
            content = '""' if empty else self._padded(end, size)
            split = f" split={max(pieces, size // 20)}" if pieces else ""
            session.say(end, f"message {content} in {parts} parts{split}")

    @_some("can_send")
    @rule(side=_SIDES, size=_SIZES, parts=_PARTS)
    def partial(self, side: Side, size: int, parts: int) -> None:
        """The first half of a message."""
        session = self.session
        if end := session.pick(side, session.can_send):
            session.say(end, f"partial {self._padded(end, size)} in {parts} parts")

    @_some("can_go_on")
    @rule(side=_SIDES)
    def part(self, side: Side) -> None:
        """The other half, or a fragment; other events may come before the next one."""
        session = self.session
        if end := session.pick(side, session.can_go_on):
            place = "last" if end.in_message else "first"
            session.say(end, "rest" if end.rest else f"part {place} {session.name(end)}")

    @_some("can_say")
    @rule(side=_SIDES)
    def ping(self, side: Side) -> None:
        """A Ping of an end's own."""
        session = self.session
        if end := session.pick(side, session.can_say):
            session.say(end, f"ping {session.name(end)}")

    @_some("is_asked")
    @rule(side=_SIDES)
    def answer(self, side: Side) -> None:
        """A Pong to the other end's Ping."""
        session = self.session
        if end := session.pick(side, session.is_asked):
            session.say(end, end.questions.pop(0).replace("ping", "pong", 1))

    @_some("is_pinged")
    @rule(side=_SIDES)
    def confirm(self, side: Side) -> None:
        """A Pong to the proxy's own Ping."""
        session = self.session
        if end := session.pick(side, session.is_pinged):
            session.say(end, "pong probe")

    @_some("is_here")
    @rule(side=_SIDES, room=_ROOM)
    def takes(self, side: Side, room: str) -> None:
        """A socket takes more or less."""
        session = self.session
        if end := session.pick(side, session.is_here):
            session.say(end, f"takes {room}")

    @_some("is_here")
    @rule(side=_SIDES, room=_ROOM)
    def acks(self, side: Side, room: str) -> None:
        """A system acknowledges more or less."""
        session = self.session
        if end := session.pick(side, session.is_here):
            session.say(end, f"acks {room}")

    def _padded(self, end: End, size: int) -> str:
        return f"{self.session.name(end)} size={max(size, 8)}"

    # -- Coming and going ----------------------------------------------------------------------

    @_some("is_here")
    @rule(side=_SIDES, how=_LOSSES, count=_COUNTS, returns=st.booleans())
    def lose(self, side: Side, how: str, count: str, returns: bool) -> None:
        """A connection is lost; the end may come back as soon as it can."""
        session = self.session
        if end := session.pick(side, session.is_here):
            session.say(end, how)
            if returns and end is session.model.server:
                self.server_returns(count)
            elif returns and session.state is not State.CLOSED:
                session.connect_client(self._count(end, count))

    @precondition(lambda self: self.session.state is not State.CLOSED)
    @rule(count=_COUNTS, takes=st.sampled_from([None, None, None, 0, 30]), over=_ONE_IN_FOUR)
    def client_connects(self, count: str, takes: int | None, over: bool) -> None:
        """The client returns, or takes over."""
        client = self.session.model.client
        if over or not client.here:
            room = "" if takes is None else f" takes={takes}"
            self.session.connect_client(f"{self._count(client, count)}{room}")

    @precondition(lambda self: self.session.state is not State.CLOSED)
    @rule(count=_COUNTS)
    def stranger_connects(self, count: str) -> None:
        """Another client names the session's id: nothing may come of it."""
        client = self.session.model.client
        self.session.connect_client(f"{self._count(client, count)} authorization=other")

    @precondition(lambda self: self.session.server_is_awaited)
    @rule(count=_COUNTS)
    def server_returns(self, count: str) -> None:
        """The server is reached, and accepts."""
        self.session.reach_server()
        self.session.accept(self._count(self.session.model.server, count))

    @precondition(lambda self: self.session.server_is_awaited)
    @rule(how=_FAILURES)
    def server_fails(self, how: str) -> None:
        """The server is not reached, or does not accept."""
        session = self.session
        if how in ("dial failed", "answered"):
            if session.dial_is_due():
                session.do("server dial failed" + (" answered" if how == "answered" else ""))
            return
        session.reach_server()
        if how == "other":
            session.accept(" subprotocol=other")
        elif how == "hangs together":
            session.hang_together()
        elif how != "silent":
            session.refuse(int(how))

    @precondition(lambda self: self.session.generation(Side.SERVER) > 1)
    @rule(what=st.sampled_from(["reset", "connected", "dial failed"]))
    def late(self, what: str) -> None:
        """A late event of the first server's connection."""
        self.session.do(f"server {what} generation=1")

    def _count(self, end: End, count: str) -> str:
        had = len(end.incoming.had)
        sent = end.incoming.taken
        number = {"right": had, "fewer": had // 2, "more": had + 1, "all": sent}.get(count)
        return "" if number is None else f" received={number}"

    # -- Time and the end ----------------------------------------------------------------------

    @rule(duration=_WAITS)
    def time(self, duration: float) -> None:
        """Time passes."""
        self.session.wait(duration)

    @precondition(lambda self: self.session.deadline is not None)
    @rule(before=st.sampled_from([0.0, 0.0, 0.001]))
    def deadline(self, before: float) -> None:
        """Time passes up to the next deadline, or a tick before."""
        deadline, at = self.session.deadline, self.session.at
        if deadline is not None:
            self.session.wait(max(0.0, deadline - before - at))

    @_some("can_say")
    @rule(side=_SIDES, code=st.sampled_from([1001, 1012]))
    def leave(self, side: Side, code: int) -> None:
        """An end closes, and says by the code that it will come back."""
        if code in self.session.model.policy.retry_codes(side):
            self._close(side, str(code))

    @_some("can_say")
    @precondition(lambda self: self.may_end)
    @rule(side=_SIDES, what=st.sampled_from(["1000", '4000 "bye"', "", "1001", "1012"]))
    def close(self, side: Side, what: str) -> None:
        """An end closes."""
        self._close(side, what)

    @precondition(lambda self: self.may_end)
    @rule(side=_SIDES, how=st.sampled_from(["shutdown", "raw hex=8300", "0.5", "3", "30", "3"]))
    def disturb(self, side: Side, how: str) -> None:
        """The operator ends the session, an end breaks the protocol, or the proxy stands still."""
        session = self.session
        if how == "shutdown":
            session.do('shutdown 1001 "stop"')
        elif not how.startswith("raw"):
            session.stall(float(how))
        elif end := session.pick(side, session.can_send):
            session.say(end, how)

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
