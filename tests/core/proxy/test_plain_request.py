"""Which requests are plain ones, and which of them are too ambiguous to go on."""

import json

import pytest
from handshake_bytes import request
from reknit_core.policy.policy import Http
from reknit_core.proxy.plain_request import PlainRequest, read_request
from reknit_core.wire.handshake import ClientHandshake, Refusal, UpgradeRequest

CHUNKED = b"Transfer-Encoding: chunked"


def read(
    *lines: bytes, start: bytes = b"POST / HTTP/1.1", http: Http = Http.PASS
) -> UpgradeRequest | PlainRequest | Refusal | None:
    data = b"\r\n".join((start, b"Host: h", *lines, b"", b""))
    return read_request(ClientHandshake(), data, http)


def test_what_is_known_of_a_plain_request() -> None:
    assert read(b"X-A: b", b"x-a:  c ", start=b"DELETE /a?b HTTP/1.1") == PlainRequest(
        b"DELETE", "/a?b", "h", ((b"host", b"h"), (b"x-a", b"b"), (b"x-a", b"c"))
    )


@pytest.mark.parametrize(
    "start",
    [
        *(method + b" / HTTP/1.1" for method in (b"GET", b"HEAD", b"POST", b"QUERY", b"OPTIONS")),
        *(b"GET / HTTP/1.0", b"GET http://H/ HTTP/1.1"),
    ],
)
def test_plain_requests(start: bytes) -> None:
    outcome = read(start=start)
    assert isinstance(outcome, PlainRequest)
    assert outcome.target == "/"
    refused = read(start=start, http=Http.REFUSE)
    assert isinstance(refused, Refusal)
    assert (refused.status, dict(refused.headers)[b"upgrade"]) == (426, b"websocket")


@pytest.mark.parametrize(
    "lines",
    [
        *([b"Content-Length: 0"], [b"Content-Length: 18446744073709551616"]),
        *([CHUNKED], [b"transfer-encoding:CHUNKED"]),
        *([b"Upgrade: h2c", b"Connection: Upgrade"], [b"Expect: 100-continue"]),
        [b"Upgrade: websocket, h2c", b"Connection: Upgrade"],  # one of several: it may be refused
    ],
)
def test_bodies_and_other_upgrades(lines: list[bytes]) -> None:
    assert isinstance(read(*lines), PlainRequest)


def test_requests_without_a_host_or_a_body_in_an_old_version() -> None:
    data = b"GET / HTTP/1.0\r\n\r\n"
    assert read_request(ClientHandshake(), data, Http.PASS) == PlainRequest(b"GET", "/", "", ())


AMBIGUOUS: dict[str, list[bytes]] = {
    "both": [b"Content-Length: 5", CHUNKED],
    "both, the other way round": [CHUNKED, b"Content-Length: 5"],
    "two lengths": [b"Content-Length: 5", b"Content-Length: 6"],
    "two equal lengths": [b"Content-Length: 5", b"Content-Length: 5"],
    "a list of lengths": [b"Content-Length: 5, 5"],
    "a negative length": [b"Content-Length: -5"],
    "a length with a sign": [b"Content-Length: +5"],
    "a hexadecimal length": [b"Content-Length: 0x5"],
    "no length": [b"Content-Length:"],
    "two codings": [CHUNKED, CHUNKED],
    "a list of codings": [b"Transfer-Encoding: gzip, chunked"],
    "chunked not last": [b"Transfer-Encoding: chunked, identity"],
    "another coding": [b"Transfer-Encoding: xchunked"],
    "identity": [b"Transfer-Encoding: identity"],
    "a coding with a parameter": [b"Transfer-Encoding: chunked;q=1"],
    "an underscore in the length": [b"Content_Length: 5"],
    "an underscore in the coding": [b"Transfer_Encoding: chunked"],
    "an underscore and a hyphen": [b"Content-Length: 5", b"Content_Length: 6"],
    "a space before the colon": [b"Content-Length : 5"],
    "a folded coding": [b"Transfer-Encoding:", b" chunked"],
    "a vertical tab": [b"Transfer-Encoding: \x0bchunked"],
    "a bare LF": [b"X: a\nTransfer-Encoding: chunked"],
    "a second Host": [b"Host: h"],
    "Connection names Cookie": [b"Connection: Cookie"],
    "Connection names the proxy's own": [b"Connection: close, X_Forwarded_For"],
}


@pytest.mark.parametrize("what", AMBIGUOUS)
def test_ambiguous_requests(what: str) -> None:
    outcome = read(*AMBIGUOUS[what])
    assert isinstance(outcome, Refusal), outcome
    assert outcome.status == 400
    assert json.loads(outcome.body)["message"]


@pytest.mark.parametrize(
    "start",
    [
        *(b"GET /../x HTTP/1.1", b"GET http://evil.test/ HTTP/1.1", b"GET /a#b HTTP/1.1"),
        *(b"CONNECT h:443 HTTP/1.1", b"OPTIONS * HTTP/1.1", b"GET  / HTTP/1.1", b"GET /"),
    ],
)
def test_targets_that_name_no_path(start: bytes) -> None:
    outcome = read(start=start)
    assert isinstance(outcome, Refusal), outcome
    assert outcome.status == 400


def test_chunks_in_an_old_version() -> None:
    outcome = read(CHUNKED, start=b"POST / HTTP/1.0")
    assert isinstance(outcome, Refusal)
    assert outcome.status == 400


@pytest.mark.parametrize("http", Http)
def test_what_wants_to_be_a_handshake_is_none_of_the_servers_business(http: Http) -> None:
    assert isinstance(read_request(ClientHandshake(), request(), http), UpgradeRequest)
    for data, status in (
        (request(sec_websocket_key=b"short"), 400),
        (request(sec_websocket_version=b"12"), 426),
        (request(b"Content-Length: 5"), 400),
        (request(line=b"POST / HTTP/1.1"), 400),
    ):
        outcome = read_request(ClientHandshake(), data, http)
        assert isinstance(outcome, Refusal)
        assert outcome.status == status


def test_a_request_in_pieces() -> None:
    handshake = ClientHandshake()
    data = b"POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 2\r\n\r\nhi"
    for number in data[:-3]:
        assert read_request(handshake, bytes([number]), Http.PASS) is None
    assert isinstance(read_request(handshake, data[-3:], Http.PASS), PlainRequest)
    assert handshake.head + handshake.rest == data
