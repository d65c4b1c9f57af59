"""A session in its dialect, seen from the session: what it says for its sides, and to a new server.

The legs hand what they hear to the Dialogue. This says it on, and what follows; the context fires
the triggers and drops the connections.
"""

from enum import Enum
from math import inf

from reknit_core.dialect.interpreter import Interpreter
from reknit_core.dialect.speech import Beat, LostError
from reknit_core.form import Moment
from reknit_core.leg.dialogue import Dialogue
from reknit_core.leg.leg import NOBODY
from reknit_core.leg.legs import IncomingWebSocket, OutgoingWebSocket
from reknit_core.lifecycle import State
from reknit_core.session.forms import FrozenTelling
from reknit_core.side import Side

SHORTEST_BEAT = 0.5  # seconds: peers may agree on a millisecond, for which nobody waits

_BEATS_FOR = {State.SERVER_DOWN: Side.SERVER, State.CLIENT_DOWN: Side.CLIENT}


class Next(Enum):
    """What follows for a session from what was heard."""

    NOTHING = "it goes on as before"
    SPOKEN = "there may be more to write to either side"
    TOLD = "the server has heard, and answered, all that it must"
    UNTOLD = "a new server can't be told enough"
    REFUSED = "the server did not take what it was told"
    BEGINS_ANEW = "the client begins anew"


class Telling:
    """What is told, and by when it must be answered. Times in seconds; inf: nothing is awaited."""

    __slots__ = ("_client", "_server", "beat_at", "dialogue", "until")

    def __init__(
        self, dialogue: Dialogue, client: IncomingWebSocket, server: OutgoingWebSocket
    ) -> None:
        self.dialogue = dialogue
        self._client = client
        self._server = server
        self.until = inf
        """By when a new server must have answered what it is told."""
        self.beat_at = inf
        """When to say a heartbeat in the place of a side that is away."""
        if dialogue.interpreter is not None or dialogue.is_stuck:  # else no message must be seen
            client.dialogue = server.dialogue = dialogue

    @property
    def deadline(self) -> float:
        """When the first of its waits is over."""
        return min(self.until, self.beat_at)

    def frozen(self) -> FrozenTelling:
        """All of it as data."""
        return FrozenTelling(self.dialogue.frozen(), Moment(self.until), Moment(self.beat_at))

    def thaw(self, form: FrozenTelling, shift: float, now: float) -> None:
        """Become what that was; `shift`: seconds from its clock to this one."""
        self.until = now if self.dialogue.is_stuck else form.until + shift
        self.beat_at = form.beat_at + shift

    def postpone(self, late: float) -> None:
        """So many seconds don't count: the proxy itself stood still."""
        self.until += late

    # -- A new server ----------------------------------------------------------------------------

    def reopen(self, now: float, timeout: float, *, repeats: bool) -> bool:
        """A server has accepted that may know nothing: tell it; False: it can't be told enough.

        `timeout`: seconds in which it has to answer. `repeats`: whether to ask a request twice.
        """
        dialogue = self.dialogue
        server = self._server
        assert dialogue.interpreter is not None
        for message in dialogue.interpreter.reopen(server.source.sent, repeats=repeats):
            server.say_for(message)
        if dialogue.ends or not self._tell(dialogue.interpreter):
            return False
        dialogue.count(server.queue.budget)
        if dialogue.is_reopening:
            self.until = now + timeout
        return True

    def _tell(self, interpreter: Interpreter) -> bool:
        """Tell the server what it must hear now; False: it can't be told enough."""
        try:
            words = interpreter.words()
        except LostError:
            return False
        for message in words:
            self._server.tell(message)
        return True

    def server_gone(self) -> None:
        """The server's connection is gone, and what was told on it is void."""
        self.until = inf
        self.dialogue.server_lost()
        self.dialogue.count(self._server.queue.budget)

    def over(self) -> None:
        """The session is over: nothing is awaited, and nothing kept."""
        self.until = self.beat_at = inf
        self.dialogue.count(self._server.queue.budget, over=True)

    def begin_anew(self) -> None:
        """The client has begun anew, and the server it began with is gone."""
        self.until = inf
        for leg in (self._client, self._server):
            self.dialogue.made[leg.side] = leg.queue.confirmed_count
        self.dialogue.count(self._server.queue.budget)

    @property
    def why_late(self) -> str:
        """Why nothing was answered `until` then, for people."""
        if self.dialogue.is_stuck:
            return "its dialect is not known here"
        return "the server did not answer in time what it was told"

    # -- What was heard --------------------------------------------------------------------------

    def heed(self, *, ends: bool) -> Next:
        """Say what is to be said after what was heard, and what follows. `ends`: the session."""
        dialogue = self.dialogue
        interpreter = dialogue.interpreter
        if interpreter is None or self._client.other is NOBODY:  # what came behind has ended all
            return Next.NOTHING
        follows = Next.NOTHING
        replies, dialogue.replies = dialogue.replies, []
        if not ends:
            for side, message in replies:
                (self._client if side is Side.CLIENT else self._server).say_for(message)
                follows = Next.SPOKEN
        server = self._server
        if dialogue.begins_anew and not ends:
            follows = Next.BEGINS_ANEW
        elif dialogue.falls_back:
            follows = Next.REFUSED
        elif server.scanner is not None:
            server.source.confirm_to(int(interpreter.confirmed))
            interpreter.heard_to(server.source.confirmed)
            if self.until != inf:
                follows = self._go_on(interpreter)
        dialogue.count(server.queue.budget)
        return follows

    def _go_on(self, interpreter: Interpreter) -> Next:
        """The new server may have answered: tell it what follows, up to the last."""
        if not self._tell(interpreter):
            return Next.UNTOLD
        if interpreter.is_reopening:
            return Next.SPOKEN
        self.until = inf
        return Next.TOLD

    # -- Heartbeats ------------------------------------------------------------------------------

    def await_beat(self, state: State, now: float) -> None:
        """A side may have gone, or come: whether heartbeats are to be said in its place."""
        self._next_beat(_BEATS_FOR.get(state), now)

    def say_beat(self, state: State, now: float) -> None:
        """A heartbeat is due."""
        side = _BEATS_FOR.get(state)
        beat = self._next_beat(side, now)
        if beat is not None:
            (self._client if side is Side.CLIENT else self._server).say_for(beat.message)

    def _next_beat(self, side: Side | None, now: float) -> Beat | None:
        """What is to be said in that side's place, and from now on awaited."""
        beat = None if side is None else self.dialogue.beat(side)
        self.beat_at = inf if beat is None else now + max(beat.every, SHORTEST_BEAT)
        return beat
