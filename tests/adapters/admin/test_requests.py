"""Requests of the operator's to live clients and servers, through the admin listener."""

import asyncio
import json
from typing import Any

import aiohttp
import pytest
from admin_client import ADMIN, Admin
from raw_websocket import TEXT, frame
from socket_bench import Bench, socket_test
from succession import Succession
from websockets.asyncio.connection import Connection

ON = (*ADMIN, "--admin-requests")
GOOD: dict[str, Any] = {"to": "server", "message": "?", "match": {"id": 1}}


async def path_of(admin: Admin) -> str:
    return f"/sessions/{await admin.only()}/request"


async def exchange(client: Connection, server: Connection) -> None:
    await client.send("over")
    assert await server.recv() == "over"
    await server.send("out")
    assert await client.recv() == "out"


@pytest.mark.parametrize("compression", [None, "deflate"])
@pytest.mark.parametrize("to", ["client", "server"])
@socket_test
async def test_the_other_end_sees_nothing(bench: Bench, to: str, compression: str | None) -> None:
    await bench.upstream.start()
    proxy = await bench.proxy(*ON)
    client = await bench.connect(compression=compression)
    server = await bench.upstream.accept()
    asked, other = (client, server) if to == "client" else (server, client)
    async with aiohttp.ClientSession() as http:
        admin = await Admin.of(proxy, http)
        path = await path_of(admin)
        for number in range(3):
            await exchange(client, server)
            message = {"op": "status", "id": number}
            call = bench.spawn(admin.post(path, to=to, message=message, match={"a.id": number}))
            assert json.loads(await asked.recv()) == message
            await asked.send("in between")
            assert await other.recv() == "in between"
            reply = {"a": {"id": number}, "text": "é" * 20_000}
            await asked.send([json.dumps(reply)[:10], json.dumps(reply)[10:]])
            answer = await call
            assert answer["reply"] == reply
            assert 0 < answer["seconds"] < 60
            await exchange(client, server)


@socket_test
async def test_what_can_go_wrong(bench: Bench) -> None:
    await bench.upstream.start()
    proxy = await bench.proxy(*ON)
    client = await bench.connect()
    server = await bench.upstream.accept()
    async with aiohttp.ClientSession() as http:
        admin = await Admin.of(proxy, http)
        path = await path_of(admin)

        async def ask(**changed: Any) -> tuple[int, Any]:
            return await admin.ask("POST", path, data=json.dumps({**GOOD, **changed}))

        for bad in (
            *({"to": "both"}, {"match": {}}, {"match": {"id": [1]}}, {"match": 1}),
            *({"timeout": 0}, {"timeout": 61}, {"timeout": "1"}, {"message": "\ud800"}),
        ):
            assert (await ask(**bad))[0] == 400

        status, answer = await ask(timeout=0.05)
        assert (status, answer["error"]) == (504, "no_reply")
        await server.send('{"id": 1}')  # too late
        assert await client.recv() == '{"id": 1}'

        first = bench.spawn(ask(timeout=60))
        assert [await server.recv() for _ in range(2)] == ["?", "?"]
        assert await ask() == (
            409,
            {"error": "busy", "message": "another request to the server is open"},
        )
        await bench.upstream.kill()
        status, answer = await first
        assert (status, answer["message"]) == (409, "the server was lost")
        status, answer = await ask()
        assert (status, answer["message"]) == (409, "the server is not connected")

        client_first = bench.spawn(ask(to="client", message="secret", timeout=60))
        assert await client.recv() == "secret"
        await client.send('{"id": 1, "secret": true}')
        assert (await client_first)[1]["reply"]["secret"]
        document = await admin.get(path.removesuffix("/request"))
        assert "client asked" in str(document["trace"])
        assert "secret" not in str((document, proxy.lines))

        last = bench.spawn(ask(to="client", timeout=60))
        assert await client.recv() == "?"
        await asyncio.gather(client.send('{"id": 1}'), client.close())
        assert (await last)[1]["reply"] == {"id": 1}


@socket_test
async def test_both_ends_can_be_asked_at_one_time(bench: Bench) -> None:
    await bench.upstream.start()
    proxy = await bench.proxy(*ON)
    client = await bench.connect()
    server = await bench.upstream.accept()
    async with aiohttp.ClientSession() as http:
        admin = await Admin.of(proxy, http)
        path = await path_of(admin)
        calls = [
            bench.spawn(admin.post(path, to=to, message=to, match={"id": to}))
            for to in ("client", "server")
        ]
        assert await client.recv() == "client"
        assert await server.recv() == "server"
        for mine, yours in (("server", "client"), ("client", "server")):  # first the other's
            await client.send(json.dumps({"id": mine}))
            await server.send(json.dumps({"id": yours}))
        assert [(await call)["reply"]["id"] for call in calls] == ["client", "server"]
        assert await server.recv() == '{"id": "server"}'
        assert await client.recv() == '{"id": "client"}'
    await exchange(client, server)


@socket_test
async def test_a_request_does_not_move_to_the_next_process(bench: Bench) -> None:
    """It fails, and the reply of which a part has come goes to the other end."""
    await bench.raw_upstream.start()
    proxy = Succession(f"ws://127.0.0.1:{bench.upstream.port}", *ON)
    await proxy.begin()
    bench.proxies.append(proxy)
    client, server = await bench.raw_pair()
    async with aiohttp.ClientSession() as http:
        admin = await Admin.of(proxy, http)
        call = bench.spawn(admin.post(await path_of(admin), **GOOD))
        assert (await server.read_message()).payload == b"?"
        reply = frame(TEXT, b'{"id": 1}', masked=False)
        server.send(reply[:5])
        await bench.turned()  # so it has been read
        await proxy.restart()
        with pytest.raises(aiohttp.ClientError):
            await call
        server.send(reply[5:])
        assert (await client.read_message()).payload == b'{"id": 1}'
        second = bench.spawn(admin.post(await path_of(admin), **GOOD))
        assert (await server.read_message()).payload == b"?"
        server.send(reply)
        assert (await second)["reply"] == {"id": 1}


@socket_test
async def test_it_is_off_unless_it_is_allowed(bench: Bench) -> None:
    await bench.upstream.start()
    proxy = await bench.proxy(*ADMIN)
    client = await bench.connect()
    server = await bench.upstream.accept()
    async with aiohttp.ClientSession() as http:
        admin = await Admin.of(proxy, http)
        path = await path_of(admin)
        status, answer = await admin.ask("POST", path, data=json.dumps(GOOD))
        assert (status, answer["error"]) == (403, "requests_off")
    await exchange(client, server)
