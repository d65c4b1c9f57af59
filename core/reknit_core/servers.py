"""The servers behind the proxy: which one a session dials next, and which of them are up.

A server is down when it can't be reached, or has accepted several connections in a row without an
answer to any. Of several, no session dials one that is down: one check at a time, with the waits of
the policy's retries, finds out when it is back. A single server is dialled by each session that
waits for it, as its own retries say.
"""

from collections import Counter
from collections.abc import Collection, Iterable, Iterator
from dataclasses import dataclass
from hashlib import blake2s
from math import inf

from reknit_core.counters import DialResult
from reknit_core.policy.policy import Balance, Policy
from reknit_core.policy.setting import PolicyError
from reknit_core.policy.upstream import Upstream

MISSES = 3  # connections in a row without an answer
NONE_UP = "no server is up"

_SCORE = 8  # bytes: so many that two are hardly ever equal

Upstreams = Upstream | Iterable[Upstream]
"""A server, or several."""


def as_upstreams(upstreams: Upstreams) -> tuple[Upstream, ...]:
    """The server, or the servers."""
    return (upstreams,) if isinstance(upstreams, Upstream) else tuple(upstreams)


@dataclass(frozen=True, slots=True)
class ServerChange:
    """A server has gone, and why; or it is back, after so many seconds."""

    name: str
    is_up: bool
    reason: str
    seconds: float


class Server:
    """How one of them stands. Its `name` is its URL."""

    __slots__ = (
        "asks",
        "check_at",
        "is_checked",
        "is_known",
        "is_up",
        "misses",
        "name",
        "reason",
        "results",
        "since",
        "upstream",
        "wait",
    )

    def __init__(self, upstream: Upstream) -> None:
        self.name = upstream.url
        self.upstream = upstream
        self.is_up = True  # until it is known not to be
        self.is_known = False  # whether it has ever been reached
        self.reason = ""  # why it is down, for people
        self.since = -inf  # when it went down
        self.misses = 0
        self.results: Counter[DialResult] = Counter()  # of sessions' dials
        self.asks = False  # whether a connection alone doesn't show that it is back
        self.check_at = inf
        self.is_checked = False  # at this moment
        self.wait = 0.0  # seconds until the next check, while it is down


class Servers:
    """Asked by sessions where to dial, and told what came of it. Times in seconds, passed in.

    Raises PolicyError if there is no server.
    """

    def __init__(self, upstreams: Upstreams, policy: Policy) -> None:
        self._all = {upstream.url: Server(upstream) for upstream in as_upstreams(upstreams)}
        if not self._all:
            raise PolicyError("upstream", (), "one server or more")
        self._first = next(iter(self._all.values()))
        self._policy = policy
        self.are_several = len(self._all) > 1
        is_asked = bool(policy.server_check or policy.ready_needs_server)
        self._checks = self.are_several or is_asked
        self._news: list[ServerChange] = []
        self.has_news = is_asked
        """Whether news() has something, or `next_check` is another than before."""
        for server in self:
            server.check_at = -inf if is_asked else inf

    def __iter__(self) -> Iterator[Server]:
        return iter(self._all.values())

    @property
    def upstreams(self) -> tuple[Upstream, ...]:
        """All of them, in their order."""
        return tuple(server.upstream for server in self)

    def upstream(self, name: str) -> Upstream:
        """That server's, or the first one's where the name is not known (any more)."""
        return self._all.get(name, self._first).upstream

    def statements(self, now: float) -> list[dict[str, object]]:
        """How each of them stands, for people: why it is down, and for how many seconds."""
        return [
            {
                "server": server.name,
                "up": server.is_up,
                "reason": server.reason,
                "seconds": 0.0 if server.is_up else round(now - server.since, 3),
            }
            for server in self
        ]

    @property
    def is_any_up(self) -> bool:
        """Whether one of them has been reached, and is not down since."""
        return any(server.is_up and server.is_known for server in self)

    @property
    def why_none(self) -> str:
        """Why choose() gives none, for people."""
        reasons = dict.fromkeys(server.reason for server in self if server.reason)
        return f"{NONE_UP}: {', '.join(reasons)}" if reasons else NONE_UP

    # -- Where to dial -------------------------------------------------------------------------

    def choose(
        self, key: str, own: str, tried: Collection[str] = (), *, stays: bool = False
    ) -> str | None:
        """The server for a session with that id, by name; None: there is none that is up.

        `own`: the one that it was with; empty: none. `tried`: those that this attempt has tried.
        `stays`: no other one can go on with it.
        """
        if not self.are_several:
            return None if tried else self._first.name
        for name in self._in_turn(key, own, stays=stays):
            if self._all[name].is_up and name not in tried:
                return name
        return None

    def _in_turn(self, key: str, own: str, *, stays: bool) -> list[str]:
        has_own = own in self._all
        if has_own and stays:
            return [own]
        names = list(self._all)
        if self._policy.balance is Balance.ID:
            names.sort(key=lambda name: _score(key, name), reverse=True)
        if has_own:
            names.remove(own)
            names.insert(0, own)
        return names

    # -- What came of it -----------------------------------------------------------------------

    def dialled(
        self, name: str, result: DialResult, now: float, reason: str = "", *, answers: bool
    ) -> None:
        """A dial has ended so; `answers`: with an answer of HTTP, whatever it says."""
        server = self._named(name)
        if server is None:
            return
        server.results[result] += 1
        if answers:
            server.misses = 0
            server.is_known = True
            if not self._policy.server_check_path:  # else that is what counts
                self._found(server, now)
            return
        server.misses += 1
        if result is DialResult.UNREACHABLE or server.misses >= MISSES:
            server.asks |= result is not DialResult.UNREACHABLE
            self._lost(server, reason, now)

    def unreachable(self, name: str, reason: str, now: float) -> None:
        """A plain request has not reached that server."""
        server = self._named(name)
        if server is not None:
            self._lost(server, reason, now)

    def _named(self, name: str) -> Server | None:
        return self._all.get(name) if self.are_several else self._first

    def checks_due(self, now: float) -> list[Server]:
        """Which of them are to be checked now. Each is handed out once: checked() is to follow."""
        due = [server for server in self if server.check_at <= now]
        for server in due:
            server.is_checked = True
            server.check_at = inf
        return due

    def path_to_ask(self, server: Server) -> str:
        """What a check asks that server for; empty: a connection is enough."""
        return self._policy.server_check_path or ("/" if server.asks else "")

    def checked(self, server: Server, problem: str | None, now: float) -> None:
        """A check has ended: with that problem, or well. Nothing, if a dial has been earlier."""
        if not server.is_checked:
            return
        server.is_checked = False
        if problem is None:
            server.misses = 0
            server.is_known = True
            self._found(server, now)
        else:
            self._lost(server, problem, now)

    @property
    def next_check(self) -> float:
        """When checks_due() has one; inf: not before something happens."""
        return min(server.check_at for server in self)

    def news(self) -> list[ServerChange]:
        """Which of several have gone and come, the first first. Each is handed out once."""
        news, self._news = self._news, []
        self.has_news = False
        return news

    def _found(self, server: Server, now: float) -> None:
        if not server.is_up:
            server.is_up = True
            server.asks = False
            self._tell(ServerChange(server.name, True, server.reason, now - server.since))
            server.reason = ""
        elif server.check_at != inf or server.is_checked:
            return  # as it was
        server.is_checked = False
        pause = self._policy.server_check
        self._check_at(server, now + pause if pause else inf)

    def _lost(self, server: Server, reason: str, now: float) -> None:
        policy = self._policy
        server.reason = reason
        if server.is_up:
            server.is_up = False
            server.since = now
            server.wait = min(policy.retry_interval, policy.retry_cap)
            self._tell(ServerChange(server.name, False, reason, 0.0))
        elif server.check_at != inf or server.is_checked:
            return
        if self._checks:
            self._check_at(server, now + server.wait)
            server.wait = min(server.wait * policy.retry_backoff, policy.retry_cap)

    def _check_at(self, server: Server, at: float) -> None:
        if server.check_at != at:
            server.check_at = at
            self.has_news = True

    def _tell(self, change: ServerChange) -> None:
        if self.are_several:
            self._news.append(change)
            self.has_news = True


def _score(key: str, name: str) -> bytes:
    """Rendezvous hashing: a session's server is that with the highest score.

    So one that is lost moves its own sessions only, and each to another one.
    """
    return blake2s(f"{key}\0{name}".encode(), digest_size=_SCORE).digest()
