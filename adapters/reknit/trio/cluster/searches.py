"""Clients that name a session which isn't here: each is brought to it, or waits for it."""

from collections.abc import Callable
from logging import DEBUG
from typing import Protocol, assert_never

from reknit_core.cluster.directory import Forward, KeysError, Lookup, Route, Search, Step
from reknit_core.cluster.preface import Answer, ClientPreface
from reknit_core.proxy.admission import Guest
from reknit_core.proxy.arrival import arrival_of
from reknit_core.proxy.contexts import Absent
from reknit_core.wire.handshake import ClientHandshake, UpgradeRequest, refusal

from reknit.observe.logs import tell
from reknit.sockets.stream_socket import StreamSocket
from reknit.trio.cluster.callers import Caller
from reknit.trio.cluster.calls import Call, CallError, Reached
from reknit.trio.watched import Watched

_AFTER = ((b"retry-after", b"1"),)
AWAY = refusal(503, "session_away", "the session can't be reached now", _AFTER)


class SessionKeys(Protocol):
    """What the store has of sessions. Each call is told once, and later, what has come of it."""

    def look_up(
        self,
        connection_id: str,
        nonce: bytes | None,
        told: Callable[[Lookup | KeysError | None, float], None],
    ) -> None:
        """What it has of this one.

        With a nonce: if that is nothing, then from now on a session of that nonce, in a book of
        this node's.
        """

    def replace(
        self,
        connection_id: str,
        old: Lookup,
        nonce: bytes,
        told: Callable[[bool | KeysError, float], None],
    ) -> None:
        """Have that nonce's there in place of the old one, if that is there still."""

    def give_back(self, connection_id: str, nonce: bytes) -> None:
        """The session with that nonce has not begun after all."""


class Host(Protocol):
    """What those who search need of their node."""

    keys: SessionKeys

    def has(self, connection_id: str) -> bool:
        """Whether the session is here."""

    def enter(self, comer: "Comer", now: float) -> None:
        """The client gets its session here, or the answer that there is none."""

    def let_in(self, visitor: "Visitor", now: float) -> None:
        """The same for one whom another node has brought."""

    def forward(self, comer: "Comer", to: Forward, now: float) -> None:
        """Call that node."""

    def relay(self, comer: "Comer", reached: Reached, now: float) -> None:
        """The client is there: pass on."""

    def turn_away(self, comer: "Comer", now: float) -> None:
        """The client gets 503."""

    def forget(self, comer: "Comer") -> None:
        """The client's connection is closed."""

    def forget_visitor(self, visitor: "Visitor") -> None:
        """The other node has its answer."""


class Seeker(Watched):
    """Somebody who wants a session. `nonce`: that which is in the store for one to begin."""

    __slots__ = ("absent", "found", "host", "is_held", "nonce", "search")

    def __init__(self, host: Host, fd: int, absent: Absent, search: Search) -> None:
        super().__init__(fd)
        self.host = host
        self.absent = absent
        self.search = search
        self.found: Lookup | None = None
        self.nonce: bytes | None = None
        self.is_held = False

    def is_over(self) -> bool:
        """Whether it has come to an end, whatever is under way."""
        raise NotImplementedError

    def news(self, now: float) -> None:
        """Something may be different by now."""
        if self.is_held:
            self.is_held = False
            self.follow(self.search.again(), now)

    def follow(self, route: Route, now: float) -> None:
        """Do that next, unless the session has come meanwhile."""
        if self.host.has(self.absent.connection_id):
            self.enter(now)
            return
        match route:
            case Step.LOOK_UP:
                self.look_up()
            case Step.ENDED if self.absent.nonce is not None:
                assert self.found is not None
                connection_id, nonce = self.absent.connection_id, self.absent.nonce
                self.host.keys.replace(connection_id, self.found, nonce, self._replaced)
            case Step.CREATE:
                self.nonce = self.absent.nonce
                self.enter(now)
            case Step.ENDED:
                self.enter(now)
            case Step.UNKNOWN:
                self.unknown(now)
            case Step.HOLD:
                self.is_held = True
            case Step.GIVE_UP:
                self.give_up(now)
            case Forward():
                self.forward(route, now)
            case _:
                assert_never(route)

    def look_up(self) -> None:
        """Ask the store."""
        self.host.keys.look_up(self.absent.connection_id, self.absent.nonce, self._looked_up)

    def _looked_up(self, found: Lookup | KeysError | None, now: float) -> None:
        if self.is_over():
            if found is None and self.absent.nonce is not None:
                self.host.keys.give_back(self.absent.connection_id, self.absent.nonce)
        elif isinstance(found, KeysError):
            self.follow(self.search.store_failed(), now)
        else:
            self.found = found
            self.follow(self.search.found(found), now)

    def _replaced(self, is_done: bool | KeysError, now: float) -> None:
        if self.is_over():
            if is_done is True:
                assert self.absent.nonce is not None
                self.host.keys.give_back(self.absent.connection_id, self.absent.nonce)
        elif isinstance(is_done, KeysError):
            self.follow(self.search.store_failed(), now)
        else:
            self.follow(self.search.replaced(is_done), now)

    def enter(self, now: float) -> None:
        """It is here, or nowhere."""
        raise NotImplementedError

    def unknown(self, now: float) -> None:
        """It is nowhere."""
        raise NotImplementedError

    def give_up(self, now: float) -> None:
        """It can't be found."""
        raise NotImplementedError

    def forward(self, to: Forward, now: float) -> None:
        """It is there."""
        raise NotImplementedError


class Comer(Seeker):
    """A client that has come to this node, and has asked for a session."""

    __slots__ = ("_is_over", "call", "guest", "handshake", "request", "stream")

    def __init__(
        self,
        host: Host,
        absent: Absent,
        search: Search,
        stream: StreamSocket,
        guest: Guest,
        handshake: ClientHandshake,
        request: UpgradeRequest,
    ) -> None:
        super().__init__(host, stream.fileno(), absent, search)
        self.stream = stream
        self.guest = guest
        self.handshake = handshake
        self.request = request
        self.call: Call | None = None
        self._is_over = False

    def preface(self, node: str, to: str) -> ClientPreface:
        """What the node is told to which it is brought."""
        arrival = arrival_of(self.guest, self.handshake)
        creates = self.absent.nonce is not None
        return ClientPreface(node, to, self.absent.connection_id, creates, arrival)

    def is_over(self) -> bool:
        """Whether its connection is somebody else's, or closed."""
        return self._is_over

    def end(self) -> None:
        """It is found, or can't be."""
        self._is_over = True
        if self.call is not None:
            self.call.cancel()
            self.call = None

    def enter(self, now: float) -> None:
        """Begin or resume the session here."""
        self.host.enter(self, now)

    def unknown(self, now: float) -> None:
        """That is said here, too."""
        self.host.enter(self, now)

    def give_up(self, now: float) -> None:
        """Let it come again."""
        self.host.turn_away(self, now)

    def forward(self, to: Forward, now: float) -> None:
        """Call that node."""
        address = self.guest.address
        tell(
            DEBUG,
            "forward",
            "client %(address)s goes to node %(node)s",
            address=address,
            node=to.node,
        )
        self.host.forward(self, to, now)

    def told(self, outcome: Reached | CallError, now: float) -> None:
        """What has come of that."""
        self.call = None
        if isinstance(outcome, CallError):
            text = "can't bring a client to its node: %(reason)s"
            tell(DEBUG, "not_forwarded", text, reason=str(outcome))
            self.follow(self.search.not_reached(), now)
            return
        route = self.search.answered(outcome.answer)
        if route is None:
            self.host.relay(self, outcome, now)
        else:
            outcome.stream.close()
            self.follow(route, now)

    def ready(self, now: float) -> None:
        """It isn't read: what it says now is for its session."""

    def drop(self) -> None:
        """Close its connection."""
        self.host.forget(self)
        self.stream.close()


class Visitor(Seeker):
    """A client that another node has brought: here is its session, or it goes no further."""

    __slots__ = ("caller", "preface")

    def __init__(
        self, host: Host, absent: Absent, search: Search, caller: Caller, preface: ClientPreface
    ) -> None:
        super().__init__(host, caller.stream.fileno(), absent, search)
        self.caller = caller
        self.preface = preface

    def is_over(self) -> bool:
        """Whether the other node has gone, or has its answer."""
        return self.caller.is_over

    def enter(self, now: float) -> None:
        """It is here, or to be begun here."""
        self.host.let_in(self, now)

    def unknown(self, now: float) -> None:
        """The other node finds out by itself."""
        self._refuse()

    def give_up(self, now: float) -> None:
        """The other node counts."""
        self._refuse()

    def forward(self, to: Forward, now: float) -> None:
        """The other node does."""
        self._refuse()

    def _refuse(self) -> None:
        self.host.forget_visitor(self)
        stream = self.caller.answer(Answer.NO)
        if stream is not None:
            stream.close()
