"""The log's last line of a session says what a proxy's access log says of a request."""

import asyncio
import json

import aiohttp
import pytest
from socket_bench import Bench, id_of, socket_test
from upstream_server import cut

BEHIND = ("--trust-forwarded", "127.0.0.1", "--confirm-after", "3600")


@pytest.mark.parametrize("form", ["text", "json"])
@socket_test
async def test_it_says_whose_session_it_was_and_what_passed(bench: Bench, form: str) -> None:
    await bench.upstream.start()
    proxy = await bench.proxy(*BEHIND, "--log-level", "info", "--log-format", form)
    client = await bench.connect("/chat/7?key=secret", headers={"X-Forwarded-For": "203.0.113.7"})
    server = await bench.upstream.accept()
    await client.send("hello")
    assert await server.recv() == "hello"
    await server.send("hi")
    assert await client.recv() == "hi"
    cut(client)
    await proxy.logged("client_down by client_lost")
    back = {"X-Connection-Id": id_of(client), "X-Forwarded-For": "203.0.113.8, 198.51.100.1"}
    client = await bench.connect("/chat/7?key=secret", headers=back)
    await proxy.logged("client_returned.*198.51.100.1")
    await client.close(1000, "bye")
    await proxy.logged("closed by legs_closed")
    await proxy.stop()
    (line,) = [line for line in proxy.lines if "closed by legs_closed" in line]
    assert not any("secret" in line or id_of(client) in line for line in proxy.lines)
    first = next(line for line in proxy.lines if "connected by server_accepted" in line)
    assert "203.0.113.7" in first
    if form == "text":
        assert "code 1000: client closed with 1000 bye; from 198.51.100.1 for /chat/7; " in line
        assert "; 1 message, 11 bytes to the server; 1 message, 4 bytes to the client; " in line
        assert "; client away 1 time, " in line
        assert "server away" not in line
        return
    said = json.loads(line)
    assert 0 < said.pop("client_away_seconds") < said.pop("seconds")
    for name in ("time", "message", "session"):
        del said[name]
    assert said == {
        "level": "info",
        "event": "ended",
        "state": "closed",
        "trigger": "legs_closed",
        "code": 1000,
        "reason": "client closed with 1000 bye",
        "address": "198.51.100.1",
        "path": "/chat/7",
        "to_server_messages": 1,
        "to_server_bytes": 5 + 6,
        "to_client_messages": 1,
        "to_client_bytes": 2 + 2,
        "server_outages": 0,
        "server_away_seconds": 0.0,
        "client_outages": 1,
    }


@socket_test
async def test_a_client_that_got_no_session_has_one_with_its_status(bench: Bench) -> None:
    proxy = await bench.proxy("--handshake-wait", "0.1", "--log-level", "info")
    async with aiohttp.ClientSession() as http:
        with pytest.raises(aiohttp.WSServerHandshakeError):
            await asyncio.wait_for(http.ws_connect(f"http://127.0.0.1:{proxy.port}/x"), 10)
    await proxy.logged("WARNING .* closed by retries_spent .*code 503: .*; from 127.0.0.1 for /x;")
