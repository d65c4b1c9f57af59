"""The operator of several workers has one proxy before him."""

import asyncio
import json
import signal
from pathlib import Path

import aiohttp
from admin_client import ADMIN, Admin
from socket_bench import Bench, closed, socket_test
from staff import begin, exchange
from upstream_server import cut

SESSIONS = 12


async def _pairs(bench: Bench, number: int = SESSIONS) -> list[tuple[object, object]]:
    pairs = []
    for index in range(number):
        named = {"x-connection-id": f"user-{index}"} if index % 2 else {}
        client, server = await bench.connect(headers=named), await bench.upstream.accept()
        await exchange(client, server)
        pairs.append((client, server))
    return pairs


@socket_test
async def test_metrics_are_those_of_all(bench: Bench) -> None:
    await bench.upstream.start()
    proxy = await begin(bench, *ADMIN)
    async with aiohttp.ClientSession() as http:
        admin = await Admin.of(proxy, http)
        await _pairs(bench)
        seen = await admin.metrics()
        assert seen["reknit_sessions{state=connected}"] == SESSIONS
        assert seen["reknit_messages_total{to=client}"] == SESSIONS
        assert seen["reknit_handshakes_total{status=101}"] == SESSIONS
        assert seen["reknit_connections"] == SESSIONS
        assert (
            seen["reknit_ping_seconds_bucket{le=+Inf,to=client}"]
            == (seen["reknit_ping_seconds_count{to=client}"])
        )
        assert seen["reknit_build_info{version=0.1.0}"] == 1
        assert seen["reknit_workers"] == 3
        assert seen["reknit_feed_viewers"] == 0
        assert seen["reknit_limit{of=sessions}"] > SESSIONS
        assert seen["reknit_session_seconds_count"] == 0
        assert seen["reknit_passed_on_total"] > 0
        for worker in ("0", "1", "2", "parent"):
            assert seen[f"process_cpu_seconds_total{{worker={worker}}}"] > 0
        assert "reknit_loop_lag_seconds_count{worker=1}" in seen

        proxy.signal_worker(1, signal.SIGKILL)
        await proxy.serves_again(1)
        later = await admin.metrics()
        assert later["reknit_workers_restarted_total"] == 1
        assert later["reknit_messages_total{to=client}"] == SESSIONS  # what has been counted counts
        assert later["reknit_sessions{state=connected}"] < SESSIONS


@socket_test
async def test_sessions_are_listed_and_steered_wherever_they_live(bench: Bench) -> None:
    await bench.upstream.start()
    proxy = await begin(bench, *ADMIN, "--admin-requests")
    async with aiohttp.ClientSession() as http:
        admin = await Admin.of(proxy, http)
        pairs = await _pairs(bench)
        whole = (await admin.get("/sessions"))["sessions"]
        assert len({each["session"] for each in whole}) == SESSIONS
        assert {each["worker"] for each in whole} == {0, 1, 2}
        paged, cursor = [], ""
        while True:
            page = await admin.get(f"/sessions?limit=5&cursor={cursor}")
            paged += page["sessions"]
            assert len(page["sessions"]) <= 5
            if page["next"] is None:
                break
            cursor = page["next"]
        names = [each["session"] for each in whole]
        assert [each["session"] for each in paged] == names
        for index in range(1, SESSIONS, 2):
            found = await admin.post("/sessions/find", connection_id=f"user-{index}")
            assert found["session"] in names
        before = (await admin.get("/contexts"))["contexts"]
        assert [each["session"] for each in before] == names
        for each in whole:
            name = each["session"]
            assert (await admin.get(f"/sessions/{name}"))["session"] == name
            assert (await admin.get(f"/sessions?session={name[:8]}"))["sessions"] != []
            await proxy.logged(rf"\[{each['worker']}\] INFO {name} connected")
        oldest = (await admin.get("/sessions?sort=age_seconds&limit=7"))["sessions"]
        rest = (await admin.get("/sessions?sort=age_seconds&limit=7&cursor=7"))["sessions"]
        ages = [each["age_seconds"] for each in oldest]
        assert ages == sorted(ages, reverse=True)
        assert {each["session"] for each in oldest + rest} == set(names)
        for each in whole[:3]:
            await admin.post(f"/sessions/{each['session']}/close", code=4000, reason="over")
        codes = [asyncio.ensure_future(closed(client)) for client, _ in pairs]  # type: ignore[arg-type]
        done, _ = await asyncio.wait(codes, return_when=asyncio.FIRST_COMPLETED)
        assert {task.result() for task in done} == {(4000, "over")}
        while len((await admin.get("/sessions"))["sessions"]) != SESSIONS - 3:
            await asyncio.sleep(0.01)
        for task in codes:
            task.cancel()
        assert (await admin.ask("GET", "/sessions/000000000000"))[0] == 404
        assert (await admin.ask("GET", "/sessions?limit=0"))[1]["error"] == "bad_limit"
        assert (await admin.ask("GET", "/sessions?state=odd"))[1]["error"] == "bad_state"


@socket_test
async def test_the_page_shows_all_and_health_is_that_of_the_whole(bench: Bench) -> None:
    await bench.upstream.start()
    proxy = await begin(bench, *ADMIN, "--drain-time", "3600")
    async with aiohttp.ClientSession() as http:
        admin = await Admin.of(proxy, http)
        pairs = await _pairs(bench)
        async with http.get(admin.base + "/") as answer:
            assert "<svg" in await answer.text()
        async with http.get(admin.base + "/feed") as feed:
            assert await feed.content.readline() == b"event: begin\n"
            past = json.loads((await feed.content.readline()).removeprefix(b"data: "))
            assert all(len(moment) == 4 for moment in past["outages"])
            assert len(past["rates"]["to_server"]["messages"]) == 120
            assert past["about"]["workers"] == 3
            assert past["about"]["listen"] == [f"127.0.0.1:{proxy.port}"]
            await feed.content.readline()
            assert await feed.content.readline() == b"event: snapshot\n"
            seen = json.loads((await feed.content.readline()).removeprefix(b"data: "))
        assert seen["states"]["connected"] == SESSIONS
        assert seen["to_server"]["messages"] == SESSIONS
        assert (seen["waits"]["sessions"], seen["draining"]) == (0, False)
        assert seen["vitals"]["open_files"] > 2 * SESSIONS
        opened = sum(number for _, target, number in seen["transitions"] if target == "connected")
        assert opened == SESSIONS

        async def text(path: str) -> tuple[int, str]:
            async with http.get(admin.base + path) as answer:
                return answer.status, (await answer.text()).strip()

        assert await text("/livez") == (200, "alive")
        assert await text("/readyz") == (200, "ready")
        proxy.signal_worker(2, signal.SIGSTOP)
        assert await text("/livez") == (503, "worker 2 does not answer")
        proxy.signal_worker(2, signal.SIGCONT)
        assert await text("/livez") == (200, "alive")
        async with http.post(admin.base + "/drain") as answer:
            assert answer.status == 202
        await proxy.logged("draining", 3)
        assert await text("/readyz") == (503, "draining")
        for client, _ in pairs:
            cut(client)  # type: ignore[arg-type]
        proxy.signal(signal.SIGTERM)
        assert await proxy.ended() == 0


@socket_test
async def test_the_next_process_has_the_admin_listener_and_what_was_counted(
    bench: Bench, tmp_path: Path
) -> None:
    await bench.upstream.start()
    proxy = await begin(bench, *ADMIN, "--takeover", str(tmp_path / "door"))
    async with aiohttp.ClientSession() as http:
        admin = await Admin.of(proxy, http)
        await _pairs(bench)
        names = [each["session"] for each in (await admin.get("/sessions"))["sessions"]]
        for workers in ("2", "1", "3"):
            await proxy.start("--workers", workers)
            await proxy.taken_over()
            await proxy.logged("admin listening on", 1 + proxy.reigns)
            seen = await admin.metrics()
            assert seen["reknit_messages_total{to=client}"] == SESSIONS
            assert seen["reknit_handshakes_total{status=101}"] == SESSIONS
            assert [each["session"] for each in (await admin.get("/sessions"))["sessions"]] == names
