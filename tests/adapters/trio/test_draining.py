"""A proxy that drains: who goes when, who may still come in, and what it says of it."""

import re
import signal

import aiohttp
import pytest
from admin_client import ADMIN, Admin
from patience import patience
from raw_websocket import request
from socket_bench import Bench, closed, header, id_of, socket_test
from succession import Succession
from upstream_server import cut
from websockets.exceptions import InvalidStatus

HOUR = ("--drain-time", "3600")  # long enough: only the first session goes by itself
GOES = (1012, "the proxy restarts")


@socket_test
async def test_one_goes_after_the_other_and_nobody_new_comes(bench: Bench) -> None:
    await bench.upstream.start()
    proxy = await bench.proxy(*HOUR)
    first = await bench.connect("/?connection_id=first")
    first_server = await bench.upstream.accept()
    second = await bench.connect()
    second_server = await bench.upstream.accept()
    await first.send("last words")
    await first_server.send("last words")
    proxy.signal(signal.SIGTERM)
    assert await first.recv() == "last words"
    assert await closed(first) == GOES
    assert await first_server.recv() == "last words"
    assert await closed(first_server) == (1001, GOES[1])

    for path in ("/", "/?connection_id=first"):
        refused = await bench.refused(path)
        assert refused.status_code == 503
        assert header(refused, "retry-after") == "1"
    assert (await bench.refused("/?reconnect_id=first")).status_code == 404

    cut(second)  # its session has not been told yet: it may come back
    await proxy.reached("client_down")
    await second_server.send("welcome back")
    back = await bench.connect(f"/?connection_id={id_of(second)}")
    assert await back.recv() == "welcome back"
    await back.close()
    assert await proxy.wait() == 0  # it is empty
    await proxy.logged("INFO drained: 0 sessions cut, 0 messages lost")


@socket_test
async def test_sessions_that_owe_messages_go_last(bench: Bench) -> None:
    await bench.upstream.start()
    proxy = await bench.proxy(*HOUR)
    away = await bench.connect()
    away_server = await bench.upstream.accept()
    there = await bench.connect()
    await bench.upstream.accept()
    cut(away)
    await proxy.reached("client_down")
    await away_server.send("one")
    await away_server.send("three")
    await (await away_server.ping())
    proxy.signal(signal.SIGTERM)
    assert await closed(there) == GOES
    proxy.signal(signal.SIGTERM)  # it loses its patience
    assert await closed(away_server) == (1001, GOES[1])
    assert await proxy.wait() == 0
    await proxy.logged(re.escape("WARNING drained: 0 sessions cut, 2 messages lost (12 bytes)"))


@socket_test
async def test_an_end_that_does_not_read_is_cut_off(bench: Bench) -> None:
    await bench.raw_upstream.start()
    proxy = await bench.proxy("--close-timeout", "0.3")
    client = await bench.raw(receive_buffer=4096)
    client.send(request("/"))
    server = await bench.raw_upstream.accept()
    assert (await client.read_head()).status == 101
    message = b"\x82\x7e\xff\xff" + bytes(65535)
    server.send(message * 150)  # more than the sockets hold
    await proxy.logged("connected")
    await bench.turned()  # so it has begun to read
    proxy.signal(signal.SIGTERM)
    assert await proxy.wait() == 0
    line = await proxy.logged("WARNING drained: ")
    found = re.search(r"(\d+) messages? lost \((\d+) bytes\)", line)
    assert found is not None
    assert 0 < int(found[1]) <= 150
    assert 0 < int(found[2]) <= 150 * len(message)


@socket_test
async def test_ends_that_answer_no_close_hold_nothing_up(bench: Bench) -> None:
    await bench.raw_upstream.start()
    proxy = await bench.proxy("--close-timeout", "0.3", "--drain-time", str(patience(3)))
    pairs = [await bench.raw_pair() for _ in range(3)]
    proxy.signal(signal.SIGTERM)
    for client, server in pairs:
        assert (await client.read_frame()).close == GOES
        assert (await server.read_frame()).close == (1001, GOES[1])
    assert await proxy.wait() == 0
    await proxy.logged("INFO drained: 0 sessions cut, 0 messages lost")


@socket_test
async def test_while_the_server_is_away(bench: Bench) -> None:
    await bench.upstream.start()
    proxy = await bench.proxy("--drain-time", "0.2")
    client = await bench.connect()
    await bench.upstream.accept()
    await bench.upstream.kill()
    await proxy.reached("server_down")
    await client.send("for nobody")
    await (await client.ping())
    opening = bench.spawn(bench.refused())
    await proxy.logged("attempt 0 failed")
    proxy.signal(signal.SIGTERM)
    assert await closed(client) == GOES
    assert (await opening).status_code == 503
    assert await proxy.wait() == 0
    await proxy.logged(r"WARNING [0-9a-f]{12} lost 1 message to the server \(16 bytes\)")
    await proxy.logged(re.escape("WARNING drained: 0 sessions cut, 1 message lost (16 bytes)"))


@socket_test
async def test_nobody_takes_over_from_a_process_that_drains(bench: Bench) -> None:
    await bench.upstream.start()
    proxy = Succession(f"ws://127.0.0.1:{bench.upstream.port}", *HOUR)
    await proxy.begin()
    bench.proxies.append(proxy)
    first, _ = await bench.connect(), await bench.upstream.accept()
    second, server = await bench.connect(), await bench.upstream.accept()
    proxy.signal(signal.SIGTERM)
    assert await closed(first) == GOES
    proxy.signal(signal.SIGUSR2)
    await proxy.logged("ERROR not taken over: this process is stopping")
    await second.send("still here")
    assert await server.recv() == "still here"


@socket_test
async def test_the_admin_listener_starts_it(bench: Bench) -> None:
    await bench.upstream.start()
    proxy = await bench.proxy(*ADMIN, *HOUR)
    clients = [await bench.connect() for _ in range(2)]
    async with aiohttp.ClientSession() as http:
        admin = await Admin.of(proxy, http)
        for _ in range(2):
            assert await admin.ask("POST", "/drain") == (202, {"draining": True})
            await proxy.logged("INFO drain by the operator")
            async with http.get(admin.base + "/readyz") as answer:
                assert answer.status == 503
        assert await closed(clients[0]) == GOES
        with pytest.raises(InvalidStatus, match="503"):
            await bench.connect()
        proxy.signal(signal.SIGTERM)  # as an orchestrator does next: it goes on as it was
        await proxy.logged("got SIGTERM")
        assert (await admin.get("/sessions"))["sessions"]
        await clients[1].send("still here")
        proxy.signal(signal.SIGINT)
        assert await closed(clients[1]) == GOES
    assert await proxy.wait() == 0
