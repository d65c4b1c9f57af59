"""kill -9 of a proxy that keeps its sessions: they are there again when it is started anew.

What both forms of a store are to do is tried with both: in a directory, and in Redis.
"""

import asyncio
import resource
import signal
from collections.abc import Iterator
from pathlib import Path

import aiohttp
import pytest
from admin_client import ADMIN, Admin
from counting_server import CountingServer
from linux import only_on_linux
from losses import AT_MOST_ONCE, WAITING, recv_after, send_all
from numbers_both_ways import PAUSE, Numbers
from proxy_process import ProxyProcess
from redis_server import in_cluster, redis_server
from reknit.resume import ResumingClient
from reknit_core.durable.revival import Replay
from socket_bench import Bench, header, id_of, socket_test
from succession import Succession

SESSIONS = 24
CRASHES = 2
LIFE = 25  # messages that each end of each session sends between two crashes


async def crash(bench: Bench, *options: str) -> ProxyProcess:
    """Kill the last proxy and start it again."""
    proxy = await die(bench)
    return await bench.proxy("--listen", f"127.0.0.1:{proxy.port}", *options)


async def die(bench: Bench) -> ProxyProcess:
    """Kill the last proxy."""
    proxy = bench.proxies.pop()
    proxy.signal(signal.SIGKILL)
    assert await proxy.wait() == -signal.SIGKILL
    return proxy


def kept(folder: Path) -> tuple[str, ...]:
    """The options by which sessions are kept there."""
    return ("--state-dir", str(folder / "state"), "--state-sync", "off")


Keeping = tuple[str, ...]


@pytest.fixture(params=["directory", "cluster"])
def keeping(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Keeping]:
    """The options by which sessions are kept."""
    if request.param == "directory":
        yield kept(tmp_path)
    else:
        with redis_server(tmp_path) as redis:
            yield in_cluster(redis, tmp_path)


def files(folder: Path) -> list[str]:
    """What is in the directory."""
    return sorted(path.name for path in (folder / "state").iterdir())


def written_for_client(folder: Path) -> int:
    """How many messages for the client of the only session are written."""
    replay = Replay()
    replay.read((folder / "state" / "sessions-00000001").read_bytes())
    (session,) = replay.kept.values()
    return session.form.server.leg.queue.count


# -- Under load, between ends that count -------------------------------------------------------


@socket_test
async def test_ends_that_count_lose_and_repeat_nothing(bench: Bench, keeping: Keeping) -> None:
    counting = CountingServer()
    server = await counting.start()
    url = f"ws://127.0.0.1:{counting.port}"
    proxy = await ProxyProcess.start(url, *keeping)
    bench.proxies.append(proxy)
    door = ("--listen", f"127.0.0.1:{proxy.port}")
    async with asyncio.TaskGroup() as group:
        runs = []
        for _ in range(SESSIONS):
            uri = f"ws://127.0.0.1:{proxy.port}"
            client = ResumingClient(uri, retry=0.05, proxy=None, compression=None)
            await client.__aenter__()
            numbers = Numbers(client, counting.session(client.connection_id))
            runs.append((client, numbers, group.create_task(numbers.run())))
        for crashes in range(1, CRASHES + 1):
            while any(numbers.sent < crashes * LIFE for _, numbers, _ in runs):
                await asyncio.sleep(PAUSE)
            await die(bench)
            proxy = await ProxyProcess.start(url, *door, *keeping)
            bench.proxies.append(proxy)
            assert f"restored {SESSIONS} sessions" in await proxy.logged("restored")
            ends = [*counting.sessions.values(), *(client for client, _, _ in runs)]
            while any(end.returns < crashes for end in ends):
                await asyncio.sleep(PAUSE)
        for _, numbers, _ in runs:
            numbers.end()
    for client, _, run in runs:
        assert min(run.result()) >= CRASHES * LIFE
        assert client.returns == CRASHES
        await client.__aexit__(None, None, None)
    server.close()


# -- Ends that don't count ---------------------------------------------------------------------


@socket_test
async def test_what_waits_for_a_server_outlives_the_proxy(bench: Bench, keeping: Keeping) -> None:
    await bench.upstream.start()
    proxy = await bench.proxy(*keeping)
    client = await bench.connect()
    server = await bench.upstream.accept()
    await client.send("before")
    assert await server.recv() == "before"
    await bench.upstream.kill()
    await proxy.reached("server_down")
    await send_all(client, WAITING)
    await (await client.ping())  # the proxy answers: it has taken them
    await crash(bench, *keeping)
    again = await bench.connect(headers={"x-reconnect-id": id_of(client)})
    assert header(again.response, "x-reconnect") == "resumed"
    assert header(again.response, "x-reconnect-received") == str(1 + len(WAITING))
    await again.send("after")
    await bench.upstream.start()
    server = await bench.upstream.accept()
    assert await recv_after(server, ["before"], len(WAITING) + 1) == [*WAITING, "after"]


@pytest.mark.parametrize("policy", [(), AT_MOST_ONCE], ids=["at-least-once", "at-most-once"])
@socket_test
async def test_what_waits_for_a_client_outlives_the_proxy(
    bench: Bench, tmp_path: Path, policy: tuple[str, ...]
) -> None:
    await bench.upstream.start()
    proxy = await bench.proxy(*kept(tmp_path), *policy, "--heartbeat-interval", "0")
    client = await bench.connect()
    server = await bench.upstream.accept()
    client.transport.abort()
    await proxy.reached("client_down")
    await send_all(server, WAITING)
    while written_for_client(tmp_path) < len(WAITING):  # though nothing else happens
        await asyncio.sleep(PAUSE)
    for _ in range(2):  # the second time nothing has happened in between
        proxy = await crash(bench, *kept(tmp_path), *policy)
    again = await bench.connect(headers={"x-reconnect-id": id_of(client)})
    assert await recv_after(again, [], len(WAITING)) == WAITING
    await proxy.reached("connected")


@socket_test
async def test_messages_under_way_are_repeated_rather_than_lost(
    bench: Bench, keeping: Keeping
) -> None:
    await bench.upstream.start()
    options = (*keeping, "--confirm-after", "600")  # so nothing is confirmed
    await bench.proxy(*options)
    client = await bench.connect()
    server = await bench.upstream.accept()
    await send_all(client, WAITING)
    await send_all(server, WAITING)
    assert await recv_after(server, [], len(WAITING)) == WAITING
    assert await recv_after(client, [], len(WAITING)) == WAITING
    await crash(bench, *options)
    again = await bench.connect(headers={"x-reconnect-id": id_of(client)})
    server = await bench.upstream.accept()
    assert await recv_after(server, [], len(WAITING)) == WAITING
    assert await recv_after(again, [], len(WAITING)) == WAITING


@socket_test
async def test_who_may_resume_stays_the_same(bench: Bench, keeping: Keeping) -> None:
    await bench.upstream.start()
    await bench.proxy(*keeping, "--resume-token")
    mine = {"authorization": "mine"}
    client = await bench.connect(headers=mine)
    name, token = id_of(client), header(client.response, "x-reconnect-token")
    await (await client.ping())
    proxy = await crash(bench, *keeping, "--resume-token")
    named = {"x-reconnect-id": name, "x-reconnect-token": str(token)}
    assert (await bench.refused(headers={**named, "authorization": "yours"})).status_code == 403
    again = await bench.connect(headers={**named, **mine})
    assert header(again.response, "x-reconnect-token") not in (None, token)
    await proxy.reached("connected")
    requests = bench.upstream.requests
    assert [each.headers["authorization"] for each in requests] == ["mine", "mine"]


# -- The directory -----------------------------------------------------------------------------


@socket_test
async def test_only_its_user_reads_it_and_a_proxy_that_stops_leaves_nothing(
    bench: Bench, tmp_path: Path
) -> None:
    await bench.upstream.start()
    proxy = await bench.proxy(*kept(tmp_path))
    await bench.connect()
    state = tmp_path / "state"
    assert state.stat().st_mode & 0o777 == 0o700
    assert files(tmp_path) == ["lock", "sessions-00000001"]
    assert {path.stat().st_mode & 0o777 for path in state.iterdir()} == {0o600}
    assert await proxy.stop() == 0
    assert files(tmp_path) == ["lock"]


@socket_test
async def test_two_proxies_do_not_share_it(bench: Bench, tmp_path: Path) -> None:
    first = await bench.proxy(*kept(tmp_path))
    in_use = f"reknit: {tmp_path}/state is in use by another process"
    with pytest.raises(AssertionError, match=in_use):
        await bench.proxy(*kept(tmp_path))
    assert await first.stop() == 0


@socket_test
async def test_a_torn_end_and_a_damaged_file_are_said(bench: Bench, tmp_path: Path) -> None:
    await bench.upstream.start()
    proxy = await bench.proxy(*kept(tmp_path))
    first = await bench.connect()
    second = await bench.connect()
    await second.send("so that there is more")
    await (await second.ping())
    await die(bench)
    file = tmp_path / "state" / "sessions-00000001"
    data = file.read_bytes()
    place = data.rindex(id_of(second).encode())
    file.write_bytes(data[:place] + b"#" + data[place + 1 :])
    door = ("--listen", f"127.0.0.1:{proxy.port}")
    proxy = await bench.proxy(*door, *kept(tmp_path))
    said = await proxy.logged("can't be read from byte")
    assert "ERROR" in said
    assert "sessions-00000001.damaged" in said
    assert id_of(second) not in said
    assert files(tmp_path) == ["lock", "sessions-00000001.damaged", "sessions-00000002"]
    assert (tmp_path / "state" / "sessions-00000001.damaged").read_bytes() != data
    assert (await bench.refused(headers={"x-reconnect-id": id_of(second)})).status_code == 404
    again = await bench.connect(headers={"x-reconnect-id": id_of(first)})
    await (await again.ping())
    await die(bench)
    file = tmp_path / "state" / "sessions-00000002"
    file.write_bytes(file.read_bytes() + b"\0\0\0\x17torn")
    proxy = await bench.proxy(*door, *kept(tmp_path))
    assert "WARNING" in await proxy.logged("sessions-00000002 is cut off at byte")
    await bench.connect(headers={"x-reconnect-id": id_of(first)})
    await proxy.reached("connected")


@socket_test
async def test_a_full_disk_costs_no_session(bench: Bench, tmp_path: Path) -> None:
    only_on_linux("prlimit")
    await bench.upstream.start()
    proxy = await bench.proxy(*kept(tmp_path), *ADMIN)
    client = await bench.connect()
    server = await bench.upstream.accept()
    async with aiohttp.ClientSession() as http:
        admin = await Admin.of(proxy, http)
        assert (await admin.metrics())["reknit_state_trouble"] == 0
        assert (await admin.metrics())["reknit_state_bytes"] > 0
        resource.prlimit(proxy.pid, resource.RLIMIT_FSIZE, (4096, resource.RLIM_INFINITY))
        big = ["x" * 3000, "y" * 3000]
        await send_all(client, big)
        assert await recv_after(server, [], 2) == big
        said = await proxy.logged("sessions are not kept in")
        assert "ERROR" in said
        assert "File too large" in said
        assert (await admin.metrics())["reknit_state_trouble"] == 1
        async with http.get(admin.base + "/readyz") as answer:
            assert answer.status == 200
            assert "sessions are not kept" in await answer.text()


# -- From one process to the next --------------------------------------------------------------


@socket_test
async def test_a_crash_after_a_takeover(bench: Bench, tmp_path: Path) -> None:
    await bench.upstream.start()
    upstream = f"ws://127.0.0.1:{bench.upstream.port}"
    proxy = Succession(upstream, "--confirm-after", "600", *kept(tmp_path))
    await proxy.begin()
    bench.proxies.append(proxy)  # type: ignore[arg-type]
    client = await bench.connect()
    server = await bench.upstream.accept()
    await send_all(client, WAITING)
    assert await recv_after(server, [], len(WAITING)) == WAITING
    await proxy.restart()
    await client.send("after the takeover")
    assert await server.recv() == "after the takeover"
    assert files(tmp_path) == ["lock", "sessions-00000002"]
    proxy.signal(signal.SIGKILL)
    assert await bench.proxies.pop().stop() == 0  # so the first one ended
    await bench.proxy(*kept(tmp_path))
    await bench.connect(headers={"x-reconnect-id": id_of(client)})
    server = await bench.upstream.accept()
    expected = [*WAITING, "after the takeover"]
    assert await recv_after(server, [], len(expected)) == expected


@socket_test
async def test_a_process_with_another_directory_does_not_take_over(
    bench: Bench, tmp_path: Path
) -> None:
    upstream = f"ws://127.0.0.1:{bench.upstream.port}"
    proxy = Succession(upstream, "--takeover", str(tmp_path / "door"), *kept(tmp_path))
    await proxy.begin()
    bench.proxies.append(proxy)  # type: ignore[arg-type]
    other = await proxy.start("--state-dir", str(tmp_path / "other"))
    assert await other.wait() == 1
    said = await proxy.logged("can't take over from the running process")
    assert f"sessions in {tmp_path}/state, this process would in {tmp_path}/other" in said
    proxy._started.remove(other)
