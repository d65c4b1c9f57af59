"""Who is let in: limits on open connections, on requests a second, and on origins.

A connection is counted from the moment it is accepted until it is closed, so also while it is in
its handshake. Where a proxy in front is trusted, the limits are for the client that it names, who
is known only when the request is complete. Where all places are taken, those who ask for nothing
give theirs up: else so many silent strangers would shut everybody out.
"""

from collections import Counter, OrderedDict
from ipaddress import IPv6Address
from math import ceil

from reknit_core.policy.forwarded import TrustedProxies, parse_address
from reknit_core.policy.origins import Origins
from reknit_core.policy.policy import Policy
from reknit_core.proxy.plain_request import PlainRequest
from reknit_core.wire.handshake import Refusal, UpgradeRequest, refusal
from reknit_core.wire.headers import value_of

TRACKED = 65536  # addresses whose handshakes are remembered: a flood of addresses has to end there
RETRY_AFTER = 5  # seconds, where nobody knows when there will be room
GIVES_WAY = 1.0  # seconds after which who asks for nothing lets others have its place


class Guest:
    """A client's connection, as admission counts it.

    `peer`: the address of its other end, or whose a balancer says that it is; `address`: the
    client's, as far as it is known. `awaits`: whether a balancer has still to say it.
    """

    __slots__ = (
        "address",
        "asked",
        "awaits",
        "gone",
        "is_brought",
        "key",
        "nonce",
        "peer",
    )

    def __init__(self, peer: str, *, awaits: bool = False) -> None:
        self.peer = peer
        self.awaits = awaits
        self.address = peer
        self.asked = False  # whether it has made a request before
        self.key: bytes | None = None  # among those of which address it is counted
        self.gone = False
        self.is_brought = False  # by another machine, which knows that its session is here
        self.nonce: bytes | None = None  # of the session that it is to begin


class Admission:
    """Asked for each client: when it connects, when its request is complete, when it has gone."""

    def __init__(self, policy: Policy) -> None:
        self.limit = policy.connection_limit
        """How many connections there may be."""
        self._address_limit = policy.address_connections
        self._pace = Pace(policy.address_rate)
        self._counts = bool(policy.address_connections or policy.address_rate)
        self._proxies = TrustedProxies(policy.trust_forwarded)
        self._balancers = TrustedProxies(policy.proxy_protocol_from)
        self._origins = Origins(policy.allow_origin)
        self._open: dict[bytes, int] = {}  # connections by address
        # Since when they ask for nothing, the longest first. A dict whose first entries go is slow
        # to say which one is the first now: it looks through the holes that they have left.
        self._waiting: OrderedDict[Guest, float] = OrderedDict()
        self.connections = 0
        self.refused: Counter[str] = Counter()
        """How many were refused so far, by the limit's name, or for their origin."""

    @property
    def tracked(self) -> int:
        """For how many addresses something is kept: those here, and those that were just now."""
        return len(self._open) + len(self._pace)

    def arrive(self, peer: str, now: float) -> Guest | Refusal:
        """A connection is accepted from that IP address; empty: through a unix socket.

        The guest is let in, for leave() to let go of; or the connection ends with that answer.
        """
        if self.connections >= self.limit:
            return self._refuse(503, "connection_limit", "too many connections", RETRY_AFTER)
        guest = Guest(peer, awaits=self._balancers.trusts(peer))
        if not (guest.awaits or self._proxies.trusts(peer)):
            answer = self._count(guest, now)
            if answer is not None:
                return answer
        self.connections += 1
        self._waiting[guest] = now
        return guest

    def give_way(self, now: float) -> Guest | None:
        """A connection has come: whose is to be closed for it, and has left; None: nobody's.

        Where there is no room, it is the one that has asked for nothing for longest.
        """
        if self.connections < self.limit or not self._waiting:
            return None
        idlest, since = next(iter(self._waiting.items()))
        if now - since < GIVES_WAY:
            return None
        self.refused["gave_way"] += 1
        self.leave(idlest)
        return idlest

    def bring(self, address: str) -> Guest | Refusal:
        """A connection that another worker let in and brings here; `address`: its other end's.

        Its pace was looked at where it came in.
        """
        if self.connections >= self.limit:
            return self._refuse(503, "connection_limit", "too many connections", RETRY_AFTER)
        return self.readmit(address)

    def announce(self, guest: Guest, address: str | None, now: float) -> Refusal | None:
        """A balancer has said whose the guest's connection is; None: its own, without a limit.

        It is to leave either way.
        """
        guest.awaits = False
        if address is None:
            return None
        guest.peer = guest.address = address
        return None if self._proxies.trusts(address) else self._count(guest, now)

    def readmit(self, address: str, *, awaits: bool = False) -> Guest:
        """A connection that another process let in and hands over, whatever the limits say.

        `awaits`: its balancer has not said whose it is.
        """
        guest = Guest(address, awaits=awaits)
        if self._counts and not (awaits or self._proxies.trusts(address)):
            self._enter(guest, key_of(address))
        self.connections += 1
        return guest

    def ask(
        self, guest: Guest, request: UpgradeRequest | PlainRequest, now: float
    ) -> Refusal | None:
        """The guest's request is complete: None if it may go on. It is to leave either way."""
        answer = None
        self._waiting.pop(guest, None)
        if self._proxies.trusts(guest.peer):
            guest.address = self._proxies.client(guest.peer, request.headers)
            if not self._proxies.trusts(guest.address):  # a proxy's own checks are not limited
                answer = self._count(guest, now)
        elif guest.asked:  # its first request was counted with the connection
            answer = self._pace_out(key_of(guest.address), now)
        guest.asked = True
        if answer is not None or isinstance(request, PlainRequest):
            return answer
        if not self._origins.allow(value_of(request.headers, b"origin")):
            message = "pages of this origin may not connect"
            return self._refuse(403, "origin_not_allowed", message)
        return None

    def stay(self, guest: Guest, now: float) -> None:
        """The guest's request is over, and its connection stays open for another one.

        A proxy in front may send another client's.
        """
        self._waiting[guest] = now
        if self._proxies.trusts(guest.peer):
            self._uncount(guest)
            guest.address = guest.peer

    def linger(self, guest: Guest, now: float) -> None:
        """The guest was refused, and is waited for only so that the answer reaches it."""
        if not guest.gone:
            self._waiting.pop(guest, None)
            self._waiting[guest] = now

    def leave(self, guest: Guest) -> None:
        """The guest's connection is closed; to say so again does no harm."""
        if guest.gone:
            return
        guest.gone = True
        self._waiting.pop(guest, None)
        self.connections -= 1
        self._uncount(guest)

    def _count(self, guest: Guest, now: float) -> Refusal | None:
        """Count the guest among those of its address, unless they are too many."""
        if not self._counts:
            return None
        key = key_of(guest.address)
        count = self._open.get(key, 0)
        if self._address_limit and count >= self._address_limit:
            message = f"{count} connections are open from this address"
            return self._refuse(429, "address_connections", message, RETRY_AFTER)
        answer = self._pace_out(key, now)
        if answer is None:
            self._enter(guest, key)
        return answer

    def _pace_out(self, key: bytes, now: float) -> Refusal | None:
        wait = self._pace.wait(key, now)
        if not wait:
            return None
        message = "too many requests per second from this address"
        return self._refuse(429, "address_rate", message, ceil(wait))

    def _enter(self, guest: Guest, key: bytes) -> None:
        self._open[key] = self._open.get(key, 0) + 1
        guest.key = key

    def _uncount(self, guest: Guest) -> None:
        if guest.key is not None:
            self._open[guest.key] -= 1
            if not self._open[guest.key]:
                del self._open[guest.key]
            guest.key = None

    def _refuse(self, status: int, error: str, message: str, retry_after: int = 0) -> Refusal:
        self.refused[error] += 1
        after = ((b"retry-after", str(retry_after).encode()),) if retry_after else ()
        return refusal(status, error, message, after)


def key_of(address: str) -> bytes:
    """What an address counts as: itself, or its /64, which is what one IPv6 user has."""
    parsed = parse_address(address)
    if parsed is None:
        return b""
    return parsed.packed[:8] if isinstance(parsed, IPv6Address) else parsed.packed


class Pace:
    """A token bucket for each key, which holds what one second gives, but at least one token.

    It is kept as the moment at which the bucket will be full again (GCRA): one number a key, and
    a key whose moment has come needs none.
    """

    def __init__(self, rate: float) -> None:
        self._interval = 1 / rate if rate else 0.0
        self._burst = max(1.0 - self._interval, 0.0)  # seconds: one bucket without its last token
        self._full_at: OrderedDict[bytes, float] = OrderedDict()  # the least lately used first

    def __len__(self) -> int:
        return len(self._full_at)

    def wait(self, key: bytes, now: float) -> float:
        """Take a token, and return 0; or the seconds until there is one."""
        if not self._interval:
            return 0.0
        full_at = max(self._full_at.pop(key, now), now)
        wait = full_at - now - self._burst
        # A hair's breadth, for what the additions round: else the last token may be refused.
        if wait <= 1e-6:
            full_at += self._interval
            wait = 0.0
        self._full_at[key] = full_at
        self._forget(now)
        return wait

    def _forget(self, now: float) -> None:
        """Two go for one that comes, so that what a flood has left is soon gone."""
        for _ in range(2):
            oldest = next(iter(self._full_at))
            if self._full_at[oldest] > now and len(self._full_at) <= TRACKED:
                break
            del self._full_at[oldest]
