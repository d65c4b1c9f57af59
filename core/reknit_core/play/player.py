"""Plays scenarios against the core, with peers in the sockets' place and a clock of its own.

The played lines have the form of a scenario file, so that they can be held against one, kept as
a recording, and played again. Between two events the player goes from deadline to deadline and
shows each as `timeout`, with what comes out of it.
"""

from math import inf
from typing import assert_never

from reknit_core.events import Ask, Shutdown, StopAsking
from reknit_core.lifecycle import State
from reknit_core.play.peers import SESSION_ID, ClientPeer
from reknit_core.play.stage import ImpossibleError, Stage
from reknit_core.policy.policy import Policy
from reknit_core.policy.upstream import Upstream
from reknit_core.proxy.contexts import Contexts
from reknit_core.script.actions import (
    Acknowledges,
    AnswersProbe,
    Asks,
    Breaks,
    ClientConnects,
    DialFails,
    Ends,
    Passing,
    ScenarioError,
    Sends,
    SendsRest,
    ServerAccepts,
    ServerConnects,
    ServerRefuses,
    ShutsDown,
    StopsAsking,
    Takes,
)
from reknit_core.script.phrases import frame
from reknit_core.script.scenario import (
    DEFAULT_POLICY,
    Scenario,
    Step,
    diff,
    event_line,
    outcome_line,
    parse,
    parse_event,
    policy_lines,
    seconds,
)
from reknit_core.session.context import ContextStateMachine
from reknit_core.side import Side
from reknit_core.wire.frames import Opcode
from reknit_core.wire.handshake import ClientHandshake, Refusal, UpgradeRequest

__all__ = ["Player", "Scenario", "ScenarioError", "diff", "parse", "play", "replayed"]

_NONCE = b"~reknit~"
_UPSTREAM = Upstream("server.test", 80)
_CLIENT_ADDRESS = "192.0.2.1"
_MAX_TIMEOUTS = 1000  # between two events: peers that say nothing give cause for a few


def play(scenario: Scenario) -> list[str]:
    """Play a whole scenario and return its lines as they were played, in canonical form."""
    player = Player(scenario.policy)
    for line in scenario.lines:
        if line.step is not None:
            player.perform(line.step)
    return player.lines


def replayed(text: str) -> str:
    """A scenario file with what comes out now in place of what it says; comments stay.

    Raises ScenarioError as parse() does.
    """
    player = Player(parse(text).policy)
    lines: list[str] = []
    for raw in text.rstrip().split("\n"):
        content = raw.strip()
        if content.startswith("@"):
            lines += player.do(content)
        elif not content.startswith(("<", "=", "!")):
            lines.append(content)
    return "\n".join(lines) + "\n"


class Player:
    """One session, its two far ends and the time. `lines` is all that was played so far."""

    def __init__(self, policy: Policy = DEFAULT_POLICY) -> None:
        self.lines: list[str] = policy_lines(policy)
        self.now = 0.0
        self._policy = policy
        self.contexts = Contexts(policy, _UPSTREAM, _randomness)
        self._stage: Stage | None = None  # once there is a session

    @property
    def context(self) -> ContextStateMachine | None:
        """The session, once a client has connected."""
        return self._stage.driver.context if self._stage else None

    def do(self, event: str) -> list[str]:
        """Play one event line, as `@1.500 > server lost`, and return what was played.

        Raises ScenarioError for a line that can't be read, and for one in the past.
        """
        return self.perform(parse_event(event))

    def perform(self, step: Step) -> list[str]:
        """Play one event and return what was played. Raises ScenarioError as do() does."""
        if step.at < round(self.now, 6):
            raise ScenarioError(f"time goes back to {seconds(step.at)}", "later times")
        start = len(self.lines)
        if step.action is not Passing.STALLED:
            self._pass_time(step.at)
        self.now = max(self.now, step.at)
        if step.action is not Passing.TIMEOUT:
            self.lines.append(event_line(step.at, step.text))
            try:
                self._act(step)
            except ImpossibleError as why:
                self._write_line("!", str(why))
            self._settle()
        return self.lines[start:]

    # -- Time ----------------------------------------------------------------------------------

    def _pass_time(self, until: float) -> None:
        for _ in range(_MAX_TIMEOUTS):
            deadline = self._due(until)
            if deadline is None or round(deadline, 6) > until:
                return
            self.now = max(self.now, deadline)
            self.lines.append(event_line(self.now, Passing.TIMEOUT.value))
            self._time_out()
            self._settle()
        raise AssertionError(f"the deadline {deadline} does not go away")

    def _due(self, until: float) -> float | None:
        """When the context's deadline is; a timer that is set to an earlier one runs out first."""
        if self._stage is None:
            return None
        driver = self._stage.driver
        while True:
            deadline = driver.context.next_deadline()
            if driver.deadline >= min(until, inf if deadline is None else deadline):
                return deadline
            driver.wake(driver.deadline)

    def _time_out(self) -> None:
        """Let the context know that a deadline has passed, if one has."""
        if self._stage is not None:
            deadline = self._stage.driver.context.next_deadline()
            if deadline is not None and deadline <= self.now:
                self._stage.driver.wake(self.now)

    # -- Events --------------------------------------------------------------------------------

    def _act(self, step: Step) -> None:
        match step.action:
            case ClientConnects() as action:
                self._connect_client(action)
            case Passing.STALLED:  # only now the proxy notices that a deadline has passed
                self._time_out()
            case Passing.WAIT | Passing.TIMEOUT:
                pass
            case ShutsDown(code, reason, server_code):
                self._session.driver.handle(Shutdown(code, reason, server_code), self.now)
            case Asks(side, text, expected):
                self._session.driver.handle(Ask(side, text, expected), self.now)
            case StopsAsking(side):
                self._session.driver.handle(StopAsking(side), self.now)
            case ServerConnects(generation):
                self._session.dial_connected(generation, self.now)
            case DialFails(generation, reason, answered):
                self._session.dial_failed(generation, reason, self.now, answered=answered)
            case ServerAccepts() as action:
                server = self._session.asked_server()
                self._session.arrive(server, [server.accept(action)])
            case ServerRefuses(status, body):
                server = self._session.asked_server()
                self._session.arrive(server, [server.refuse(status, body)])
            case Sends() as action:
                self._send(action)
            case SendsRest(side):
                self._send_rest(side)
            case AnswersProbe(side):
                self._answer_probe(side)
            case Ends(side):
                self._session.end(side)
            case Breaks(side, generation, answered):
                self._session.reset(side, generation, self.now, answered=answered)
            case Takes(side, limit):
                self._session.take(side, limit, self.now)
            case Acknowledges(side, limit):
                peer = self._session.peer(side)
                peer.acks = limit
                peer.acknowledge(0)
            case _:
                assert_never(step.action)

    def _connect_client(self, action: ClientConnects) -> None:
        context = self.context
        if context is not None and action.resume is None:
            if action.connection_id not in (None, context.connection_id):
                raise ImpossibleError("a scenario plays one session")
            if not context.resumable:
                raise ImpossibleError("the session is over: a new one would begin")
        name = action.connection_id
        if name is None and context is not None:
            name = context.connection_id
        elif name is None and not self._policy.require_minted_id:
            name = SESSION_ID
        peer = ClientPeer(action, name, _NONCE)
        handshake = ClientHandshake(_CLIENT_ADDRESS)
        answer = self._connect(handshake, peer)
        if isinstance(answer, Refusal):
            for phrase in peer.receive(handshake.refuse(answer)):
                self._write_line("<", f"client {phrase}")
            return
        if self._stage is None:
            self._stage = Stage(answer, self._write_line, _NONCE)
        self._stage.attach_client(peer, self.now)

    def _connect(
        self, handshake: ClientHandshake, peer: ClientPeer
    ) -> ContextStateMachine | Refusal:
        request = handshake.receive_data(peer.request())
        if isinstance(request, UpgradeRequest):
            return self.contexts.connect(handshake, request, self.now)
        assert request is not None  # a peer's request is complete
        return request

    def _send(self, action: Sends) -> None:
        peer = self._session.talking(action.side)
        if not action.raw:
            if not peer.may_send:
                raise ImpossibleError("the handshake is not done")
            if peer.rest:
                raise ImpossibleError("the cut message must go on first")
            peer.rest = action.rest
        self._session.arrive(peer, action.pieces)

    def _send_rest(self, side: Side) -> None:
        peer = self._session.talking(side)
        if not peer.rest:
            raise ImpossibleError("no cut message")
        rest, peer.rest = peer.rest, b""
        self._session.arrive(peer, [rest])

    def _answer_probe(self, side: Side) -> None:
        peer = self._session.talking(side)
        if peer.probe is None:
            raise ImpossibleError("no Ping of the proxy's own has come")
        pong = frame(Opcode.PONG, peer.probe, masked=side is Side.CLIENT)
        self._session.arrive(peer, [pong])

    @property
    def _session(self) -> Stage:
        if self._stage is None:
            raise ImpossibleError("there is no session")
        return self._stage

    # -- What comes out ------------------------------------------------------------------------

    def _settle(self) -> None:
        if self._stage is not None:
            self._stage.rest(self.now)
            self._stage.driver.context.check()
            if self._stage.driver.context.state is State.CLOSED:
                self.contexts.forget(self._stage.driver.context)

    def _write_line(self, kind: str, text: str) -> None:
        self.lines.append(outcome_line(kind, text))


def _randomness(size: int) -> bytes:
    """Always the same: what is played must repeat."""
    return (_NONCE * size)[:size]
