"""Several servers on real sockets: a session that loses its own goes on with the next."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from http import HTTPStatus
from pathlib import Path

import aiohttp
from admin_client import ADMIN, Admin
from reknit.asyncio import open_proxy
from reknit_core import Balance, Policy, parse_upstream
from socket_bench import Bench, id_of, socket_test
from staff import begin
from succession import Succession
from tls_files import certificate, server_context, write_authority
from upstream_server import Port, Upstream, cut
from websockets.asyncio.client import connect
from websockets.asyncio.connection import Connection
from websockets.asyncio.server import ServerConnection
from websockets.http11 import Request, Response

ONCE = ("--delivery", "at-most-once")  # a server gets nothing that another one has had


@asynccontextmanager
async def second() -> AsyncIterator[Upstream]:
    """Another server beside the bench's."""
    port = Port()
    server = Upstream(port.number, port.listener)
    try:
        yield server
    finally:
        await server.kill()
        port.release()


def url(server: Upstream, path: str = "") -> str:
    return f"ws://127.0.0.1:{server.port}{path}"


async def pass_on(one: Connection, other: Connection, text: str) -> None:
    await one.send(text)
    assert await other.recv() == text


@socket_test
async def test_a_session_goes_on_with_the_next_server_and_new_ones_with_the_first(
    bench: Bench,
) -> None:
    first = bench.upstream
    await first.start()
    async with second() as other, aiohttp.ClientSession() as http:
        await other.start()
        proxy = await bench.proxy(url(other, "/base"), *ADMIN, "--host", "upstream", *ONCE)
        admin = await Admin.of(proxy, http)
        client = await bench.connect("/path")
        await pass_on(client, await first.accept(), "to the first")
        await first.kill()
        server = await other.accept()
        await pass_on(client, server, "to the next")
        await pass_on(server, client, "and back")
        (asked,) = other.requests
        assert asked.path == "/base/path"
        assert asked.headers["host"] == f"127.0.0.1:{other.port}"
        assert asked.headers["x-reconnect"] == "true"
        assert asked.headers["x-connection-id"] == id_of(client)
        await proxy.logged(rf"WARNING server {url(first)} is down: Connection refused")
        await proxy.logged(rf"DEBUG \w+ attempt 1 at {url(first)} failed: Connection refused")
        seen = await admin.metrics()
        assert seen[f"reknit_server_up{{server={url(first)}}}"] == 0
        assert seen[f"reknit_server_up{{server={url(other, '/base')}}}"] == 1
        name = f"result=unreachable,server={url(first)}"
        assert seen[f"reknit_server_dial_results_total{{{name}}}"] == 1
        session = await admin.get(f"/sessions/{await admin.only()}")
        assert session["server"]["name"] == url(other, "/base")
        await first.start()
        await proxy.logged(rf"server {url(first)} is up again after ")
        newer = await bench.connect()
        await pass_on(newer, await first.accept(), "the first one again")
        await pass_on(client, server, "stays where it is")
        await other.kill()
        await pass_on(client, await first.accept(), "back to the first")
        await proxy.logged(" is down", 2)


@socket_test
async def test_a_server_that_has_no_room_is_not_the_last_word(bench: Bench) -> None:
    def refuse(connection: ServerConnection, seen: Request) -> Response:
        return connection.respond(HTTPStatus.SERVICE_UNAVAILABLE, "full\n")

    bench.upstream.process_request = refuse
    await bench.upstream.start()
    async with second() as other:
        await other.start()
        proxy = await bench.proxy(url(other))
        client = await bench.connect()
        await pass_on(client, await other.accept(), "here is room")
        other.process_request = refuse
        answer = await bench.refused()
        assert answer.status_code == HTTPStatus.SERVICE_UNAVAILABLE
        assert answer.body == b"full\n"
        assert not any("is down" in line for line in proxy.lines)  # it answers


@socket_test
async def test_while_no_server_is_up_nobody_dials_and_one_that_is_back_gets_all(
    bench: Bench,
) -> None:
    async with second() as other, aiohttp.ClientSession() as http:
        await other.start()
        proxy = await bench.proxy(url(other), *ADMIN, "--ready-needs-server")
        admin = await Admin.of(proxy, http)
        clients = [await bench.connect() for _ in range(20)]
        async with http.get(admin.base + "/readyz") as answer:
            assert (answer.status, await answer.text()) == (200, "ready\n")
        await other.kill()
        await proxy.logged(rf"server {url(other)} is down")
        before = await admin.metrics()
        await proxy.logged(r"attempt 8 failed: no server is up: Connection refused")
        seen = await admin.metrics()
        tries = "reknit_dial_results_total{result=unreachable}"
        assert seen[tries] - before.get(tries, 0) <= 20  # those that had begun
        async with http.get(admin.base + "/readyz") as answer:
            assert (answer.status, await answer.text()) == (503, "no server is up\n")
        opening = asyncio.create_task(bench.connect())
        await bench.upstream.start()
        for client in [*clients, await opening]:
            await client.send(id_of(client))
        servers = [await bench.upstream.accept() for _ in range(21)]
        assert {await server.recv() for server in servers} == {
            id_of(client) for client in [*clients, opening.result()]
        }


@socket_test
async def test_checks_ask_for_a_path(bench: Bench) -> None:
    first = bench.upstream
    status = HTTPStatus.OK

    def answer(connection: ServerConnection, seen: Request) -> Response | None:
        return connection.respond(status, "") if seen.path == "/health" else None

    first.process_request = answer
    await first.start()
    async with second() as other:
        other.process_request = answer
        await other.start()
        checks = ("--server-check", "0.05", "--server-check-path", "/health")
        proxy = await bench.proxy(url(other), *checks)
        await pass_on(await bench.connect(), await first.accept(), "all is well")
        status = HTTPStatus.SERVICE_UNAVAILABLE
        await proxy.logged(rf"server {url(first)} is down: it answered the check with 503")
        await proxy.logged(rf"server {url(other)} is down: it answered the check with 503")
        status = HTTPStatus.NO_CONTENT
        await proxy.logged(rf"server {url(other)} is up again")
        await proxy.logged(rf"server {url(first)} is up again")
        first.process_request = lambda connection, seen: connection.respond(404, "")  # type: ignore[arg-type]
        await proxy.logged(rf"server {url(first)} is down: it answered the check with 404")
        await pass_on(await bench.connect(), await other.accept(), "to the other one")


@socket_test
async def test_plain_requests_go_to_a_server_that_can_be_reached(bench: Bench) -> None:
    def answer(connection: ServerConnection, seen: Request) -> Response:
        return connection.respond(HTTPStatus.OK, f"{seen.path} of {seen.headers['host']}")

    async with second() as other, aiohttp.ClientSession() as http:
        other.process_request = answer
        await other.start()
        options = ("--http", "pass", "--host", "upstream")
        proxy = await bench.proxy(url(other, "/longer/base"), *options)
        for _ in range(2):
            async with http.get(f"http://127.0.0.1:{proxy.port}/page") as page:
                assert await page.text() == f"/longer/base/page of 127.0.0.1:{other.port}"
        await other.kill()
        async with http.get(f"http://127.0.0.1:{proxy.port}/page") as page:
            assert page.status == HTTPStatus.BAD_GATEWAY


@socket_test
async def test_a_session_that_moves_to_another_process_is_still_its_servers(
    bench: Bench,
) -> None:
    first = bench.upstream
    async with second() as other:
        await other.start()
        proxy = Succession(url(first), url(other), *ONCE)
        await proxy.begin()
        bench.proxies.append(proxy)  # type: ignore[arg-type]
        client = await bench.connect()
        server = await other.accept()
        await first.start()
        await proxy.restart()
        await pass_on(client, server, "as before")
        cut(server)
        await pass_on(client, await other.accept(), "its own first")


@socket_test
async def test_several_workers_and_a_server_with_tls(bench: Bench, tmp_path: Path) -> None:
    made = certificate("localhost")
    authorities = write_authority(tmp_path)
    async with second() as other:
        other.tls = server_context(made)
        await other.start()
        secure = f"wss://localhost:{other.port}"
        proxy = await begin(bench, secure, "--upstream-ca", authorities, workers=2)
        clients = [await bench.connect() for _ in range(4)]
        servers = [await other.accept() for _ in clients]
        for client in clients:
            await client.send(id_of(client))
        assert {await server.recv() for server in servers} == {id_of(each) for each in clients}
        await bench.upstream.start()
        await proxy.logged(rf"server {url(bench.upstream)} is up again", 2)  # each by itself
        await other.kill()
        for _ in clients:
            await bench.upstream.accept()


@socket_test
async def test_embedded_under_asyncio(bench: Bench) -> None:
    first = bench.upstream
    await first.start()
    async with second() as other:
        await other.start()
        policy = Policy(retry_interval=0.05, balance=Balance.ID)
        servers = [parse_upstream(url(first)), parse_upstream(url(other))]
        async with open_proxy(policy, servers) as proxy:
            (address,) = proxy.addresses
            headers = [{"x-connection-id": f"session-{number:04}"} for number in range(16)]
            clients = [
                await connect(f"ws://{address}", additional_headers=each, proxy=None)
                for each in headers
            ]
            assert 0 < first.accepted < len(clients)
            assert first.accepted + other.accepted == len(clients)
            lost = first.accepted
            kept = other.accepted
            await first.kill()
            moved = [await other.accept() for _ in range(kept + lost)]
            for client in clients:
                await client.send("here")
            assert [await server.recv() for server in moved] == ["here"] * len(clients)
            await first.start()
            for client in clients:
                await client.close()
