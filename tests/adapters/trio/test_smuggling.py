"""Ambiguous requests: refused before anything reaches the server; what passes arrives as meant."""

from raw_websocket import request
from socket_bench import Bench, socket_test

VALID = request()


def with_line(line: bytes) -> bytes:
    """A valid request with that header line before the blank one."""
    return VALID[:-2] + line + b"\r\n\r\n"


def with_target(target: bytes) -> bytes:
    return VALID.replace(b"GET / ", b"GET " + target + b" ")


SMUGGLED = b"GET /admin HTTP/1.1\r\nHost: a\r\n\r\n"
AMBIGUOUS: dict[str, bytes] = {
    "Content-Length": with_line(b"Content-Length: %d" % len(SMUGGLED)) + SMUGGLED,
    "two Content-Lengths": with_line(b"Content-Length: 0\r\nContent-Length: 5") + b"hello",
    "a list of Content-Lengths": with_line(b"Content-Length: 0, 0"),
    "Transfer-Encoding": with_line(b"Transfer-Encoding: chunked") + b"0\r\n\r\n" + SMUGGLED,
    "both": with_line(b"Content-Length: 0\r\nTransfer-Encoding: chunked") + b"0\r\n\r\n",
    "another Transfer-Encoding": with_line(b"Transfer-Encoding: xchunked"),
    "a space before the colon": with_line(b"Transfer-Encoding : chunked"),
    "an underscore for the hyphen": with_line(b"Content_Length: 5") + b"hello",
    "a bare LF": with_line(b"X: a\nTransfer-Encoding: chunked"),
    "a bare CR": with_line(b"X: a\rTransfer-Encoding: chunked"),
    "LF at the end of the head": VALID[:-4] + b"\n\n",
    "a folded line": with_line(b"X: a\r\n Transfer-Encoding: chunked"),
    "a folded first line": VALID.replace(b"\r\nHost", b"\r\n Host"),
    "two Hosts": with_line(b"Host: proxy.test"),
    "a Host with a path": VALID.replace(b"proxy.test", b"proxy.test/x"),
    "a Host with a user": VALID.replace(b"proxy.test", b"proxy.test@evil.test"),
    "an absolute target of another host": with_target(b"http://evil.test/"),
    "a fragment in the target": with_target(b"/a#/b"),
    "a way out of the path": with_target(b"/../admin"),
    "a way out in disguise": with_target(b"/%2e%2E%2fadmin"),
    "a tab in the target": with_target(b"/a\tb"),
    "a space in the target": with_target(b"/a b"),
    "NUL in a value": with_line(b"X: a\0b"),
    "a control character in a value": with_line(b"X: a\x1bb"),
    "DEL in a value": with_line(b"Cookie: a=\x7f"),
    "a name with a space": with_line(b"X Y: a"),
    "a line without a colon": with_line(b"X"),
    "Connection names the proxy's own": VALID.replace(
        b"Connection: Upgrade", b"Connection: Upgrade, X-Forwarded-For"
    ),
    "Connection names Origin": VALID.replace(b": Upgrade", b": Upgrade, Origin"),
    "a CRLF in the id": with_target(b"/?connection_id=a%0d%0aX-Evil:1"),
    "a CRLF in the id to resume": with_target(b"/?reconnect_id=a%0d%0aX-Evil:1"),
    "a CRLF in the count": with_target(b"/?reconnect_received=1%0d%0aX-Evil:1"),
}


@socket_test
async def test_an_ambiguous_request_never_reaches_the_server(bench: Bench) -> None:
    await bench.raw_upstream.start()
    await bench.proxy(path="/app")
    for what, data in AMBIGUOUS.items():
        client = await bench.raw()
        client.send(data)
        assert ((await client.read_head()).status, what) == (400, what)
        assert (await client.read_json())["message"]
    client, server = await bench.raw_pair("/last")
    assert server.head.start == "GET /app/last HTTP/1.1"  # and the first that came
    assert bench.raw_upstream.count == 1


@socket_test
async def test_too_many_headers_are_431(bench: Bench) -> None:
    await bench.proxy()
    client = await bench.raw()
    client.send(request("/", *["X: y"] * 100))
    assert (await client.read_head()).status == 431
    assert (await client.read_json())["error"] == "too_many_headers"


@socket_test
async def test_what_is_odd_but_clear_arrives_as_it_was_meant(bench: Bench) -> None:
    await bench.raw_upstream.start()
    await bench.proxy("--id-header", "my-id")
    client = await bench.raw()
    client.send(
        request(
            "http://PROXY.test//a/..b?x=%0d%0aX-Evil:%201&y=../z",
            "Content-Length: 0",
            "My_Id: forged",
            "X_Forwarded_For: 192.0.2.1",
            "X_Reconnect: true",
            "Sec_WebSocket_Protocol: forged",
            "X-Forwarded-Prefix: /forged",
            "X_Harmless: 1",
            'X-Comma: a, b; c="d"',
        )
    )
    server = await bench.raw_upstream.next()
    assert server.head.start == "GET //a/..b?x=%0d%0aX-Evil:%201&y=../z HTTP/1.1"
    by_name: dict[str, list[str]] = {}
    for name, value in server.head.headers:
        by_name.setdefault(name, []).append(value)
    assert by_name.pop("sec-websocket-key")
    assert len(by_name.pop("my-id")[0]) == 32
    assert by_name == {
        "host": ["proxy.test"],
        "upgrade": ["websocket"],
        "connection": ["Upgrade"],
        "sec-websocket-version": ["13"],
        "x_harmless": ["1"],
        "x-comma": ['a, b; c="d"'],
        "x-forwarded-for": ["127.0.0.1"],
        "x-forwarded-proto": ["http"],
        "via": ["1.1 reknit"],
        "x-forwarded-host": ["proxy.test"],
    }


@socket_test
async def test_what_follows_a_request_that_is_refused_goes_nowhere(bench: Bench) -> None:
    """A server that answers no 101 has not agreed to anything but that one request."""
    await bench.raw_upstream.start()
    await bench.proxy()
    client = await bench.raw()
    client.send(request() + SMUGGLED)
    server = await bench.raw_upstream.next()
    server.send(b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n")
    assert (await client.read_head()).status == 404
    assert await client.read_body() == b""
    assert await server.read_all() == b""
    assert bench.raw_upstream.count == 1
