"""ContextStateMachine: one session, from the client's opening handshake to the last Close frame.

Bytes go through `receive_data`, `pending` and `advance`; everything that happens to a connection
goes through `handle`. What the adapter must do comes out of `commands`. Time is a float in
seconds, passed in. driver.py is this calling protocol as code; core/README.md says it in words.
"""

from dataclasses import replace
from math import ceil, inf
from typing import Final, assert_never

from reknit_core.codes import (
    GAP,
    GOING_AWAY,
    OVERFLOW,
    SERVICE_RESTART,
    TAKEN_OVER,
    TRY_AGAIN_LATER,
)
from reknit_core.commands import (
    AttemptFailed,
    Command,
    Dial,
    DialectChosen,
    Disconnect,
    Dropped,
    Failure,
    Transitioned,
)
from reknit_core.counters import DialResult, Resume
from reknit_core.events import (
    Ask,
    ClientConnected,
    ConnectionLost,
    DialFailed,
    Event,
    ServerConnected,
    Shutdown,
    StopAsking,
)
from reknit_core.form import Moment
from reknit_core.leg.asking import ask, has_replied, stop_asking
from reknit_core.leg.dialling import AskAgain, Dialling, GivenUp, Missed
from reknit_core.leg.dialogue import Dialogue
from reknit_core.leg.leg import NOBODY, Leg
from reknit_core.leg.legs import IncomingWebSocket, OutgoingWebSocket, go_on, pass_on, postpone
from reknit_core.leg.phase import Phase
from reknit_core.leg.transit import Look, unseen
from reknit_core.lifecycle import CLIENT_AWAY, INITIAL, SERVER_AWAY, State, Trigger, fire
from reknit_core.policy.policy import Delivery, Overflow
from reknit_core.queue.backlog import Backlog
from reknit_core.queue.stream import Buffer
from reknit_core.session.closing import CLOSE_MEANS, Meaning
from reknit_core.session.configurations import check
from reknit_core.session.course import Course
from reknit_core.session.ending import Ending
from reknit_core.session.forms import FrozenContext
from reknit_core.session.surroundings import GapError, Surroundings, continues_at
from reknit_core.session.telling import Next, Telling
from reknit_core.side import Side
from reknit_core.terms.claim import Claim
from reknit_core.terms.pinned import Pinned, counts
from reknit_core.wire.controls import close_frame, read_close
from reknit_core.wire.frames import FrameScanner, Opcode, Violation, payload
from reknit_core.wire.handshake import (
    Accepted,
    Failed,
    Refusal,
    encode_refusal,
    refusal,
)
from reknit_core.wire.headers import HeaderList, for_client
from reknit_core.wire.reasons import shortened

LATE = 1.0  # seconds: a time-out handled later than this means that the proxy itself stood still
LAST_TURNS = 4  # scans of what a connection has left that find nothing but control frames

_CLIENT: Final = Side.CLIENT
_OPEN: Final = Phase.OPEN

_REOPENING = frozenset((State.REOPENING, State.REOPENING_ALONE))

OVER = "the session has ended"
_BEGINS_ANEW = "the client begins anew"
ENDED = frozenset((State.CLOSING, State.CLOSED))
_TAKEN_OVER = "a newer connection took over"
_TAKEN_OVER_OPENING = refusal(409, "taken_over", _TAKEN_OVER)


class ContextStateMachine:
    """A pair of legs, their queues, and the state that says what may happen next.

    Three small machines make up a session, and no other flag says where it stands:

    * the lifecycle: `state`, moved by the one table in lifecycle.py;
    * a phase for each leg's connection: session/phase.py;
    * whether legs that are away are still waited for, which a session does until it is shut down
      or has failed.

    Which phases go with which state is written down in session/configurations.py.

    `nonce`: a few unguessable bytes, by which the proxy knows its own Pongs.
    """

    __slots__ = (
        "_armed",
        "_bounded",
        "_commands",
        "_confirms",
        "_counters",
        "_drain_to",
        "_ending",
        "_nonce",
        "_pinned",
        "_policy",
        "_surroundings",
        "_telling",
        "attention",
        "client",
        "course",
        "server",
        "state",
    )

    def __init__(
        self, surroundings: "Surroundings[ContextStateMachine]", pinned: Pinned, nonce: bytes
    ) -> None:
        policy = surroundings.policy
        self._surroundings = surroundings
        self._policy = policy
        self._counters = surroundings.counters
        self._pinned = pinned
        self._nonce = nonce
        to_server, to_client = surroundings.backlog(), surroundings.backlog()
        self.client = IncomingWebSocket(to_server, to_client, policy)
        self.server = OutgoingWebSocket(to_client, to_server, policy, Dialling(policy, nonce))
        self.client.other = self.server
        self.server.other = self.client
        self._telling: Telling | None = None  # once a dialect is chosen
        self.state = INITIAL
        self.attention = False
        """True when commands() or next_deadline() may have news since commands() was called."""
        self._commands: tuple[Command, ...] = ()
        self._ending = Ending(policy, pinned)
        self.course = Course()
        """How it has gone so far."""
        self._armed = inf  # what the adapter's timer stands at (seconds)
        self._drain_to = (0, 0)
        self._confirms = policy.delivery is not Delivery.AT_MOST_ONCE
        pause = Overflow.PAUSE
        self._bounded = (
            policy.overflow_to_server is not pause or policy.overflow_to_client is not pause
        )

    # -- What an adapter asks ------------------------------------------------------------------

    @property
    def connection_id(self) -> str:
        """The session's connection id."""
        return self._pinned.connection_id

    @property
    def dialogue(self) -> Dialogue | None:
        """The session in its dialect, once one is chosen."""
        return None if self._telling is None else self._telling.dialogue

    @property
    def dialect(self) -> str | None:
        """The name of the dialect by which its messages are understood."""
        return None if self.dialogue is None else self.dialogue.name

    @property
    def target(self) -> str:
        """The path and query that the client asks for, without what is the proxy's own."""
        return self._pinned.target

    @property
    def code(self) -> int:
        """The close code that ends it, or the HTTP status by which its client was refused."""
        return self.course.status or self._ending.parting[0]

    @property
    def nonce(self) -> bytes:
        """A few bytes that are this session's own, and no secret of its ends."""
        return self._nonce

    @property
    def terms(self) -> tuple[int, int, float, bool, bool, bool]:
        """On what terms the sides may return.

        A client: its tokens, until when, and whether it is awaited. The server: whether it is
        asked for less than at first, and for a new beginning.
        """
        pinned, binding = self._pinned, self._pinned.binding
        ending = self._ending
        client = binding.handed, binding.proven, ending.grace, ending.recovers
        return *client, pinned.pared, pinned.anew

    @property
    def resumable(self) -> bool:
        """Whether a client of this connection id may still join."""
        match self.state:
            case State.CLOSED:
                return False
            case State.CLOSING:
                return self._ending.grace != inf
            case _:
                return True

    def mismatch(self, claim: Claim) -> str | None:
        """Why the client with that claim can't join, for people; None if it can."""
        received = claim.received
        if received is not None and not self.client.can_go_on(received):
            return f"the session can't continue after message {received}"
        return self._pinned.mismatch(claim.request)

    def belongs_to(self, claim: Claim) -> bool:
        """Whether that client shows what it must, to join the session."""
        return self._pinned.binding.admits(claim)

    @property
    def incoming_lock(self) -> bool:
        """Whether client messages wait because the server is away (the design's lock)."""
        return self.state in SERVER_AWAY

    @property
    def outgoing_lock(self) -> bool:
        """Whether server messages wait because the client is away (the design's lock)."""
        return self.state in CLIENT_AWAY

    @property
    def calls_others(self) -> bool:
        """Whether there is news beyond this session: of others that have commands, or of servers.

        Contexts.news() and Contexts.servers say which.
        """
        return self._surroundings.room.has_news or self._surroundings.servers.has_news

    def choose_server(self) -> str | None:
        """The dial's time has come: to which server, by its name in Contexts.servers.

        None: none is up; then the dial fails as `servers.why_none` says.
        """
        return self._surroundings.choose(self.server, self._pinned)

    @property
    def server_name(self) -> str:
        """Of several servers, the one that it is with, dials, or was with last; else empty."""
        return self.server.dialling.server or self.server.dialling.own

    def let_in(self, at: float) -> None:
        """The session has waited to open: it dials at that time (seconds). For the room."""
        self._dial(at)

    def commands(self) -> list[Command]:
        """What to do now, in this order. Each command is handed out once."""
        self.attention = False
        commands, self._commands = self._commands, ()
        return [*commands]

    def frozen(self, now: float) -> FrozenContext:
        """The context as data at the time `now` (seconds), by reference; without its commands."""
        return FrozenContext(
            now=Moment(now),
            parted=self.client.other is NOBODY,
            client=self.client.frozen(),
            server=self.server.frozen(),
            state=self.state,
            pinned=self._pinned.frozen(),
            nonce=self._nonce,
            asked=Moment(self._armed),
            drain_to=self._drain_to,
            ending=self._ending.frozen(),
            telling=None if self._telling is None else self._telling.frozen(),
            course=self.course.frozen(),
        )

    @classmethod
    def thawed(
        cls,
        form: FrozenContext,
        surroundings: "Surroundings[ContextStateMachine]",
        now: float,
    ) -> "ContextStateMachine":
        """The context that frozen() gave `form` of, with its connections; time stood still.

        A dial that was under way is among its commands again; one that was waited for may be.
        """
        context = cls(surroundings, Pinned.thawed(form.pinned), form.nonce)
        shift = now - form.now
        if form.telling is not None:
            dialogue = surroundings.dialogue_again(form.telling.dialogue)
            context._speak(dialogue).thaw(form.telling, shift, now)
        deflate = form.pinned.compression is not None
        context.client.thaw(form.client, shift, deflate=deflate, nonce=form.nonce)
        context.server.thaw(form.server, shift, deflate=deflate, nonce=form.nonce)
        context._armed = form.asked + shift
        context._ending.thaw(form.ending, shift)
        context.course.thaw(form.course, shift)
        context.state = form.state
        context._drain_to = form.drain_to
        if context.dialogue is not None:
            context.dialogue.count(surroundings.budget, over=form.parted)
        if form.parted:
            context.client.other = context.server.other = NOBODY
        if context.state is State.OPENING:
            if context.server.dialling.reason:
                surroundings.room.missed(now)
            surroundings.room.rejoin(context, now, dials=context.server.phase is not Phase.AWAY)
        if context.server.phase is Phase.DIALLING:
            context._ask_dial()
        if context.dialogue is not None and context.dialogue.is_forgotten:
            context._command(DialectChosen(context.dialogue.name, known=False))
        context.attention = True
        return context

    def check(self) -> None:
        """Assert that the three machines stand where they may stand together; for tests."""
        check(self.state, self.client.phase, self.server.phase, recovers=self._ending.recovers)

    def next_deadline(self) -> float | None:
        """When handle_timeout is due (seconds); None if nothing is awaited."""
        client, server = self.client, self.server
        deadline = min(
            server.dialling.until,
            self._ending.grace,
            self._ending.close,
            client.heard if client.is_behind else client.deadline(),
            server.heard if server.is_behind else server.deadline(),
        )
        if self._telling is not None:
            deadline = min(deadline, self._telling.deadline)
        if server.phase is Phase.HANDSHAKE:
            deadline = min(deadline, server.dialling.begun + self._policy.connect_timeout)
        return None if deadline == inf else deadline

    def armed(self, deadline: float | None) -> None:
        """The adapter's timer stands at that deadline: `attention` says when it is too late."""
        self._armed = inf if deadline is None else deadline

    def pending(self, side: Side) -> list[Buffer]:
        """What to write to that side next; advance() says how much the socket took."""
        return (self.client if side is Side.CLIENT else self.server).pending()

    def advance(self, side: Side, taken: int, now: float) -> bool:
        """That side's socket took `taken` bytes of what pending() gave; 0: it has no room now.

        False says what is mostly so: pending() has nothing more, and need not be asked.
        """
        leg = self.client if side is Side.CLIENT else self.server
        leg.advance(taken, now)
        if leg.early and leg.scanner is not None:
            self.receive_data(side, b"", now)  # the answer is on its way: now what came early
            self.attention = True  # the other side may have been written to before
        if self.state is State.DRAINING:
            self._check_drained(now)
        elif leg.phase is Phase.LEAVING:
            if not leg.lane:
                self._done(leg, now, self._policy.close_timeout)
        elif leg.phase is Phase.CLOSING and taken:
            self._ending.allow(now)
        return bool(leg.lane) or leg.source.sent < leg.source.tail

    def wants_read(self, side: Side) -> bool:
        """Whether to read from that side: False while what it sends has nowhere to go."""
        leg = self.client if side is Side.CLIENT else self.server
        return leg.wants_read()

    def is_behind(self, side: Side) -> bool:
        """Whether that side has sent more frames at one time than are read in one turn."""
        return (self.client if side is Side.CLIENT else self.server).is_behind

    def discard(self) -> None:
        """Free what the queues hold: a bug of ours has ended the session."""
        if self._telling is not None:
            self._telling.over()
        self.client.queue.clear()
        self.server.queue.clear()

    # -- Bytes in ------------------------------------------------------------------------------

    def receive_data(self, side: Side, data: bytes, now: float) -> Backlog | None:
        """Bytes from that side's connection. Never raises for what a peer sends.

        What is returned mostly allows a short way: these bytes are all that is pending for the
        other side, and this side may be read on. What the other's socket takes of them is told
        to that queue's advance() then, in place of the context's.
        """
        leg = self.client if side is _CLIENT else self.server
        leg.heard = now
        scanner = leg.scanner
        if scanner is None:
            self._receive_unopened(leg, data, now)
            return None
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
                return queue
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
        return None

    def _attend(self, leg: Leg, scanner: FrameScanner, now: float) -> None:
        """The leg's queue has reached a bound or a threshold; say where the next one is."""
        queue = leg.queue
        if leg.dialogue is not None and leg.dialogue.anew_at is not None:
            self._begin_anew(leg.dialogue, now)
        if self._confirms:
            leg.other.seek_confirmation(self._nonce, now)
            self.attention |= leg.other.deadline() < self._armed
        if self._bounded and scanner.messages and leg.phase is _OPEN:
            self._bound(leg, now)
        each = self._bounded or leg.dialogue is not None
        queue.alarm = 0 if each else leg.next_alarm(confirms=self._confirms)
        if leg.asked and has_replied(leg):
            self._command_if(stop_asking(leg, ""))
        if leg.dialogue is not None and self._telling is not None:
            leg.count_kept(scanner)
            self._heed(self._telling, now)

    def _bound(self, leg: Leg, now: float) -> None:
        """Hold the leg's queue to its bounds; what that drops is never silent."""
        queue = leg.queue
        before, tail = queue.dropped, queue.tail
        if not leg.make_room():
            self._ending.recovers = False
            reason = f"too much waits for the {leg.other.side.value}"
            self._end(Trigger.SESSION_FAILED, OVERFLOW, reason, now)
        elif queue.dropped > before:
            if self.dialogue is not None:
                self.dialogue.lose("a message was dropped")  # and the places behind it move
            if self.state is State.DRAINING:
                self._check_drained(now)  # what was to go out first may be gone
            self._counters.towards(leg.other.side).dropped_bytes += tail - queue.tail
            if queue.dropped.bit_length() > before.bit_length():  # said at 1, 2, 4, 8, …
                self._command(Dropped(leg.other.side, queue.dropped))

    def receive_eof(self, side: Side, now: float) -> None:
        """That side's connection ended its stream."""
        leg = self.client if side is Side.CLIENT else self.server
        self._catch_up(leg, now)
        if leg is self.server and leg.phase is Phase.HANDSHAKE and self.server.dialling.handshake:
            self._server_answered(self.server.dialling.handshake.receive_eof(), now)
        elif leg.phase in (Phase.CLOSE_RECEIVED, Phase.LEAVING):
            leg.ended = True  # it may still read our Close, and what comes before it
        else:
            self._broken(leg, "end of stream without a Close frame", now, cut=False)

    def _catch_up(self, leg: Leg, now: float) -> None:
        """The connection ends: read what it has left, except where that is a flood of Pings."""
        turns = 0
        while leg.is_behind and turns < LAST_TURNS:
            held = leg.queue.held
            self.receive_data(leg.side, b"", now)
            turns += leg.queue.held == held

    def _receive_unopened(self, leg: Leg, data: bytes, now: float) -> None:
        if leg is self.server and leg.phase is Phase.HANDSHAKE and self.server.dialling.handshake:
            outcome = self.server.dialling.handshake.receive_data(data)
            if outcome is not None:
                self._server_answered(outcome, now)
                if leg.early:
                    self.receive_data(Side.SERVER, b"", now)
        elif leg.phase is Phase.HANDSHAKE:
            leg.early += data
        # Else the connection is being closed: what still comes is discarded.

    def _receive_controls(self, leg: Leg, scanner: FrameScanner, data: bytes, now: float) -> None:
        """Pass the messages on, then act on the control frames, which keep their place."""
        controls = leg.cut_controls(data)
        if leg.dialogue is not None and leg.dialogue.anew_at is not None:
            self._begin_anew(leg.dialogue, now)
        for opcode, frame, position in controls:
            self._control(leg, opcode, frame, position, now)
        if scanner.violation is not None and leg.scanner is scanner:
            self._violated(leg, scanner.violation, now)

    def _control(self, leg: Leg, opcode: Opcode, frame: bytes, position: int, now: float) -> None:
        """A control frame came, at that position of the leg's queue."""
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
            self.attention |= leg.deadline() < self._armed
        elif leg.phase is Phase.OPEN:  # else our Close is out: nothing else may follow it
            pass_on(leg, opcode, frame, position)

    def _close_received(self, leg: Leg, frame: bytes, now: float) -> None:
        close = read_close(leg.side, frame)
        if isinstance(close, Violation):
            self._violated(leg, close, now)
            return
        code, reason = close
        by_its_code = self._ending.is_lost_by(leg, code)
        match CLOSE_MEANS[leg.phase, by_its_code if leg.phase is Phase.OPEN else not leg.lane]:
            case Meaning.CROSSED:
                self._ending.parting = close
                leg.phase = Phase.LEAVING
                leg.scanner = None
                self._settle(now)
            case Meaning.ANSWERED:
                if leg.other.phase is Phase.CLOSE_RECEIVED:  # for who has asked, and nobody else
                    self._ending.parting = close
                self._done(leg, now, self._policy.close_timeout)
            case Meaning.LOST:
                linger = self._policy.close_timeout
                self._disconnect(leg, farewell=leg.last_words(code, ""), linger=linger)
                self._lost(leg, f"closed with {code} {reason}".rstrip(), now, closed=True)
            case Meaning.ENDS:
                self._command_if(stop_asking(leg, OVER))
                leg.phase = Phase.CLOSE_RECEIVED
                leg.scanner = None
                leg.confirm_no_more()
                cause = f"{leg.side.value} closed with {code} {reason}".rstrip()
                self._end(Trigger.SESSION_ENDED, code, reason, now, cause=cause)
            case never:
                assert_never(never)

    def _violated(self, leg: Leg, violation: Violation, now: float) -> None:
        """A peer broke the protocol: it gets the code at once, the other leg after its queue."""
        self._command_if(stop_asking(leg, OVER))
        leg.scanner = None
        if leg.phase is Phase.OPEN:
            leg.phase = Phase.LEAVING
            position, _ = leg.source.next_end()
            leg.say(close_frame(leg.side, violation.code, violation.reason), position)
            self._ending.allow(now)
            self.attention = True
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
                    self._surroundings.ask(
                        self.server,
                        self._pinned,
                        self._made(self.server),
                        now,
                        event.wall,
                        must_resume=self._ending.must_resume(self.state),
                    )
            case DialFailed():
                if self._awaits(event.generation):
                    self._met(DialResult.UNREACHABLE, event.reason, now)
                    failure = Failure.REFUSED if event.answered else Failure.AWAY
                    self._attempt_failed(Missed(failure, event.reason), now)
            case ConnectionLost():
                leg = self.client if event.side is Side.CLIENT else self.server
                if event.generation == leg.generation:
                    self._catch_up(leg, now)
                    if leg is self.client or not self._refused_so_far(now):
                        self._broken(leg, event.reason, now, answered=event.answered)
            case Shutdown():
                self._ending.recovers = False
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
                self._command_if(ask(leg, event.text, event.expected))
                self.attention = True
            case StopAsking():
                leg = self.client if event.side is Side.CLIENT else self.server
                self._command_if(stop_asking(leg, "nobody waits for it any more"))
            case _:
                assert_never(event)

    def handle_timeout(self, now: float, look: Look = unseen) -> None:
        """next_deadline() has come. Time in which the proxy itself stood still does not count.

        `look`: what the system says of a side's socket. It is asked when a peer has let a deadline
        pass, before it counts as lost.
        """
        late = now - self._armed
        if late > LATE:
            self._postpone(late + LATE, now)
        for leg in (self.client, self.server):
            if leg.is_behind:
                self.receive_data(leg.side, b"", now)
        if now >= self.server.dialling.until:
            why = self.server.dialling.reason
            reason = "the server did not accept in time" + (f": {why}" if why else "")
            self._give_up(Trigger.RETRIES_SPENT, TRY_AGAIN_LATER, 503, reason, now)
        if now >= self._ending.grace:
            self._ending.grace = inf
            if self.state is State.CLOSING:
                self._settle(now)
            else:
                half_told = self.state is State.REOPENING_ALONE
                trigger = Trigger.SESSION_ENDED if half_told else Trigger.GRACE_ENDED
                self._end(trigger, GOING_AWAY, "client did not return", now)
        telling = self._telling
        if telling is not None and now >= telling.until:
            self._fall_back(telling.why_late, now)
        if telling is not None and now >= telling.beat_at:
            telling.say_beat(self.state, now)
        if now >= self._ending.close:
            # Which legs, before the first is dropped: that makes the proxy answer the other.
            for late_one in self._ending.late((self.client, self.server), look, now):
                self._dropped(late_one, now)
        if (
            self.server.phase is Phase.HANDSHAKE
            and now >= self.server.dialling.begun + self._policy.connect_timeout
            and not self._refused_so_far(now)
        ):
            silent = Missed(Failure.AWAY, "no answer to the handshake in time", is_silent=True)
            self._met(DialResult.NO_HANDSHAKE, silent.reason, now)
            self._attempt_failed(silent, now)
        for leg in (self.client, self.server):
            if now >= leg.deadline() and leg.overdue(self._nonce, now, look):
                self._broken(leg, "no sign of life", now)
        self.attention = True

    def _postpone(self, late: float, now: float) -> None:
        self._ending.postpone(late)
        if self._telling is not None:
            self._telling.postpone(late)
        self.server.dialling.postpone(late, now)
        for leg in (self.client, self.server):
            postpone(leg, late, now)

    # -- A side opens, or comes back ------------------------------------------------------------

    def _client_connected(self, event: ClientConnected, now: float) -> None:
        client = self.client
        replaced = client.handshake
        client.handshake = event.handshake
        client.hello = event.hello
        self.course.address = event.address
        if self.state is State.OPENING:
            if replaced is not None:
                self._counters.handshakes[_TAKEN_OVER_OPENING.status] += 1
                farewell = encode_refusal(_TAKEN_OVER_OPENING)
                self._disconnect(client, farewell=farewell, linger=self._policy.close_timeout)
            else:
                self.course.began = now
                self.server.dialling.until = now + self._policy.handshake_wait
                self._surroundings.room.enter(self, now)
            client.generation += 1
            client.phase = Phase.HANDSHAKE
            client.early = event.handshake.rest
            return
        self._pinned.named = True  # or it would not be here
        outcome = Resume.RESUMED
        if client.phase is not Phase.AWAY:
            outcome = Resume.TOOK_OVER
            farewell = client.last_words(TAKEN_OVER, _TAKEN_OVER)
            self._disconnect(client, farewell=farewell, linger=self._policy.close_timeout)
            self._lost(client, _TAKEN_OVER, now)
        client.generation += 1
        client.early = event.handshake.rest
        self._ending.grace = inf
        self._counters.resumes[Side.CLIENT, outcome] += 1
        go_on(client, event.received, self._counters)
        self._note_counts(counts=event.received is not None)
        if self.dialogue is not None and event.received is None:
            self.dialogue.client_returned()
        self._open_client((), now, returned=True)
        if self.state is State.CLOSING:
            self._part(client, now)
        else:
            self._fire(Trigger.CLIENT_RETURNED, "", now)
            self._await_beat(now)
            self._start_draining(now)

    def _open_client(self, server_headers: HeaderList, now: float, *, returned: bool) -> None:
        """Answer the client's handshake; its frames follow, those first that came early."""
        client = self.client
        self._counters.handshakes[101] += 1
        known = counts(client.queue, client.source, self._made(client)) if returned else None
        told = self._pinned.told_client(self._policy, known)
        client.accept(self._pinned, server_headers, told)
        self._open(client, now)
        if self._policy.resume_token:
            client.ask(self._nonce, now)  # its Pong proves that it has got the fresh token

    def _open(self, leg: Leg, now: float) -> None:
        deflate = self._pinned.compression is not None
        leg.open(deflate=deflate, now=now, nonce=self._nonce)

    def _server_answered(self, answer: Accepted | Refusal | Failed, now: float) -> None:
        outcome = self._surroundings.weigh(
            answer, self.server, self._pinned, self._ending, self.state, now
        )
        if not isinstance(outcome, Missed):  # of what it has missed it tells below
            self._surroundings.room.found(self, now)
        match outcome:
            case Accepted():
                self._server_accepted(outcome, now)
            case AskAgain():  # at once; no attempt has failed
                self._disconnect(self.server)
                self.server.gone()
                self._dial(now)
            case Refusal():
                self._refuse_client(outcome, now)
                self._end(Trigger.SERVER_REFUSED, GOING_AWAY, f"status={outcome.status}", now)
            case Missed():
                self._attempt_failed(outcome, now)
            case _:
                assert_never(outcome)

    def _refused_so_far(self, now: float) -> bool:
        """The server says no more: whether it has refused, if only with a part of the body."""
        if self.server.phase is not Phase.HANDSHAKE:
            return False
        answer = self.server.dialling.so_far
        if answer is None:
            return False
        self._server_answered(answer, now)
        return True

    def _server_accepted(self, answer: Accepted, now: float) -> None:
        server = self.server
        server.dialling.accepted(now)
        if self.state is State.OPENING:
            self._choose_dialect()
        elif self._pinned.anew:  # to this server the session is new
            self._pinned.anew = False
            self._note_counts(counts=self._pinned.server_is_proxy)
        else:
            try:
                received = continues_at(answer, server, self._pinned)
            except GapError as gap:
                self._counters.resumes[Side.SERVER, Resume.REFUSED] += 1
                self._ending.recovers = False
                self._drop_server(GAP, str(gap), now)
                return
            self._counters.resumes[Side.SERVER, Resume.RESUMED] += 1
            go_on(server, received, self._counters)
            self._note_counts(counts=received is not None)
            if received is None and not self._can_tell(now):
                self._fall_back(Next.UNTOLD.value, now)
                return
        self._open(server, now)
        if self.state is State.CLOSING:
            self._part(server, now)
        elif self.dialogue is not None and self.dialogue.is_reopening:
            self._fire(Trigger.SERVER_UNAWARE, "", now)
        else:
            if self._fire(Trigger.SERVER_ACCEPTED, "", now) is State.CONNECTED:
                self.server.dialling.until = inf
                headers = for_client(answer.headers, self._policy.id_header_name)
                self._open_client(headers, now, returned=False)
            self._start_draining(now)
        self._await_beat(now)
        server.early = answer.rest

    def _drop_server(self, code: int, reason: str, now: float) -> None:
        """The session can't go on with this server: the client is told by that code."""
        self._disconnect(self.server)
        self._server_gone()
        self.server.gone()
        if self.state is State.CLOSING:
            self._settle(now)
        else:
            self._end(Trigger.SESSION_FAILED, code, reason, now)

    def _awaits(self, generation: int) -> bool:
        server = self.server
        return server.generation == generation and server.phase is Phase.DIALLING

    def _start_draining(self, now: float) -> None:
        if self.state is State.DRAINING:
            self._drain_to = (self.client.queue.tail, self.server.queue.tail)
            self._check_drained(now)

    def _check_drained(self, now: float) -> None:
        to_server, to_client = self._drain_to
        up, down = self.client.queue, self.server.queue
        # A full queue may have been cut since: then `tail` has moved back.
        if up.sent >= min(to_server, up.tail) and down.sent >= min(to_client, down.tail):
            self._fire(Trigger.DRAINED, "", now)

    # -- A session whose dialect is known ----------------------------------------------------------

    def _choose_dialect(self) -> None:
        """The session begins: see what is known of its messages."""
        dialogue = self._surroundings.dialogue(self._pinned, self.client.generation)
        if dialogue is not None:
            self._speak(dialogue)
            self._command(DialectChosen(dialogue.name))

    def _speak(self, dialogue: Dialogue) -> Telling:
        telling = Telling(dialogue, self.client, self.server)
        self._telling = self._ending.telling = telling
        return telling

    def _note_counts(self, *, counts: bool) -> None:
        """A side counts messages, over all connections of the session: it can't begin within it."""
        if self.dialogue is not None:
            self.dialogue.begins_elsewhere |= counts

    def _made(self, leg: Leg) -> int:
        """How many of that leg's messages were said in its peer's place."""
        return 0 if self.dialogue is None else self.dialogue.made[leg.side]

    def _can_tell(self, now: float) -> bool:
        """A server has accepted that may know nothing of the session: tell it, if that can be."""
        if self._ending.comes_with_server:
            return False
        telling = self._telling
        timeout = self._policy.connect_timeout
        return telling is None or telling.reopen(now, timeout, repeats=self._confirms)

    def _heed(self, telling: Telling, now: float) -> None:
        """Do what follows from what was heard."""
        follows = telling.heed(ends=self.state in ENDED)
        match follows:
            case Next.NOTHING:
                return
            case Next.SPOKEN:
                if self._confirms:  # what was said in an end's place is to be confirmed, too
                    for leg in (self.client, self.server):
                        leg.seek_confirmation(self._nonce, now)
                    self.attention = True
            case Next.TOLD if self.state in _REOPENING:
                self._fire(Trigger.SERVER_INFORMED, "", now)
                self._await_beat(now)
                self._start_draining(now)
            case Next.TOLD:
                pass
            case Next.UNTOLD | Next.REFUSED:
                self._fall_back(follows.value, now)
            case Next.BEGINS_ANEW:
                self._let_begin_anew(now)
            case never:
                assert_never(never)
        self.attention = True

    def _fall_back(self, reason: str, now: float) -> None:
        """A new server does not know what it must: the client begins anew, as it would itself."""
        if self.dialogue is not None:
            self.dialogue.lose(reason)
            reason = self.dialogue.why_lost or reason
        self._drop_server(SERVICE_RESTART, reason, now)

    def _begin_anew(self, dialogue: Dialogue, now: float) -> None:
        """A client is back that knows nothing of the session, and has begun its protocol again.

        It gets another server, as it would without a proxy: with this one it would begin twice.
        """
        assert dialogue.anew_at is not None
        assert self._telling is not None
        server = self.server
        self._command_if(stop_asking(server, _BEGINS_ANEW))
        linger = self._policy.close_timeout if server.phase is Phase.OPEN else 0.0
        self._disconnect(
            server, farewell=server.last_words(GOING_AWAY, _BEGINS_ANEW), linger=linger
        )
        server.gone()
        self._forgo(self.client, server.queue.tail)
        self._forgo(server, dialogue.anew_at)
        dialogue.anew_at = None
        self._telling.begin_anew()
        self._pinned.begin_anew()
        server.dialling.begin_anew()
        if self.state is not State.SERVER_DOWN:
            self._fire(Trigger.CLIENT_BEGAN_ANEW, _BEGINS_ANEW, now)
        self._await_beat(now)
        self._dial(now)

    def _let_begin_anew(self, now: float) -> None:
        """It can't begin on its present connection: closed with 1012 the client connects once more.

        Its id is free by then.
        """
        if self.state not in ENDED:
            self._end(
                Trigger.SESSION_ENDED,
                SERVICE_RESTART,
                _BEGINS_ANEW,
                now,
                server_code=GOING_AWAY,
            )

    def _server_gone(self) -> None:
        """The server's connection is gone, and what was told on it is void."""
        if self._telling is not None:
            self._telling.server_gone()

    def _await_beat(self, now: float) -> None:
        if self._telling is not None:
            self._telling.await_beat(self.state, now)

    # -- A leg is lost -------------------------------------------------------------------------

    def _broken(
        self, leg: Leg, reason: str, now: float, *, cut: bool = True, answered: bool = False
    ) -> None:
        """The connection ended without a Close frame; `cut`: and without an end of its stream.

        `answered`: the peer's TLS says why.
        """
        if leg is self.server and leg.phase is Phase.HANDSHAKE:
            self._met(DialResult.NO_HANDSHAKE, reason, now)
            failure = Failure.REFUSED if answered else Failure.AWAY
            self._attempt_failed(Missed(failure, reason), now)
        elif leg.phase in (Phase.CLOSE_RECEIVED, Phase.LEAVING):
            self._done(leg, now)  # it had nothing more to say, and nothing more to hear
        elif leg.phase is not Phase.AWAY:
            self._disconnect(leg)
            self._lost(leg, reason, now, cut=cut)

    def _done(self, leg: Leg, now: float, linger: float = 0.0) -> None:
        """The peer has closed, or was told to: it is done with what it was given."""
        leg.source.confirm(*leg.source.handed())
        self._dropped(leg, now, linger)

    def _dropped(self, leg: Leg, now: float, linger: float = 0.0) -> None:
        """The leg's part in a session that ends is over."""
        self._disconnect(leg, linger=linger)
        leg.gone()
        self._settle(now)

    def _lost(
        self, leg: Leg, reason: str, now: float, *, cut: bool = False, closed: bool = False
    ) -> None:
        self._command_if(stop_asking(leg, f"the {leg.side.value} was lost"))
        leg.gone()
        server = leg is self.server
        if server:
            self._server_gone()
        if self.state in ENDED:
            if self._ending.owes(leg, self.state):
                self._await_return(leg, reason, now)
            self._settle(now)
        elif self.state is State.OPENING:
            self._end(Trigger.CLIENT_LOST, GOING_AWAY, reason, now)
        elif not self._ending.waits_for(leg, closed=closed):
            code, why, cause, cut = self._ending.with_leg(leg, reason, cut=cut)
            self._counters.ended_with_server += server
            trigger = Trigger.SESSION_ENDED
            self._end(trigger, code, why, now, cause=cause, cut=cut, with_server=server)
        else:
            self._fire(Trigger.SERVER_LOST if server else Trigger.CLIENT_LOST, reason, now)
            self._await_return(leg, reason, now)
            self._await_beat(now)

    def _await_return(self, leg: Leg, reason: str, now: float) -> None:
        if leg is self.client:
            self._ending.grace = now + self._policy.client_grace
            return
        self.server.dialling.lost(now)
        self._retry(Missed(Failure.AWAY, reason), now)

    def _attempt_failed(self, missed: Missed, now: float) -> None:
        """The server was not reached, or has not accepted: say why, and see whether to go on."""
        server = self.server
        if server.phase is Phase.HANDSHAKE:
            self._disconnect(server)
        server.gone()
        dialling = server.dialling
        reason = dialling.reason = shortened(missed.reason)
        goes_on = missed.failure is not Failure.FINAL and self._surroundings.has_other(
            server, self._pinned
        )
        self._command(
            AttemptFailed(dialling.attempt, missed.failure, reason, dialling.server, goes_on)
        )
        if goes_on:
            dialling.tried += (dialling.server,)
            self._dial(now)
            return
        dialling.tried = ()
        room = self._surroundings.room
        if missed.is_silent and not room.is_shut:
            pass  # it may be silent to this one alone: others find out by themselves
        elif missed.failure is Failure.AWAY:
            room.missed(now)
        else:
            room.found(self, now)
        self._retry(replace(missed, reason=reason), now)

    def _retry(self, missed: Missed, now: float) -> None:
        is_opening = self.state is State.OPENING
        after = self.server.dialling.after(missed, now, is_opening=is_opening)
        if isinstance(after, GivenUp):
            self._give_up(after.trigger, after.code, 502, after.reason, now)
        elif is_opening:
            self._surroundings.room.wait(self, after, now)
        else:
            self._dial(after)

    def _met(self, result: DialResult, reason: str, now: float) -> None:
        self._surroundings.met(self.server, result, now, reason)

    def _dial(self, at: float) -> None:
        server = self.server
        server.generation += 1
        server.phase = Phase.DIALLING
        if server.generation == 1:
            self._counters.dials += 1
        else:
            self._counters.redials += 1
        server.dialling.at = at
        self._ask_dial()

    def _ask_dial(self) -> None:
        server = self.server
        self._command(Dial(server.generation, server.dialling.attempt, server.dialling.at))

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
        self.course.status = answer.status
        self._ending.refuse(self.client, answer, now)
        self.client.handshake = None
        self.attention = True

    def _end(
        self,
        trigger: Trigger,
        code: int,
        reason: str,
        now: float,
        *,
        cause: str = "",
        server_code: int | None = None,
        cut: bool = False,
        with_server: bool = False,
    ) -> None:
        """The session is over: each leg that is up is told, behind what is queued for it.

        `cause`: what the operator is told, if not the `reason`. `server_code`: what the server is
        told, if not the `code`. `cut`: it is told nothing, as its connection breaks too.
        `with_server`: as in Transitioned.
        """
        self._ending.parting = (code, reason)
        self.server.dialling.until = inf
        if self._telling is not None:
            self._telling.beat_at = inf
        self._surroundings.room.leave(self)
        for leg in (self.client, self.server):
            self._command_if(stop_asking(leg, OVER))
        self.course.cause = cause or reason
        self._fire(trigger, cause or reason, now, with_server=with_server)
        if cut:
            self._disconnect(self.server)
            self.server.gone()
        self._part(self.client, now)
        self._part(self.server, now, server_code)
        self._settle(now)

    def _part(self, leg: Leg, now: float, code: int | None = None) -> None:
        """Tell this leg that the session is over: by `code`, if not by the session's own."""
        outcome = self._ending.part(leg, self.state, now, code)
        if isinstance(outcome, Refusal):
            self._refuse_client(outcome, now)
        elif outcome:
            self._disconnect(leg)
            leg.gone()
        self.attention = True

    def _settle(self, now: float) -> None:
        """In a session that ends: answer who asked for it, and notice when both legs are done."""
        if self.state not in ENDED:
            return
        for leg in (self.client, self.server):
            self.attention |= self._ending.answer(leg, now)
        if self._ending.is_done(self.client, self.server):
            self._ending.close = inf
            if self.state is State.CLOSING:
                self._fire(Trigger.LEGS_CLOSED, "", now)
            self._forgo(self.client)
            self._forgo(self.server)
            if self._telling is not None:
                self._telling.over()
            self.client.other = self.server.other = NOBODY

    # -- Helpers -------------------------------------------------------------------------------

    def _fire(
        self, trigger: Trigger, reason: str, now: float, *, with_server: bool = False
    ) -> State:
        row = fire(self, trigger)
        self._counters.moved(row)
        self.course.moved(row.source, row.target, now, self._counters)
        self._command(Transitioned(trigger, row.target, reason, with_server))
        return row.target

    def _forgo(self, leg: Leg, upto: int | None = None) -> None:
        """What still waits for that leg's peer is lost, `upto` that position."""
        self._command_if(self._ending.clear(leg, self._counters, upto))

    def _command_if(self, command: Command | None) -> None:
        if command is not None:
            self._command(command)

    def _command(self, command: Command) -> None:
        self._commands += (command,)
        self.attention = True

    def _disconnect(self, leg: Leg, *, farewell: bytes = b"", linger: float = 0.0) -> None:
        self._command(Disconnect(leg.side, leg.generation, farewell, linger))
