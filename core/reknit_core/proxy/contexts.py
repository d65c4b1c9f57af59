"""Contexts: the map of sessions by connection id. Who may begin one, who may resume one."""

from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import NamedTuple

from reknit_core.codes import GAP, NOT_YOURS, UNKNOWN
from reknit_core.counters import Counters, Resume
from reknit_core.dialect.choice import Dialects
from reknit_core.events import ClientConnected
from reknit_core.lifecycle import State
from reknit_core.policy.dialects import dialects_of
from reknit_core.policy.forwarded import TrustedProxies
from reknit_core.policy.policy import Policy
from reknit_core.proxy.share import ALONE, Share
from reknit_core.queue.budget import Budget
from reknit_core.servers import Servers, Upstreams
from reknit_core.session.context import ContextStateMachine
from reknit_core.session.forms import FrozenContext
from reknit_core.session.surroundings import Surroundings
from reknit_core.session.waiting_room import WaitingRoom
from reknit_core.side import Side
from reknit_core.terms.binding import KEY_BYTES
from reknit_core.terms.claim import Claim
from reknit_core.terms.habits import Habits
from reknit_core.terms.pinned import Pinned
from reknit_core.wire.handshake import (
    ClientHandshake,
    Refusal,
    UpgradeRequest,
    refusal,
    shutting_down,
)

ID_BYTES = 16  # of randomness in an id that the proxy makes
NONCE_BYTES = 8


class Absent(NamedTuple):
    """A session that a client names, and that isn't here.

    `nonce`: what tells a new one from others of that id; None: the client wants that one only.
    """

    connection_id: str
    nonce: bytes | None


class _No(NamedTuple):
    """How a client is told that it can't have the session that it names."""

    status: int
    error: str
    close_code: int
    outcome: Resume


_UNKNOWN = _No(404, "unknown_session", UNKNOWN, Resume.UNKNOWN)
_NOT_YOURS = _No(403, "not_yours", NOT_YOURS, Resume.NOT_YOURS)
_CANNOT_RESUME = _No(409, "cannot_resume", GAP, Resume.REFUSED)


class Contexts:
    """Every session that can be resumed. `randomness` gives that many random bytes.

    `upstream`: the server, or several. `dialects`: what is known of the messages; None: those that
    come with the proxy, as the policy says. `share`: which sessions are this one's, where several
    proxies are one. Raises PolicyError if the policy names no dialect, or if there is no server.
    """

    def __init__(
        self,
        policy: Policy,
        upstream: Upstreams,
        randomness: Callable[[int], bytes],
        dialects: Dialects | None = None,
        share: Share = ALONE,
    ) -> None:
        self._policy = policy
        self.limit = policy.session_limit
        """How many sessions there may be."""
        self._share = share
        self._randomness = randomness
        self._proxies = TrustedProxies(policy.trust_forwarded)
        self.budget = Budget(policy.queue_total)
        self._contexts: dict[str, ContextStateMachine] = {}
        self._replaced: set[ContextStateMachine] = set()  # they end; their ids are used again
        self.counters = Counters()
        self._room: WaitingRoom[ContextStateMachine] = WaitingRoom()
        self.servers = Servers(upstream, policy)
        self._surroundings = Surroundings(
            policy,
            self.servers,
            self.budget,
            self.counters,
            Habits(),
            self._room,
            dialects or dialects_of(policy),
        )
        self.is_draining = False  # then no session begins any more

    def __len__(self) -> int:
        return len(self._contexts)

    def __iter__(self) -> Iterator[ContextStateMachine]:
        """Every session that is not closed."""
        return iter([*self._contexts.values(), *self._replaced])

    def receive(
        self, handshake: ClientHandshake, data: bytes, now: float
    ) -> ContextStateMachine | Refusal | None:
        """Bytes of a client's opening handshake: its session, or why not; None: more are needed.

        An adapter that asks more of a request than this calls the handshake and connect() itself.
        """
        outcome = handshake.receive_data(data)
        if isinstance(outcome, UpgradeRequest):
            return self.connect(handshake, outcome, now)
        return outcome

    def connect(
        self,
        handshake: ClientHandshake,
        request: UpgradeRequest,
        now: float,
        nonce: bytes | None = None,
    ) -> ContextStateMachine | Refusal:
        """A client's opening handshake is complete: its session, new or resumed, or why not.

        `nonce`: that of the session if it is new, see absent().

        The handshake's connection is the client leg's, with the context's
        `client.generation`, from here on.
        """
        claim = Claim.read(self._policy, request)
        if isinstance(claim, Refusal):
            return claim
        named = claim.connection_id
        known = self._contexts.get(named) if named is not None else None
        if known is not None and not known.resumable:
            known = None
        if claim.must_resume and (known is None or known.state is State.OPENING):
            return self._turn_away(claim, _UNKNOWN, "there is no such session, or it has ended")
        if known is None:
            return self._create(claim, handshake, now, nonce)
        if not known.belongs_to(claim):
            return self._turn_away(claim, _NOT_YOURS, "the session belongs to another client")
        problem = known.mismatch(claim)
        if problem is not None:
            return self._turn_away(claim, _CANNOT_RESUME, problem)
        address = self._proxies.client(handshake.address, request.headers)
        known.handle(ClientConnected(handshake, claim.received, claim.hello, address), now)
        return known

    def elsewhere(self, request: UpgradeRequest) -> int | None:
        """To which other worker the session belongs that a request names; None: to no other.

        Then connect() is for that one to call.
        """
        claim = Claim.read(self._policy, request)
        if isinstance(claim, Refusal) or claim.connection_id is None:
            return None
        owner = self._share.owner(claim.connection_id)
        return None if owner == self._share.number else owner

    @property
    def lacks_server(self) -> bool:
        """Whether the proxy isn't ready, as no server is up, where the policy asks for one."""
        return self._policy.ready_needs_server and not self.servers.is_any_up

    def has(self, connection_id: str) -> bool:
        """Whether the session is here, so that a client can come back to it."""
        known = self._contexts.get(connection_id)
        return known is not None and known.resumable

    def absent(self, request: UpgradeRequest) -> Absent | None:
        """The session that a request names, if it isn't here: it may be another machine's."""
        claim = Claim.read(self._policy, request)
        if isinstance(claim, Refusal) or claim.connection_id is None:
            return None
        if self.has(claim.connection_id):
            return None
        return self.expect(claim.connection_id, creates=not claim.must_resume)

    def expect(self, connection_id: str, *, creates: bool) -> Absent:
        """One that isn't here, with a nonce if it is to begin where it is nowhere else."""
        creates = creates and not self.is_draining
        return Absent(connection_id, self._randomness(NONCE_BYTES) if creates else None)

    def take_in(self, form: FrozenContext, now: float) -> ContextStateMachine:
        """A context that another process had; time stood still between the form's `now` and this.

        A dial that was under way is among its commands again.
        """
        context = ContextStateMachine.thawed(form, self._surroundings, now)
        self.counters.began(context.state)
        known = self._contexts.get(context.connection_id)
        if context.state is State.CLOSED:
            return context  # it only takes leave of its ends
        self.counters.leave_out(context.client.queue, context.server.queue)
        ends = context.state is State.CLOSING  # then one that goes on has the id
        if known is not None and known.resumable and (ends or known.state is not State.CLOSING):
            self._replaced.add(context)
        else:
            self._put(context)
        return context

    def news(self) -> list[ContextStateMachine]:
        """Sessions that have commands now because of what another has met: those let in to dial.

        Each is handed out once. To be asked when a context's `calls_others` is True, and after
        forget() and let_go().
        """
        return self._room.news()

    def let_go(self, context: ContextStateMachine) -> None:
        """The context is another process's: here it dials no more."""
        self._room.leave(context)

    def _put(self, context: ContextStateMachine) -> None:
        """The context's id is its own from here on."""
        connection_id = context.connection_id
        if connection_id in self._contexts:
            self._replaced.add(self._contexts[connection_id])
        self._contexts[connection_id] = context

    def forget(self, context: ContextStateMachine) -> None:
        """The context is closed: its id is free again. Nothing, if that was known."""
        self._room.leave(context)
        if self._contexts.get(context.connection_id) is context:
            del self._contexts[context.connection_id]
        elif context in self._replaced:
            self._replaced.remove(context)
        else:
            return
        if context.state is not State.CLOSED:  # a bug of ours has ended it
            self.counters.states[context.state] -= 1
        self.counters.add_ended(context.client.queue, context.server.queue)

    def has_freed_much(self) -> bool:
        """Whether the process should give memory back to the system; to be asked after forget().

        Said once for each 16 MiB that sessions held when they ended.
        """
        return self.budget.has_freed_much()

    def _create(
        self, claim: Claim, handshake: ClientHandshake, now: float, nonce: bytes | None
    ) -> ContextStateMachine | Refusal:
        if self.is_draining:
            return shutting_down("the proxy takes no new sessions any more")
        if len(self._contexts) >= self.limit:
            after = ((b"retry-after", b"5"),)
            return refusal(503, "session_limit", "too many sessions at one time", after)
        request = claim.request
        connection_id = claim.connection_id or self._make_id()
        proto = "https" if handshake.secure else "http"
        told = self._proxies.headers(handshake.address, request.headers, request.host, proto)
        key = self._randomness(KEY_BYTES)
        pared = not self._surroundings.habits.compresses(request.extensions, now)
        pinned = Pinned.from_request(
            self._policy, connection_id, request, told, key, named=claim.can_return, pared=pared
        )
        nonce = nonce or self._randomness(NONCE_BYTES)
        context = ContextStateMachine(self._surroundings, pinned, nonce)
        self._put(context)
        self.counters.began(context.state)
        address = self._proxies.client(handshake.address, request.headers)
        context.handle(ClientConnected(handshake, hello=claim.hello, address=address), now)
        return context

    def _make_id(self) -> str:
        """One of this proxy's own: a client that comes back is most likely to come here."""
        while True:
            connection_id = self._randomness(ID_BYTES).hex()
            if self._share.owns(connection_id):
                return connection_id

    def _turn_away(self, claim: Claim, no: _No, problem: str) -> Refusal:
        """A client can't have the session that it names. A browser can't read a status."""
        self.counters.resumes[Side.CLIENT, no.outcome] += 1
        answer = refusal(no.status, no.error, problem)
        close = (no.close_code, no.error)
        return replace(answer, close=close) if claim.hello else answer
