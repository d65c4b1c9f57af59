"""Plain requests beside WebSocket: each on its way to the server, its answer on the way back.

Both ways stream through h11, a message's framing made anew on each connection (RFC 9112, 6 and
7). Each request has a server connection of its own, so what one client sends can't become
another's request. It is sent once: whether it may be repeated, only its sender knows.
"""

from collections.abc import Callable
from functools import partial
from math import ceil

import h11

from reknit_core.counters import Counters
from reknit_core.policy.forwarded import TrustedProxies
from reknit_core.policy.policy import Policy
from reknit_core.policy.upstream import Upstream
from reknit_core.proxy.plain_request import PlainRequest
from reknit_core.servers import Servers
from reknit_core.side import Side
from reknit_core.wire.handshake import ClientHandshake, Refusal, refusal
from reknit_core.wire.headers import (
    HeaderList,
    end_to_end,
    for_server,
    of_answer,
    reason_phrase,
    says_upgrade,
)
from reknit_core.wire.heads.refused import as_written
from reknit_core.wire.heads.trailers import allowed_trailers, hop_names

BOUND = 64 * 1024  # bytes that wait for one side, above which the other is not read
EVENTS = 64  # of h11 in one go: a body in tiny chunks must not hold up the sessions
NO_CONTENT = 204  # an answer that says nothing of a body (RFC 9110, 8.6; RFC 9112, 6.1)

_LENGTH = b"content-length"
_CODING = b"transfer-encoding"
_HEARD = frozenset((b"connection", _LENGTH, b"expect", b"host", _CODING, b"upgrade"))
_OTHER = {Side.CLIENT: Side.SERVER, Side.SERVER: Side.CLIENT}


class PlainHttp:
    """Begins exchanges, and counts their answers.

    `keeps_open`: whether clients' connections may go on after an answer.
    """

    def __init__(
        self,
        policy: Policy,
        servers: Servers,
        counters: Counters,
        keeps_open: Callable[[], bool],
    ) -> None:
        self.policy = policy
        self.counters = counters
        self.keeps_open = keeps_open
        self.servers = servers
        self._proxies = TrustedProxies(policy.trust_forwarded)

    def begin(self, handshake: ClientHandshake, request: PlainRequest, now: float) -> "Exchange":
        """What is to be done with a request that this handshake has turned out to be."""
        proto = "https" if handshake.secure else "http"
        told = self._proxies.headers(handshake.address, request.headers, request.host, proto)
        begun = _framed(handshake.head, request.headers) + handshake.rest
        client = self._proxies.client(handshake.address, request.headers)
        asked = partial(self._asked, request, told)
        return Exchange(self, client, begun, asked, hop_names(request.headers), now)

    def _asked(self, request: PlainRequest, told: HeaderList, upstream: Upstream) -> h11.Request:
        """The request for the server. Without Via, by which many servers compress no more."""
        tokens = [value.lower() for name, value in request.headers if name == b"te"]
        trailers = any(b"trailers" in value for value in tokens)
        hop = ((b"te", b"trailers"), (b"connection", b"te, close"))  # RFC 9110, 10.1.4
        return h11.Request(
            method=request.method,
            target=upstream.target(request.target),
            headers=[
                (b"host", upstream.host_for(self.policy, request.host).encode()),
                *for_server(request.headers, self.policy.id_header_name),
                *told,
                *_framing(request.headers),
                *(hop if trailers else ((b"connection", b"close"),)),
            ],
        )


class Exchange:
    """One request and its answer, without I/O.

    Bytes go in by receive_data, out by pending and advance; time (seconds) is passed in. What is
    said for the server before it is connected waits. h11's states say how far the two are.
    `client`: its address, by which its server is chosen. `asked`: the request for a server.
    `hop`: what the request's Connection names.
    """

    def __init__(
        self,
        plain: PlainHttp,
        client: str,
        begun: bytes,
        asked: Callable[[Upstream], h11.Request],
        hop: frozenset[bytes],
        now: float,
    ) -> None:
        self._plain = plain
        self._client = h11.Connection(h11.SERVER)
        self._server = h11.Connection(h11.CLIENT)
        self._asked = asked
        self._address = client
        self._tried: tuple[str, ...] = ()  # servers that were not reached
        self.server = plain.servers.choose(client, "")
        """The name of the server to dial; None: none is up."""
        request = asked(plain.servers.upstream(self.server or ""))
        self._method = request.method
        self._hop = {Side.CLIENT: hop, Side.SERVER: frozenset[bytes]()}
        self._waiting = {side: bytearray() for side in Side}
        self._unread = {Side.CLIENT: True, Side.SERVER: False}  # whether h11 may hold more events
        self._ahead = 0  # bytes that the client has sent behind its request
        self._broken = False  # the answer can't be completed, or the client is gone
        self._server_reads = True
        self.problem = ""
        """What has gone wrong, for people."""
        self.deadline = now + plain.policy.http_timeout
        """When handle_timeout() is due, unless something moves."""
        self._client.receive_data(begun)
        self._client.next_event()  # the request's head, which was read before
        self._waiting[Side.SERVER] += self._server.send(request) or b""
        self._head = len(self._waiting[Side.SERVER])
        self._pass_on(Side.CLIENT)

    # -- What happens ----------------------------------------------------------------------------

    def receive_data(self, side: Side, data: bytes, now: float) -> None:
        """Bytes have come from that side."""
        self._moved(now)
        if side is Side.CLIENT and not self._is_asking:
            self._ahead += len(data)
        self._connection(side).receive_data(data)
        self._unread[side] = True
        self._pass_on(side)

    def receive_eof(self, side: Side, now: float) -> None:
        """That side's stream has ended. A client that ends it counts as gone."""
        self._moved(now)
        if side is Side.CLIENT:
            self._broken = True
        else:
            self._server.receive_data(b"")
            self._unread[side] = True
            self._pass_on(side)

    def lost(self, side: Side, reason: str) -> None:
        """That side's connection broke, or (SERVER) there is none; `reason` is for people."""
        if side is Side.CLIENT:
            self._broken = True
        else:
            self._fail(502, f"the server can't be reached: {reason}")

    def unreachable(self, reason: str, now: float) -> bool:
        """There is no connection to `server`: whether to dial the one that it names now."""
        servers = self._plain.servers
        if self.server is not None:
            servers.unreachable(self.server, reason, now)
            self._tried += (self.server,)
        self.server = servers.choose(self._address, "", self._tried)
        if self.server is None:
            self.lost(Side.SERVER, reason)
            return False
        request = self._asked(servers.upstream(self.server))
        head = h11.Connection(h11.CLIENT).send(request) or b""
        self._waiting[Side.SERVER][: self._head] = head
        self._head = len(head)
        return True

    def refuses(self, side: Side) -> None:
        """That side takes no more bytes; the server may still say why."""
        if side is Side.CLIENT:
            self._broken = True
        else:
            self._server_reads = False
            self._waiting[Side.SERVER].clear()

    def handle_timeout(self, now: float) -> None:
        """Nothing has moved until the deadline."""
        if now < self.deadline:
            return
        self._moved(now)
        if self._client.our_state is not h11.SEND_RESPONSE:
            self._broken = True
        elif self._is_asking and self._server_reads:
            self._fail(408, "the request's body stopped")
        else:
            self._fail(504, "the server did not answer in time")

    # -- What to do ------------------------------------------------------------------------------

    def wants_write(self, side: Side) -> bool:
        """Whether there is something to write to that side."""
        return bool(self._waiting[side])

    def pending(self, side: Side) -> bytes:
        """What to write to that side."""
        return bytes(self._waiting[side])

    def advance(self, side: Side, count: int, now: float) -> None:
        """That many of the pending bytes were taken."""
        self._moved(now)
        del self._waiting[side][:count]
        self._pass_on(_OTHER[side])

    def wants_read(self, side: Side) -> bool:
        """Whether to read from that side now."""
        if side is Side.CLIENT and not self._is_asking:
            return not self._broken and self._ahead < BOUND  # its end is worth knowing
        return self._is_flowing(side) and not self._unread[side]

    @property
    def is_over(self) -> bool:
        """Whether nothing is left to be done: the server's connection can be closed."""
        return self._broken or (not self._is_answering and not self._waiting[Side.CLIENT])

    @property
    def rest(self) -> bytes | None:
        """What the client has sent behind its request; None: its connection is to be closed."""
        states = (self._client.our_state, self._client.their_state)
        if self._broken or states != (h11.DONE, h11.DONE) or not self._plain.keeps_open():
            return None
        return self._client.trailing_data[0]

    # -- Both ways -------------------------------------------------------------------------------

    @property
    def _is_asking(self) -> bool:
        """Whether the request's body is not complete."""
        return self._client.their_state is h11.SEND_BODY

    @property
    def _is_answering(self) -> bool:
        """Whether the answer is not complete."""
        return self._client.our_state in (h11.SEND_RESPONSE, h11.SEND_BODY)

    def _is_flowing(self, side: Side) -> bool:
        """Whether what comes from that side goes on to the other now."""
        goes_on = self._is_answering and not self._broken
        if side is Side.CLIENT:
            goes_on = goes_on and self._is_asking and self._server_reads
        return goes_on and len(self._waiting[_OTHER[side]]) < BOUND

    def _connection(self, side: Side) -> h11.Connection:
        return self._client if side is Side.CLIENT else self._server

    def _moved(self, now: float) -> None:
        self.deadline = now + self._plain.policy.http_timeout

    def _pass_on(self, side: Side) -> None:
        """Pass on what has come from that side, as far as there is room for it."""
        connection, waiting = self._connection(side), self._waiting[_OTHER[side]]
        events = 0
        while self._unread[side] and self._is_flowing(side):
            events += 1
            if events > EVENTS and waiting:
                return  # once some of that is taken, it goes on
            try:
                event = connection.next_event()
            except h11.RemoteProtocolError as error:
                self._fail(*_explain(side, error))
                return
            if event is h11.NEED_DATA:
                self._unread[side] = False
            elif side is Side.CLIENT:
                self._pass_to_server(event)
            else:
                self._pass_to_client(event)

    def _pass_to_server(self, event: object) -> None:
        match event:
            case h11.Data():
                self._say(Side.SERVER, h11.Data(data=event.data))
            case h11.EndOfMessage():
                trailers = allowed_trailers(as_written(event), self._hop[Side.CLIENT])
                trailers = for_server(trailers, self._plain.policy.id_header_name)
                self._say(Side.SERVER, h11.EndOfMessage(headers=list(trailers)))

    def _pass_to_client(self, event: object) -> None:
        is_modern = (self._client.their_http_version or b"") >= b"1.1"
        match event:
            case h11.InformationalResponse() if is_modern:
                headers = end_to_end(as_written(event))
                self._say(
                    Side.CLIENT,
                    h11.InformationalResponse(
                        status_code=event.status_code,
                        headers=list(headers),
                        reason=reason_phrase(event.reason),
                    ),
                )
            case h11.Response():
                status, headers = event.status_code, as_written(event)
                self._hop[Side.SERVER] = hop_names(headers)
                framing = () if status == NO_CONTENT else _framing(headers)
                headers = of_answer(headers, status)
                hop = ((b"Connection", b"Upgrade"),) if says_upgrade(headers) else ()
                self._answer(status, (*headers, *hop, *framing), event)
            case h11.Data():
                self._say(Side.CLIENT, h11.Data(data=event.data))
            case h11.EndOfMessage():
                trailers = allowed_trailers(as_written(event), self._hop[Side.SERVER])
                trailers = end_to_end(trailers) if is_modern else ()
                self._say(Side.CLIENT, h11.EndOfMessage(headers=list(trailers)))

    def _answer(self, status: int, headers: HeaderList, like: h11.Response | None = None) -> None:
        """Begin the answer; behind a request that isn't complete there won't be another one."""
        self._plain.counters.requests[status] += 1
        is_complete = self._client.their_state not in (h11.SEND_BODY, h11.ERROR)
        if not is_complete or not self._plain.keeps_open():
            headers = (*headers, (b"connection", b"close"))
        reason = b"" if like is None else reason_phrase(like.reason)
        self._say(
            Side.CLIENT, h11.Response(status_code=status, headers=list(headers), reason=reason)
        )

    def _fail(self, status: int, message: str) -> None:
        """The server's answer won't come: give one in its place, unless it has begun."""
        if not self._is_answering:
            return
        self.problem = message
        if self._client.our_state is h11.SEND_BODY:
            self._broken = True
            return
        answer = _failure(status, message, self._plain.policy)
        length = (_LENGTH, b"%d" % len(answer.body))
        self._answer(status, (*answer.headers, length))
        if self._method != b"HEAD":
            self._say(Side.CLIENT, h11.Data(data=answer.body))
        self._say(Side.CLIENT, h11.EndOfMessage())

    def _say(self, side: Side, event: h11.Event) -> None:
        self._waiting[side] += self._connection(side).send(event) or b""


def _failure(status: int, message: str, policy: Policy) -> Refusal:
    if status != 502:
        return refusal(status, _ERRORS[status], message)
    after = str(ceil(policy.retry_interval)).encode()
    return refusal(status, _ERRORS[status], message, ((b"retry-after", after),))


_ERRORS = {
    400: "bad_request",
    408: "request_timeout",
    502: "server_unavailable",
    504: "server_unavailable",
}


def _explain(side: Side, error: h11.RemoteProtocolError) -> tuple[int, str]:
    """What to answer where a side has broken the protocol; h11's text may quote what came."""
    if side is Side.CLIENT:
        return 400, "the request's body is malformed"
    return 502, "the server's answer is no valid one, or breaks off"


def _framed(head: bytes, headers: HeaderList) -> bytes:
    """What h11 has to hear of a head that was read: where the message ends, and what may follow."""
    lines = [name + b": " + value for name, value in headers if name in _HEARD]
    return b"\r\n".join((head.partition(b"\r\n")[0], *lines, b"", b""))


def _framing(headers: HeaderList) -> HeaderList:
    """The header that says where a body ends: the coding, if there are both (RFC 9112, 6.3)."""
    codings = tuple(header for header in headers if header[0].lower() == _CODING)
    return codings or tuple(header for header in headers if header[0].lower() == _LENGTH)
