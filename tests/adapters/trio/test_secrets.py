"""What must stay secret does so, whatever happens: ids, tokens, cookies, Authorization.

Each secret has a mark of its own. All that the proxy says to anybody but their owner is searched.
"""

import re
from collections.abc import Iterator

import aiohttp
import pytest
from admin_client import Admin
from raw_websocket import CLOSE, TEXT, RawConnection, close_frame, frame, request
from socket_bench import Bench, socket_test

MARK = "s3cr3t"
ID = f"{MARK}-id"
HEADERS = {
    "authorization": f"Bearer {MARK}-authorization",
    "origin": "https://a.example",
    "cookie": f"sid={MARK}-cookie; other={MARK}-other",
}
MINE = tuple(f"{name}: {value}" for name, value in HEADERS.items())
OPTIONS = (
    *("--log-level", "debug", "--admin", "127.0.0.1:0", "--resume-token"),
    *("--bind", "authorization,origin,cookie:sid", "--queue-messages", "20"),
    *(
        "--overflow-to-client",
        "drop-oldest",
        "--message-limit",
        "1000",
        "--retry-limit",
        "5",
        "--close-timeout",
        "1",
    ),
)
BAD_LINES = (
    f"Authorization : Bearer {MARK}",
    f"Authorization: Bearer {MARK}\x00",
    f"Cookie: sid={MARK}\x01",
    f"{MARK}",
    f"Cookie: sid={MARK}\r\n continued={MARK}",
    f"X-Connection-Id: {MARK} no id",
    f"X-Reconnect-Id: {MARK};",
    f"Cookie: connection_id={MARK}<>",
    f"Host: {MARK}\r\nHost: {MARK}",
    f"Content-Length: {MARK}",
    f"Transfer-Encoding: {MARK}",
    f"Sec-WebSocket-Key: {MARK}",
    f"Sec-WebSocket-Protocol: {MARK} {MARK}",
    f"Authorization: {MARK * 5000}",
)
BAD_PATHS = (
    f"/?connection_id={MARK}%20",
    f"/?reconnect_id={MARK}&reconnect_token={MARK}",
    f"/#{MARK}",
    f"http://{MARK}@other.test/",
    f"/{MARK} {MARK}",
)
BAD_ANSWERS = (
    f"HTTP/1.1 101 {MARK}\r\nSet-Cookie: sid={MARK}\x00\r\n\r\n",
    f"HTTP/1.1 200 OK {MARK}\r\nSet-Cookie : {MARK}\r\n\r\n",
    f"{MARK}\r\n\r\n",
    f"HTTP/1.1 503 {MARK}\r\nSet-Cookie: sid={MARK}\r\nContent-Length: 6\r\n\r\n{MARK}",
)


class Said:
    """All that the proxy has said to others than the owner."""

    def __init__(self) -> None:
        self.bodies: list[str] = []
        self.tokens: list[str] = []

    async def refused(self, bench: Bench, path: str, *headers: str) -> int:
        """Ask for what can't be had, and note the whole answer."""
        client = await bench.raw()
        client.send(request(path, *headers))
        head = await client.read_head()
        self.bodies.append(f"{head} {(await client.read_all()).decode('latin-1')}")
        return head.status

    async def administered(self, admin: Admin, http: aiohttp.ClientSession) -> str:
        """Note all that the admin listener shows; returns the only session's name."""
        session = await admin.only()
        for path in ("/metrics", "/sessions", f"/sessions/{session}", f"/sessions/{ID}"):
            async with http.get(admin.base + path) as answer:
                self.bodies.append(await answer.text())
        return session

    def secrets(self) -> Iterator[str]:
        """What must not be found."""
        yield MARK
        yield from self.tokens


async def returned(bench: Bench, said: Said, path: str = "/") -> RawConnection:
    """The owner is there, with the newest token that it has; it answers no Ping."""
    token = f"x-reconnect-token: {said.tokens[-1] if said.tokens else ''}"
    client = await bench.raw_client(path, *MINE, f"x-connection-id: {ID}", token)
    fresh = client.head.value("x-reconnect-token")
    assert fresh is not None
    assert fresh not in said.tokens
    said.tokens.append(fresh)
    return client


@pytest.mark.parametrize("form", ["text", "json"])
@socket_test
async def test_no_secret_is_said_to_others(bench: Bench, form: str) -> None:
    await bench.raw_upstream.start()
    proxy = await bench.proxy(*OPTIONS, "--log-format", form)
    said = Said()
    opening = await bench.raw()
    path = f"/path?q={MARK}&connection_id={ID}&reconnect_token={MARK}"
    opening.send(request(path, *MINE))
    server = await bench.raw_upstream.accept(f"set-cookie: {MARK}", f"x-reconnect-info: {MARK}")
    said.tokens.append((await opening.read_head()).value("x-reconnect-token") or "")
    assert said.tokens[0]
    async with aiohttp.ClientSession() as http:
        line = await proxy.logged("admin listening on ")
        place = re.search(r"admin listening on ([0-9.:]+)", line)
        assert place is not None
        admin = Admin(f"http://{place[1]}", http)

        # Returns, with and without what they need; each takes the session over.
        client = await returned(bench, said)
        client = await returned(bench, said, f"/?reconnect_hello=1&reconnect_id={ID}")
        stranger = (f"x-connection-id: {ID}", f"authorization: {MARK}-wrong")
        token = f"x-reconnect-token: {said.tokens[-1]}"
        for headers, status in (
            (stranger, 403),
            ((*MINE, f"x-reconnect-id: {ID}", f"x-reconnect-token: {MARK}"), 403),
            ((*MINE, f"x-reconnect-id: {ID}-unknown"), 404),
            ((*MINE, f"x-reconnect-id: {ID}", token, "x-reconnect-received: 9"), 409),
        ):
            assert await said.refused(bench, "/", *headers) == status
            assert await said.refused(bench, "/?reconnect_hello=1", *headers) == 101
        for line in BAD_LINES:
            assert await said.refused(bench, "/", line) in (400, 426, 431)
        for bad in BAD_PATHS:
            assert await said.refused(bench, bad) in (400, 404)
        label = await said.administered(admin, http)
        assert ID not in label

        # The client is away, and its queue overflows.
        client.abort()
        server.send(frame(TEXT, MARK.encode(), masked=False) * 50)
        await proxy.logged("dropped")
        client = await returned(bench, said)

        # The server is lost, answers badly, and comes back.
        server.abort()
        for answer in BAD_ANSWERS:
            broken = await bench.raw_upstream.next()
            broken.send(answer.encode("latin-1"))
            await broken.ended()
        server = await bench.raw_upstream.accept()
        await said.administered(admin, http)
        client.send(frame(TEXT, MARK.encode()))
        assert (await server.read_message()).payload == MARK.encode()

        # The client breaks the protocol, and the session is over.
        client.send(frame(TEXT, b"x" * 1001))
        while (await server.read_message()).opcode != CLOSE:
            pass
        server.send(close_frame(1009, masked=False))
        client.abort()
        await proxy.logged("closed by legs_closed")
        assert await said.refused(bench, "/", *MINE, f"x-reconnect-id: {ID}", token) == 404

        # Another one is refused by the server, whose answer is its own; and one is shut down.
        refused = await bench.raw()
        refused.send(request(f"/?connection_id={ID}", *MINE))
        broken = await bench.raw_upstream.next()
        broken.send(b"HTTP/1.1 401 No\r\ncontent-length: 0\r\n\r\n")
        assert (await refused.read_head()).status == 401
        waiting = bench.spawn(said.refused(bench, f"/?connection_id={ID}", *MINE))
        broken = await bench.raw_upstream.next()
        broken.send(BAD_ANSWERS[0].encode())
        await broken.ended()
        assert await waiting == 502
        closing = await bench.raw()
        closing.send(request(f"/?connection_id={ID}", *MINE))
        server = await bench.raw_upstream.accept()
        await closing.read_head()
        closing.send(close_frame(4000, "done"))
        assert await proxy.stop() == 0
    found = [*proxy.lines, *said.bodies]
    assert len(found) > 60
    for secret in said.secrets():
        assert not [text for text in found if secret in text]
    assert any(label in line for line in proxy.lines)  # what a session is called instead
