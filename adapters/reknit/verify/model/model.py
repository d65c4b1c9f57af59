"""The reference model: what a session must do, told from the outside and as simply as can be.

It follows the played lines of one session, keeps every message in a list and every deadline in a
variable, and raises BrokenError where a line is not what must come. After each event it also holds
what the context says of itself (its state, its counts, what it will write) against the lists.
"""

from math import inf
from typing import assert_never

from reknit_core.lifecycle import State
from reknit_core.policy.policy import Delivery, GraceFor, OnServerLoss, Overflow, Policy
from reknit_core.script.actions import (
    Acknowledges,
    Action,
    AnswersProbe,
    Asks,
    Breaks,
    ClientConnects,
    DialFails,
    Ends,
    Passing,
    Sends,
    SendsRest,
    ServerAccepts,
    ServerConnects,
    ServerRefuses,
    ShutsDown,
    StopsAsking,
    Takes,
)
from reknit_core.script.scenario import parse_event
from reknit_core.session.context import LATE
from reknit_core.side import Side
from reknit_core.wire.frames import Opcode

from reknit.verify.model.end import End
from reknit.verify.model.owner import Owner
from reknit.verify.model.phases import CLIENT_AWAY, ENDED, REOPENING, SERVER_AWAY, Lifecycle
from reknit.verify.model.talk import BEGINS, Talk, said
from reknit.verify.model.traffic import TICK, BrokenError, Direction, stands_alone

_DROPS = (Overflow.DROP_OLDEST, Overflow.DROP_NEWEST)
_OWN_CODES = ("1001", "1002", "1013", "4409", "4410", "4413")  # core/README.md, "on the wire"
_BAD_REQUEST = 400  # which may be for the offer: it is made once only
_NOT_YOURS = "client response 403"
_UNKNOWN = "client response 404"
_REFUSALS = (_NOT_YOURS, _UNKNOWN, "client response 409 error=cannot_resume")
_FAREWELL = ("close 4409", "response 409 error=taken_over", "cut", "disconnect")


class Model:
    """Follows one session. Times in seconds."""

    def __init__(self, policy: Policy) -> None:
        self.policy = policy
        self.confirms = policy.delivery is Delivery.AT_LEAST_ONCE
        self.now = 0.0
        self.life = Lifecycle(policy, self.now)
        self.owner = Owner()
        self.talk = Talk()
        to_server = self._direction("the server", policy.overflow_to_server)
        to_client = self._direction("the client", policy.overflow_to_client)
        self.client = End(Side.CLIENT, to_server, to_client)
        self.server = End(Side.SERVER, to_client, to_server)
        self.client.other, self.server.other = self.server, self.client
        self.largest = 0  # bytes that came in one event
        self._early = 0  # bytes that came before the session was open: they are read in one go
        self._action: Action | None = None  # the event, until it is known that it can happen
        self._timed_out = False  # whether it is a time-out
        self._undone = False  # whether it may end an opening
        self._farewell = False  # whether words of farewell go to a client's earlier connection
        self._replaced = False  # whether that one must still be dropped
        self.offers = False  # whether compression is offered to the server
        self._resumes = policy.on_server_loss is OnServerLoss.RESUME
        self._named = True  # whether the client can come back, so that it is waited for
        self._cut = False  # whether one that can't was cut off, which cuts off the server
        self.alone = False  # whether one that can't was told that all is over, and nobody hears it
        self._closes: set[str] = set()  # Close frames that an end or the operator has sent
        self._timer = inf  # what the adapter's timer stood at when the last event was over

    def _direction(self, name: str, overflow: Overflow) -> Direction:
        return Direction(
            name,
            confirms=self.confirms,
            drops=overflow in _DROPS,
            window=self.policy.replay_window,
        )

    def end(self, side: Side) -> End:
        """That end of the session."""
        return self.client if side is Side.CLIENT else self.server

    def read(self, line: str) -> None:
        """The next played line. Raises BrokenError."""
        if line.startswith("@"):
            self._begin(line)
            return
        kind, _, text = line.strip().partition(" ")
        if kind == "!":
            self._action = None  # it can't happen
            return
        if _not_let_in(self._action, text):
            self._check_refusal(text)
        self._apply()
        who, _, what = text.partition(" ")
        if kind == "=":
            self._enter(State(text))
        elif who == "dialect":
            self.talk.dialect = what
        elif who == "dial":
            self._dial(what)
        else:
            self._come_out(self.end(Side(who)), what)

    def event_over(self, timer: float) -> None:
        """All lines of an event are read; `timer`: what the adapter's stands at (seconds).

        A Pong puts the deadline off, and leaves the timer: that much more may be late.

        Raises BrokenError.
        """
        self._apply()
        if self._replaced:
            raise BrokenError("the client's earlier connection is not dropped")
        self.life.check_time(self.now)
        self._timer = timer

    # -- Events --------------------------------------------------------------------------------

    def _begin(self, line: str) -> None:
        self._apply()
        step = parse_event(line)
        self.now = step.at
        self._action = step.action
        self._timed_out = step.action is Passing.TIMEOUT
        self._undone = self._farewell = False
        self.life.may_fail("away")
        self.client.begin()
        self.server.begin()

    def _apply(self) -> None:
        """The event can happen: what it means for the ends."""
        action, self._action = self._action, None
        match action:
            case ClientConnects(received=received, takes=takes, via=via):
                self.owner.let_in(action)
                if self.life.state is State.OPENING and not self.client.here:
                    self.life.client_is_proxy = via == "reknit"
                    self.offers = action.deflate is not None
                if self.life.state is not State.OPENING:
                    self.talk.returned(received)
                self._named = self._can_return(action)
                self._farewell = True
                self._replaced = self.client.here
                self.client.connect(self.now, takes_all=takes is None)
                self.client.outgoing.sender_anew()
                self._return(self.client, received)
                self.life.client_returned()
            case ServerConnects(generation=None):
                self.life.dialled()
                self.server.connect(self.now, takes_all=True)
                self.server.outgoing.sender_anew()
            case DialFails(generation=None, answered=answered):
                self.life.dialled()
                self.life.may_fail("refused" if answered else "away")
            case ServerAccepts(received=received, deflate=deflate, reconnect=reconnect):
                opening = self.life.state is State.OPENING or self.talk.is_new
                if opening:
                    self.life.server_is_proxy = reconnect is not None
                elif self.life.server_is_proxy and reconnect == "new":
                    self.life.server_counts = False
                received = received if self.life.server_counts else None
                self.offers = self.offers and deflate is not None
                self._return(self.server, self.talk.accepted(received, opening=opening))
                self.life.accepted(self.now)
                self.server.talks = True
                self.server.heard = self.now
            case ServerRefuses(status=status):
                self._undone = self.life.refused(status) or self._resumes
                if status == _BAD_REQUEST and self.life.state is State.OPENING and self.offers:
                    self.offers = self._undone = False
                    self.life.disagreed(must=True)
            case Sends(side=side, pieces=pieces, rest=rest, raw=raw):
                self.end(side).rest = rest
                self._say(self.end(side), b"".join(pieces), raw=raw)
                self.life.may_fail("away", "refused")
            case SendsRest(side=side):
                end = self.end(side)
                rest, end.rest = end.rest, b""
                self._say(end, rest)
            case AnswersProbe(side=side):
                self.end(side).answer(self.now)
            case Ends(side=side) | Breaks(side=side, generation=None):
                if isinstance(action, Breaks) and action.answered:  # its TLS says that it won't
                    self.life.may_fail("refused")
                self._lose(self.end(side))
                if side is Side.CLIENT:
                    self._leave(cut=isinstance(action, Breaks))
            case Takes(side=side, limit=limit):
                self.end(side).takes_all = limit is None
                self.end(side).attended = self.now
            case Acknowledges(side=side, limit=limit):
                self.end(side).acks_all = limit is None
                self.end(side).attended = self.now
            case ShutsDown(code=code, reason=reason):
                self._closes.add(f'close {code} "{reason}"' if reason else f"close {code}")
                self.life.recovers = False
            case Passing.STALLED:
                self._stall()
            case None | Passing() | ServerConnects() | DialFails() | Breaks():
                pass  # time, or a late event of an earlier connection
            case Asks() | StopsAsking():
                raise AssertionError("requests of the operator's have no model")
            case _:
                assert_never(action)

    def _return(self, end: End, received: int | None) -> None:
        if received is not None and end.incoming.can_go_on_after(received) is False:
            raise BrokenError(f"the {end.side.value} goes on after message {received}")
        end.incoming.receiver_anew(received)

    def _check_refusal(self, text: str) -> None:
        """The proxy doesn't let an end in: a stranger, or one whose count can't be gone on from."""
        action, self._action = self._action, None
        if isinstance(action, ServerAccepts):
            self.life.may_fail("refused")
        match action:
            case ClientConnects() if text.startswith(_NOT_YOURS):
                self.owner.turned_away(action)
                return
            case ClientConnects() if self._is_unknown(text):
                return
            case ClientConnects(resume=None, received=received):
                end = self.client
            case ServerAccepts(deflate=str(used)) if not (self.offers and stands_alone(used)):
                if self.life.state is State.OPENING and self.offers:
                    self.offers = False
                    self.life.disagreed(must=True)
                return
            case ServerAccepts(subprotocol=str()):
                self.life.disagreed(must=False)  # unless it has been asked so already
                return
            case ServerAccepts(subprotocol=None, received=None) if self._is_of_no_use():
                self.life.final = True
                return
            case ServerAccepts(subprotocol=None, received=received):
                end = self.server
                self.life.recovers = False
            case _:
                return  # another session, or another subprotocol than before
        if received is None or end.incoming.can_go_on_after(received):
            raise BrokenError(f"the {end.side.value} may not go on after message {received}")

    def _say(self, end: End, data: bytes, *, raw: bool = False) -> None:
        size = len(data) + len(end.rest)
        if self.life.state is State.OPENING:
            size += self._early
            self._early = size
        self.largest = max(self.largest, size)
        if raw:
            end.closing = True  # it breaks the protocol
            return
        count = len(end.outgoing.sent)
        controls = end.say(data, self.now)
        self.talk.sent(end, count, self.life.state)
        for opcode, phrase in controls:
            if opcode is not Opcode.CLOSE:
                end.asked = phrase if opcode is Opcode.PING else None
                continue
            end.closing = True
            self._closes.update((phrase, " ".join(phrase.split()[:2])))  # maybe without a reason

    def _lose(self, end: End) -> None:
        end.here = False
        if end is self.client:
            self._undone = True
            if self.life.state is State.CLOSING:
                self.life.client_lost(self.now)

    def _can_return(self, client: ClientConnects) -> bool:
        """Whether that client is waited for when it is lost."""
        if self.policy.grace_for is GraceFor.ALL or not self.policy.require_minted_id:
            return True  # a player names an id wherever it may
        known = self.life.state is not State.OPENING
        return known or client.resume is not None or "reconnect_" in client.target

    def _is_unknown(self, text: str) -> bool:
        """Whether a client is told so by right: it names a session that has not begun."""
        opening = self.life.state is State.OPENING
        return text.startswith(_UNKNOWN) and self.policy.require_minted_id and opening

    def _leave(self, *, cut: bool) -> None:
        """The client's connection is lost: one that can't come back is not waited for."""
        cut = cut and not self.life.server_is_proxy  # which would wait
        if not self._named and self.life.state not in (State.OPENING, *ENDED):
            self._cut = cut
            self.life.recovers &= not cut
        if not self._named:
            self.life.grace_until = self.now

    def _stall(self) -> None:
        late = self.now - self._timer
        for one in (self.life, self.client, self.server):
            one.stalled(late, LATE)

    # -- What comes out ------------------------------------------------------------------------

    def _enter(self, state: State) -> None:
        keeps = self.life.server_is_proxy and not self.server.has_closed
        gone = not (self._named or self.client.here)
        gone |= not (self._resumes or keeps or self.server.here)
        if state is State.CLOSING and self.life.recovers and not gone:
            self._check_cause()
        if state in CLIENT_AWAY and not self._named:
            raise BrokenError("a client that can't come back is waited for")
        if state in CLIENT_AWAY and self.life.client_is_proxy and self.client.has_closed:
            raise BrokenError("another reknit is waited for that has said 1001")
        if state in SERVER_AWAY and not (self._resumes or keeps):
            raise BrokenError("a lost server is waited for")
        # An end that is lost has not ended the session, whatever its Close said.
        self.client.closing &= state not in CLIENT_AWAY
        self.server.closing &= state not in SERVER_AWAY
        owed = (self._owed(self.client), self._owed(self.server))
        self.life.enter(state, self.now, undone=self._undone, owed=owed)

    def _owed(self, end: End) -> int:
        """How much that end must still get; another reknit gets the end of the session too.

        One that took nothing of it in time is given up: it asks for the session, which is gone.
        """
        life = self.life
        is_proxy = life.client_is_proxy if end is self.client else life.server_is_proxy
        return end.owed + (is_proxy and not (end.told or end.closing or end.given_up))

    def _is_of_no_use(self) -> bool:
        """Whether a server that knows nothing of the session is none that it can go on with."""
        is_again = self.life.state is not State.OPENING and self.life.server_is_proxy
        return is_again and not self._resumes

    def _check_told(self, what: str) -> None:
        """Nothing goes on while a new server has not answered what it was told."""
        if self.life.state in REOPENING and said(what) != BEGINS:
            raise BrokenError(f"{what} while the server is told")

    def _falls_back(self) -> bool:
        """Whether the session ends because a new server can't be told, or has not answered."""
        life = self.life
        if self.talk.falls_back(life, self.client):
            return True
        lost = bool(self.talk.dialect) and life.state not in SERVER_AWAY and not self.server.here
        if lost or life.is_half_told(self.now):
            life.final = True
            return True
        waited = self.now >= life.grace_until - TICK
        return life.state is State.REOPENING_ALONE and waited

    def _check_cause(self) -> None:
        """The session ends on purpose: an end has closed it, or a queue is full."""
        if self._falls_back() or self.life.final:
            return
        if not (self.client.closing or self.server.closing):
            self.life.recovers = False
            if Overflow.CLOSE not in (self.policy.overflow(side) for side in Side):
                raise BrokenError("the session ends on purpose, but nobody closed it")

    def _dial(self, what: str) -> None:
        if what == "cancelled":
            self.life.dialled()
            return
        if what.startswith("failed"):
            self.life.attempt_failed(what.split()[1])
            return
        words = dict(word.split("=") for word in what.split())
        if words["attempt"] == "0" and self.talk.anew is not None:
            self.talk.begin_anew(self.life, self.client)
        self.life.dial(int(words["attempt"]), float(words["at"]), self.now)

    def _come_out(self, end: End, what: str) -> None:
        verb, _, rest = what.partition(" ")
        if self._farewell and end is self.client and what.startswith(_FAREWELL):
            self._replaced &= verb != "disconnect"
            return
        match verb:
            case "message":
                if end.told:
                    raise BrokenError(f"the {end.side.value} got a message behind its Close")
                if not self.talk.is_said_again(end, what):
                    self._check_told(what)
                    end.incoming.receive(what)
            case "ping" | "pong":
                if what != "ping probe":
                    end.get(what)
                else:
                    end.ping(self.now, self.policy.heartbeat_timeout)
            case "close":
                self._close(end, what)
            case "response" | "request":
                self._shake_hands(end, rest)
            case "pause" | "resume":
                end.is_read = verb == "resume"
                end.attended = self.now
            case "disconnect":
                self._disconnect(end, rest)
            case "undelivered":
                end.incoming.check_lost(int(rest.split()[0].removeprefix("messages=")))
            case "cut" | "dropped":
                pass  # bytes that the end does not tell of; a count that is checked elsewhere
            case _:
                raise BrokenError(f"the {end.side.value} got {what}")

    def _close(self, end: End, what: str) -> None:
        end.told = True
        heard = self.server.has_closed and self.server.here
        self.alone |= end is self.client and not (self._named or end.closing or heard)
        if self._cut and end is self.server:
            raise BrokenError("the client was cut off, and the server got a Close")
        code = what.partition(" ")[2][:4]
        own = code in _OWN_CODES or (code == "1012" and (self.life.final or not self._resumes))
        if what not in self._closes and not own:
            raise BrokenError(f"the {end.side.value} got {what}, which nobody sent")

    def _shake_hands(self, end: End, what: str) -> None:
        """The proxy says what it has taken and what it has dropped."""
        if what.startswith("101"):
            end.heard = self.now
        for word in what.split():
            name, _, value = word.partition("=")
            if name == "x-reconnect-token":
                self.owner.token = value
            if name == "x-reconnect-received" and int(value) != end.taken_before:
                raise BrokenError(f"{word} to the {end.side.value}, not {end.taken_before}")
            if name == "x-reconnect-dropped" and int(value) != end.dropped_before:
                raise BrokenError(f"{word} to the {end.side.value}, not {end.dropped_before}")

    def _disconnect(self, end: End, what: str) -> None:
        if what.startswith("generation="):
            raise BrokenError(f"a connection of the {end.side.value} is dropped that is not there")
        end.here = False
        if self.life.state in ENDED:
            end.given_up = end.talks
        elif self.life.is_half_told(self.now):
            pass
        elif self._timed_out and end.talks and not end.closing:
            end.check_silence(self.now, self.policy.heartbeat_timeout, confirms=self.confirms)
            if end is self.client:
                self._leave(cut=True)


def _not_let_in(action: Action | None, text: str) -> bool:
    """Whether that outcome means that the end which the event tells of is turned away."""
    match action:
        case ClientConnects():
            return text.startswith(_REFUSALS)
        case ServerAccepts():
            return text == "server disconnect"
        case _:
            return False
