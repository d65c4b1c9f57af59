"""Who may resume a session on real sockets: its owner, and nobody else."""

import json

import aiohttp
import pytest
from admin_client import Admin
from reknit.resume import ResumingClient, SessionLost
from socket_bench import Bench, closed, header, id_of, socket_test
from upstream_server import cut

MINE = {"Authorization": "Bearer mine", "Origin": "https://a.example"}


@pytest.mark.parametrize(
    "theirs",
    [
        {},
        {"Authorization": "Bearer mine"},
        {**MINE, "Authorization": "Bearer theirs"},
        {**MINE, "Origin": "https://evil.example"},
    ],
)
@socket_test
async def test_a_stranger_gets_403_and_the_owner_notices_nothing(
    bench: Bench, theirs: dict[str, str]
) -> None:
    await bench.upstream.start()
    proxy = await bench.proxy("--client-grace", "20")
    owner = await bench.connect("/", MINE)
    server = await bench.upstream.accept()
    named = {"x-connection-id": id_of(owner)}
    answer = await bench.refused("/", {**theirs, **named})
    assert (answer.status_code, json.loads(answer.body)["error"]) == (403, "not_yours")
    await proxy.logged("refused: 403 not_yours")
    await server.send("still yours")
    assert await owner.recv() == "still yours"
    cut(owner)
    await proxy.reached("client_down")
    await server.send("waits for you")
    for counts in ({}, {"x-reconnect-received": "2"}):
        assert (await bench.refused("/", {**theirs, **named, **counts})).status_code == 403
    owner = await bench.connect("/", {**MINE, **named, "x-reconnect-received": "1"})
    assert await owner.recv() == "waits for you"
    await proxy.reached("connected", 2)
    assert proxy.transitions[1:] == [
        ("client_down", "client_lost"),
        ("draining", "client_returned"),
        ("connected", "drained"),
    ]


@socket_test
async def test_a_browser_is_told_by_a_close_code(bench: Bench) -> None:
    await bench.upstream.start()
    await bench.proxy("--require-minted-id")
    owner = await bench.connect("/", MINE)
    path = f"/?reconnect_hello=1&reconnect_id={id_of(owner)}"
    assert await closed(await bench.connect(path)) == (4403, "not_yours")
    path = "/?reconnect_hello=1&connection_id=invented"
    assert await closed(await bench.connect(path)) == (4404, "unknown_session")


@socket_test
async def test_each_return_needs_the_token_of_the_answer_before(bench: Bench) -> None:
    await bench.upstream.start()
    proxy = await bench.proxy("--resume-token", "--require-minted-id")
    client = await bench.connect()
    named = {"x-connection-id": id_of(client)}
    tokens = [header(client.response, "x-reconnect-token")]
    for times in range(1, 4):
        await (await client.ping())  # so the Pong to the proxy's Ping, which came before, is there
        cut(client)
        await proxy.reached("client_down", times)
        for wrong in (None, "0", *tokens[:-1]):
            shown = {} if wrong is None else {"x-reconnect-token": wrong}
            assert (await bench.refused("/", {**named, **shown})).status_code == 403
        client = await bench.connect("/", {**named, "x-reconnect-token": str(tokens[-1])})
        tokens.append(header(client.response, "x-reconnect-token"))
    assert len({*tokens, None}) == 5
    assert all("token" not in request.path for request in bench.upstream.requests)
    names = {
        name.lower()
        for request in bench.upstream.requests
        for name, _ in request.headers.raw_items()
    }
    assert "x-reconnect-token" not in names


@socket_test
async def test_the_helper_is_told_when_it_no_longer_shows_the_same(bench: Bench) -> None:
    await bench.upstream.start()
    proxy = await bench.proxy("--admin", "127.0.0.1:0")
    headers = {"Authorization": "Bearer mine"}
    url = f"ws://127.0.0.1:{proxy.port}/"
    async with aiohttp.ClientSession() as http:
        admin = await Admin.of(proxy, http)
        async with ResumingClient(url, additional_headers=headers, proxy=None) as client:
            headers["Authorization"] = "Bearer refreshed"
            await admin.post(f"/sessions/{await admin.only()}/cut", leg="client")
            with pytest.raises(SessionLost, match="belongs to another client"):
                await client.recv()
