"""Several workers are one proxy: whoever comes lands anywhere, and is brought to its session."""

import asyncio
import re
import signal
import subprocess
import sys
from contextlib import suppress
from pathlib import Path

import aiohttp
import pytest
from admin_client import ADMIN, Admin
from crowd_of_clients import Crowd
from raw_websocket import TEXT, frame
from socket_bench import Bench, closed, socket_test
from staff import begin, exchange, how, is_alive, with_tls
from upstream_server import cut
from websockets.asyncio.client import unix_connect
from websockets.exceptions import ConnectionClosed, InvalidStatus

SESSIONS = 500
GOES = (1012, "the proxy restarts")


@pytest.mark.parametrize("secure", [False, True])
@socket_test
async def test_who_returns_anywhere_is_brought_to_its_session(
    bench: Bench, tmp_path: Path, secure: bool
) -> None:
    tls = with_tls(bench, tmp_path) if secure else ()
    await bench.raw_upstream.start()
    proxy = await begin(bench, *tls, *ADMIN, "--log-level", "info", workers=4)
    async with aiohttp.ClientSession() as http:
        admin = await Admin.of(proxy, http)
        crowd = Crowd(bench, SESSIONS)
        await crowd.come()
        crowd.go()
        await admin.counts("reknit_sessions{state=client_down}", SESSIONS)
        for name, server in crowd.servers.items():
            server.send(frame(TEXT, f"for {name}".encode(), masked=False))
        for name, client in zip(crowd.servers, await crowd.come_back(), strict=True):
            assert (await client.read_message()).payload == f"for {name}".encode()
            client.send(frame(TEXT, name.encode()))
            assert (await crowd.servers[name].read_message()).payload == name.encode()
        seen = await admin.metrics()
        assert seen["reknit_sessions{state=connected}"] == SESSIONS
        assert seen["reknit_resumes_total{outcome=resumed,peer=client}"] == SESSIONS
        assert seen["reknit_handshakes_total{status=101}"] == 2 * SESSIONS
        assert SESSIONS < seen["reknit_passed_on_total"] < 2 * SESSIONS
        lives_in = [
            each["worker"] for each in (await admin.get("/sessions?limit=1000"))["sessions"]
        ]
        assert set(lives_in) == {0, 1, 2, 3}


@socket_test
async def test_a_tls_client_at_the_wrong_worker_passes_large_messages_and_closes(
    bench: Bench, tmp_path: Path
) -> None:
    await bench.upstream.start()
    await begin(bench, *with_tls(bench, tmp_path), "--message-limit", "8000000")
    assert bench.upstream.process_request is None
    for number in range(6):  # most of them land elsewhere
        client = await bench.connect(headers={"x-connection-id": f"user-{number}"})
        server = await bench.upstream.accept()
        for size in (0, 1, 16384, 3_000_000):
            async with asyncio.TaskGroup() as group:
                group.create_task(client.send(b"u" * size))
                group.create_task(server.send(b"d" * size))
                assert await server.recv() == b"u" * size
                assert await client.recv() == b"d" * size
        if number % 2:
            await client.close(3001, "enough")
            assert await closed(server) == (3001, "enough")
        else:
            await server.close(3002, "enough here")
            assert await closed(client) == (3002, "enough here")


@socket_test
async def test_the_server_is_told_of_tls_whichever_worker_has_it(
    bench: Bench, tmp_path: Path
) -> None:
    await bench.upstream.start()
    await begin(bench, *with_tls(bench, tmp_path))
    for number in range(6):
        await bench.connect(headers={"x-connection-id": f"user-{number}"})
        await bench.upstream.accept()
    told = [
        (r.headers["x-forwarded-proto"], r.headers["x-forwarded-for"])
        for r in bench.upstream.requests
    ]
    assert told == [("https", "127.0.0.1")] * 6


@socket_test
async def test_a_drain_sends_all_away_and_ends_all(bench: Bench) -> None:
    await bench.upstream.start()
    proxy = await begin(bench)
    pairs = [(await bench.connect(), await bench.upstream.accept()) for _ in range(9)]
    proxy.signal(signal.SIGTERM)
    for client, server in pairs:
        assert await closed(client) == GOES
        assert await closed(server) == (1001, GOES[1])
    assert await proxy.stop() == 0


@socket_test
async def test_a_client_still_comes_back_to_another_worker_while_all_drain(bench: Bench) -> None:
    await bench.upstream.start()
    proxy = await begin(bench, "--drain-time", "3600")
    clients = [await bench.connect(headers={"x-connection-id": f"user-{n}"}) for n in range(9)]
    for client in clients:
        await bench.upstream.accept()
        cut(client)
    await proxy.reached("client_down", len(clients))
    proxy.signal(signal.SIGTERM)
    await proxy.logged("draining", 1)
    resumed = 0
    for number in range(9):
        with suppress(InvalidStatus):  # each worker sends its first one away at once
            again = await bench.connect(headers={"x-reconnect-id": f"user-{number}"})
            resumed += how(again) == "resumed"
    assert resumed >= 6
    response = await bench.refused()
    assert response.status_code == 503
    proxy.signal(signal.SIGTERM)  # at once
    assert await proxy.stop() == 0


@socket_test
async def test_a_worker_that_dies_is_started_again_and_the_others_go_on(bench: Bench) -> None:
    await bench.upstream.start()
    proxy = await begin(bench)
    pairs = [(await bench.connect(), await bench.upstream.accept()) for _ in range(12)]
    proxy.signal_worker(1, signal.SIGKILL)
    await proxy.serves_again(1)
    await proxy.logged(r"ERROR worker 1 has died: killed by signal 9")
    alive = 0
    for client, server in pairs:
        with suppress(ConnectionClosed):
            await exchange(client, server)
            alive += 1
    assert 0 < alive < len(pairs)
    for number in range(12):
        client = await bench.connect(headers={"x-connection-id": f"later-{number}"})
        await exchange(client, await bench.upstream.accept())


@socket_test
async def test_who_waits_in_an_inbox_of_a_worker_that_dies_is_served_by_the_next(
    bench: Bench,
) -> None:
    await bench.upstream.start()
    proxy = await begin(bench, workers=2)
    proxy.signal_worker(1, signal.SIGSTOP)
    clients = [
        bench.spawn(bench.connect(headers={"x-connection-id": f"user-{number}"}))
        for number in range(60)
    ]
    await proxy.reached("connected", 5)  # those of the other worker that landed there
    proxy.signal_worker(1, signal.SIGKILL)
    servers = [await bench.upstream.accept() for _ in clients]
    for client in clients:
        await client
    assert len(servers) == 60


@socket_test
async def test_a_worker_that_dies_again_and_again_ends_the_whole_with_a_reason(
    bench: Bench,
) -> None:
    await bench.upstream.start()
    proxy = await begin(bench, workers=2)
    for times in range(1, 6):
        await proxy.logged("worker 1 is process", times)
        proxy.signal_worker(1, signal.SIGKILL)
    await proxy.logged("worker 1 has died", 5)
    await proxy.logged(r"reknit: worker 1 dies again and again, soon after its start: killed by")
    assert await proxy.ended() == 1
    bench.proxies.remove(proxy)  # type: ignore[arg-type]


@socket_test
async def test_workers_end_with_a_parent_that_dies(bench: Bench) -> None:
    await bench.upstream.start()
    proxy = await begin(bench)
    client = await bench.connect()
    await bench.upstream.accept()
    proxy.signal(signal.SIGKILL)
    await closed(client)
    while any(map(is_alive, proxy.workers.values())):
        await asyncio.sleep(0.01)
    await proxy.ended()
    bench.proxies.remove(proxy)  # type: ignore[arg-type]


@socket_test
async def test_limits_are_divided(bench: Bench) -> None:
    await bench.upstream.start()
    await begin(bench, "--session-limit", "4", workers=2)
    taken = 0
    for number in range(30):
        with suppress(InvalidStatus):  # 503
            await bench.connect(headers={"x-connection-id": f"user-{number}"})
            taken += 1
    assert taken == 4  # both are full then: each has two


@socket_test
async def test_a_unix_socket_is_shared_and_removed_in_the_end(bench: Bench, tmp_path: Path) -> None:
    path = tmp_path / "door"
    await bench.upstream.start()
    proxy = await begin(bench, "--listen", f"unix:{path}")
    for number in range(6):
        named = {"x-connection-id": f"user-{number}", "x-reconnect": "true"}
        async with unix_connect(str(path), "ws://x/", additional_headers=named) as client:
            await exchange(client, await bench.upstream.accept())
    assert await proxy.stop() == 0
    assert not path.exists()


def refusal(*options: str) -> tuple[int, str]:
    """The status with which `reknit serve` ends at once, and what it says."""
    command = [sys.executable, "-m", "reknit", "serve", "ws://127.0.0.1:9", *options]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    return done.returncode, done.stderr


@socket_test
async def test_two_of_them_dont_share_a_port_by_mistake(bench: Bench) -> None:
    proxy = await begin(bench)
    place = f"127.0.0.1:{proxy.port}"
    status, text = await asyncio.to_thread(refusal, "--workers", "2", "--listen", place)
    assert status == 1
    assert re.search(rf"reknit: can't listen on {place}: .*in use\n$", text)


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (("--tls-cert", "/no/such.pem"), "--tls-cert: can't read /no/such.pem"),
        (("--dialect", "/no/such.toml"), "--dialect: can't read /no/such.toml"),
        (("--workers", "65"), "--workers: '65' is not allowed; allowed: a whole number, 0 to 64"),
    ],
)
def test_what_is_wrong_is_said_once_and_nothing_is_started(
    options: tuple[str, ...], said: str
) -> None:
    status, text = refusal("--workers", "2", *options)
    assert status == 2
    assert text.startswith(f"reknit: {said}")
    assert text.count("\n") == 1
