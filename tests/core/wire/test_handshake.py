"""The opening handshake of both legs: what is taken, what is refused, and that nothing raises."""

import json
from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace
from itertools import pairwise

import pytest
from compiled_form import COMPILED
from handshake_bytes import ACCEPT, CRLF, KEY, NEEDED, accepting, header_values, request
from heads_by_wsproto import wsproto_alone
from hypothesis import example, given
from hypothesis import strategies as st
from reknit_core.wire.handshake import (
    MAX_ANSWER,
    MAX_HEAD,
    MAX_REFUSAL,
    Accepted,
    ClientHandshake,
    Failed,
    Refusal,
    ServerHandshake,
    ServerRequest,
    UpgradeRequest,
    encode_refusal,
    refusal,
)
from reknit_core.wire.headers import for_refused
from reknit_core.wire.heads.ambiguity import MAX_HEADERS

DEFLATE = "permessage-deflate; server_no_context_takeover"


@pytest.fixture(scope="module", autouse=True, params=["by the shortcut", "by wsproto"])
def _both_ways(request: pytest.FixtureRequest) -> Iterator[None]:
    if request.param == "by the shortcut":
        yield
    elif COMPILED:
        pytest.skip("a compiled module takes the shortcut all the same")
    else:
        with wsproto_alone():
            yield


def split(data: bytes, places: Iterable[int]) -> list[bytes]:
    edges = sorted({0, len(data), *(place % (len(data) + 1) for place in places)})
    return [data[start:end] for start, end in pairwise(edges)]


def read(reads: Iterable[bytes]) -> UpgradeRequest | Refusal | None:
    handshake = ClientHandshake()
    for data in reads:
        outcome = handshake.receive_data(data)
        if outcome is not None:
            return outcome
    return None


def message_of(answer: Refusal) -> str:
    body = json.loads(answer.body)
    assert set(body) == {"error", "message"}
    return str(body["message"])


# -- The client's request ----------------------------------------------------------------------


def test_a_request_is_read() -> None:
    data = request(
        b"Cookie: a=b",
        b"X-One:  1 ",
        b"X-One: 2",
        b"Sec-WebSocket-Protocol: chat, superchat",
        b"Sec-WebSocket-Protocol: other",
        b"Sec-WebSocket-Extensions: permessage-deflate; client_max_window_bits, x-foo",
        line=b"GET /path?q=%20&r HTTP/1.1",
        host=b"client.example:8080",
    )
    outcome = read([data])
    assert isinstance(outcome, UpgradeRequest)
    assert outcome.target == "/path?q=%20&r"
    assert outcome.host == "client.example:8080"
    assert outcome.subprotocols == ("chat", "superchat", "other")
    assert outcome.extensions == ("permessage-deflate; client_max_window_bits", "x-foo")
    assert outcome.headers == (
        (b"upgrade", b"websocket"),
        (b"connection", b"Upgrade"),
        (b"sec-websocket-key", KEY),
        (b"sec-websocket-version", b"13"),
        (b"cookie", b"a=b"),
        (b"x-one", b"1"),
        (b"x-one", b"2"),
    )


def test_the_bytes_after_the_request_are_kept() -> None:
    for rest in (b"", b"\x81", b"\x81\x82mask..", b"\r\n\r\n", b"GET / HTTP/1.1\r\n\r\n", b"\n"):
        data = request() + rest
        handshake = ClientHandshake()
        assert isinstance(handshake.receive_data(data), UpgradeRequest)
        assert handshake.rest == rest


@pytest.mark.parametrize(
    "data",
    [
        request(upgrade=b"WebSocket"),
        request(connection=b"keep-alive, UPGRADE"),
        request(b"Content-Length: 0"),
        request(b"Expect: 100-continue"),
        request(b"X-Latin: \xe9"),
        request(sec_websocket_key=b"++++++++++++++++++++/A=="),
    ],
)
def test_what_a_request_may_look_like(data: bytes) -> None:
    assert isinstance(read([data]), UpgradeRequest)


HOSTS = [
    *(b"h", b"H:1", b"[::1]:80", b"xn--mller-kva.example", b"a_b", b"a.", b"a..b", b"a" * 70, b""),
    b"xn--fa-hia.example",  # no name in IDNA 2003, but one in IDNA 2008
    b"xn--" + b"a" * 64,
]


@pytest.mark.parametrize("host", HOSTS)
def test_the_host_is_kept_as_it_was_written(host: bytes) -> None:
    outcome = read([request(host=host)])
    assert isinstance(outcome, UpgradeRequest)
    assert outcome.host.encode() == host
    sent = ServerHandshake(ServerRequest("/", outcome.host, (), (), None), KEY).request()
    assert header_values(sent, b"host") == [host]


@pytest.mark.parametrize(
    ("target", "path"),
    [
        (b"/", "/"),
        (b"//x", "//x"),
        (b"/a?b/../c", "/a?b/../c"),
        (b"/..a/b../...", "/..a/b../..."),
        (b"/./a", "/./a"),
        (b"/http://x/y", "/http://x/y"),
        (b"http://client.example/y?z", "/y?z"),
        (b"HTTPS://CLIENT.example/y", "/y"),
        (b"ws://client.example", "/"),
        (b"wss://client.example?y", "/?y"),
        (b"http://other.example/y", None),
        (b"http://client.example:81/y", None),
        (b"http://me@client.example/y", None),
        (b"http://client.example@other.example/y", None),
        (b"http:///y", None),
        (b"/a?b#c", None),
        (b"/a#/b", None),
        (b"/../a", None),
        (b"/a/..", None),
        (b"/a/%2e%2E/b", None),
        (b"/a/..%2Fb", None),
        (b"/a\\..\\b", None),
        (b"http://client.example/../a", None),
        (b"*", None),
        (b"x", None),
        (b"?a=b", None),
        (b"client.example:80", None),
        (b"ftp://client.example/y", None),
    ],
)
def test_the_target_in_each_form(target: bytes, path: str | None) -> None:
    outcome = read([request(line=b"GET " + target + b" HTTP/1.1")])
    if path is None:
        assert isinstance(outcome, Refusal)
        assert (outcome.status, message_of(outcome)) == (400, NO_PATH)
    else:
        assert isinstance(outcome, UpgradeRequest)
        assert outcome.target == path


NO_PATH = "the request's target is no path of the host in Host"
NO_UPGRADE = (
    "this is a WebSocket proxy: it takes WebSocket upgrade requests of HTTP/1.1 only; "
    "with `--http pass` it also passes other requests to the server, as Socket.IO's polling"
)
NOT_ASCII = "a header of the WebSocket handshake is not ASCII"
BAD_LINE = "a line of the request's head ends without CR, or is folded"
BAD_KEY = "Sec-WebSocket-Key is not 16 bytes in base64"
BODY = "the request has a body"
CONTROL = "a control character"
LINE = "malformed request: illegal header line"


@pytest.mark.parametrize(
    ("data", "status", "message"),
    [
        # Not an upgrade.
        (b"GET / HTTP/1.1\r\nHost: h\r\n\r\n", 426, NO_UPGRADE),
        (b"POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 1\r\n\r\nx", 426, NO_UPGRADE),
        (b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", 426, NO_UPGRADE),
        (request(without=b"Upgrade"), 426, NO_UPGRADE),
        (request(upgrade=b"h2c"), 426, NO_UPGRADE),
        (request(line=b"GET / HTTP/1.0"), 426, NO_UPGRADE),
        (request(line=b"GET / HTTP/2.0"), 426, NO_UPGRADE),
        (request(sec_websocket_version=b"8"), 426, "Sec-WebSocket-Version must be 13"),
        (request(sec_websocket_version=b"013"), 426, "Sec-WebSocket-Version must be 13"),
        # A bad one.
        (request(without=b"Connection"), 400, "Missing header, 'Connection: Upgrade'"),
        (request(connection=b"close"), 400, "Missing header, 'Connection: Upgrade'"),
        (request(without=b"Sec-WebSocket-Version"), 400, "Missing header, 'Sec-WebSocket-Version'"),
        (request(without=b"Sec-WebSocket-Key"), 400, "Missing header, 'Sec-WebSocket-Key'"),
        (request(sec_websocket_key=b""), 400, BAD_KEY),
        (request(sec_websocket_key=b"short=="), 400, BAD_KEY),
        (request(sec_websocket_key=b"x" * 24), 400, BAD_KEY),
        (request(sec_websocket_key=KEY + b"AA"), 400, BAD_KEY),
        (request(b"Sec-WebSocket-Key: " + KEY), 400, "more than one sec-websocket-key"),
        (request(line=b"POST / HTTP/1.1"), 400, "Request method must be GET"),
        (request(b"Content-Length: 5") + b"hello", 400, BODY),
        (request(b"Content-Length: 00"), 400, BODY),
        (request(b"Content-Length: 0, 0"), 400, BODY),
        (request(b"Content-Length: 0", b"Content-Length: 0"), 400, BODY),
        (request(b"Content-Length: +0"), 400, "malformed request: bad Content-Length"),
        (request(b"Content-Length:"), 400, "malformed request: bad Content-Length"),
        (request(b"Content_Length: 5") + b"hello", 400, BODY),
        (request(b"Transfer-Encoding: chunked") + b"0\r\n\r\n", 400, BODY),
        (request(b"Transfer_Encoding: chunked"), 400, BODY),
        (request(b"Transfer-Encoding: identity"), 400, "malformed request: Only Transfer"),
        (request(b"Transfer-Encoding : chunked"), 400, LINE),
        (request(b"Transfer-Encoding\t: chunked"), 400, LINE),
        (request(b"Transfer-Encoding\x0b: chunked"), 400, LINE),
        (request(without=b"Host"), 400, "malformed request: Missing mandatory Host: header"),
        (request(b"Host: again"), 400, "malformed request: Found multiple Host: headers"),
        (request(b"Host: client.example"), 400, "malformed request: Found multiple Host: headers"),
        (request(host=b"client.example/x"), 400, NO_PATH),
        (request(host=b"me@client.example"), 400, NO_PATH),
        (request(host=b"client.example, other"), 400, NO_PATH),
        (request(host=b"client.example:80:81"), 400, NO_PATH),
        (request(host=b"[client]"), 400, NO_PATH),
        (request(b"Origin: https://a", b"Origin: https://b"), 400, "more than one origin"),
        (request(b"Sec_WebSocket_Version: 8"), 400, "more than one sec-websocket-version"),
        (request(b"Connection: Cookie, upgrade"), 400, "Connection names cookie, which is not"),
        (request(connection=b"Upgrade,Origin"), 400, "Connection names origin, which is not"),
        (request(connection=b"Upgrade, AUTHORIZATION"), 400, "Connection names authorization"),
        (request(connection=b"Upgrade, X-Forwarded-For"), 400, "Connection names x-forwarded-for"),
        (request(connection=b"Upgrade, x_forwarded_for"), 400, "Connection names x-forwarded-for"),
        (request(connection=b"Upgrade, x-reconnect"), 400, "Connection names x-reconnect, which"),
        (request(connection=b"Upgrade, host"), 400, "Connection names host, which is not"),
        (request(connection=b"Upgrade, sec-websocket-key"), 400, "Connection names sec-websocket"),
        (request(host=b"\xff"), 400, "the request's target is no path"),
        (request(b"Sec-WebSocket-Protocol: \xe9"), 400, NOT_ASCII),
        (request(b"Sec-WebSocket-Extensions: \xe9"), 400, NOT_ASCII),
        (request(connection=b"Upgrade, \xe9"), 400, NOT_ASCII),
        (request().replace(CRLF, b"\n"), 400, BAD_LINE),
        (request(b"X: y\nZ: z"), 400, BAD_LINE),
        (request(b"X: y", b" z"), 400, BAD_LINE),
        (request(b"X: y", b"\tz"), 400, BAD_LINE),
        (request(b"X: y\rz"), 400, LINE),
        (request(b"X: y\r"), 400, LINE),
        (request(b"X: y\rContent-Length: 5"), 400, LINE),
        (request(b"X: y\0z"), 400, LINE),
        (request(b"X: y\x01z"), 400, CONTROL),
        (request(b"X: y\x1b[31m"), 400, CONTROL),
        (request(b"X: y\x7f"), 400, CONTROL),
        (request(b"Sec-WebSocket-Protocol: \x08"), 400, CONTROL),
        (request(b"X y"), 400, LINE),
        (request(b"X : y"), 400, LINE),
        (request(b": y"), 400, LINE),
        (request(b"X(y): z"), 400, LINE),
        (request(line=b"GET  / HTTP/1.1"), 400, "malformed request: illegal request line"),
        (request(line=b"GET\t/ HTTP/1.1"), 400, "malformed request: illegal request line"),
        (request(line=b"GET /a\tb HTTP/1.1"), 400, "malformed request: illegal request line"),
        (request(line=b"GET /a\rb HTTP/1.1"), 400, "malformed request: illegal request line"),
        (request(line=b"GET / HTTP/1.1 "), 400, "malformed request: illegal request line"),
        (request(line=b"GET / HTTP/1.1\r"), 400, "malformed request: illegal request line"),
        (request(line=b"GET /a b HTTP/1.1"), 400, "malformed request: illegal request line"),
        (request(line=b"GET /\xff HTTP/1.1"), 400, "malformed request: illegal request line"),
        (b"\x16\x03\x01\x02\r\n\r\n", 400, "malformed request: illegal request line"),
        (b"\r\n" + request(), 400, "malformed request: no request line received"),
    ],
)
def test_what_is_refused(data: bytes, status: int, message: str) -> None:
    outcome = read([data])
    assert isinstance(outcome, Refusal)
    assert outcome.status == status
    assert message_of(outcome).startswith(message)
    assert (b"content-type", b"application/json") in outcome.headers
    if status == 426:
        assert (b"upgrade", b"websocket") in outcome.headers
    if "Version must" in message:
        assert (b"sec-websocket-version", b"13") in outcome.headers
    bytewise = read(bytes([byte]) for byte in data)
    assert bytewise == outcome


def padded(size: int, more: bytes = b"") -> bytes:
    """A valid request whose head has that many bytes before the blank line."""
    bare = request(b"X: ")
    return request(b"X: " + b"x" * (size - len(bare) + 4)) + more


def test_the_limit_of_the_head() -> None:
    for size, more, status in (
        (MAX_HEAD - 1, b"", None),
        (MAX_HEAD, b"", None),
        (MAX_HEAD, b"x" * MAX_HEAD, None),
        (MAX_HEAD + 1, b"", 431),
        (3 * MAX_HEAD, b"", 431),
    ):
        data = padded(size, more)
        bytewise = [data[index : index + 1] for index in range(len(data))]
        for reads in ([data], split(data, range(0, size, 1000)), bytewise):
            outcome = read(reads)
            if status is None:
                assert isinstance(outcome, UpgradeRequest)
            else:
                assert isinstance(outcome, Refusal)
                assert outcome.status == 431
                assert message_of(outcome) == "the request's head is over 16384 bytes"


def test_the_limit_of_headers() -> None:
    usual = len(NEEDED)
    most = [b"X: y"] * (MAX_HEADERS - usual)
    assert isinstance(read([request(*most)]), UpgradeRequest)
    outcome = read([request(*most, b"X: y")])
    assert isinstance(outcome, Refusal)
    assert outcome.status == 431
    assert message_of(outcome) == "the request has over 100 headers"


@pytest.mark.parametrize(
    "data",
    [
        request(b"Authorization : Bearer secret"),
        request(b"Cookie: a=secret\0"),
        request(b"Cookie: a=secret\x01"),
        request(line=b"GET /?token=secret x HTTP/1.1"),
        request(connection=b"Upgrade, x-forwarded-for", line=b"GET /?secret HTTP/1.1"),
    ],
)
def test_a_refusal_does_not_repeat_what_may_be_secret(data: bytes) -> None:
    outcome = read([data])
    assert isinstance(outcome, Refusal)
    assert outcome.status == 400
    assert b"secret" not in encode_refusal(outcome)


def test_a_head_that_never_ends_is_refused_at_the_limit() -> None:
    handshake = ClientHandshake()
    assert handshake.receive_data(b"G" * (MAX_HEAD + 3)) is None
    outcome = handshake.receive_data(b"G")
    assert isinstance(outcome, Refusal)
    assert outcome.status == 431


def test_a_bare_line_feed_is_not_waited_on() -> None:
    handshake = ClientHandshake()
    assert handshake.receive_data(b"GET / HTTP/1.1\r") is None
    assert handshake.receive_data(b"\nHost: h") is None
    outcome = handshake.receive_data(b"\n")
    assert isinstance(outcome, Refusal)
    assert outcome.status == 400


def test_a_bad_line_behind_the_head_is_none() -> None:
    handshake = ClientHandshake()
    assert isinstance(handshake.receive_data(request() + b"\n \r\n x"), UpgradeRequest)


# -- The proxy's answer to the client ----------------------------------------------------------


def test_the_101_answer() -> None:
    handshake = ClientHandshake("192.0.2.7")
    assert handshake.address == "192.0.2.7"
    handshake.receive_data(request(b"Sec-WebSocket-Protocol: a, b"))
    answer = handshake.accept("b", ((b"x-one", b"1"), (b"Sec-WebSocket-Extensions", b"e; f")))
    assert answer.startswith(b"HTTP/1.1 101 Switching Protocols\r\n")
    assert answer.endswith(CRLF * 2)
    assert header_values(answer, b"Upgrade") == [b"websocket"]
    assert header_values(answer, b"Connection") == [b"Upgrade"]
    assert header_values(answer, b"Sec-WebSocket-Accept") == [ACCEPT]
    assert header_values(answer, b"Sec-WebSocket-Protocol") == [b"b"]
    assert header_values(answer, b"Sec-WebSocket-Extensions") == [b"e; f"]
    assert header_values(answer, b"X-One") == [b"1"]


def test_a_refusing_answer_is_complete_in_itself() -> None:
    answer = refusal(404, "unknown", 'no "such" \u2603', ((b"x-one", b"1"),))
    assert json.loads(answer.body) == {"error": "unknown", "message": 'no "such" \u2603'}
    encoded = encode_refusal(answer)
    head, _, body = encoded.partition(CRLF * 2)
    assert body == answer.body
    assert head.startswith(b"HTTP/1.1 404 ")
    assert header_values(encoded, b"Content-Length") == [str(len(body)).encode()]
    assert header_values(encoded, b"Content-Type") == [b"application/json"]
    assert header_values(encoded, b"Connection") == [b"close"]
    assert header_values(encoded, b"X-One") == [b"1"]
    assert ClientHandshake().refuse(answer) == encoded


# -- The request to the server -----------------------------------------------------------------


def asked(**changed: object) -> ServerRequest:
    values: dict[str, object] = {
        "target": "/t?a=1",
        "host": "server.example:9000",
        "headers": ((b"cookie", b"a=b"), (b"x-one", b"1"), (b"x-one", b"2")),
        "subprotocols": ("chat", "other"),
        "deflate": DEFLATE,
        **changed,
    }
    return ServerRequest(**values)  # type: ignore[arg-type]


CUT = Failed("the server closed the connection during the handshake", cut=True)


def begun(**changed: object) -> tuple[ServerHandshake, bytes]:
    handshake = ServerHandshake(asked(**changed), KEY)
    return handshake, handshake.request()


def test_the_request_to_the_server() -> None:
    _, sent = begun()
    assert sent.startswith(b"GET /t?a=1 HTTP/1.1\r\n")
    assert sent.endswith(CRLF * 2)
    for name, values in (
        (b"Host", [b"server.example:9000"]),
        (b"Upgrade", [b"websocket"]),
        (b"Connection", [b"Upgrade"]),
        (b"Sec-WebSocket-Version", [b"13"]),
        (b"Sec-WebSocket-Protocol", [b"chat, other"]),
        (b"Sec-WebSocket-Extensions", [DEFLATE.encode()]),
        (b"Cookie", [b"a=b"]),
        (b"X-One", [b"1", b"2"]),
    ):
        assert header_values(sent, name) == values
    (key,) = header_values(sent, b"Sec-WebSocket-Key")
    assert len(key) == 24
    assert read([sent])  # which a server would take


def test_a_request_without_subprotocols_and_compression() -> None:
    _, sent = begun(subprotocols=(), deflate=None)
    assert header_values(sent, b"Sec-WebSocket-Protocol") == []
    assert header_values(sent, b"Sec-WebSocket-Extensions") == []


def test_several_offers_go_out_as_they_are() -> None:
    offers = "permessage-deflate; client_max_window_bits; a, permessage-deflate; a"
    _, sent = begun(deflate=offers)
    assert header_values(sent, b"Sec-WebSocket-Extensions") == [offers.encode()]
    _, sent = begun(deflate="permessage-deflate")
    assert header_values(sent, b"Sec-WebSocket-Extensions") == [b"permessage-deflate"]


# -- The server's answer -----------------------------------------------------------------------


def answered(
    make: Callable[[bytes], bytes], places: Iterable[int] = (), *, eof: bool = False
) -> Accepted | Refusal | Failed | None:
    """What an answer comes to; `make` gets the request that it answers."""
    handshake, sent = begun()
    for data in split(make(sent), places):
        outcome = handshake.receive_data(data)
        if outcome is not None:
            return outcome
    return handshake.receive_eof() if eof else None


def test_an_accepting_answer() -> None:
    outcome = answered(
        lambda sent: (
            accepting(
                sent,
                b"Sec-WebSocket-Protocol: other",
                b"Sec-WebSocket-Extensions: permessage-deflate; server_no_context_takeover; x=1",
                b"Set-Cookie: a",
                b"Set-Cookie: b",
            )
            + b"\x81\x00rest\r\n\r\n"
        )
    )
    assert outcome == Accepted(
        subprotocol="other",
        extensions=("permessage-deflate; server_no_context_takeover; x=1",),
        headers=((b"Set-Cookie", b"a"), (b"Set-Cookie", b"b")),
        rest=b"\x81\x00rest\r\n\r\n",
    )


def test_extensions_are_read_from_all_their_headers() -> None:
    outcome = answered(
        lambda sent: accepting(
            sent,
            b"Sec-WebSocket-Extensions: permessage-deflate; a",
            b"sec-websocket-extensions:permessage-deflate ,permessage-deflate; b",
        )
    )
    assert isinstance(outcome, Accepted)
    assert outcome.extensions == (
        "permessage-deflate; a",
        "permessage-deflate",
        "permessage-deflate; b",
    )


@pytest.mark.parametrize("line", [b"HTTP/1.1 101", b"HTTP/1.1 101 ", b"HTTP/1.1 101 \xe9 x"])
def test_any_reason_phrase_will_do(line: bytes) -> None:
    outcome = answered(lambda sent: accepting(sent, line=line))
    assert outcome == Accepted(None, (), (), b"")


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ((b"Accept: ", b"Accept: x"), "Bad accept token"),
        ((b"Sec-WebSocket-Accept", b"X-Accept"), "Bad accept token"),
        ((b"Upgrade: websocket\r\n", b""), "Missing header, 'Upgrade: websocket'"),
        ((b"websocket", b"h2c"), "Missing header, 'Upgrade: websocket'"),
        ((b"Connection: Upgrade\r\n", b""), "Missing header, 'Connection: Upgrade'"),
        ((b"\r\n\r\n", b"\r\nSec-WebSocket-Protocol: no\r\n\r\n"), "the server takes a sub"),
        ((b"\r\n\r\n", b"\r\nSec-WebSocket-Extensions: no\r\n\r\n"), "unrecognized extension no"),
        ((b"\r\n\r\n", b"\r\nSec-WebSocket-Protocol: \xe9\r\n\r\n"), "a header of the answer's"),
        ((b"\r\n\r\n", b"\r\nSec-WebSocket-Extensions: \xe9\r\n\r\n"), "a header of the answer's"),
        ((b"\r\n\r\n", b"\r\nConnection: \xe9\r\n\r\n"), "a header of the answer's"),
        ((b"\r\n\r\n", b"\r\nX: a\r\n b\r\n\r\n"), "a line of the answer's head"),
        ((b"\r\n\r\n", b"\r\nX: a\nY: b\r\n\r\n"), "a line of the answer's head"),
        ((b"\r\n\r\n", b"\r\nX: a\0\r\n\r\n"), "illegal header line"),
        ((b"HTTP/1.1 101", b"HTTP/1.1 1010"), "illegal status line"),
        ((b"HTTP/1.1 101", b"HTTP/1.1 099"), "InformationalResponse status_code"),
        ((b"HTTP/1.1 101", b"garbage! 102"), "the server's answer is not HTTP"),
        ((b"HTTP/1.1 101", b"\x00"), "the server's answer is not HTTP"),
    ],
)
def test_an_answer_that_is_no_handshake(change: tuple[bytes, bytes], reason: str) -> None:
    def make(sent: bytes) -> bytes:
        good = accepting(sent)
        assert change[0] in good
        return good.replace(*change)

    for places in ((), range(400)):
        outcome = answered(make, places)
        assert isinstance(outcome, Failed)
        assert outcome.reason.startswith(reason)


@pytest.mark.parametrize("status", [100, 102, 103, 110, 199])
def test_interim_answers_are_skipped(status: int) -> None:
    interim = b"HTTP/1.1 %d Wait\r\nX: y\r\n\r\n" % status
    for places in ((), range(400)):
        outcome = answered(lambda sent: interim * 2 + accepting(sent), places)
        assert outcome == Accepted(None, (), (), b"")
        outcome = answered(lambda _: interim + b"HTTP/1.1 404 No\r\n\r\n", places, eof=True)
        assert outcome == Refusal(404, (), b"", reason=b"No")
    outcome = answered(lambda _: interim, eof=True)
    assert outcome == CUT


BODIES = {
    "length": b"Content-Length: 5\r\n\r\nhello",
    "chunked": b"Transfer-Encoding: chunked\r\n\r\n2\r\nhe\r\n3;x=y\r\nllo\r\n0\r\nT: t\r\n\r\n",
    "until the end": b"\r\nhello",
}


@pytest.mark.parametrize("status", [200, 301, 401, 404, 503, 599])
@pytest.mark.parametrize("form", BODIES)
def test_a_refusal_in_each_form(status: int, form: str) -> None:
    data = b"HTTP/1.1 %d Some Reason\r\nWWW-Authenticate: Basic\r\n" % status + BODIES[form]
    for places in ((), range(400)):
        until_end = form == "until the end"
        assert (answered(lambda _: data, places) is None) is until_end
        outcome = answered(lambda _: data, places, eof=True)
        assert isinstance(outcome, Refusal)
        assert (outcome.status, outcome.body) == (status, b"hello")
        assert outcome.headers[0] == (b"WWW-Authenticate", b"Basic")
        head = encode_refusal(outcome).partition(CRLF)[0]
        assert head == b"HTTP/1.1 %d Some Reason" % status


@pytest.mark.parametrize("status", [204, 304])
def test_a_refusal_that_has_no_body(status: int) -> None:
    outcome = answered(lambda _: b"HTTP/1.1 %d X\r\nContent-Length: 5\r\n\r\n" % status)
    assert outcome == Refusal(status, ((b"Content-Length", b"5"),), b"", reason=b"X")
    encoded = encode_refusal(Refusal(status, (), b""))
    assert encoded == b"HTTP/1.1 %d \r\nconnection: close\r\n\r\n" % status


@pytest.mark.parametrize("form", BODIES)
def test_a_refusal_cut_in_its_body_is_passed_on_as_far_as_it_came(form: str) -> None:
    data = b"HTTP/1.1 404 X\r\n" + BODIES[form]
    head = data.index(CRLF * 2) + 4
    for size in range(len(data)):
        handshake, _ = begun()
        assert not isinstance(handshake.receive_data(data[:size]), Failed)
        so_far, outcome = handshake.so_far, handshake.receive_eof()
        if size < head:
            assert so_far is None
            assert outcome == CUT
            continue
        assert outcome == so_far
        assert isinstance(outcome, Refusal)
        assert (outcome.status, outcome.reason) == (404, b"X")
        assert b"hello".startswith(outcome.body)


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"HTTP/1.1 404 X\r\nTransfer-Encoding: gzip\r\n\r\n", "Only Transfer-Encoding: chunked"),
        (b"HTTP/1.1 404 X\r\nContent-Length: x\r\n\r\n", "bad Content-Length"),
        (b"HTTP/1.1 20 X\r\n\r\n", "illegal status line"),
        (b"HTTP/1.1 404 X\r\nSet-Cookie: secret\0\r\n\r\n", "illegal header line"),
        (b"hello", "the server's answer is not HTTP"),
        (b"\r\n\r\n", "the server's answer is not HTTP"),
        (b"HTTP/2", "the server's answer is of another version of HTTP"),
        (b"SSH-2.0-OpenSSH_9.9", "the server's answer is SSH, not HTTP"),
        (b"220 mail.test ESMTP\r\n", "the server's answer is not HTTP"),
        (b"\x15\x03\x01\0\x02\x02\x46", "the server's answer is TLS, not HTTP"),
        (b"\0\0\x12\x04\0\0\0\0\0", "the server's answer is not HTTP"),
        (b"HTTP/1.1 404 X\nA: b\n\n", "a line of the answer's head ends without CR"),
        (b"HTTP/1.1 101 X\nA: b\n\r\n", "a line of the answer's head ends without CR"),
    ],
)
def test_a_refusal_that_is_garbage(data: bytes, reason: str) -> None:
    for places in ((), range(100)):
        outcome = answered(lambda _: data, places)
        assert isinstance(outcome, Failed)
        assert outcome.reason.startswith(reason)
        assert "secret" not in outcome.reason
        assert not outcome.cut  # it is known before the stream ends


def test_an_answer_that_says_twice_that_it_has_no_body() -> None:
    lines = (b"Content-Length: 0", b"X-One: 1 ", b"content-length: 0")
    outcome = answered(lambda sent: accepting(sent, *lines) + b"rest")
    assert isinstance(outcome, Accepted)
    assert (b"X-One", b"1") in outcome.headers
    assert for_refused(outcome.headers, 101, b"x-id") == ((b"X-One", b"1"),)


@pytest.mark.parametrize("size", range(8))
def test_an_answer_that_has_hardly_begun_may_still_be_one(size: int) -> None:
    assert answered(lambda _: b"HTTP/1.1 101"[:size]) is None
    assert answered(lambda _: b"HTTP/1.1 101"[:size], eof=True) == CUT


def test_a_refusal_whose_body_is_garbage_is_one() -> None:
    data = b"HTTP/1.1 404 X\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nhe\r\nzz\r\n"
    for places in ((), range(len(data))):
        outcome = answered(lambda _: data, places)
        assert isinstance(outcome, Refusal)
        assert (outcome.status, outcome.body) == (404, b"he")


def test_the_limit_of_a_refusal() -> None:
    for head in (b"\r\n", b"Content-Length: %d\r\n\r\n" % (MAX_REFUSAL + 1)):
        data = b"HTTP/1.1 404 X\r\n" + head + bytes(MAX_REFUSAL + 1)
        for places in ((), range(0, len(data), 50_000)):
            outcome = answered(lambda _, data=data: data, places)  # type: ignore[misc]
            assert isinstance(outcome, Refusal)
            assert (outcome.status, outcome.body) == (404, bytes(MAX_REFUSAL))
    data = b"HTTP/1.1 404 X\r\n\r\n" + bytes(MAX_REFUSAL)
    assert answered(lambda _: data) is None
    outcome = answered(lambda _: data, eof=True)
    assert outcome == Refusal(404, (), bytes(MAX_REFUSAL), reason=b"X")


@pytest.mark.parametrize(
    ("begin", "more"),
    [
        (b"", b"HTTP/1.1 100 Continue\r\n\r\n"),
        (b"HTTP/1.1 404 X\r\nTransfer-Encoding: chunked\r\n\r\n", b"1;%s\r\nx\r\n" % (b"e" * 100)),
    ],
)
def test_the_limit_of_an_answer_that_does_not_end(begin: bytes, more: bytes) -> None:
    data = begin + more * (MAX_ANSWER // len(more) + 1)
    outcome = answered(lambda _: data, range(0, len(data), 50_000))
    if begin:
        assert isinstance(outcome, Refusal)
        assert (outcome.status, outcome.body.strip(b"x")) == (404, b"")
    else:
        assert outcome == Failed(f"the answer is over {MAX_ANSWER} bytes")


def test_the_limit_of_an_answers_head() -> None:
    def make(sent: bytes, size: int) -> bytes:
        bare = accepting(sent, b"X: ")
        return accepting(sent, b"X: " + b"x" * (size - len(bare) + 4)) + b"rest"

    for places in ((), range(MAX_HEAD + 10)):
        outcome = answered(lambda sent: make(sent, MAX_HEAD), places)
        assert isinstance(outcome, Accepted)
        outcome = answered(lambda sent: make(sent, MAX_HEAD + 1), places)
        assert outcome == Failed("the answer's head is over 16384 bytes")
    outcome = answered(lambda _: b"HTTP/1.1 " + b"1" * MAX_HEAD)
    assert outcome == Failed("the answer's head is over 16384 bytes")


def test_the_end_of_the_stream_before_any_answer() -> None:
    handshake, _ = begun()
    closed = CUT
    assert handshake.receive_eof() == closed


# -- Never an exception, whatever comes and however it is split --------------------------------

BITS = (
    *(b"\r\n", b"\r\n\r\n", b"\n", b"\r", b" ", b":", b",", b";", b"=", b"\0", b"\xff"),
    *(b"HTTP/1.1", b"101", b"404", b"Connection: ", b"Upgrade: ", b"Host: ", b"xn--"),
    *(b"Content-Length: 3", b"Transfer-Encoding: chunked", b"x" * MAX_HEAD),
)
edits = st.lists(
    st.tuples(
        st.integers(0, 10**4), st.integers(0, 5), st.sampled_from(BITS) | st.binary(max_size=5)
    )
)
places_ = st.lists(st.integers(0, 10**6), max_size=10)


def mutate(data: bytes, changes: list[tuple[int, int, bytes]]) -> bytes:
    for place, cut, new in changes:
        at = place % (len(data) + 1)
        data = data[:at] + new + data[at + cut :]
    return data


GOOD = request(
    b"Sec-WebSocket-Protocol: a, b",
    b"Sec-WebSocket-Extensions: permessage-deflate; client_max_window_bits",
    b"Cookie: a=b",
    line=b"GET /path?a=b HTTP/1.1",
)


@given(edits.map(lambda changes: mutate(GOOD, changes)) | st.binary(), places_)
@example(b"", [])
def test_any_request_bytes_in_any_split(data: bytes, places: list[int]) -> None:
    outcome = read([data])
    assert read(split(data, places)) == outcome
    match outcome:
        case Refusal():
            assert outcome.status in (400, 426, 431)
            assert encode_refusal(outcome).endswith(outcome.body)
        case UpgradeRequest():
            handshake = ClientHandshake()
            handshake.receive_data(data)
            assert data.endswith(handshake.rest)
            subprotocol = outcome.subprotocols[0] if outcome.subprotocols else None
            answer = handshake.accept(subprotocol, ((b"x-one", b"1"),))
            assert answer.startswith(b"HTTP/1.1 101 ")
            assert outcome.target.startswith("/")
        case None:
            assert CRLF * 2 not in data


ANSWERS: dict[str, Callable[[bytes], bytes]] = {
    "accept": lambda sent: (
        accepting(
            sent, b"Sec-WebSocket-Protocol: chat", b"Sec-WebSocket-Extensions: permessage-deflate"
        )
        + b"frames"
    ),
    "interim": lambda sent: b"HTTP/1.1 103 Early\r\nA: b\r\n\r\n" + accepting(sent),
    "length": lambda _: b"HTTP/1.1 401 No\r\nConnection: close\r\n" + BODIES["length"] + b"junk",
    "chunked": lambda _: b"HTTP/1.1 404 No\r\nA: b\r\n" + BODIES["chunked"],
    "until the end": lambda _: b"HTTP/1.1 500 No\r\n" + BODIES["until the end"],
}


@given(st.sampled_from(list(ANSWERS)), edits, places_, st.booleans())
@example("length", [], [10**4 - 1, 80], False)
@example("length", [(15, 0, b"\r\n\n")], [20], False)
@example("interim", [(12, 0, b"\r\n"), (12, 1, b"\r\n")], [15], False)
def test_any_answer_bytes_in_any_split(
    kind: str, changes: list[tuple[int, int, bytes]], places: list[int], eof: bool
) -> None:
    def make(sent: bytes) -> bytes:
        return mutate(ANSWERS[kind](sent), changes)

    whole = answered(make, eof=eof)
    parts = answered(make, places, eof=eof)
    if isinstance(whole, Accepted) and isinstance(parts, Accepted):
        assert whole.rest.startswith(parts.rest)  # what comes later are frames
        whole = replace(whole, rest=parts.rest)
    if isinstance(whole, Failed):
        assert isinstance(parts, Failed)  # h11's reason quotes what has come so far
        return
    assert parts == whole
    if isinstance(whole, Refusal):
        headers = for_refused(whole.headers, whole.status, b"x-connection-id")
        assert whole.body in encode_refusal(replace(whole, headers=headers))
