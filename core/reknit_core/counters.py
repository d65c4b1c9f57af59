"""What has happened in all sessions together, counted where it happens.

A message costs nothing here: how many went which way follows from the backlogs' positions. Those
of sessions that are over are added up by `add_ended`.
"""

from bisect import bisect_left
from collections import Counter
from enum import Enum
from itertools import accumulate

from reknit_core.lifecycle import State, Transition
from reknit_core.queue.backlog import Backlog
from reknit_core.side import Side

SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)
"""Upper bounds of a histogram of times."""
OUTAGES = (0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 300.0, 900.0, 3600.0)
"""The same, of how long a side is away."""
DURATIONS = (1.0, 10.0, 60.0, 300.0, 900.0, 3600.0, 14400.0, 86400.0, 604800.0)
"""The same, of how long a session takes."""


class DialResult(Enum):
    """How an attempt to reach the server ended."""

    __hash__ = object.__hash__  # members are single; Enum's own is Python code

    ACCEPTED = "accepted"
    REFUSED = "refused"  # it answered the handshake with another status than 101
    UNREACHABLE = "unreachable"  # no connection
    NO_HANDSHAKE = "no_handshake"  # a connection, but no handshake that the session can go on with


class Resume(Enum):
    """How an attempt to go on with a session ended, of a client or of a server."""

    __hash__ = object.__hash__  # members are single; Enum's own is Python code

    RESUMED = "resumed"
    TOOK_OVER = "took_over"  # resumed while the client's older connection was there
    UNKNOWN = "unknown"  # there is no such session
    NOT_YOURS = "not_yours"  # it is another client's
    REFUSED = "refused"  # it can't go on with this peer


class Histogram:
    """Counts values up to each of some bounds, and above the last."""

    __slots__ = ("_counts", "bounds", "sum")

    def __init__(self, bounds: tuple[float, ...] = SECONDS) -> None:
        self.bounds = bounds
        self.sum = 0.0
        self._counts = [0] * (len(bounds) + 1)

    def observe(self, value: float) -> None:
        """Count one value."""
        self._counts[bisect_left(self.bounds, value)] += 1
        self.sum += value

    @property
    def state(self) -> tuple[list[int], float]:
        """How many values between two bounds each, and the sum of all: for add()."""
        return self._counts[:], self.sum

    def add(self, counts: list[int], total: float) -> None:
        """Add what another one with the same bounds has counted; no counts are none of all."""
        if counts:
            self._counts = [mine + its for mine, its in zip(self._counts, counts, strict=True)]
            self.sum += total

    @property
    def cumulated(self) -> list[int]:
        """How many values were at most each bound; the last number is that of all values."""
        return list(accumulate(self._counts))


class Towards:
    """What went towards one side.

    `ended_messages`, `ended_bytes` and `ended_dropped`: in sessions that are over, less what
    others have had before they came from another process; `lost_messages` and `lost_bytes`: what
    still waited when they were over. `replays`: returns of a peer at which messages went out
    again, `replayed_…` how much; `repeated_messages` are those of them that the peer may have had
    before, because it doesn't count. `returns`: how long a peer was away that came back; `losses`:
    one whose session ended then.
    """

    __slots__ = (
        "confirmations",
        "dropped_bytes",
        "ended_bytes",
        "ended_dropped",
        "ended_messages",
        "losses",
        "lost_bytes",
        "lost_messages",
        "repeated_messages",
        "replayed_bytes",
        "replayed_messages",
        "replays",
        "returns",
        "round_trips",
    )

    def __init__(self) -> None:
        self.ended_messages = 0
        self.ended_bytes = 0
        self.ended_dropped = 0
        self.lost_messages = 0
        self.lost_bytes = 0
        self.dropped_bytes = 0
        self.confirmations = 0
        self.replays = 0
        self.replayed_messages = 0
        self.replayed_bytes = 0
        self.repeated_messages = 0
        self.round_trips = Histogram()  # of the proxy's own Pings, in seconds
        self.returns = Histogram(OUTAGES)
        self.losses = Histogram(OUTAGES)

    def add_ended(self, backlog: Backlog, sign: int) -> None:
        """Add what a queue has passed on so far, or leave it out."""
        self.ended_messages += sign * (backlog.count + backlog.dropped)
        self.ended_bytes += sign * backlog.tail
        self.ended_dropped += sign * backlog.dropped

    def add_lost(self, size: int, messages: int) -> None:
        """A session is over, and that still waited for this side."""
        self.lost_messages += messages
        self.lost_bytes += size

    def answered(self, round_trip: float, *, confirms: bool) -> None:
        """The peer answered the proxy's Ping after that many seconds."""
        self.round_trips.observe(round_trip)
        self.confirmations += confirms

    def was_away(self, seconds: float, *, came_back: bool) -> None:
        """The peer was away for so long, until it came back or its session ended."""
        (self.returns if came_back else self.losses).observe(seconds)

    def replayed(self, messages: int, size: int, *, counts: bool) -> None:
        """A peer came back and is sent that again; `counts`: it has said what it has received."""
        if size > 0:
            self.replays += 1
            self.replayed_messages += messages
            self.replayed_bytes += size
            self.repeated_messages += 0 if counts else messages


class Counters:
    """What all sessions count together."""

    __slots__ = (
        "dial_results",
        "dialects",
        "dials",
        "durations",
        "ended_with_server",
        "handshakes",
        "redials",
        "requests",
        "resumes",
        "states",
        "takeovers",
        "tls_failures",
        "to_client",
        "to_server",
        "transitions",
    )

    def __init__(self) -> None:
        self.states: Counter[State] = Counter()  # sessions; closed ones stay counted
        self.transitions: Counter[Transition] = Counter()
        self.handshakes: Counter[int] = Counter()  # answers to clients, by status
        self.requests: Counter[int] = Counter()  # plain ones that were to be passed, by status
        self.resumes: Counter[tuple[Side, Resume]] = Counter()
        self.dials = 0  # for new sessions
        self.ended_with_server = 0  # sessions
        self.redials = 0  # further attempts, and after a loss
        self.dial_results: Counter[DialResult] = Counter()
        self.dialects: Counter[str] = Counter()  # sessions by the dialect that was chosen
        self.takeovers = 0  # of all sessions, from one process by the next
        self.tls_failures = 0  # handshakes of clients
        self.durations = Histogram(DURATIONS)  # of sessions that are closed, in seconds
        self.to_client = Towards()
        self.to_server = Towards()

    def towards(self, side: Side) -> Towards:
        """What is counted for one side."""
        return self.to_client if side is Side.CLIENT else self.to_server

    def began(self, state: State) -> None:
        """There is one session more, in that state."""
        self.states[state] += 1

    def moved(self, by: Transition) -> None:
        """A session went from one state to the next."""
        self.transitions[by] += 1
        self.states[by.source] -= 1
        self.states[by.target] += 1

    def add_ended(self, to_server: Backlog, to_client: Backlog) -> None:
        """A session is over: what its queues have passed on."""
        self.to_server.add_ended(to_server, 1)
        self.to_client.add_ended(to_client, 1)

    def leave_out(self, to_server: Backlog, to_client: Backlog) -> None:
        """A session comes from another process, which has counted what passed until now."""
        self.to_server.add_ended(to_server, -1)
        self.to_client.add_ended(to_client, -1)
