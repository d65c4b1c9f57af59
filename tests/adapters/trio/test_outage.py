"""A server that is out: a few lines for many sessions, and none of what it costs is silent."""

import asyncio
import json
from contextlib import suppress

import pytest
from raw_websocket import request
from socket_bench import Bench, closed, socket_test

SESSIONS = 25
LONG = ("--retry-limit", "100000", "--retry-interval", "0.05")


async def come(bench: Bench, number: int) -> None:
    """So many clients, and the server's end of each."""
    await asyncio.gather(*(bench.connect() for _ in range(number)))
    for _ in range(number):
        await bench.upstream.accept()


@pytest.mark.parametrize("level", ["info", "warning"])
@socket_test
async def test_an_outage_is_a_few_lines(bench: Bench, level: str) -> None:
    await bench.upstream.start()
    proxy = await bench.proxy(*LONG, "--log-level", "info")
    await come(bench, SESSIONS)
    await proxy.reached("connected", SESSIONS)
    before = len(proxy.lines)
    await bench.upstream.kill()
    await proxy.logged(rf"WARNING the server is out: \d+ of {SESSIONS} sessions wait: ")
    await asyncio.sleep(0.3)  # several attempts of each
    await bench.upstream.start()
    for _ in range(SESSIONS):
        await bench.upstream.accept()
    await proxy.logged(
        rf"WARNING the server is back after .* {SESSIONS} sessions have returned to it, 0 "
    )
    said = [line for line in proxy.lines[before:] if level == "info" or "WARNING" in line]
    assert len(said) <= 2 + 4 * (level == "info")  # the first to be lost are told of one by one


@socket_test
async def test_what_an_outage_costs_is_said_at_warning_and_in_json(bench: Bench) -> None:
    await bench.upstream.start()
    level = ("--log-level", "info", "--log-format", "json")
    proxy = await bench.proxy("--retry-limit", "3", *level)
    await come(bench, SESSIONS)
    clients = list(bench._clients)
    await bench.upstream.kill()
    await proxy.logged("outage_began")
    for client in clients:
        await client.send("lost")
    assert {(await closed(client))[0] for client in clients} == {1013}
    await proxy.stop()
    documents = [json.loads(line) for line in proxy.lines]
    warnings = [document for document in documents if document["level"] == "warning"]
    assert len(warnings) <= 12
    (more,) = [document for document in warnings if document["event"] == "more_losses"]
    ended = sum(document.get("trigger") == "retries_spent" for document in warnings)
    lost = sum(document["messages"] for document in warnings if document["event"] == "lost")
    assert ended + more["ended"] == SESSIONS
    assert lost + more["messages"] == SESSIONS
    assert len(more["names"].split(", ")) == min(20, more["sessions"]) + (more["sessions"] > 20)


@socket_test
async def test_a_session_that_alone_loses_its_server_is_no_outage(bench: Bench) -> None:
    await bench.upstream.start()
    proxy = await bench.proxy("--log-level", "info")
    for _ in range(3):
        await bench.connect()
        server = await bench.upstream.accept()
    await server.close(1012)
    await bench.upstream.accept()
    await proxy.logged("INFO .* draining by server_accepted")
    assert not any("the server is" in line for line in proxy.lines)


ANSWERS = {
    "a banner": (b"SSH-2.0-OpenSSH_9.9\r\n", "the server's answer is SSH, not HTTP"),
    "TLS": (b"\x15\x03\x01\0\x02\x02\x46", "the server's answer is TLS, not HTTP"),
    "a bare LF": (b"HTTP/1.1 101 X\nUpgrade: websocket\n\n", "ends without CR"),
    "an oversized head": (b"HTTP/1.1 101 X\r\nX: " + bytes(17000), "head is over 16384 bytes"),
    "a wrong key": (
        b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
        b"Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n\r\n",
        "Bad accept token",
    ),
}


@pytest.mark.parametrize("kind", ANSWERS)
@socket_test
async def test_an_answer_that_is_no_handshake_ends_an_opening_at_once(
    bench: Bench, kind: str
) -> None:
    answer, reason = ANSWERS[kind]
    await bench.raw_upstream.start()
    proxy = await bench.proxy("--handshake-wait", "3600", "--connect-timeout", "3600")
    client = await bench.raw()
    client.send(request())
    (await bench.raw_upstream.next()).send(answer)
    head = await client.read_head()
    assert head.status == 502
    message = json.loads(await client.read_body())["message"]
    assert reason in message
    assert len(message) < 250
    await proxy.logged(f"WARNING .* closed by retries_spent .*code 502: .*{reason}")
    await proxy.logged(f"attempt 0 failed: .*{reason}")


@socket_test
async def test_tls_that_a_server_does_not_speak_ends_an_opening_at_once(bench: Bench) -> None:
    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read(1)
        writer.write(b"HTTP/1.1 400 Bad Request\r\n\r\n")
        writer.close()
        with suppress(OSError):
            await writer.wait_closed()

    bench.scheme = "wss"
    async with await asyncio.start_server(answer, sock=bench._port.listener()):
        proxy = await bench.proxy("--handshake-wait", "3600", "--connect-timeout", "3600")
        client = await bench.raw()
        client.send(request())
        assert (await client.read_head()).status == 502
        spent = "WARNING .* closed by retries_spent .*: the server does not accept: TLS: "
        await proxy.logged(spent)


@socket_test
async def test_an_outage_that_ends_all_sessions_is_a_few_lines_beside_one_a_session(
    bench: Bench,
) -> None:
    await bench.upstream.start()
    end = ("--on-server-loss", "end", "--log-level", "info")
    proxy = await bench.proxy(*LONG, *end)
    await come(bench, SESSIONS)
    await proxy.reached("connected", SESSIONS)
    before = len(proxy.lines)
    clients = list(bench._clients)
    await bench.upstream.kill()
    assert {(await closed(client))[0] for client in clients} == {1012}
    await proxy.logged(r"WARNING the server is out: \d+ sessions have ended with it, 0 of \d+ wait")
    await bench.upstream.start()
    await come(bench, 3)
    await proxy.logged(rf"WARNING the server is back after .*, {SESSIONS} have ended, 0 wait")
    said = proxy.lines[before:]
    assert sum(" closed by legs_closed " in line for line in said) == SESSIONS
    assert len(said) == SESSIONS + 2 + 3  # the outage begins and ends, and three are connected
