"""The admin listener's HTTP server, guard and router, without sockets."""

import io
import json
from collections.abc import Awaitable, Callable
from functools import partial
from http.client import HTTPResponse
from typing import Self

import pytest
import trio
import trio.testing
from hypothesis import given
from hypothesis import strategies as st
from reknit.admin.guard import Guard
from reknit.admin.http_messages import ProblemError, Request, Response, json_response, text_response
from reknit.admin.router import Route, Router
from reknit.admin.server import KNOWN, MAX_BODY, MAX_HEAD, PATIENCE, STRANGERS, Server
from trio.testing import MemoryReceiveStream, MemorySendStream

TOKEN = "0123456789abcdef"
Stream = trio.StapledStream[MemorySendStream, MemoryReceiveStream]


async def echo(request: Request) -> Response:
    return json_response([request.method, request.path, request.query, dict(request.params)])


async def document(request: Request) -> Response:
    return json_response(request.document())


async def broken(request: Request) -> Response:
    raise KeyError("a secret of the proxy")


ROUTES = (
    Route("GET", "/open", echo, is_open=True),
    Route("GET", "/health", echo, is_open=True, any_host=True),
    Route("GET", "/things/{name}", echo),
    Route("POST", "/things/{name}/do", document),
    Route("GET", "/broken", broken),
)


def exchange(data: bytes, *, token: str | None = None, loopback: bool = True) -> bytes:
    """All that a client gets for these bytes, and the end of its stream."""
    guard = Guard(token, loopback=loopback)
    router = Router(ROUTES, guard)

    async def talk() -> bytes:
        client, server = trio.testing.memory_stream_pair()
        async with trio.open_nursery() as nursery:
            nursery.start_soon(Server(router, guard.knows).serve, server)
            await client.send_all(data)
            await client.send_stream.aclose()
            answer = b""
            while part := await client.receive_some():
                answer += part
        return answer

    return trio.run(talk, clock=trio.testing.MockClock(autojump_threshold=0.001))


class _Received(io.BytesIO):
    """Bytes that are left open for the next answer when one is read."""

    def makefile(self, mode: str) -> Self:
        return self

    def close(self) -> None:
        pass


def answers(data: bytes) -> list[tuple[int, bytes]]:
    """The whole answers in what a client got, as an independent reader has them."""
    received = _Received(data)
    found = []
    while received.tell() < len(data):
        answer = HTTPResponse(received)  # type: ignore[arg-type]
        answer.begin()
        found.append((answer.status, answer.read()))
    return found


def request(line: str, *headers: str, body: bytes = b"") -> bytes:
    lines = [f"{line} HTTP/1.1", *headers]
    if not any(header.lower().startswith("host:") for header in headers):
        lines.insert(1, "Host: localhost:9301")
    if body:
        lines.append(f"Content-Length: {len(body)}")
    return "\r\n".join(lines).encode("latin-1") + b"\r\n\r\n" + body


def status_of(data: bytes, **how: bool | str) -> int:
    ((status, body),) = answers(exchange(data, **how))  # type: ignore[arg-type]
    if status >= 400:
        assert set(json.loads(body)) == {"error", "message"}
    return status


# -- Requests and answers ----------------------------------------------------------------------


def test_requests_on_one_connection_are_answered_in_order() -> None:
    data = request("GET /open?a=1&b=") + request("GET /things/x%2Fy") + request("GET /open")
    first, second, third = answers(exchange(data))
    assert first == (200, b'["GET", "/open", {"a": "1", "b": ""}, {}]\n')
    assert second[0] == 404  # the slash counts as one
    assert third[0] == 200


def test_a_path_gives_its_names_values() -> None:
    ((_, body),) = answers(exchange(request("GET /things/a1")))
    assert json.loads(body) == ["GET", "/things/a1", {}, {"name": "a1"}]


def test_head_is_get_without_the_body() -> None:
    answer = exchange(request("HEAD /open") + request("HEAD /broken"))
    assert answer.startswith(b"HTTP/1.1 200 OK\r\n")
    assert answer.count(b"\r\n\r\n") == 2
    assert answer.endswith(b"\r\n\r\n")
    assert b"content-length: 26" in answer.lower()


def test_no_answer_is_kept_by_caches_or_shown_in_frames() -> None:
    answer = exchange(request("GET /open")).lower()
    for header in (b"cache-control: no-store", b"x-frame-options: deny", b"nosniff"):
        assert header in answer


@pytest.mark.parametrize(
    ("data", "status"),
    [
        (request("GET /nothing"), 404),
        (request("GET /"), 404),
        (request("DELETE /open"), 405),
        (request("POST /things/x"), 405),
        (request("GET /things/x/do"), 405),
        (request("POST /things/x/do", body=b"{"), 400),
        (request("POST /things/x/do", body=b"[]"), 400),
        (request("POST /things/x/do", body=b"[" * 60_000), 400),
        (request("POST /things/x/do", body=b"\xff"), 400),
        (request("POST /things/x/do", body=b'{"a": 1}'), 200),
        (request("POST /things/x/do", body=b" " * (MAX_BODY + 1)), 413),
        (request("GET /" + "x" * 2 * MAX_HEAD), 431),
        (request("GET /broken"), 500),
        (b"GET /open HTTP/1.1\r\n\r\n", 400),
        (b"\x16\x03\x01\x02\x00 TLS, as it begins\r\n\r\n", 400),
        (b"GET /open HTTP/3\r\nHost: localhost\r\n\r\n", 400),
        (request("GET http://[/open"), 400),
        (request("GET /open?" + "&".join("abcdefgh" * 13)), 400),
        (request("POST /things/x/do", "Content-Length: -1"), 400),
        (request("POST /things/x/do", "Transfer-Encoding: gzip"), 501),
    ],
)
def test_what_is_wrong_is_said(data: bytes, status: int) -> None:
    assert status_of(data) == status


def test_an_error_of_ours_says_nothing_of_itself(caplog: pytest.LogCaptureFixture) -> None:
    answer = exchange(request("GET /broken"))
    assert b"secret" not in answer
    assert "a secret of the proxy" in caplog.text


def test_405_says_what_is_allowed() -> None:
    assert b"\r\nallow: GET\r\n" in exchange(request("POST /open"))


def test_a_client_may_wait_for_leave_to_send_its_body() -> None:
    answer = exchange(request("POST /things/x/do", "Expect: 100-continue", body=b"{}"))
    assert b" 200 " in answer


@given(st.binary(max_size=300))
def test_any_bytes_are_survived(data: bytes) -> None:
    answers(exchange(data))


PIECES = [
    b"GET", b"POST", b" ", b"/open", b"/things/a/do", b" HTTP/1.1", b"\r\n", b"\r\n\r\n", b"Host: ",
    b"localhost", b"Content-Length: 3", b"Transfer-Encoding: chunked", b"3\r\n{}\n\r\n0\r\n\r\n",
    b"Connection: close", b"Upgrade: websocket", b"Expect: 100-continue", b"{}\n", b"\x00", b":",
    b"Origin: null", b"%", b"?", b"//", b"*", b"Authorization: Bearer \xff",
]  # fmt: skip


@given(st.lists(st.sampled_from(PIECES), max_size=30))
def test_any_row_of_pieces_is_survived(pieces: list[bytes]) -> None:
    answer = exchange(b"".join(pieces))
    assert b" 500 " not in answer


# -- Slow and many clients ---------------------------------------------------------------------


def with_server(test: Callable[[Server], Awaitable[None]]) -> None:
    guard = Guard(TOKEN, loopback=True)
    server = Server(Router(ROUTES, guard), guard.knows)
    trio.run(test, server, clock=trio.testing.MockClock(autojump_threshold=0.001))


def test_a_client_that_stalls_is_let_go() -> None:
    async def test(server: Server) -> None:
        for data in (b"", b"GET /op", request("POST /things/x/do", "Content-Length: 9")):
            began = trio.current_time()
            client, end = trio.testing.memory_stream_pair()
            async with trio.open_nursery() as nursery:
                nursery.start_soon(server.serve, end)
                await client.send_all(data)
                assert await client.receive_some() == b""
            assert trio.current_time() - began == pytest.approx(PATIENCE, abs=2)

    with_server(test)


def test_a_client_that_does_not_take_its_answer_is_let_go() -> None:
    async def test(server: Server) -> None:
        client, end = trio.testing.lockstep_stream_pair()  # a send waits until it is received
        async with trio.open_nursery() as nursery:
            nursery.start_soon(server.serve, end)
            await client.send_all(request("GET /open"))
        assert trio.current_time() >= PATIENCE

    with_server(test)


class Connected:
    """A client that is connected to a server."""

    def __init__(self, server: Server, nursery: trio.Nursery) -> None:
        self.stream, end = trio.testing.memory_stream_pair()
        nursery.start_soon(server.serve, end)

    async def ask(self, target: str, *headers: str) -> int:
        """The status of the answer."""
        await self.stream.send_all(request(f"GET {target}", *headers))
        answer = bytes(await self.stream.receive_some())
        while answer and not answer.endswith(b"\n"):
            answer += bytes(await self.stream.receive_some())
        return int(answer.split()[1])

    async def is_sent_away(self) -> bool:
        """Whether it was, when all has come to rest."""
        await trio.testing.wait_all_tasks_blocked()
        with trio.move_on_after(0.01):
            return await self.stream.receive_some() == b""
        return False


AUTHORIZED = f"Authorization: Bearer {TOKEN}"


def with_connections(
    test: Callable[[Callable[[], Connected]], Awaitable[None]],
) -> None:
    async def run(server: Server) -> None:
        async with trio.open_nursery() as nursery:
            await test(lambda: Connected(server, nursery))
            nursery.cancel_scope.cancel()

    with_server(run)


def test_silent_strangers_keep_nobody_out_and_the_idlest_gives_way() -> None:
    async def test(connect: Callable[[], Connected]) -> None:
        strangers = []
        for _ in range(STRANGERS):
            strangers.append(connect())
            await trio.testing.wait_all_tasks_blocked()
        await strangers[0].stream.send_all(b"G")  # it is not the idlest any more
        await trio.testing.wait_all_tasks_blocked()
        probe = connect()
        assert await probe.ask("/open") == 200
        assert [await each.is_sent_away() for each in strangers[:3]] == [False, True, False]
        for _ in range(3 * STRANGERS):
            connect()
            assert await connect().ask("/open") == 200
            assert await connect().ask("/things/x", AUTHORIZED) == 200
        assert trio.current_time() < PATIENCE / 2  # nobody waited until others went

    with_connections(test)


def test_who_is_known_is_not_sent_away_by_strangers() -> None:
    async def test(connect: Callable[[], Connected]) -> None:
        known, guesser = connect(), connect()
        assert await known.ask("/things/x", AUTHORIZED) == 200
        assert await guesser.ask("/things/x", f"{AUTHORIZED}0") == 401
        strangers = [connect() for _ in range(STRANGERS)]
        assert await guesser.is_sent_away()
        assert not await known.is_sent_away()
        assert await known.ask("/things/x", AUTHORIZED) == 200
        assert not await strangers[0].is_sent_away()

    with_connections(test)


def test_many_who_are_known_keep_nobody_out() -> None:
    async def test(connect: Callable[[], Connected]) -> None:
        known = [connect() for _ in range(KNOWN)]
        for each in known:
            assert await each.ask("/things/x", AUTHORIZED) == 200
        for _ in range(2 * STRANGERS):
            assert await connect().ask("/open") == 200
            assert await connect().ask("/things/x", AUTHORIZED) == 200
        assert not any([await each.is_sent_away() for each in known])
        await known[0].stream.send_stream.aclose()
        await trio.testing.wait_all_tasks_blocked()
        last = connect()
        assert await last.ask("/things/x", AUTHORIZED) == 200  # gets the place that is free
        for _ in range(STRANGERS):
            connect()
        assert not await last.is_sent_away()

    with_connections(test)


# -- Who may ask -------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("host", "status"),
    [
        ("localhost", 200),
        ("LOCALHOST:9301", 200),
        ("127.0.0.1:9301", 200),
        ("127.1.2.3", 200),
        ("[::1]:9301", 200),
        ("evil.example", 421),
        ("localhost.evil.example", 421),
        ("127.0.0.1.evil.example", 421),
        ("evil.example:9301", 421),
        ("192.0.2.1", 421),
        ("[::2]", 421),
        ("", 421),
        ("localhost@evil.example", 421),
        ("\xe9", 421),
    ],
)
def test_on_loopback_host_must_be_a_name_of_this_machine(host: str, status: int) -> None:
    """Else a page could read all of it, under a name that it makes resolve to this address."""
    assert status_of(request("GET /open", f"Host: {host}")) == status


@pytest.mark.parametrize(
    "check",
    [
        b"GET /health HTTP/1.0\r\n\r\n",  # so HAProxy asks
        request("GET /health", "Host: the-service"),
        request("HEAD /health", "Host: 192.0.2.1:9301"),
    ],
)
def test_a_health_check_may_name_any_host_or_none(check: bytes) -> None:
    assert exchange(check, token=TOKEN).startswith(b"HTTP/1.1 200 ")


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ((), 200),
        (("Origin: http://localhost:9301",), 200),
        (("Origin: http://localhost:9301", "Sec-Fetch-Site: same-origin"), 200),
        (("Origin: https://evil.example",), 403),
        (("Origin: http://localhost:8000",), 403),
        (("Origin: http://localhost",), 403),
        (("Origin: null",), 403),
        (("Sec-Fetch-Site: cross-site",), 403),
        (("Sec-Fetch-Site: same-site",), 403),
        (("Sec-Fetch-Site: none",), 200),
    ],
)
def test_a_page_of_another_site_can_do_nothing(headers: tuple[str, ...], status: int) -> None:
    assert status_of(request("POST /things/x/do", *headers)) == status


def test_a_link_from_another_site_may_lead_here() -> None:
    assert status_of(request("GET /open", "Sec-Fetch-Site: cross-site")) == 200


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ((f"Authorization: Bearer {TOKEN}",), 200),
        ((f"authorization: bearer  {TOKEN}",), 200),
        ((), 401),
        (("Authorization: Bearer",), 401),
        ((f"Authorization: Bearer {TOKEN}x",), 401),
        ((f"Authorization: Bearer {TOKEN[:-1]}",), 401),
        ((f"Authorization: Basic {TOKEN}",), 401),
        ((f"Authorization: {TOKEN}",), 401),
        (("Authorization: Bearer \xff\xfe",), 401),
        ((f"Authorization: Bearer {TOKEN}", f"Authorization: Bearer {TOKEN}"), 401),
    ],
)
def test_a_token_is_demanded(headers: tuple[str, ...], status: int) -> None:
    data = request("GET /things/x", "Host: proxy.example", *headers)
    assert status_of(data, token=TOKEN, loopback=False) == status


def test_probes_need_no_token_and_others_learn_nothing_without_it() -> None:
    ask = partial(status_of, token=TOKEN, loopback=False)
    assert ask(request("GET /open")) == 200
    assert ask(request("GET /nothing")) == 401
    assert ask(request("DELETE /things/x")) == 401
    assert b"WWW-Authenticate".lower() in exchange(request("GET /x"), token=TOKEN).lower()


def test_a_problem_is_an_answer_too() -> None:
    answer = ProblemError(409, "word", "a sentence").response()
    assert (answer.status, json.loads(answer.body)) == (
        409,
        {"error": "word", "message": "a sentence"},
    )
    assert text_response("x").body == b"x\n"
