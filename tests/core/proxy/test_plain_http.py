"""Plain requests and their answers as sequences of events, without sockets."""

import json
from collections.abc import Callable

import h11
import pytest
from reknit_core.counters import Counters
from reknit_core.policy.policy import Http, Policy
from reknit_core.policy.upstream import Upstream
from reknit_core.proxy.plain_http import BOUND, EVENTS, Exchange, PlainHttp, _framed
from reknit_core.proxy.plain_request import PlainRequest, read_request
from reknit_core.servers import Servers
from reknit_core.side import Side
from reknit_core.wire.handshake import ClientHandshake, header_lines

CLIENT, SERVER = Side.CLIENT, Side.SERVER
POST = b"POST / HTTP/1.1\r\nHost: h\r\n"
GET = b"GET / HTTP/1.1\r\nHost: h\r\n\r\n"
EMPTY = b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n"


class Passage:
    """An exchange between two ends that take all at once, unless they are told not to."""

    def __init__(
        self,
        request: bytes,
        policy: Policy | None = None,
        keeps_open: Callable[[], bool] = lambda: True,
    ) -> None:
        self.counters = Counters()
        handshake = ClientHandshake("192.0.2.7")
        outcome = read_request(handshake, request, Http.PASS)
        assert isinstance(outcome, PlainRequest), outcome
        policy = policy or Policy()
        servers = Servers(Upstream("server.test", 8080, "/base"), policy)
        plain = PlainHttp(policy, servers, self.counters, keeps_open)
        self.exchange = plain.begin(handshake, outcome, 0.0)

    def take(self, side: Side) -> bytes:
        """All that is to be written to that side."""
        taken = b""
        while self.exchange.wants_write(side):
            data = self.exchange.pending(side)
            self.exchange.advance(side, len(data), 0.0)
            taken += data
        return taken

    def answer(self, *pieces: bytes) -> bytes:
        """What the client gets when the server says that; it must be read for each piece."""
        taken = self.take(SERVER) and b""
        for piece in pieces:
            assert self.exchange.wants_read(SERVER)
            self.exchange.receive_data(SERVER, piece, 0.0)
            taken += self.take(CLIENT)
        return taken

    @property
    def end(self) -> tuple[bool, bytes | None]:
        """Whether it is over, and what follows on the client's connection."""
        return self.exchange.is_over, self.exchange.rest


def head(data: bytes) -> tuple[bytes, dict[bytes, bytes], bytes]:
    """A message's first line, its headers, names in lower case, and what comes behind."""
    top, _, body = data.partition(b"\r\n\r\n")
    start, *lines = top.split(b"\r\n")
    pairs = [line.split(b": ", 1) for line in lines]
    headers = {name.lower(): value for name, value in pairs}
    assert len(headers) == len(pairs), data
    return start, headers, body


def error_of(data: bytes) -> tuple[int, str]:
    """The status and the error of an answer of the proxy's own."""
    start, headers, body = head(data)
    assert headers[b"content-length"] == b"%d" % len(body)
    return int(start.split(b" ")[1]), json.loads(body)["error"]


# -- Heads -------------------------------------------------------------------------------------


def test_what_the_server_sees() -> None:
    passage = Passage(
        b"PUT http://H/a/b?c=d HTTP/1.1\r\nHost: h\r\nConnection: X-Hop, Upgrade, TE\r\n"
        b"X-Hop: 1\r\nUpgrade: h2c\r\nHTTP2-Settings: x\r\nKeep-Alive: 5\r\n"
        b"TE: trailers, deflate\r\n"
        b"Proxy-Authorization: secret\r\nX_Forwarded_For: 1.1.1.1\r\nForwarded: for=1.1.1.1\r\n"
        b"X-Connection-Id: forged\r\nX-Reconnect: true\r\nSec-WebSocket-Protocol: a\r\n"
        b"Cookie: a=b\r\nAuthorization: Basic x\r\nOrigin: https://evil.test\r\n"
        b"Content-Length: 2\r\n\r\nhi"
    )
    assert head(passage.take(SERVER)) == (
        b"PUT /base/a/b?c=d HTTP/1.1",
        {
            b"host": b"h",
            b"http2-settings": b"x",
            b"cookie": b"a=b",
            b"authorization": b"Basic x",
            b"origin": b"https://evil.test",
            b"x-forwarded-for": b"192.0.2.7",
            b"x-forwarded-proto": b"http",
            b"x-forwarded-host": b"h",
            b"content-length": b"2",
            b"te": b"trailers",
            b"connection": b"te, close",
        },
        b"hi",
    )


@pytest.mark.parametrize(
    ("lines", "policy", "told"),
    [
        (b"GET / HTTP/1.1\r\nHost: Shop.test:81", "client", b"Shop.test:81"),
        (b"GET http://shop.test/ HTTP/1.1\r\nHost: shop.test", "client", b"shop.test"),
        (b"GET / HTTP/1.0", "client", b"server.test:8080"),  # which has no Host of its own
        (b"GET / HTTP/1.0\r\nHost: shop.test", "client", b"shop.test"),
        (b"GET / HTTP/1.1\r\nHost:", "client", b"server.test:8080"),
        (b"GET / HTTP/1.1\r\nHost: shop.test", "upstream", b"server.test:8080"),
        (b"GET / HTTP/1.1\r\nHost: shop.test", "backend.test", b"backend.test"),
    ],
)
def test_the_host_that_the_server_is_told(lines: bytes, policy: str, told: bytes) -> None:
    passage = Passage(lines + b"\r\n\r\n", Policy(host=policy))
    assert head(passage.take(SERVER))[1][b"host"] == told


def test_what_the_client_sees() -> None:
    passage = Passage(GET)
    got = passage.answer(
        b"HTTP/1.1 418 I'm a teapot\r\nContent-Length: 2\r\nConnection: close, X-Hop\r\n",
        b"X-Hop: 1\r\nKeep-Alive: 5\r\nSet-Cookie: a=b\r\n\r\nh",
        b"i",
    )
    assert head(got) == (
        b"HTTP/1.1 418 I'm a teapot",
        {b"set-cookie": b"a=b", b"content-length": b"2"},
        b"hi",
    )
    assert passage.end == (True, b"")
    assert passage.counters.requests == {418: 1}


def test_the_answers_headers_are_as_the_server_wrote_them() -> None:
    passage = Passage(GET)
    got = passage.answer(
        b"HTTP/1.1 200 Fine Thanks\r\nSet-Cookie: a\r\nX-UPPER: 1\r\nset-cookie: b\r\n"
        b"Content-Length: 0\r\n\r\n"
    )
    lines = (b"HTTP/1.1 200 Fine Thanks", b"Set-Cookie: a", b"X-UPPER: 1", b"set-cookie: b")
    assert got == b"\r\n".join((*lines, b"Content-Length: 0", b"", b""))


def test_an_answer_says_what_it_wants_of_a_handshake() -> None:
    got = Passage(GET).answer(
        b"HTTP/1.1 426 Upgrade Required\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
        b"Sec-WebSocket-Version: 13\r\nContent-Length: 0\r\n\r\n"
    )
    _, headers, _ = head(got)
    assert headers == {
        b"upgrade": b"websocket",
        b"connection": b"Upgrade",
        b"sec-websocket-version": b"13",
        b"content-length": b"0",
    }


# -- Bodies ------------------------------------------------------------------------------------


def test_chunks_and_trailers_pass_both_ways() -> None:
    passage = Passage(POST + b"Transfer-Encoding: Chunked\r\nTrailer: X-Sum\r\n\r\n3;x=y\r\nab")
    _, headers, body = head(passage.take(SERVER))
    assert (headers[b"transfer-encoding"], body) == (b"chunked", b"2\r\nab\r\n")
    assert passage.exchange.wants_read(CLIENT)
    passage.exchange.receive_data(
        CLIENT, b"c\r\n0\r\nX-Sum: 7\r\nX-Forwarded-For: 1.1.1.1\r\nHost: x\r\n\r\n", 0.0
    )
    assert passage.take(SERVER) == b"1\r\nc\r\n0\r\nX-Sum: 7\r\n\r\n"
    got = passage.answer(
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n",
        b"1\r\na\r\n",
        b"0\r\nX-Sum: 8\r\nConnection: x\r\n\r\n",
    )
    _, headers, body = head(got)
    assert headers == {b"transfer-encoding": b"chunked"}
    assert body == b"1\r\na\r\n0\r\nX-Sum: 8\r\n\r\n"
    assert passage.end == (True, b"")


TRAILERS = (  # of which those go on that begin with X
    b"Authorization: Basic x\r\nCookie: a=b\r\nSet_Cookie: a=b\r\nProxy-Authorization: x\r\n"
    b"Host: x\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\nContent-Type: text/html\r\n"
    b"Content-Encoding: gzip\r\nIf-Match: x\r\nRange: bytes=0-\r\nExpect: 100-continue\r\n"
    b"Cache-Control: no-store\r\nMax-Forwards: 1\r\nWWW-Authenticate: Basic\r\nLocation: /\r\n"
    b"Vary: *\r\nUpgrade: h2c\r\nTrailer: X-Sum\r\nConnection: X-Named\r\nX-Named: 1\r\n"
    b"X-Before: 1\r\nContent-Digest: d\r\nETag: e\r\nX-Sum: 7\r\n"
)
ALLOWED = b"0\r\nContent-Digest: d\r\nETag: e\r\nX-Sum: 7\r\n\r\n"


def test_a_trailer_changes_nothing_of_its_message() -> None:
    """RFC 9110, 6.5.1: whoever merges it into the head must not be led astray."""
    head_ = b"Transfer-Encoding: chunked\r\nConnection: X_Before\r\n\r\n"
    passage = Passage(POST + head_)
    passage.take(SERVER)
    passage.exchange.receive_data(CLIENT, b"0\r\n" + TRAILERS + b"\r\n", 0.0)
    assert passage.take(SERVER) == ALLOWED
    got = passage.answer(b"HTTP/1.1 200 OK\r\n" + head_, b"0\r\n" + TRAILERS + b"\r\n")
    assert head(got)[2] == ALLOWED


@pytest.mark.parametrize(
    ("request_", "answer", "headers"),
    [
        (b"HEAD", b"200 OK\r\nContent-Length: 99", {b"content-length": b"99"}),
        (b"HEAD", b"200 OK\r\nTransfer-Encoding: chunked", {b"transfer-encoding": b"chunked"}),
        (b"GET", b"204 No Content", {}),
        (b"GET", b"204 No Content\r\nContent-Length: 99", {}),
        (b"GET", b"204 No Content\r\nTransfer-Encoding: chunked", {}),
        (b"GET", b"304 Not Modified\r\nContent-Length: 99", {b"content-length": b"99"}),
    ],
)
def test_answers_without_a_body(
    request_: bytes, answer: bytes, headers: dict[bytes, bytes]
) -> None:
    passage = Passage(GET.replace(b"GET", request_))
    got = passage.answer(b"HTTP/1.1 " + answer + b"\r\n\r\n")
    assert head(got)[1:] == (headers, b"")
    assert passage.end == (True, b"")


@pytest.mark.parametrize(
    ("version", "expected"),
    [
        (b"1.1", ({b"transfer-encoding": b"chunked"}, b"2\r\nhi\r\n0\r\n\r\n", b"")),
        (b"1.0", ({b"connection": b"close"}, b"hi", None)),
    ],
)
def test_an_answer_that_ends_with_the_stream(
    version: bytes, expected: tuple[dict[bytes, bytes], bytes, bytes | None]
) -> None:
    passage = Passage(GET.replace(b"1.1", version))
    got = passage.answer(b"HTTP/1.1 200 OK\r\n\r\nhi")
    assert not passage.exchange.is_over
    passage.exchange.receive_eof(SERVER, 0.0)
    got += passage.take(CLIENT)
    assert (*head(got)[1:], passage.exchange.rest) == expected
    assert passage.exchange.is_over


def test_chunks_and_trailers_for_an_old_client() -> None:
    passage = Passage(GET.replace(b"1.1", b"1.0"))
    got = passage.answer(
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nhi\r\n0\r\nX: y\r\n\r\n"
    )
    assert head(got)[1:] == ({b"connection": b"close"}, b"hi")
    assert passage.exchange.is_over


def test_interim_answers_pass_and_the_body_comes_after_them() -> None:
    passage = Passage(POST + b"Content-Length: 2\r\nExpect: 100-continue\r\n\r\n")
    assert head(passage.take(SERVER))[1][b"expect"] == b"100-continue"
    got = passage.answer(
        b"HTTP/1.1 100 Continue\r\n\r\n",
        b"HTTP/1.1 103 Early Hints\r\nLink: </x>\r\nConnection: x\r\n\r\n",
    )
    assert got == (b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\nLink: </x>\r\n\r\n")
    passage.exchange.receive_data(CLIENT, b"hi", 0.0)
    assert passage.take(SERVER) == b"hi"
    assert passage.answer(EMPTY).startswith(b"HTTP/1.1 200 OK")
    assert passage.end == (True, b"")


def test_an_old_client_gets_no_interim_answers() -> None:
    passage = Passage(GET.replace(b"1.1", b"1.0"))
    got = passage.answer(b"HTTP/1.1 103 Early Hints\r\n\r\n" * (3 * EVENTS) + EMPTY)
    assert got.startswith(b"HTTP/1.1 200 OK")


def test_what_comes_behind_a_request_waits_for_its_turn() -> None:
    passage = Passage(POST + b"Content-Length: 2\r\n\r\nhiGET /next")
    assert passage.take(SERVER).endswith(b"\r\n\r\nhi")
    passage.exchange.receive_data(CLIENT, b" HTTP/1.1\r\n", 0.0)
    assert not passage.exchange.wants_write(SERVER)
    passage.answer(EMPTY)
    assert passage.end == (True, b"GET /next HTTP/1.1\r\n")


def test_not_much_is_read_behind_a_request() -> None:
    passage = Passage(GET)
    assert passage.exchange.wants_read(CLIENT)  # else its end would go unnoticed
    passage.exchange.receive_data(CLIENT, bytes(BOUND), 0.0)
    assert not passage.exchange.wants_read(CLIENT)


# -- Back-pressure -----------------------------------------------------------------------------


def test_a_server_that_does_not_read_holds_back_the_client() -> None:
    passage = Passage(POST + b"Content-Length: 1000000\r\n\r\n")
    sent = 0
    while passage.exchange.wants_read(CLIENT):
        passage.exchange.receive_data(CLIENT, bytes(10_000), 0.0)
        sent += 10_000
    assert BOUND <= len(passage.exchange.pending(SERVER)) < BOUND + 10_000 + 500
    passage.take(SERVER)
    while sent < 1_000_000:
        assert passage.exchange.wants_read(CLIENT)
        passage.exchange.receive_data(CLIENT, bytes(10_000), 0.0)
        passage.take(SERVER)
        sent += 10_000
    assert passage.exchange.wants_read(SERVER)
    passage.answer(EMPTY)
    assert passage.end == (True, b"")


def test_a_client_that_does_not_read_holds_back_the_server() -> None:
    passage = Passage(GET)
    passage.exchange.receive_data(
        SERVER, b"HTTP/1.1 200 OK\r\nContent-Length: 1000000\r\n\r\n", 0.0
    )
    sent = 0
    while passage.exchange.wants_read(SERVER):
        passage.exchange.receive_data(SERVER, bytes(10_000), 0.0)
        sent += 10_000
    waiting = passage.exchange.pending(CLIENT)
    assert BOUND <= len(waiting) < BOUND + 10_000 + 500
    passage.exchange.advance(CLIENT, len(waiting) - BOUND, 0.0)
    assert not passage.exchange.wants_read(SERVER)
    passage.exchange.advance(CLIENT, 1, 0.0)
    assert passage.exchange.wants_read(SERVER)


@pytest.mark.parametrize("side", Side)
def test_many_tiny_chunks_are_passed_in_several_goes(side: Side) -> None:
    passage = Passage(POST + b"Transfer-Encoding: chunked\r\n\r\n")
    other = SERVER if side is CLIENT else CLIENT
    passage.take(SERVER)
    if side is SERVER:
        passage.answer(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
    chunk = b"1\r\nx\r\n"
    passage.exchange.receive_data(side, chunk * 1000, 0.0)
    assert passage.exchange.pending(other) == chunk * EVENTS
    assert not passage.exchange.wants_read(side)
    assert passage.take(other) == chunk * 1000
    assert passage.exchange.wants_read(side)


# -- Answers that come early, late or not at all -----------------------------------------------


def test_an_answer_before_the_body_is_complete() -> None:
    passage = Passage(POST + b"Content-Length: 100000\r\n\r\nabc")
    got = passage.answer(b"HTTP/1.1 413 Too Large\r\nContent-Length: 4\r\n\r\n", b"no")
    assert passage.exchange.wants_read(CLIENT)  # the server may still take it
    got += passage.answer(b"no")
    assert head(got)[1:] == ({b"content-length": b"4", b"connection": b"close"}, b"nono")
    assert not passage.exchange.wants_read(SERVER)
    assert passage.end == (True, None)


def test_a_server_that_takes_no_more_is_still_heard() -> None:
    passage = Passage(POST + b"Content-Length: 100000\r\n\r\nabc")
    passage.exchange.refuses(SERVER)
    assert not passage.exchange.wants_write(SERVER)
    assert not passage.exchange.wants_read(CLIENT)
    assert head(passage.answer(EMPTY))[0] == b"HTTP/1.1 200 OK"
    assert passage.end == (True, None)


def unreachable(exchange: Exchange) -> None:
    exchange.lost(SERVER, "Connection refused")


def says(side: Side, data: bytes) -> Callable[[Exchange], None]:
    return lambda exchange: exchange.receive_data(side, data, 0.0)


def ends(exchange: Exchange) -> None:
    exchange.receive_eof(SERVER, 0.0)


def waits(exchange: Exchange) -> None:
    exchange.handle_timeout(exchange.deadline)


FAILURES = {
    "unreachable": (unreachable, 502, "server_unavailable"),
    "no answer": (ends, 502, "server_unavailable"),
    "no HTTP": (says(SERVER, b"SSH-2.0\r\n\r\n"), 502, "server_unavailable"),
    "too long": (
        says(SERVER, b"HTTP/1.1 200 OK\r\nX: " + bytes(70_000)),
        502,
        "server_unavailable",
    ),
    "an upgrade": (
        says(SERVER, b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\n\r\n"),
        502,
        "server_unavailable",
    ),
    "too late": (waits, 504, "server_unavailable"),
}


@pytest.mark.parametrize("what", FAILURES)
def test_where_no_answer_comes_the_proxy_gives_one(what: str) -> None:
    happens, status, error = FAILURES[what]
    passage = Passage(GET)
    passage.take(SERVER)
    happens(passage.exchange)
    assert not passage.exchange.is_over
    assert passage.exchange.problem
    got = passage.take(CLIENT)
    assert error_of(got) == (status, error)
    assert (head(got)[1].get(b"retry-after") == b"1") == (status == 502)
    assert passage.end == (True, b"")  # the client may ask again
    assert passage.counters.requests == {status: 1}


@pytest.mark.parametrize("what", FAILURES)
def test_an_answer_that_breaks_off_is_not_made_whole(what: str) -> None:
    happens, _, _ = FAILURES[what]
    passage = Passage(GET)
    got = passage.answer(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1\r\na\r\n")
    happens(passage.exchange)
    got += passage.take(CLIENT)
    assert got.endswith(b"\r\n\r\n1\r\na\r\n")
    assert passage.end == (True, None)


def test_no_answer_to_head_has_a_body() -> None:
    passage = Passage(GET.replace(b"GET", b"HEAD"))
    unreachable(passage.exchange)
    start, headers, body = head(passage.take(CLIENT))
    assert start.startswith(b"HTTP/1.1 502")
    assert int(headers[b"content-length"]) > 0
    assert body == b""
    assert passage.end == (True, b"")


@pytest.mark.parametrize(
    ("happens", "error"),
    [
        (says(CLIENT, b"zz\r\n"), (400, "bad_request")),
        (says(CLIENT, b"1\r\nab"), (400, "bad_request")),
        (waits, (408, "request_timeout")),
        (unreachable, (502, "server_unavailable")),
    ],
)
def test_a_request_that_is_not_complete_is_the_last(
    happens: Callable[[Exchange], None], error: tuple[int, str]
) -> None:
    passage = Passage(POST + b"Transfer-Encoding: chunked\r\n\r\n")
    passage.take(SERVER)
    happens(passage.exchange)
    got = passage.take(CLIENT)
    assert error_of(got) == error
    assert head(got)[1][b"connection"] == b"close"
    assert passage.end == (True, None)


def test_an_own_answer_stands_whatever_the_server_does() -> None:
    passage = Passage(GET)
    waits(passage.exchange)
    unreachable(passage.exchange)
    assert not passage.exchange.is_over
    assert error_of(passage.take(CLIENT))[0] == 504


@pytest.mark.parametrize(
    "goes",
    [
        lambda exchange: exchange.receive_eof(CLIENT, 0.0),
        lambda exchange: exchange.lost(CLIENT, "reset"),
        lambda exchange: exchange.refuses(CLIENT),
    ],
)
@pytest.mark.parametrize("request_", [GET, POST + b"Content-Length: 9\r\n\r\n"])
def test_it_is_over_when_the_client_goes(goes: Callable[[Exchange], None], request_: bytes) -> None:
    passage = Passage(request_)
    assert not passage.exchange.is_over
    goes(passage.exchange)
    assert passage.end == (True, None)
    assert not passage.exchange.problem


def test_the_time_limit_is_for_standing_still() -> None:
    passage = Passage(GET, Policy(http_timeout=5))
    exchange = passage.exchange
    assert exchange.deadline == 5
    exchange.advance(SERVER, len(exchange.pending(SERVER)), 3.0)
    exchange.handle_timeout(5.0)
    assert exchange.deadline == 8
    exchange.receive_data(SERVER, b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\n", 7.0)
    assert exchange.deadline == 12
    exchange.handle_timeout(12.0)  # the client doesn't read
    assert passage.end == (True, None)


# -- The client's connection -------------------------------------------------------------------


def test_the_last_answer_says_so() -> None:
    is_open = True
    passage = Passage(GET, keeps_open=lambda: is_open)
    is_open = False
    assert head(passage.answer(EMPTY))[1][b"connection"] == b"close"
    assert passage.end == (True, None)


def test_a_connection_that_is_to_be_closed_meanwhile_is() -> None:
    is_open = True
    passage = Passage(GET, keeps_open=lambda: is_open)
    assert b"connection" not in head(passage.answer(EMPTY))[1]
    is_open = False
    assert passage.end == (True, None)


def test_a_client_may_ask_for_the_end() -> None:
    passage = Passage(GET.replace(b"\r\n\r\n", b"\r\nConnection: close\r\n\r\n"))
    assert head(passage.answer(EMPTY))[1][b"connection"] == b"close"
    assert passage.end == (True, None)


def test_a_trusted_proxy_is_believed() -> None:
    policy = Policy(trust_forwarded=frozenset(("192.0.2.7",)))
    request = GET[:-2] + b"X-Forwarded-For: 198.51.100.1\r\nX-Forwarded-Proto: https\r\n\r\n"
    _, headers, _ = head(Passage(request, policy).take(SERVER))
    assert headers[b"x-forwarded-for"] == b"198.51.100.1, 192.0.2.7"
    assert headers[b"x-forwarded-proto"] == b"https"
    assert headers[b"connection"] == b"close"


@pytest.mark.parametrize("version", [b"1.0", b"1.1"])
@pytest.mark.parametrize(
    "lines",
    [
        b"",
        b"Connection: close\r\n",
        b"Connection: keep-alive\r\nCONNECTION: x, close\r\n",
        b"Connection: Upgrade\r\nUpgrade: h2c\r\n",
        b"Content-Length: 3\r\n",
        b"Content-Length: 3\r\nExpect: 100-continue\r\n",
        b"Transfer-Encoding: chunked\r\n",
    ],
)
def test_h11_hears_what_frames_a_request(lines: bytes, version: bytes) -> None:
    head = b"POST /a HTTP/" + version + b"\r\nHost: h\r\nX: y\r\nCookie: z\r\n" + lines + b"\r\n"
    heard = []
    for data in (head, _framed(head, header_lines(head))):
        reader = h11.Connection(h11.SERVER)
        reader.receive_data(data)
        reader.next_event()
        next_one = type(reader.next_event())
        waits = reader.they_are_waiting_for_100_continue
        heard.append((reader.states, reader.their_http_version, waits, next_one))
    assert heard[0] == heard[1]
