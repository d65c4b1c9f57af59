"""The opening handshake: what the server sees, what the client gets, and who isn't let in."""

import json
import re
from typing import Any

from raw_websocket import request
from socket_bench import Bench, header, id_of, socket_test

CLIENT_HEADERS = (
    "Authorization: Bearer abc",
    "Cookie: theme=dark; connection_id=cookie",
    "Origin: https://example.test",
    "X-Custom: one",
    "X-Custom: two",
    "User-Agent: test/1.0",
)
NOT_FOR_THE_SERVER = (
    "Proxy-Authorization: Basic eHg6eXk=",
    "Keep-Alive: timeout=5",
    "X-One-Hop: only",
    "X-Forwarded-For: 192.0.2.1",
    "X-Forwarded-Host: forged.test",
    "X-Forwarded-Proto: https",
    "Forwarded: for=192.0.2.1",
    "X-Reconnect: true",
    "X-Reconnect-Attempt: 7",
    "X-Reconnect-Info: forged",
)


def names(head: Any) -> set[str]:
    return {name for name, _ in head.headers}


@socket_test
async def test_the_server_sees_the_clients_request(bench: Bench) -> None:
    await bench.raw_upstream.start()
    await bench.proxy()
    client = await bench.raw()
    request_bytes = request("/chat/r%C3%B6om?a=1&b=%20&a=2", *CLIENT_HEADERS)
    client.send(request_bytes.replace(b"Connection: Upgrade", b"Connection: Upgrade, X-One-Hop"))
    server = await bench.raw_upstream.next()
    seen = server.head
    assert seen.start == "GET /chat/r%C3%B6om?a=1&b=%20&a=2 HTTP/1.1"
    for line in CLIENT_HEADERS:
        name, _, value = line.partition(": ")
        assert value in seen.values(name)
    assert seen.values("x-custom") == ["one", "two"]
    assert seen.value("host") == "proxy.test"
    assert seen.value("x-connection-id") == "cookie"
    assert seen.value("x-forwarded-for") == "127.0.0.1"
    assert seen.value("x-forwarded-host") == "proxy.test"
    assert seen.value("x-forwarded-proto") == "http"
    assert not any(name.startswith("x-reconnect") for name in names(seen))


@socket_test
async def test_the_server_does_not_see_what_is_for_one_hop_or_the_proxy(bench: Bench) -> None:
    await bench.raw_upstream.start()
    await bench.proxy()
    client = await bench.raw()
    head = request(
        "/?connection_id=a&x=1&reconnect_received=0&reconnect_hello=1", *NOT_FOR_THE_SERVER
    )
    client.send(head.replace(b"Connection: Upgrade", b"Connection: Upgrade, X-One-Hop"))
    seen = (await bench.raw_upstream.next()).head
    assert seen.start == "GET /?x=1 HTTP/1.1"
    assert seen.value("connection") == "Upgrade"
    assert seen.value("x-forwarded-for") == "127.0.0.1"
    assert seen.value("x-forwarded-host") == "proxy.test"
    assert seen.value("x-forwarded-proto") == "http"
    gone = {"proxy-authorization", "keep-alive", "x-one-hop", "forwarded"}
    assert not names(seen) & gone
    assert not any(name.startswith("x-reconnect") for name in names(seen))


@socket_test
async def test_a_server_may_have_another_host(bench: Bench) -> None:
    await bench.raw_upstream.start()
    own = f"127.0.0.1:{bench.upstream.port}"
    for option, host in (("upstream", own), ("backend.test:81", "backend.test:81")):
        await bench.proxy("--host", option)
        client = await bench.raw()
        client.send(request("/", "Origin: http://proxy.test"))
        seen = (await bench.raw_upstream.next()).head
        assert seen.value("host") == host
        assert seen.value("origin") == "http://proxy.test"


@socket_test
async def test_a_server_that_must_keep_context_is_reached_without_compression(
    bench: Bench,
) -> None:
    """As Node's ws with serverNoContextTakeover: false, and tornado."""
    await bench.raw_upstream.start()
    await bench.proxy()
    offer = "Sec-WebSocket-Extensions: permessage-deflate; client_max_window_bits"
    client = await bench.raw()
    client.send(request("/", offer))
    first = await bench.raw_upstream.accept("Sec-WebSocket-Extensions: permessage-deflate")
    assert "server_no_context_takeover" in (first.head.value("sec-websocket-extensions") or "")
    second = await bench.raw_upstream.accept()
    assert second.head.value("sec-websocket-extensions") is None
    assert (await client.read_head()).status == 101
    assert client.head.value("sec-websocket-extensions") is None
    _, third = await bench.raw_pair("/", offer)  # which is not asked in vain again
    assert third.head.value("sec-websocket-extensions") is None


@socket_test
async def test_the_upstreams_path_comes_before_the_clients(bench: Bench) -> None:
    await bench.upstream.start()
    await bench.proxy(path="/app/")
    await bench.connect("/chat?room=1")
    assert bench.upstream.requests[0].path == "/app/chat?room=1"


@socket_test
async def test_the_servers_answer_headers_are_in_the_clients_101(bench: Bench) -> None:
    await bench.raw_upstream.start()
    await bench.proxy()
    client, _ = await bench.raw_pair(
        "/",
        "x-connection-id: mine",
        answer=(
            "Set-Cookie: a=1; Path=/",
            "Set-Cookie: b=2",
            "X-Server: here",
            "Keep-Alive: timeout=5",
            "X-Connection-Id: forged",
            "X-Reconnect: forged",
            "X-Reconnect-Info: for the proxy",
        ),
    )
    head = client.head
    assert head.values("set-cookie") == ["a=1; Path=/", "b=2"]
    assert head.value("x-server") == "here"
    assert head.value("x-connection-id") == "mine"
    assert head.value("x-reconnect") == "new"
    assert not names(head) & {"keep-alive", "x-reconnect-info"}


@socket_test
async def test_the_server_chooses_the_subprotocol(bench: Bench) -> None:
    await bench.proxy()
    cases: tuple[tuple[list[str] | None, list[str] | None, str | None], ...] = (
        (["chat", "soap"], ["soap", "chat"], "soap"),
        (["chat", "soap"], ["chat"], "chat"),
        (["chat"], None, None),
        (None, None, None),
    )
    for offered, spoken, chosen in cases:
        bench.upstream.subprotocols = spoken
        await bench.upstream.start()
        client = await bench.connect(subprotocols=offered)
        server = await bench.upstream.accept()
        assert client.subprotocol == server.subprotocol == chosen
        await client.close()
        await bench.upstream.kill()


# -- The connection id -------------------------------------------------------------------------


@socket_test
async def test_a_client_names_its_session(bench: Bench) -> None:
    await bench.upstream.start()
    await bench.proxy()
    for path, headers, expected in (
        ("/", {"X-Connection-Id": "header"}, "header"),
        ("/?connection_id=query", {}, "query"),
        ("/", {"Cookie": "a=b; connection_id=cookie"}, "cookie"),
        ("/?connection_id=query", {"X-Connection-Id": "header2"}, "header2"),
        ("/?connection_id=query2", {"Cookie": "connection_id=cookie"}, "query2"),
    ):
        client = await bench.connect(path, headers)
        assert id_of(client) == expected
        assert bench.upstream.requests[-1].headers["x-connection-id"] == expected


@socket_test
async def test_a_client_without_an_id_gets_one_of_128_random_bits(bench: Bench) -> None:
    await bench.upstream.start()
    await bench.proxy()
    ids = {id_of(await bench.connect()) for _ in range(5)}
    assert len(ids) == 5
    assert all(re.fullmatch(r"[0-9a-f]{32}", connection_id) for connection_id in ids)
    assert {seen.headers["x-connection-id"] for seen in bench.upstream.requests} == ids


@socket_test
async def test_the_names_of_the_connection_id_are_configurable(bench: Bench) -> None:
    await bench.upstream.start()
    await bench.proxy("--id-header", "X-Session", "--id-query", "sid", "--id-cookie", "session")
    for path, headers in (
        ("/?connection_id=kept", {"X-Session": "a"}),
        ("/?sid=a&connection_id=kept", {}),
        ("/?connection_id=kept", {"Cookie": "session=a; connection_id=b"}),
    ):
        client = await bench.connect(path, headers)
        assert header(client.response, "x-session") == "a"
        await client.close()
    assert {seen.headers["x-session"] for seen in bench.upstream.requests} == {"a"}
    assert {seen.path for seen in bench.upstream.requests} == {"/?connection_id=kept"}


@socket_test
async def test_a_connection_id_of_another_form_is_refused(bench: Bench) -> None:
    await bench.upstream.start()
    await bench.proxy()
    for connection_id in ("", "a b", "x" * 129, "<script>"):
        response = await bench.refused("/", {"x-connection-id": connection_id})
        assert response.status_code == 400
        assert json.loads(response.body)["error"] == "bad_connection_id"
    assert not bench.upstream.requests


@socket_test
async def test_an_unknown_session_is_not_begun_afresh(bench: Bench) -> None:
    await bench.upstream.start()
    await bench.proxy()
    for path, headers in (("/", {"x-reconnect-id": "gone"}), ("/?reconnect_id=gone", {})):
        response = await bench.refused(path, headers)
        assert response.status_code == 404
        assert response.headers["content-type"] == "application/json"
        assert json.loads(response.body)["error"] == "unknown_session"
    assert not bench.upstream.requests
