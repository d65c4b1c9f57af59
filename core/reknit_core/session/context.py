"""ContextStateMachine: one session, from the client's opening handshake to the last Close frame.

Bytes go through `receive_data`, `pending` and `advance`; everything that happens to a connection
goes through `handle`. What the adapter must do comes out of `commands`. Time is a float in
seconds, passed in. The states and their table are in lifecycle.py.
"""

from math import inf
from typing import Final, assert_never

from reknit_core.codes import GOING_AWAY, OVERFLOW, TRY_AGAIN_LATER
from reknit_core.commands import Command, Dropped
from reknit_core.counters import Counters, DialResult
from reknit_core.durable.frozen import FrozenContext, decode, encode, freeze, restore
from reknit_core.events import (
    Ask,
    ClientConnected,
    ConnectionLost,
    DialFailed,
    Event,
    ServerConnected,
    Shutdown,
    Side,
    StopAsking,
)
from reknit_core.lifecycle import State, Trigger
from reknit_core.policy.policy import Policy
from reknit_core.policy.upstream import Upstream
from reknit_core.queue.budget import Budget
from reknit_core.queue.stream import Buffer
from reknit_core.session.habits import Habits
from reknit_core.session.leg import Phase
from reknit_core.session.opening import Opening
from reknit_core.session.retry import Failure
from reknit_core.session.session import ENDED, OVER
from reknit_core.session.transit import Look, unseen
from reknit_core.session.websocket import WebSocket
from reknit_core.wire.frames import FrameScanner, Opcode, Violation, payload
from reknit_core.wire.handshake import UpgradeRequest

LATE = 1.0  # seconds: a time-out handled later than this means that the proxy itself stood still
LAST_TURNS = 4  # scans of what a connection has left that find nothing but control frames

_CLIENT: Final = Side.CLIENT
_OPEN: Final = Phase.OPEN

_SERVER_AWAY = frozenset((State.SERVER_DOWN, State.BOTH_DOWN))
_CLIENT_AWAY = frozenset((State.CLIENT_DOWN, State.BOTH_DOWN))


class ContextStateMachine(Opening):
    """A pair of legs, their queues, and the state that says what may happen next.

    `nonce`: a few unguessable bytes, by which the proxy knows its own Pongs. `budget` counts the
    bytes that wait in all sessions, `counters` what happens in them, `habits` is what they have
    learned of the servers.
    """

    # -- What an adapter asks ------------------------------------------------------------------

    @property
    def connection_id(self) -> str:
        """The session's connection id."""
        return self._pinned.connection_id

    @property
    def nonce(self) -> bytes:
        """A few bytes that are this session's own, and no secret of its ends."""
        return self._nonce

    @property
    def terms(self) -> tuple[int, int, float, bool, bool]:
        """On what terms the sides may return.

        A client: its tokens, until when, and whether it is awaited. The server: whether it is
        asked for less than at first.
        """
        pinned, binding = self._pinned, self._pinned.binding
        return binding.handed, binding.proven, self._grace_until, self._recover, pinned.pared

    @property
    def resumable(self) -> bool:
        """Whether a client of this connection id may still join."""
        match self.state:
            case State.CLOSED:
                return False
            case State.CLOSING:
                return self._grace_until != inf
            case _:
                return True

    def mismatch(self, request: UpgradeRequest, received: int | None) -> str | None:
        """Why that client, which names how many messages it has received, can't join.

        For people; None if it can.
        """
        if received is not None and not self.client.can_go_on(received):
            return f"the session can't continue after message {received}"
        return self._pinned.mismatch(request)

    def belongs_to(self, request: UpgradeRequest) -> bool:
        """Whether that client shows what it must, to join the session."""
        return self._pinned.binding.admits(request)

    @property
    def incoming_lock(self) -> bool:
        """Whether client messages wait because the server is away (the design's lock)."""
        return self.state in _SERVER_AWAY

    @property
    def outgoing_lock(self) -> bool:
        """Whether server messages wait because the client is away (the design's lock)."""
        return self.state in _CLIENT_AWAY

    def commands(self) -> list[Command]:
        """What to do now, in this order. Each command is handed out once."""
        self.attention = False
        commands, self._commands = self._commands, []
        return commands

    def freeze(self, now: float) -> bytes:
        """The context as data, in the form that frozen.py describes; commands() is empty."""
        assert not self._commands
        return encode(freeze(self, now))

    @classmethod
    def thaw(
        cls,
        data: bytes,
        policy: Policy,
        upstream: Upstream,
        budget: Budget,
        counters: Counters,
        habits: Habits,
        now: float,
    ) -> "ContextStateMachine":
        """The context that freeze() made `data` of, with its connections; time stood still.

        A dial that was under way is among its commands again. Raises FrozenError.
        """
        return cls.restored(decode(data), policy, upstream, budget, counters, habits, now)

    @classmethod
    def restored(
        cls,
        frozen: FrozenContext,
        policy: Policy,
        upstream: Upstream,
        budget: Budget,
        counters: Counters,
        habits: Habits,
        now: float,
    ) -> "ContextStateMachine":
        """As thaw(), of what stands in its data."""
        context = cls(policy, upstream, frozen.pinned, frozen.nonce, budget, counters, habits)
        restore(context, frozen, now)
        if context.server.phase is Phase.DIALLING:
            context._ask_dial()
        context.attention = True
        return context

    def next_deadline(self) -> float | None:
        """When handle_timeout is due (seconds); None if nothing is awaited."""
        deadline = min(self._opening_until, self._grace_until, self._close_until)
        if self.server.phase is Phase.HANDSHAKE:
            deadline = min(deadline, self.server.since + self._policy.connect_timeout)
        for leg in (self.client, self.server):
            deadline = min(deadline, leg.heard if leg.is_behind else leg.deadline())
        self._asked = deadline
        return None if deadline == inf else deadline

    def pending(self, side: Side) -> list[Buffer]:
        """What to write to that side next; advance() says how much the socket took."""
        return (self.client if side is Side.CLIENT else self.server).pending()

    def advance(self, side: Side, taken: int, now: float) -> None:
        """That side's socket took `taken` bytes of what pending() gave; 0: it has no room now."""
        leg = self.client if side is Side.CLIENT else self.server
        leg.advance(taken, now)
        if leg.early and leg.scanner is not None:
            self.receive_data(side, b"", now)  # the answer is on its way: now what came early
        if self.state is State.DRAINING:
            self._check_drained()
        elif leg.phase is Phase.LEAVING:
            if not leg.lane:
                self._done(leg, now, self._policy.close_timeout)
        elif leg.phase is Phase.CLOSING and taken:
            self._close_until = now + self._policy.close_timeout

    def wants_read(self, side: Side) -> bool:
        """Whether to read from that side: False while what it sends has nowhere to go."""
        leg = self.client if side is Side.CLIENT else self.server
        return leg.wants_read()

    def is_behind(self, side: Side) -> bool:
        """Whether that side has sent more frames at one time than are read in one turn."""
        return (self.client if side is Side.CLIENT else self.server).is_behind

    def passed(self, side: Side, taken: int) -> None:
        """As advance(), the short way: of what receive_data() has just let through to that side."""
        (self.client if side is _CLIENT else self.server).source.advance(taken)

    def discard(self) -> None:
        """Free what the queues hold: a bug of ours has ended the session."""
        self.client.queue.clear()
        self.server.queue.clear()

    # -- Bytes in ------------------------------------------------------------------------------

    def receive_data(self, side: Side, data: bytes, now: float) -> bool:
        """Bytes from that side's connection. Never raises for what a peer sends.

        True says what is mostly so, and allows a short way: these bytes are all that is pending
        for the other side, and this side may be read on.
        """
        leg = self.client if side is _CLIENT else self.server
        leg.heard = now
        scanner = leg.scanner
        if scanner is None:
            self._receive_unopened(leg, data, now)
            return False
        if leg.early:
            data, leg.early = leg.early + data, b""
        queue = leg.queue
        other = leg.other
        straight = (
            scanner.plain
            and queue.sent == queue.tail
            and leg.phase is _OPEN
            and other.phase is _OPEN
            and not other.lane
            and not leg.lane
        )
        data = scanner.scan(data)
        if straight and scanner.plain:
            queue.append(data, scanner.boundary, scanner.messages)
            if queue.tail < queue.alarm and queue.budget.used < queue.budget.limit:
                return True
        elif scanner.controls or scanner.violation or leg.phase is not _OPEN:
            straight = False
            self._receive_controls(leg, scanner, data, now)
        elif data:
            straight = False
            queue.append(data, scanner.boundary, scanner.messages)
        if scanner.behind:
            self.attention = True  # the rest is due when others have had their turn
        if queue.tail >= queue.alarm:
            self._attend(leg, scanner, now)
        return False

    def _attend(self, leg: WebSocket, scanner: FrameScanner, now: float) -> None:
        """The leg's queue has reached a bound or a threshold; say where the next one is."""
        queue = leg.queue
        if self._confirms:
            leg.other.seek_confirmation(self._nonce, now)
            self.attention |= leg.other.deadline() < self._asked
        if self._bounded and scanner.messages and leg.phase is _OPEN:
            self._bound(leg, now)
        queue.alarm = 0 if self._bounded else leg.next_alarm(confirms=self._confirms)
        if leg.asked:
            self._hear_reply(leg)

    def _bound(self, leg: WebSocket, now: float) -> None:
        """Hold the leg's queue to its bounds; what that drops is never silent."""
        queue = leg.queue
        before, tail = queue.dropped, queue.tail
        if not leg.make_room():
            self._recover = False
            reason = f"too much waits for the {leg.other.side.value}"
            self._end(Trigger.SESSION_FAILED, OVERFLOW, reason, now)
        elif queue.dropped > before:
            if self.state is State.DRAINING:
                self._check_drained()  # what was to go out first may be gone
            self._counters.towards(leg.other.side).dropped_bytes += tail - queue.tail
            if queue.dropped.bit_length() > before.bit_length():  # said at 1, 2, 4, 8, …
                self._commands.append(Dropped(leg.other.side, queue.dropped))
                self.attention = True

    def receive_eof(self, side: Side, now: float) -> None:
        """That side's connection ended its stream."""
        leg = self.client if side is Side.CLIENT else self.server
        self._catch_up(leg, now)
        if leg is self.server and leg.phase is Phase.HANDSHAKE and self.server.handshake:
            self._server_answered(self.server.handshake.receive_eof(), now)
        elif leg.phase in (Phase.CLOSE_RECEIVED, Phase.LEAVING):
            leg.ended = True  # it may still read our Close, and what comes before it
        else:
            self._broken(leg, "end of stream without a Close frame", now)

    def _catch_up(self, leg: WebSocket, now: float) -> None:
        """The connection ends: read what it has left, except where that is a flood of Pings."""
        turns = 0
        while leg.is_behind and turns < LAST_TURNS:
            held = leg.queue.held
            self.receive_data(leg.side, b"", now)
            turns += leg.queue.held == held

    def _receive_unopened(self, leg: WebSocket, data: bytes, now: float) -> None:
        if leg is self.server and leg.phase is Phase.HANDSHAKE and self.server.handshake:
            outcome = self.server.handshake.receive_data(data)
            if outcome is not None:
                self._server_answered(outcome, now)
                if leg.early:
                    self.receive_data(Side.SERVER, b"", now)
        elif leg.phase is Phase.HANDSHAKE:
            leg.early += data
        # Else the connection is being closed: what still comes is discarded.

    def _receive_controls(
        self, leg: WebSocket, scanner: FrameScanner, data: bytes, now: float
    ) -> None:
        """Pass the messages on, then act on the control frames, which keep their place."""
        for opcode, frame, position in leg.cut_controls(data):
            self._control(leg, opcode, frame, position, now)
        if scanner.violation is not None and leg.scanner is scanner:
            self._violated(leg, scanner.violation, now)

    def _control(
        self, leg: WebSocket, opcode: Opcode, frame: bytes, position: int, now: float
    ) -> None:
        """A control frame came, at that position of the leg's queue."""
        other = leg.other
        if opcode is Opcode.CLOSE:
            self._close_received(leg, frame, now)
        elif opcode is Opcode.PONG and (said := payload(frame)).startswith(self._nonce):
            confirmed = leg.source.confirmed
            round_trip = leg.answered(said, now)
            if round_trip is not None:
                confirms = leg.source.confirmed > confirmed
                self._counters.towards(leg.side).answered(round_trip, confirms=confirms)
                if leg is self.client:
                    self._pinned.binding.received()
            self.attention |= leg.deadline() < self._asked
        elif leg.phase is not Phase.OPEN:
            pass  # our Close is out: nothing else may follow it
        elif other.phase is Phase.OPEN:
            other.say(frame, position)
            if opcode is Opcode.PING:
                leg.pinged = payload(frame)
            elif other.pinged == payload(frame):
                other.pinged = None
        elif opcode is Opcode.PING:
            leg.pong(payload(frame))

    def _close_received(self, leg: WebSocket, frame: bytes, now: float) -> None:
        close = leg.read_close(frame)
        if isinstance(close, Violation):
            self._violated(leg, close, now)
            return
        code, reason = close
        if leg.phase is Phase.CLOSING:
            self._parting = close
            if leg.lane:  # ours isn't out yet: it will be the answer to this one
                leg.phase = Phase.LEAVING
                leg.scanner = None
                self._settle(now)
            else:  # this is the answer to ours: all before it has arrived
                self._done(leg, now, self._policy.close_timeout)
        elif code in self._policy.retry_codes(leg.side):
            linger = self._policy.close_timeout
            self._disconnect(leg, farewell=leg.last_words(code, ""), linger=linger)
            self._lost(leg, f"closed with {code} {reason}".rstrip(), now)
        else:
            self._stop_asking(leg, OVER)
            leg.phase = Phase.CLOSE_RECEIVED
            leg.scanner = None
            leg.confirm_no_more()
            cause = f"{leg.side.value} closed with {code} {reason}".rstrip()
            self._end(Trigger.SESSION_ENDED, code, reason, now, cause=cause)

    def _violated(self, leg: WebSocket, violation: Violation, now: float) -> None:
        """A peer broke the protocol: it gets the code at once, the other leg after its queue."""
        self._stop_asking(leg, OVER)
        leg.scanner = None
        if leg.phase is Phase.OPEN:
            leg.phase = Phase.LEAVING
            position, _ = leg.source.next_end()
            leg.say(leg.close_frame(violation.code, violation.reason), position)
            self._close_until = now + self._policy.close_timeout
            reason = f"{leg.side.value}: {violation.reason}"
            self._end(Trigger.SESSION_ENDED, violation.code, reason, now)
        else:
            self._dropped(leg, now)

    # -- What happens to connections -----------------------------------------------------------

    def handle(self, event: Event, now: float) -> None:
        """A lifecycle event. One that belongs to an earlier connection is ignored."""
        match event:
            case ClientConnected():
                self._catch_up(self.client, now)
                self._client_connected(event, now)
            case ServerConnected():
                if self._awaits(event.generation):
                    self._server_connected(now, event.wall)
            case DialFailed():
                if self._awaits(event.generation):
                    self._counters.dial_results[DialResult.UNREACHABLE] += 1
                    failure = Failure.REFUSED if event.answered else Failure.AWAY
                    self._attempt_failed(failure, event.reason, now)
            case ConnectionLost():
                leg = self.client if event.side is Side.CLIENT else self.server
                if event.generation == leg.generation:
                    self._catch_up(leg, now)
                    if leg is self.client or not self._refused_so_far(now):
                        self._broken(leg, event.reason, now)
            case Shutdown():
                self._recover = False
                for leg in (self.client, self.server):
                    self._catch_up(leg, now)
                if self.state not in ENDED:
                    self._end(
                        Trigger.SESSION_ENDED,
                        event.code,
                        event.reason,
                        now,
                        server_code=event.server_code,
                    )
                else:  # legs that are away are no longer waited for
                    self._part(self.client, now)
                    self._part(self.server, now)
                    self._settle(now)
            case Ask():
                leg = self.client if event.side is Side.CLIENT else self.server
                self._ask(leg, event.text, event.expected)
            case StopAsking():
                leg = self.client if event.side is Side.CLIENT else self.server
                self._stop_asking(leg, "nobody waits for it any more")
            case _:
                assert_never(event)

    def handle_timeout(self, now: float, look: Look = unseen) -> None:
        """next_deadline() has come. Time in which the proxy itself stood still does not count.

        `look`: what the system says of a side's socket. It is asked when a peer has let a deadline
        pass, before it counts as lost.
        """
        late = now - self._asked
        if late > LATE:
            self._postpone(late + LATE)
        for leg in (self.client, self.server):
            if leg.is_behind:
                self.receive_data(leg.side, b"", now)
        if now >= self._opening_until:
            why = self.server.retry.reason
            reason = "the server did not accept in time" + (f": {why}" if why else "")
            self._give_up(Trigger.RETRIES_SPENT, TRY_AGAIN_LATER, 503, reason, now)
        if now >= self._grace_until:
            self._grace_until = inf
            if self.state is State.CLOSING:
                self._settle(now)
            else:
                self._end(Trigger.GRACE_ENDED, GOING_AWAY, "client did not return", now)
        if now >= self._close_until:
            self._close_until = inf
            self._close_late(now, look)
        if (
            self.server.phase is Phase.HANDSHAKE
            and now >= self.server.since + self._policy.connect_timeout
            and not self._refused_so_far(now)
        ):
            self._counters.dial_results[DialResult.NO_HANDSHAKE] += 1
            self._attempt_failed(Failure.AWAY, "no answer to the handshake in time", now)
        for leg in (self.client, self.server):
            if now >= leg.deadline() and leg.overdue(self._nonce, now, look):
                self._broken(leg, "no sign of life", now)
        self.attention = True

    def _close_late(self, now: float, look: Look) -> None:
        """Drop the legs that are late with their part of the end, but for those that go on."""
        # Which legs, before the first is dropped: that makes the proxy answer the other.
        ending = [
            leg for leg in (self.client, self.server) if leg.phase in (Phase.CLOSING, Phase.LEAVING)
        ]
        late = [leg for leg in ending if not leg.goes_on(look, self._policy.close_timeout)]
        if len(late) < len(ending):
            self._close_until = now + self._policy.close_timeout
        for leg in late:
            self._dropped(leg, now)

    def _postpone(self, late: float) -> None:
        self._opening_until += late
        self._grace_until += late
        self._close_until += late
        self.server.since += late
        for leg in (self.client, self.server):
            leg.heard += late
            leg.probed += late
            leg.confirm_at += late
