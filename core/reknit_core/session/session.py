"""What a session consists of, how its legs are lost and awaited, and how it ends.

The base of ContextStateMachine (context.py), which has the interface, by way of Opening
(opening.py), which has the opening handshakes.
"""

from math import ceil, inf

from reknit_core.codes import GOING_AWAY, SERVICE_RESTART, TRY_AGAIN_LATER
from reknit_core.commands import (
    Answered,
    AttemptFailed,
    Command,
    Dial,
    Disconnect,
    Transitioned,
    Undelivered,
)
from reknit_core.counters import Counters, DialResult
from reknit_core.lifecycle import INITIAL, State, Trigger, fire
from reknit_core.policy.policy import Delivery, Overflow, Policy
from reknit_core.policy.upstream import Upstream
from reknit_core.queue.backlog import Backlog
from reknit_core.queue.budget import Budget
from reknit_core.session.habits import Habits
from reknit_core.session.leg import Phase
from reknit_core.session.pinned import Pinned
from reknit_core.session.retry import Failure, Retry
from reknit_core.session.sockets import IncomingWebSocket, OutgoingWebSocket
from reknit_core.session.websocket import NOBODY, WebSocket
from reknit_core.side import Side
from reknit_core.wire.handshake import Refusal, encode_refusal, refusal, shutting_down
from reknit_core.wire.inband import Expected, InbandScanner, request_frame
from reknit_core.wire.reasons import shortened

OVER = "the session has ended"

_LEAVING = (GOING_AWAY, "")

ENDED = frozenset((State.CLOSING, State.CLOSED))


class Session:
    """Two legs, their queues, and the state that says what may happen next."""

    __slots__ = (
        "_asked",
        "_bounded",
        "_close_until",
        "_commands",
        "_confirms",
        "_counters",
        "_drain_to",
        "_grace_until",
        "_habits",
        "_nonce",
        "_opening_until",
        "_parting",
        "_pinned",
        "_policy",
        "_recover",
        "_upstream",
        "attention",
        "client",
        "server",
        "state",
    )

    def __init__(
        self,
        policy: Policy,
        upstream: Upstream,
        pinned: Pinned,
        nonce: bytes,
        budget: Budget,
        counters: Counters,
        habits: Habits,
    ) -> None:
        self._policy = policy
        self._upstream = upstream
        self._pinned = pinned
        self._nonce = nonce
        self._counters = counters
        self._habits = habits
        eager = policy.delivery is Delivery.AT_MOST_ONCE
        to_server = Backlog(eager=eager, window=policy.replay_window, budget=budget)
        to_client = Backlog(eager=eager, window=policy.replay_window, budget=budget)
        self.client = IncomingWebSocket(to_server, to_client, policy)
        self.server = OutgoingWebSocket(to_client, to_server, policy, Retry(policy, nonce))
        self.client.other = self.server
        self.server.other = self.client
        self.state = INITIAL
        self.attention = False
        """True when commands() or next_deadline() may have news since commands() was called."""
        self._commands: list[Command] = []
        self._opening_until = self._grace_until = self._close_until = inf
        self._asked = inf  # the last deadline given out
        self._drain_to = (0, 0)
        self._confirms = not eager
        pause = Overflow.PAUSE
        self._bounded = (
            policy.overflow_to_server is not pause or policy.overflow_to_client is not pause
        )
        self._parting = _LEAVING  # the close code and reason that end the session
        self._recover = True  # whether legs that are away are still waited for

    # -- A leg is lost -------------------------------------------------------------------------

    def _broken(self, leg: WebSocket, reason: str, now: float) -> None:
        """The connection ended without a Close frame."""
        if leg is self.server and leg.phase is Phase.HANDSHAKE:
            self._counters.dial_results[DialResult.NO_HANDSHAKE] += 1
            self._attempt_failed(Failure.AWAY, reason, now)
        elif leg.phase in (Phase.CLOSE_RECEIVED, Phase.LEAVING):
            self._done(leg, now)  # it had nothing more to say, and nothing more to hear
        elif leg.phase is not Phase.AWAY:
            self._disconnect(leg)
            self._lost(leg, reason, now)

    def _done(self, leg: WebSocket, now: float, linger: float = 0.0) -> None:
        """The peer has closed, or was told to: it is done with what it was given."""
        leg.source.confirm(*leg.source.handed())
        self._dropped(leg, now, linger)

    def _dropped(self, leg: WebSocket, now: float, linger: float = 0.0) -> None:
        """The leg's part in a session that ends is over."""
        self._disconnect(leg, linger=linger)
        leg.gone()
        self._settle(now)

    def _lost(self, leg: WebSocket, reason: str, now: float) -> None:
        self._stop_asking(leg, f"the {leg.side.value} was lost")
        leg.gone()
        server = leg is self.server
        if self.state in ENDED:
            if self._worth_waiting(leg):
                self._await_return(leg, reason, now)
            self._settle(now)
        elif self.state is State.OPENING:
            self._end(Trigger.CLIENT_LOST, GOING_AWAY, reason, now)
        else:
            self._fire(Trigger.SERVER_LOST if server else Trigger.CLIENT_LOST, reason)
            self._await_return(leg, reason, now)

    def _await_return(self, leg: WebSocket, reason: str, now: float) -> None:
        if leg is self.client:
            is_awaited = self._pinned.is_awaited(self._policy)
            self._grace_until = now + (self._policy.client_grace if is_awaited else 0.0)
            return
        self.server.retry.lost(now)
        self._retry(reason, now)

    def _attempt_failed(
        self, failure: Failure, reason: str, now: float, retry_after: float = 0.0
    ) -> None:
        """The server was not reached, or has not accepted: say why, and see whether to go on."""
        server = self.server
        if server.phase is Phase.HANDSHAKE:
            self._disconnect(server)
        server.gone()
        reason = server.retry.reason = shortened(reason)
        self._commands.append(AttemptFailed(server.retry.attempt, failure, reason))
        self.attention = True
        if failure is Failure.FINAL:
            self._give_up(Trigger.SERVER_REFUSED, SERVICE_RESTART, 502, reason, now)
        elif failure is Failure.REFUSED and self.state is State.OPENING:
            reason = f"the server does not accept: {reason}"  # nor will it while the client waits
            self._give_up(Trigger.RETRIES_SPENT, TRY_AGAIN_LATER, 502, reason, now)
        else:
            self._retry(reason, now, failure, retry_after)

    def _retry(
        self,
        reason: str,
        now: float,
        failure: Failure = Failure.AWAY,
        retry_after: float = 0.0,
    ) -> None:
        at = self.server.retry.next_dial(now, failure, retry_after)
        if at is not None:
            self._dial(at)
        else:
            what = "can't be reached" if failure is Failure.AWAY else "does not accept"
            reason = f"the server {what}: {reason}"
            self._give_up(Trigger.RETRIES_SPENT, TRY_AGAIN_LATER, 502, reason, now)

    def _dial(self, at: float) -> None:
        server = self.server
        server.generation += 1
        server.phase = Phase.DIALLING
        if server.generation == 1:
            self._counters.dials += 1
        else:
            self._counters.redials += 1
        server.dial_at = at
        self._ask_dial()

    def _ask_dial(self) -> None:
        server = self.server
        self._commands.append(Dial(server.generation, server.retry.attempt, server.dial_at))
        self.attention = True

    # -- A request of the operator's -------------------------------------------------------------

    def _ask(self, leg: WebSocket, text: str, expected: Expected) -> None:
        scanner = leg.scanner
        if scanner is None or leg.phase is not Phase.OPEN:
            self._answer(leg, None, f"the {leg.side.value} is not connected")
        elif isinstance(scanner, InbandScanner) and scanner.is_open:
            self._answer(leg, None, "another request is open")
        else:
            leg.asked = True
            leg.scanner = InbandScanner(scanner, expected)
            leg.queue.alarm = 0  # so that each read is attended to
            frame = request_frame(text, masked=leg.side is Side.SERVER)
            leg.say(frame, leg.source.next_end()[0])
            self.attention = True

    def _stop_asking(self, leg: WebSocket, reason: str) -> None:
        """Nothing more can come in reply, or nothing more is wanted."""
        scanner = leg.scanner
        if isinstance(scanner, InbandScanner) and scanner.is_open:
            scanner.close()
            self._answer(leg, scanner.reply, reason)

    def _hear_reply(self, leg: WebSocket) -> None:
        """Answer if the reply has come; else attend to the next read too."""
        scanner = leg.scanner
        if not isinstance(scanner, InbandScanner) or not scanner.is_open:
            return
        if scanner.reply is None:
            leg.queue.alarm = 0
        else:
            self._stop_asking(leg, "")

    def _answer(self, leg: WebSocket, reply: bytes | None, reason: str) -> None:
        self._commands.append(Answered(leg.side, reply, "" if reply is not None else reason))
        self.attention = True

    # -- The session ends ----------------------------------------------------------------------

    def _give_up(self, trigger: Trigger, code: int, status: int, reason: str, now: float) -> None:
        """The server doesn't come: a waiting client gets the status, one that is open the code."""
        if self.state is State.CLOSING:
            self._settle(now)
            return
        if self.state is State.OPENING:
            after = str(ceil(self._policy.retry_interval)).encode()
            answer = refusal(status, "server_unavailable", reason, ((b"retry-after", after),))
            self._refuse_client(answer, now)
        self._end(trigger, code, reason, now)

    def _refuse_client(self, answer: Refusal, now: float) -> None:
        self._counters.handshakes[answer.status] += 1
        self.client.say(encode_refusal(answer), 0)
        self.client.phase = Phase.LEAVING
        self.client.handshake = None
        self._close_until = now + self._policy.close_timeout

    def _end(
        self,
        trigger: Trigger,
        code: int,
        reason: str,
        now: float,
        *,
        cause: str = "",
        server_code: int | None = None,
    ) -> None:
        """The session is over: each leg that is up is told, behind what is queued for it.

        `cause`: what the operator is told, if not the `reason`. `server_code`: what the server is
        told, if not the `code`.
        """
        self._parting = (code, reason)
        self._opening_until = inf
        for leg in (self.client, self.server):
            self._stop_asking(leg, OVER)
        self._fire(trigger, cause or reason)
        self._part(self.client, now)
        self._part(self.server, now, server_code)
        self._settle(now)

    def _part(self, leg: WebSocket, now: float, code: int | None = None) -> None:
        """Tell this leg that the session is over: by `code`, if not by the session's own."""
        if leg.phase is Phase.OPEN:
            common, reason = self._parting
            leg.say(leg.close_frame(code or common, reason), leg.source.tail)
            leg.phase = Phase.CLOSING
            self._close_until = now + self._policy.close_timeout
        elif leg is self.client and leg.phase is Phase.HANDSHAKE:
            self._refuse_client(shutting_down(self._parting[1]), now)
        elif leg.phase in (Phase.AWAY, Phase.DIALLING, Phase.HANDSHAKE):
            if self._worth_waiting(leg):
                return
            if leg is self.client:
                self._grace_until = inf
            elif leg.phase is not Phase.AWAY:
                self._disconnect(leg)
                leg.gone()

    def _worth_waiting(self, leg: WebSocket) -> bool:
        """Whether a session that ends on purpose still owes this leg messages."""
        owed = leg.source.sent < leg.source.tail
        return owed and self._recover and self.state is State.CLOSING

    def _settle(self, now: float) -> None:
        """In a session that ends: answer who asked for it, and notice when both legs are done."""
        if self.state not in ENDED:
            return
        for leg in (self.client, self.server):
            if leg.phase is Phase.CLOSE_RECEIVED and leg.other.phase is not Phase.CLOSING:
                leg.phase = Phase.LEAVING
                leg.say(leg.close_frame(*self._parting), leg.source.tail)
                self._close_until = now + self._policy.close_timeout
        away = self.client.phase is self.server.phase is Phase.AWAY
        if away and self._grace_until == inf:
            self._close_until = inf
            if self.state is State.CLOSING:
                self._fire(Trigger.LEGS_CLOSED, "")
            for leg in (self.client, self.server):
                size, messages = leg.source.clear()
                self._counters.towards(leg.side).add_lost(size, messages)
                if messages:
                    self._commands.append(Undelivered(leg.side, messages, size))
                    self.attention = True
            self.client.other = self.server.other = NOBODY

    # -- Helpers -------------------------------------------------------------------------------

    def _go_on(self, leg: WebSocket, received: int | None) -> None:
        """A peer is back, and may have said how many messages it has received."""
        source = leg.source
        handed, count = source.handed()
        if received is not None:
            source.resume_at(received)
        self._counters.towards(leg.side).replayed(
            count - source.confirmed_count,
            handed - source.confirmed,
            counts=received is not None,
        )

    def _fire(self, trigger: Trigger, reason: str) -> State:
        source = self.state
        state = fire(self, trigger)
        self._counters.moved(source, trigger, state)
        self._commands.append(Transitioned(trigger, state, reason))
        self.attention = True
        return state

    def _disconnect(self, leg: WebSocket, *, farewell: bytes = b"", linger: float = 0.0) -> None:
        self._commands.append(Disconnect(leg.side, leg.generation, farewell, linger))
        self.attention = True
