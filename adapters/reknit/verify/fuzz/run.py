"""One session that is fuzzed: the player and the reference model, side by side."""

from collections.abc import Callable, Iterable
from math import ceil

from reknit_core.lifecycle import State
from reknit_core.play.player import Player
from reknit_core.policy.policy import Policy
from reknit_core.script.scenario import seconds
from reknit_core.side import Side

from reknit.verify.model.checks import check
from reknit.verify.model.end import End
from reknit.verify.model.model import Model
from reknit.verify.model.phases import ENDED
from reknit.verify.model.traffic import BrokenError

_ANSWERS = 20  # to the proxy's Pings, in one moment
_DEADLINES = 200  # that a wait may come by
_PEACE = 12  # rounds in which both ends come back: more than a session can need
_ENDING = 400  # events in which a session that ends must have ended


class FailedSessionError(Exception):
    """An invariant is broken. `scenario`: a scenario file that shows it."""

    def __init__(self, what: str, lines: list[str]) -> None:
        comment = f"# Broken: {what}".replace("\n", " ")
        self.scenario = "\n".join((comment, *lines)) + "\n"
        super().__init__(self.scenario)


class FuzzedSession:
    """Plays events and holds what comes out against the model. Times in seconds.

    `answers`: the ends that answer the proxy's own Pings at once. `compresses`: whether both ends
    can. `proxies`: the ends that are another reknit. Each method that plays raises
    FailedSessionError.
    """

    def __init__(
        self,
        policy: Policy,
        answers: set[Side],
        *,
        compresses: bool = False,
        proxies: Iterable[Side] = (),
    ) -> None:
        self.model = Model(policy)
        self._compresses = compresses
        self._proxies = frozenset(proxies)
        self.at = 0.0
        self._player = Player(policy)
        self._answers = answers
        self._number = 0  # of the last message

    def another(self) -> "FuzzedSession":
        """A new session of the same kind."""
        return FuzzedSession(
            self.model.policy, self._answers, compresses=self._compresses, proxies=self._proxies
        )

    # -- Playing -------------------------------------------------------------------------------

    def do(self, event: str) -> None:
        """Play an event now."""
        self._play(event)
        for _ in range(_ANSWERS):
            pinged = [end for end in self.ends if self.is_pinged(end) and end.side in self._answers]
            if not pinged:
                return
            self._play(f"{pinged[0].side.value} pong probe")
        self.fail("each answer brings another Ping")

    def say(self, end: End, what: str) -> None:
        """Play what that end does."""
        self.do(f"{end.side.value} {what}")

    def wait(self, duration: float) -> None:
        """Let time pass, from deadline to deadline."""
        until = round(self.at + duration, 6)
        for _ in range(_DEADLINES):
            deadline = self.deadline
            if deadline is None or deadline > until:
                self.at = until
                self.do("wait")
                return
            self.at = max(self.at, deadline)
            self.do("wait")
        self.fail(f"the deadline {deadline} does not go away")

    def stall(self, duration: float) -> None:
        """Let time pass in which the proxy stands still."""
        self.at = round(self.at + duration, 6)
        self.do("stalled")

    def fail(self, what: str) -> None:
        """That is not as it should be."""
        raise FailedSessionError(what, self._player.lines)

    def _play(self, event: str) -> None:
        try:
            for line in self._player.do(f"@{seconds(self.at)} > {event}"):
                self.model.read(line)
            assert self._player.context is not None
            check(self.model, self._player.context)
        except BrokenError as error:
            raise FailedSessionError(str(error), self._player.lines) from error
        except Exception as error:  # none may leave the core
            what = f"{type(error).__name__}: {error}"
            raise FailedSessionError(what, self._player.lines) from error

    # -- What is so ----------------------------------------------------------------------------

    @property
    def ends(self) -> tuple[End, End]:
        """The client and the server."""
        return self.model.client, self.model.server

    @property
    def state(self) -> State:
        """The session's state."""
        return self.model.life.state

    @property
    def goes_on(self) -> bool:
        """Whether the session is not over, and not about to be."""
        return self.state not in ENDED

    @property
    def is_over(self) -> bool:
        """Whether the session is closed, and no connection is left."""
        return self.state is State.CLOSED and not any(end.here for end in self.ends)

    @property
    def deadline(self) -> float | None:
        """The next deadline of the proxy, as precise as a scenario can say it."""
        context = self._player.context
        deadline = context.next_deadline() if context else None
        return None if deadline is None else round(deadline, 6)

    def generation(self, side: Side) -> int:
        """How many connections or dials that side has had."""
        context = self._player.context
        assert context is not None
        return (context.client if side is Side.CLIENT else context.server).generation

    def name(self, end: End) -> str:
        """A payload for that end that no other message has."""
        self._number += 1
        return f'"{end.side.value[0]}{self._number}"'

    def pick(self, side: Side, can: Callable[[End], bool]) -> End | None:
        """That end, or else the other one, if it can."""
        end = self.model.end(side)
        return next((one for one in (end, end.other) if can(one)), None)

    def is_here(self, end: End) -> bool:
        """Whether it has a connection."""
        return end.here

    def can_go_on(self, end: End) -> bool:
        """Whether a part of a message may come from it."""
        return (end.here and bool(end.rest)) or self.can_say(end)

    def can_say(self, end: End) -> bool:
        """Whether a frame may come from it."""
        return end.here and end.talks and not end.rest and not end.closing

    def can_send(self, end: End) -> bool:
        """Whether a message may come from it."""
        return self.can_say(end) and not end.in_message

    def is_pinged(self, end: End) -> bool:
        """Whether an answer to the proxy's own Ping may come from it."""
        return self.can_say(end) and end.unanswered is not None

    def is_asked(self, end: End) -> bool:
        """Whether an answer to the other end's Ping may come from it."""
        return self.can_say(end) and bool(end.questions)

    def connect_client(self, more: str = "") -> None:
        """The client comes or returns, with the token that it has; `more`: as in a scenario."""
        token = self.model.owner.token
        offer = " deflate" if self._compresses else ""
        offer += " via=reknit" if Side.CLIENT in self._proxies else ""
        self.do(f"client connected{more}{offer}{'' if token is None else f' token={token}'}")

    # -- The server ----------------------------------------------------------------------------

    @property
    def server_is_awaited(self) -> bool:
        """Whether a dial is under way, or a handshake."""
        server = self.model.server
        return self.model.life.dial_at is not None or (server.here and not server.talks)

    def dial_is_due(self) -> bool:
        """Wait until the dial is due; whether there still is one then."""
        dial_at = self.model.life.dial_at
        if dial_at is not None and dial_at > self.at:
            self.wait(dial_at - self.at)
        return self.model.life.dial_at is not None

    def reach_server(self) -> None:
        """The dial gets its transport, if there is one."""
        if self.dial_is_due():
            self.do("server connected")

    def accept(self, count: str = "") -> None:
        """The server accepts, if it is asked to."""
        server = self.model.server
        if server.here and not server.talks:
            kind = ""
            if Side.SERVER in self._proxies:
                kind = " reconnect=resumed" if "received" in count else " reconnect=new"
            self.do(f"server accepts{count}{kind}{' deflate' if self.model.offers else ''}")

    def hang_together(self) -> None:
        """The server accepts, but what it compresses would not stand alone."""
        server = self.model.server
        if server.here and not server.talks:
            self.do('server accepts deflate=""')

    def refuse(self, status: int) -> None:
        """The server refuses, if it is asked to accept."""
        server = self.model.server
        if server.here and not server.talks:
            self.do(f"server refuses status={status}")

    # -- Peace ---------------------------------------------------------------------------------

    def make_peace(self) -> None:
        """Nothing goes wrong any more: all must arrive, and the session must end when asked to."""
        self._answers = set(Side)
        self.do("wait")
        for _ in range(_PEACE):
            if self.goes_on and not self._is_restored():
                self._restore()
        if self.goes_on:
            policy = self.model.policy
            self.wait(ceil(policy.heartbeat_interval + 2 * policy.heartbeat_timeout))
            if not self._is_restored():
                self.fail(f"in peace, not all is delivered and connected, but {self.state.value}")
            self.do("client close 1000")
        self._finish()

    def _is_restored(self) -> bool:
        return self.state is State.CONNECTED and all(
            self.can_send(end) and end.takes_all and not end.incoming.missing for end in self.ends
        )

    def _restore(self) -> None:
        """Both ends are there, send the rest of what they began, and take everything."""
        for end in self.ends:
            if end.here and end.closing:
                self.say(end, "lost")
            if end.here and not end.takes_all:
                self.say(end, "takes all")
            if end.here and end.rest:
                self.say(end, "rest")
            if end.here and end.in_message:
                self.say(end, f"part last {self.name(end)}")
        if self.goes_on and not self.model.client.here:
            self.connect_client()
        if self.goes_on and not self.model.server.here:
            self.reach_server()
        if self.goes_on:
            self.accept()
        self.wait(1.0)

    def _finish(self) -> None:
        """Nobody comes back, and who is told to close does."""
        for _ in range(_ENDING):
            deadline = self.deadline
            closer = self.pick(Side.CLIENT, lambda end: end.told and self.can_say(end))
            if self.is_over:
                return
            if closer is not None:
                self.say(closer, "close 1000")
            elif self.dial_is_due():
                self.do("server dial failed")
            elif deadline is not None:
                self.wait(max(0.0, deadline - self.at))
            else:
                break
        self.fail("the session does not end")
