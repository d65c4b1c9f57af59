"""What a session's first opening handshake pins for its whole life.

The server sees the same request on every reconnect, and must agree on the same subprotocol and
the same compression; a client that returns must be able to live with both.

What the proxy itself has put into the request must not keep a server from being used: one that
answers it in a way that can't be is asked again, at once, with less.
"""

from dataclasses import dataclass
from sys import intern

from reknit_core.policy.policy import GraceFor, Policy
from reknit_core.policy.upstream import Upstream
from reknit_core.queue.backlog import Backlog
from reknit_core.side import Side
from reknit_core.terms.binding import Binding
from reknit_core.terms.claim import OWN_QUERIES, RECEIVED, RECONNECT, RECONNECT_ID, TOKEN
from reknit_core.terms.terms_forms import FrozenPinned
from reknit_core.wire import deflate
from reknit_core.wire.handshake import Accepted, Refusal, UpgradeRequest
from reknit_core.wire.headers import (
    HeaderList,
    as_lines,
    for_server,
    is_via,
    value_of,
    without_query,
)
from reknit_core.wire.wire_forms import ServerRequest

BAD_REQUEST = 400
RECONNECT_INFO = b"x-reconnect-info"
UNKNOWN_SESSION = 404  # to who asks for a session by RECONNECT_ID, and for no other

_PSEUDONYM = "reknit"  # of the proxy in Via
_VIA = (b"via", b"1.1 " + _PSEUDONYM.encode())


@dataclass(slots=True)
class Pinned:
    """The client's request as it goes to the server, and what the two agreed on."""

    connection_id: str
    binding: Binding
    _host: str
    _target: str
    _headers: bytes  # "name: value" lines: a session is long, and a list of pairs is large
    _subprotocols: tuple[str, ...]
    _offers: tuple[str, ...]
    named: bool = True  # whether its client has shown that it knows how to come back
    pared: bool = False  # whether less is asked for, after an answer that can't be used
    agreed: bool = False
    subprotocol: str | None = None
    compression: deflate.Parameters | None = None
    reconnect_info: str | None = None
    client_is_proxy: bool = False  # another reknit, which waits for its own client
    server_is_proxy: bool = False  # another reknit, which keeps the session when we are cut off
    server_counts: bool = True  # whether its counts can be those of this session
    token: str | None = None  # that this one wants to see on a return
    anew: bool = False  # whether the client has begun anew, and no server has accepted since

    @classmethod
    def from_request(
        cls,
        policy: Policy,
        connection_id: str,
        request: UpgradeRequest,
        forwarded: HeaderList,
        key: bytes,
        *,
        named: bool = True,
        pared: bool = False,
    ) -> "Pinned":
        """Keep what the server must see, without what belongs to the proxy.

        `forwarded`: what the server is told of the client's connection. `key`: see Binding.
        `named`: whether the client has shown that it knows how to come back. `pared`: whether to
        ask for no compression, whatever the client offers.
        """
        id_header = policy.id_header_name
        headers = (
            *for_server(request.headers, id_header),
            (id_header, connection_id.encode()),
            *forwarded,
        )
        return cls(
            connection_id,
            Binding.from_request(policy.bind, request, key),
            intern(request.host),  # one for all sessions that name it: memory counts
            without_query(request.target, OWN_QUERIES | {policy.id_query}),
            as_lines(headers),
            request.subprotocols,
            request.extensions,
            named,
            pared,
            client_is_proxy=is_via(request.headers, _PSEUDONYM),
        )

    def frozen(self) -> FrozenPinned:
        """It as data."""
        return FrozenPinned(
            connection_id=self.connection_id,
            binding=self.binding.frozen(),
            host=self._host,
            target=self._target,
            headers=self._headers,
            subprotocols=self._subprotocols,
            offers=self._offers,
            named=self.named,
            pared=self.pared,
            agreed=self.agreed,
            subprotocol=self.subprotocol,
            compression=self.compression,
            reconnect_info=self.reconnect_info,
            client_is_proxy=self.client_is_proxy,
            server_is_proxy=self.server_is_proxy,
            server_counts=self.server_counts,
            token=self.token,
            anew=self.anew,
        )

    @classmethod
    def thawed(cls, form: FrozenPinned) -> "Pinned":
        """That one which frozen() gave `form` of."""
        return cls(
            form.connection_id,
            Binding.thawed(form.binding),
            form.host,
            form.target,
            form.headers,
            form.subprotocols,
            form.offers,
            named=form.named,
            pared=form.pared,
            agreed=form.agreed,
            subprotocol=form.subprotocol,
            compression=form.compression,
            reconnect_info=form.reconnect_info,
            client_is_proxy=form.client_is_proxy,
            server_is_proxy=form.server_is_proxy,
            server_counts=form.server_counts,
            token=form.token,
            anew=form.anew,
        )

    @property
    def target(self) -> str:
        """The path and query that the client asks for, without what is the proxy's own."""
        return self._target

    def server_request(
        self,
        policy: Policy,
        upstream: Upstream,
        attempt: int,
        counts: HeaderList,
        *,
        must_resume: bool = False,
    ) -> ServerRequest:
        """The opening handshake for the server.

        On a reconnect it says so: its `attempt`, counted from 1, and the leg's `counts`.
        `must_resume`: another reknit is asked for this session or none.
        """
        headers = [_VIA]
        if self.agreed and not self.anew:
            headers.append((RECONNECT, b"true"))
            headers.append((b"x-reconnect-attempt", str(attempt).encode()))
            headers.extend(counts if self.server_counts else ())
            if self.reconnect_info is not None:
                headers.append((RECONNECT_INFO, self.reconnect_info.encode("latin-1")))
            if self.token is not None:
                headers.append((TOKEN, self.token.encode("latin-1")))
            if must_resume and self.server_is_proxy:
                headers.append((RECONNECT_ID, self.connection_id.encode()))
        return ServerRequest(
            target=upstream.target(self._target),
            host=upstream.host_for(policy, self._host),
            headers=tuple(headers),
            subprotocols=self._asked_subprotocols(),
            deflate=self._asked_compression(),
            lines=self._headers,
        )

    @property
    def offers(self) -> tuple[str, ...]:
        """The extensions that the client offered, each with its parameters."""
        return self._offers

    def _asked_subprotocols(self) -> tuple[str, ...]:
        """All of the client's: some servers find a password among them. First what was agreed."""
        if not self.agreed:
            return self._subprotocols
        agreed = () if self.subprotocol is None else (self.subprotocol,)
        others = (name for name in self._subprotocols if name != self.subprotocol)
        return agreed if self.pared else (*agreed, *others)

    def _asked_compression(self) -> str | None:
        if self.agreed:
            return None if self.compression is None else deflate.format_header(self.compression)
        return None if self.pared else deflate.offer(self._offers)

    def agree(self, answer: Accepted) -> str | None:
        """Pin a server's first answer, or hold a later one against it.

        Returns None, or what is wrong with it, for people.
        """
        try:
            compression = deflate.accepted(answer.extensions)
        except ValueError as error:
            return str(error)
        if self.agreed and answer.subprotocol != self.subprotocol:
            return "another subprotocol than before"  # some carry tokens in their names
        if not self.agreed:
            self.compression = compression
        elif (compression is None) is not (self.compression is None) or not deflate.fits(
            compression or (), self.compression or ()
        ):
            return "other permessage-deflate parameters than before"
        state = value_of(answer.headers, RECONNECT)
        if not self.agreed or self.anew:
            self.server_is_proxy = state is not None
        elif self.server_is_proxy and state == "new":  # it has lost the session, and counts anew
            self.server_counts = False
        self.agreed = True
        self.pared = False
        self.subprotocol = answer.subprotocol
        self.reconnect_info = value_of(answer.headers, RECONNECT_INFO) or self.reconnect_info
        self.token = value_of(answer.headers, TOKEN) or self.token
        return None

    def begin_anew(self) -> None:
        """The client begins anew: the next server is told nothing of those before."""
        self.anew = True
        self.reconnect_info = self.token = None
        self.server_counts = True

    def pare(self, answer: Accepted | Refusal) -> bool:
        """Whether a server whose answer is no agreement may agree when it is asked for less.

        Then server_request() asks so from now on, until there is an agreement.
        """
        if self.pared:
            return False
        match answer:
            case Accepted():
                self.pared = not self.agreed or answer.subprotocol != self.subprotocol
            case Refusal():  # Node's ws says 400 to an offer that it can't take
                refused = answer.status == BAD_REQUEST and not self.agreed
                self.pared = refused and deflate.is_changed(self._offers)
        return self.pared

    def told_client(self, policy: Policy, counts: HeaderList | None) -> HeaderList:
        """What the proxy tells a client of its session in an answer 101.

        `counts` of the leg on a return. One that isn't waited for has no use for it, and some
        clients can't read what they don't know.
        """
        if not self.is_awaited(policy):
            return ()
        told = [
            (policy.id_header_name, self.connection_id.encode()),
            (RECONNECT, b"new" if counts is None else b"resumed"),
            *(counts or ()),
        ]
        if policy.resume_token:
            told.append((TOKEN, self.binding.fresh_token()))
        return tuple(told)

    def is_awaited(self, policy: Policy) -> bool:
        """Whether the client is waited for when it is lost."""
        return self.named or policy.grace_for is GraceFor.ALL

    def is_proxy(self, side: Side) -> bool:
        """Whether that side is another reknit."""
        return self.client_is_proxy if side is Side.CLIENT else self.server_is_proxy

    def agreed_headers(self) -> HeaderList:
        """The extension header of a client's 101 answer."""
        if self.compression is None:
            return ()
        return ((b"Sec-WebSocket-Extensions", deflate.answer(self.compression).encode()),)

    def mismatch(self, request: UpgradeRequest) -> str | None:
        """Why a client can't join the session, for people; None if it can."""
        if not self.agreed:  # the server may choose any of what it was offered
            same = (request.subprotocols, request.extensions) == (self._subprotocols, self._offers)
            return None if same else "other subprotocols or extensions than the session opens with"
        if self.subprotocol is not None and self.subprotocol not in request.subprotocols:
            return f"the session speaks subprotocol {self.subprotocol}, which is not offered"
        if self.compression is not None and not deflate.admits(
            request.extensions, self.compression
        ):
            return "the session is compressed in a way that is not offered"
        return None


def counts(queue: Backlog, source: Backlog, made: int = 0) -> HeaderList:
    """What a leg's peer is told on a return: how many of its messages have been taken.

    `queue`: what came from it, but for `made` messages, which were said in its place. `source`:
    what goes to it, of which messages may be dropped.
    """
    taken = str(queue.count + queue.dropped - made).encode()
    if not source.dropped:
        return ((RECEIVED, taken),)
    return ((RECEIVED, taken), (b"x-reconnect-dropped", str(source.dropped).encode()))
