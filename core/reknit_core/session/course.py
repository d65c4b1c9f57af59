"""How a session has gone so far: since when it is, from where, how often its sides were away."""

from math import inf

from reknit_core.counters import Counters
from reknit_core.form import Moment
from reknit_core.lifecycle import CLIENT_AWAY, SERVER_AWAY, State
from reknit_core.session.forms import FrozenAway, FrozenCourse
from reknit_core.side import Side

_AWAY = SERVER_AWAY | CLIENT_AWAY
_OVER = (State.CLOSING, State.CLOSED)


class Away:
    """How often a side was away, and for how many seconds in all; `since` when it is, or inf."""

    __slots__ = ("seconds", "since", "times")

    def __init__(self, times: int = 0, seconds: float = 0.0, since: float = inf) -> None:
        self.times = times
        self.seconds = seconds
        self.since = since

    def frozen(self) -> FrozenAway:
        """All of it as data."""
        return FrozenAway(self.times, self.seconds, Moment(self.since))


class Course:
    """Times in seconds. `client`, `server`: how that side was away; None: never.

    `address`: the client's IP address; empty: it has none, or isn't known. `status`: by which HTTP
    status it was refused; 0: it was not. `cause`: why it ends, for people.
    """

    __slots__ = ("address", "began", "cause", "client", "server", "status")

    def __init__(self) -> None:
        self.began = 0.0
        self.address = ""
        self.status = 0
        self.cause = ""
        self.client: Away | None = None
        self.server: Away | None = None

    def frozen(self) -> FrozenCourse:
        """All of it as data."""
        client = None if self.client is None else self.client.frozen()
        server = None if self.server is None else self.server.frozen()
        began = Moment(self.began)
        return FrozenCourse(began, self.address, self.status, self.cause, client, server)

    def thaw(self, form: FrozenCourse, shift: float) -> None:
        """Become what that was; `shift`: seconds from its clock to this one."""
        self.began = form.began + shift
        self.address = form.address
        self.status = form.status
        self.cause = form.cause
        self.client = _thawed(form.client, shift)
        self.server = _thawed(form.server, shift)

    def moved(self, source: State, target: State, now: float, counters: Counters) -> None:
        """The session went from one state to the next."""
        if source in _AWAY or target in _AWAY:
            is_over = target in _OVER
            if (source in SERVER_AWAY) is not (target in SERVER_AWAY):
                self.server = _turned(self.server, Side.SERVER, is_over, now, counters)
            if (source in CLIENT_AWAY) is not (target in CLIENT_AWAY):
                self.client = _turned(self.client, Side.CLIENT, is_over, now, counters)
        if target is State.CLOSED:
            counters.durations.observe(now - self.began)


def _turned(
    away: Away | None, side: Side, is_over: bool, now: float, counters: Counters
) -> Away | None:
    """That side has gone, or is away no more."""
    if away is None:
        away = Away()
    if away.since == inf:
        away.times += 1
        away.since = now
    else:
        passed = now - away.since
        counters.towards(side).was_away(passed, came_back=not is_over)
        away.seconds += passed
        away.since = inf
    return away


def _thawed(form: FrozenAway | None, shift: float) -> Away | None:
    return None if form is None else Away(form.times, form.seconds, form.since + shift)
