"""The admin listener of a running proxy: what it tells is what happened, and it can steer."""

import asyncio
import json
import re
import signal
import socket
import stat
from collections import Counter
from pathlib import Path

import aiohttp
import pytest
from admin_client import ADMIN, Admin
from socket_bench import Bench, closed, id_of, socket_test
from succession import Succession
from upstream_server import cut
from websockets.asyncio.connection import Connection

TOKEN = "0123456789abcdef"


async def exchange(client: Connection, server: Connection, text: str = "hello") -> None:
    await client.send(text)
    assert await server.recv() == text
    await server.send(text)
    assert await client.recv() == text


@socket_test
async def test_the_metrics_say_what_happened(bench: Bench) -> None:
    await bench.upstream.start()
    quiet = ("--confirm-after", "3600", "--heartbeat-interval", "0")
    proxy = await bench.proxy(*ADMIN, *quiet, "--session-limit", "500")
    client = await bench.connect()
    server = await bench.upstream.accept()
    for _ in range(3):
        await exchange(client, server)  # each 7 bytes, and 4 more for the mask
    await bench.refused("/?reconnect_id=unknown")
    await bench.refused("/?connection_id=no%20id")
    await bench.upstream.kill()
    await proxy.reached("server_down")
    await client.send("while you were away")  # 19 + 6 bytes
    async with aiohttp.ClientSession() as http:
        admin = await Admin.of(proxy, http)
        seen = await admin.metrics()
        assert seen["reknit_sessions{state=server_down}"] == 1
        assert seen["reknit_sessions{state=connected}"] == 0
        assert seen["reknit_messages_total{to=server}"] == 4
        assert seen["reknit_queue_bytes{to=server}"] == 3 * 11 + 25
        assert seen["reknit_unconfirmed_messages{to=server}"] == 4
        assert seen["reknit_unconfirmed_bytes{to=client}"] == 3 * 7
        assert seen["reknit_queue_bytes{to=client}"] == 0
        assert seen["reknit_held_bytes"] == 3 * 18 + 25
        assert seen["reknit_queue_age_seconds{to=server}"] > 0
        assert seen["reknit_queue_age_seconds{to=client}"] == 0
        await bench.upstream.start()
        server = await bench.upstream.accept()
        for _ in range(4):
            await server.recv()
        await proxy.reached("connected", 2)
        cut(client)
        await proxy.reached("client_down")
        client = await bench.connect(headers={"X-Connection-Id": id_of(client)})
        for _ in range(3):
            await client.recv()
        await proxy.reached("connected", 3)
        await client.close()
        await proxy.reached("closed")
        seen = await admin.metrics()
        failed = sum("failed: " in line for line in proxy.lines)
        transitions = Counter(trigger for _, trigger in proxy.transitions)
    assert not any(value for name, value in seen.items() if name.startswith("reknit_sessions"))
    counted = Counter[str]()
    for name, value in seen.items():
        if name.startswith("reknit_transitions_total"):
            found = re.search(r"trigger=(\w+)", name)
            assert found is not None
            counted[found[1]] += int(value)
    assert counted == transitions
    for name, value in {
        "reknit_messages_total{to=server}": 4,
        "reknit_messages_total{to=client}": 3,
        "reknit_message_bytes_total{to=server}": 3 * 11 + 25,
        "reknit_message_bytes_total{to=client}": 3 * 7,
        "reknit_dropped_messages_total{to=server}": 0,
        "reknit_replays_total{to=server}": 1,
        "reknit_replayed_messages_total{to=server}": 3,
        "reknit_replayed_bytes_total{to=server}": 33,
        "reknit_repeated_messages_total{to=server}": 3,
        "reknit_replays_total{to=client}": 1,
        "reknit_replayed_messages_total{to=client}": 3,
        "reknit_repeated_messages_total{to=client}": 3,
        "reknit_handshakes_total{status=101}": 2,
        "reknit_handshakes_total{status=404}": 1,
        "reknit_handshakes_total{status=400}": 1,
        "reknit_resumes_total{outcome=resumed,peer=client}": 1,
        "reknit_resumes_total{outcome=unknown,peer=client}": 1,
        "reknit_resumes_total{outcome=resumed,peer=server}": 1,
        "reknit_dials_total{kind=first}": 1,
        "reknit_dial_results_total{result=accepted}": 2,
        "reknit_dial_results_total{result=unreachable}": failed,
        "reknit_held_bytes": 0,
        "reknit_outage_seconds_count{outcome=returned,side=server}": 1,
        "reknit_outage_seconds_count{outcome=returned,side=client}": 1,
        "reknit_outage_seconds_count{outcome=ended,side=client}": 0,
        "reknit_session_seconds_count": 1,
        "reknit_limit{of=sessions}": 500,
        "reknit_handshakes_total{status=502}": 0,  # a rate needs it before the first one
        "reknit_transitions_total{from=connected,to=closing,trigger=session_failed}": 0,
    }.items():
        assert seen[name] == value, name
    assert seen["reknit_dials_total{kind=again}"] == 1 + failed


@socket_test
async def test_a_session_is_found_by_its_id_which_no_log_has(bench: Bench) -> None:
    await bench.upstream.start()
    proxy = await bench.proxy(*ADMIN, "--log-level", "debug")
    client = await bench.connect()
    await bench.connect()
    async with aiohttp.ClientSession() as http:
        admin = await Admin.of(proxy, http)
        found = await admin.post("/sessions/find", connection_id=id_of(client))
        cut(client)
        await proxy.logged(f"{found['session']} client_down by client_lost")
        for body, status in (({"connection_id": "another"}, 404), ({"connection_id": 1}, 400)):
            answer = await admin.ask("POST", "/sessions/find", data=json.dumps(body))
            assert answer[0] == status, answer
    assert not [line for line in proxy.lines if id_of(client) in line or "another" in line]


@socket_test
async def test_the_names_before_answer_too(bench: Bench) -> None:
    await bench.upstream.start()
    proxy = await bench.proxy(*ADMIN)
    await bench.connect()
    async with aiohttp.ClientSession() as http:
        admin = await Admin.of(proxy, http)
        (only,) = (await admin.get("/contexts?state=connected"))["contexts"]
        assert only["session"] == await admin.only()
        assert (await admin.get(f"/contexts/{only['session']}"))["session"] == only["session"]
        assert (await admin.metrics())["reknit_contexts{state=connected}"] == 1
        await admin.post(f"/contexts/{only['session']}/close")
        await proxy.reached("closed")


@socket_test
async def test_pings_confirmations_and_lag(bench: Bench) -> None:
    await bench.upstream.start()
    proxy = await bench.proxy(*ADMIN, "--confirm-after", "0.01")
    client = await bench.connect()
    server = await bench.upstream.accept()
    await exchange(client, server)
    async with aiohttp.ClientSession() as http:
        admin = await Admin.of(proxy, http)
        while True:
            seen = await admin.metrics()
            if all(
                seen[name]
                for name in (
                    "reknit_confirmations_total{to=client}",
                    "reknit_confirmations_total{to=server}",
                    "reknit_loop_lag_seconds_count",
                )
            ):
                break
    assert seen["reknit_ping_seconds_count{to=server}"] >= 1
    assert seen["reknit_ping_seconds_sum{to=server}"] > 0
    assert seen["reknit_ping_seconds_bucket{le=+Inf,to=client}"] >= 1
    assert seen["reknit_unconfirmed_bytes{to=client}"] == 0
    assert seen["process_open_fds"] > 3


@socket_test
async def test_no_id_is_shown(bench: Bench) -> None:
    secret = "very-secret-id"
    await bench.upstream.start()
    proxy = await bench.proxy(*ADMIN, "--log-level", "debug")
    client = await bench.connect(f"/?connection_id={secret}")
    cut(client)
    await proxy.reached("client_down")
    await bench.connect(f"/?connection_id={secret}")
    async with aiohttp.ClientSession() as http:
        admin = await Admin.of(proxy, http)
        session = await admin.only()
        shown = [
            json.dumps(await admin.get("/sessions")),
            json.dumps(await admin.get(f"/sessions/{session}")),
            json.dumps(await admin.metrics()),
            *proxy.lines,
        ]
    assert session not in secret
    assert not any(secret in text for text in shown)


@socket_test
async def test_sessions_are_listed_in_pages_and_by_state(bench: Bench) -> None:
    await bench.upstream.start()
    proxy = await bench.proxy(*ADMIN)
    clients = [await bench.connect() for _ in range(5)]
    cut(clients[0])
    await proxy.reached("client_down")
    async with aiohttp.ClientSession() as http:
        admin = await Admin.of(proxy, http)
        found: list[str] = []
        cursor = ""
        pages = 0
        while True:
            page = await admin.get(f"/sessions?limit=2&cursor={cursor}")
            found += [context["session"] for context in page["sessions"]]
            pages += 1
            cursor = page["next"]
            if cursor is None:
                break
        assert pages == 3
        assert len(set(found)) == 5
        assert found == sorted(found)
        away = await admin.get("/sessions?state=client_down")
        assert [context["state"] for context in away["sessions"]] == ["client_down"]
        assert away["next"] is None
        up = await admin.get("/sessions?state=connected&limit=4")
        assert len(up["sessions"]) == 4
        assert up["next"] is None
        assert (await admin.get("/sessions?cursor=zz"))["sessions"] == []
        for query in ("state=up", "limit=0", "limit=1001", "limit=x", "limit=-1", "limit="):
            status, answer = await admin.ask("GET", f"/sessions?{query}")
            assert status == 400
            assert "allowed" in answer["message"]


@socket_test
async def test_one_session_is_shown_with_its_trace(bench: Bench) -> None:
    await bench.upstream.start()
    proxy = await bench.proxy(*ADMIN)
    client = await bench.connect()
    await exchange(client, await bench.upstream.accept())
    await bench.upstream.kill()
    await proxy.reached("server_down")
    await client.send("wait")
    async with aiohttp.ClientSession() as http:
        admin = await Admin.of(proxy, http)
        session = await admin.only()
        while (shown := await admin.get(f"/sessions/{session}"))["to_server"]["messages"] < 2:
            pass
    assert shown["session"] == session
    assert shown["state"] == "server_down"
    assert shown["client"] == {"phase": "open", "generation": 1}
    assert shown["server"]["generation"] > 1
    assert shown["server"]["attempt"] >= 1
    assert shown["to_server"]["waiting_bytes"] == 11 + 10
    assert shown["to_server"]["unconfirmed_messages"] == 2
    assert shown["to_client"]["messages"] == 1
    trace = shown["trace"]
    assert trace[0] == "@0.000 > client connected"
    assert [line.strip() for line in trace if "= " in line] == ["= connected", "= server_down"]
    assert "hello" not in "".join(trace)


@pytest.mark.parametrize("leg", ["client", "server"])
@socket_test
async def test_a_leg_is_cut_and_the_session_goes_on(bench: Bench, leg: str) -> None:
    await bench.upstream.start()
    proxy = await bench.proxy(*ADMIN, "--retry-interval", "0.5")
    client = await bench.connect()
    server = await bench.upstream.accept()
    await exchange(client, server)
    async with aiohttp.ClientSession() as http:
        admin = await Admin.of(proxy, http)
        session = await admin.only()
        answer = await admin.post(f"/sessions/{session}/cut", leg=leg)
        assert answer["state"] == f"{leg}_down"
        await proxy.logged(f"INFO {session} cut {leg} by the operator")
        path = f"/sessions/{session}/cut"
        status, answer = await admin.ask("POST", path, data=json.dumps({"leg": leg}))
        assert (status, answer["error"]) == (409, "not_connected")
        for body in ({}, {"leg": "both"}, {"leg": 1}, {"leg": ["client"]}):
            status, answer = await admin.ask("POST", path, data=json.dumps(body))
            assert (status, answer["error"]) == (400, "bad_leg")
    if leg == "client":
        assert (await closed(client))[0] == 1006
        client = await bench.connect(headers={"X-Connection-Id": id_of(client)})
    else:
        server = await bench.upstream.accept()
    await client.send("after the cut")
    while await server.recv() != "after the cut":
        pass
    await proxy.reached(f"{leg}_down")
    assert proxy.transitions[1] == (f"{leg}_down", f"{leg}_lost")


@pytest.mark.parametrize(
    ("call", "body", "codes", "reason"),
    [
        ("close", {}, (1001, 1001), "closed by the operator"),
        ("close", {"code": 4000, "reason": "moved"}, (4000, 4000), "moved"),
        ("drain", {}, (1012, 1001), "the proxy restarts"),
        ("drain", {"code": 4000}, (4000, 4000), "the proxy restarts"),
    ],
)
@socket_test
async def test_a_session_is_ended(
    bench: Bench, call: str, body: dict[str, object], codes: tuple[int, int], reason: str
) -> None:
    await bench.upstream.start()
    proxy = await bench.proxy(*ADMIN)
    client = await bench.connect()
    server = await bench.upstream.accept()
    async with aiohttp.ClientSession() as http:
        admin = await Admin.of(proxy, http)
        session = await admin.only()
        path = f"/sessions/{session}/{call}"
        for bad in ({"code": 1006}, {"code": True}, {"code": "1001"}, {"code": 5000}):
            assert (await admin.ask("POST", path, data=json.dumps(bad)))[0] == 400
        for bad_reason in ({"reason": "x" * 124}, {"reason": 1}, {"reason": "\ud800"}):
            assert (await admin.ask("POST", path, data=json.dumps(bad_reason)))[0] == 400
        answer = await admin.post(path, **body)
        assert answer["state"] == "closing"
        await proxy.logged(f"INFO {session} {call} by the operator")
        assert await closed(client) == (codes[0], reason)
        assert await closed(server) == (codes[1], reason)
        await proxy.reached("closed")
        assert (await admin.ask("POST", path))[0] == 404
        assert (await admin.get("/sessions"))["sessions"] == []


@socket_test
async def test_clients_that_stall_hold_no_session_up(bench: Bench) -> None:
    await bench.upstream.start()
    proxy = await bench.proxy(*ADMIN)
    client = await bench.connect()
    server = await bench.upstream.accept()
    async with aiohttp.ClientSession() as http:
        port = int((await Admin.of(proxy, http)).base.rpartition(":")[2])
    stalled = [socket.create_connection(("127.0.0.1", port)) for _ in range(100)]
    try:
        for number, sock in enumerate(stalled):
            sock.setblocking(False)
            if number % 2:
                sock.send(b"GET /metrics HTTP/1.1\r\nHost: localhost\r\n\r\n")
            else:
                sock.send(b"POST /sessions/1/close HTTP/1.1\r\n")
        for _ in range(20):
            await exchange(client, server)
    finally:
        for sock in stalled:
            sock.close()
    async with aiohttp.ClientSession() as http:
        admin = await Admin.of(proxy, http)
        while True:  # until the proxy has seen that they are gone
            try:
                assert (await admin.get("/sessions"))["next"] is None
                break
            except aiohttp.ClientError:
                await asyncio.sleep(0.01)


@socket_test
async def test_silent_strangers_do_not_shut_out_probes_and_scrapes(
    bench: Bench, tmp_path: Path
) -> None:
    file = tmp_path / "proxy.toml"
    file.write_text(f'admin_token = "{TOKEN}"\n')
    await bench.upstream.start()
    proxy = await bench.proxy(*ADMIN, "--config", str(file))
    headers = {"Authorization": f"Bearer {TOKEN}"}
    async with aiohttp.ClientSession() as http, aiohttp.ClientSession(headers=headers) as scraper:
        admin = await Admin.of(proxy, http)
        where = admin.base.removeprefix("http://").partition(":")
        await (await Admin.of(proxy, scraper)).metrics()  # keeps its connection
        for _ in range(3):
            silent = [await asyncio.open_connection(where[0], where[2]) for _ in range(100)]
            for path in ("/livez", "/readyz"):
                async with http.get(admin.base + path, headers={"Connection": "close"}) as answer:
                    assert answer.status == 200
            seen = await (await Admin.of(proxy, scraper)).metrics()
            assert seen["reknit_log_lines_lost_total"] == 0
            for _, writer in silent:
                writer.close()


@socket_test
async def test_probes_say_when_the_proxy_stops(bench: Bench) -> None:
    await bench.raw_upstream.start()
    proxy = await bench.proxy(*ADMIN, "--close-timeout", "30")
    client, server = await bench.raw_pair()  # which will not answer a Close
    async with aiohttp.ClientSession() as http:
        admin = await Admin.of(proxy, http)
        for path in ("/livez", "/readyz"):
            for host in (admin.base.removeprefix("http://"), "the-service"):
                async with http.get(admin.base + path, headers={"Host": host}) as answer:
                    assert answer.status == 200
        proxy.signal(signal.SIGTERM)
        await proxy.logged("draining: 1 session ")
        async with http.get(admin.base + "/readyz") as answer:
            assert answer.status == 503
        async with http.get(admin.base + "/livez") as answer:
            assert answer.status == 200
    client.abort()
    server.abort()


@socket_test
async def test_a_token_opens_it_to_others(bench: Bench, tmp_path: Path) -> None:
    file = tmp_path / "reknit.toml"
    file.write_text(f'admin = "0.0.0.0:0"\nadmin_token = "{TOKEN}"\n')
    proxy = await bench.proxy("--config", str(file))
    async with aiohttp.ClientSession() as http:
        admin = await Admin.of(proxy, http)
        admin.base = admin.base.replace("0.0.0.0", "127.0.0.1")
        status, answer = await admin.ask("GET", "/sessions")
        assert (status, answer["error"]) == (401, "unauthorized")
        headers = {"Authorization": f"Bearer {TOKEN}", "Host": "proxy.example"}
        status, answer = await admin.ask("GET", "/sessions", headers=headers)
        assert (status, answer) == (200, {"sessions": [], "next": None})
    assert not any(TOKEN in line for line in proxy.lines)


@socket_test
async def test_a_page_of_another_site_can_not_end_sessions(bench: Bench) -> None:
    await bench.upstream.start()
    proxy = await bench.proxy(*ADMIN)
    client = await bench.connect()
    server = await bench.upstream.accept()
    async with aiohttp.ClientSession() as http:
        admin = await Admin.of(proxy, http)
        path = f"/sessions/{await admin.only()}/close"
        headers = {"Origin": "https://evil.example", "Content-Type": "text/plain"}
        assert (await admin.ask("POST", path, data="{}", headers=headers))[0] == 403
        assert (await admin.ask("POST", path, headers={"Host": "evil.example"}))[0] == 421
        assert (await admin.ask("GET", "/sessions", headers={"Host": "evil.example"}))[0] == 421
    await exchange(client, server)


@socket_test
async def test_a_unix_socket_is_its_owners_alone(bench: Bench, tmp_path: Path) -> None:
    path = tmp_path / "admin.sock"
    left_behind = socket.socket(socket.AF_UNIX)
    left_behind.bind(str(path))
    left_behind.close()  # its file stays, as that of a process that was killed
    proxy = await bench.proxy("--admin", f"unix:{path}")
    await proxy.logged("admin listening on unix:")
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    async with aiohttp.ClientSession(connector=aiohttp.UnixConnector(str(path))) as http:
        assert await Admin("http://any.name", http).get("/sessions") == {
            "sessions": [],
            "next": None,
        }


@socket_test
async def test_the_next_process_goes_on_telling_but_not_to_strangers(
    bench: Bench, tmp_path: Path
) -> None:
    await bench.upstream.start()
    file = tmp_path / "reknit.toml"
    file.write_text(f'admin = "0.0.0.0:0"\nadmin_token = "{TOKEN}"\n')
    upstream = f"ws://127.0.0.1:{bench.upstream.port}"
    proxy = Succession(upstream, "--config", str(file), "--confirm-after", "3600")
    await proxy.begin()
    bench.proxies.append(proxy)
    client = await bench.connect()
    server = await bench.upstream.accept()
    await exchange(client, server)
    token = {"Authorization": f"Bearer {TOKEN}"}
    async with aiohttp.ClientSession(headers=token) as http:
        admin = await Admin.of(proxy, http)
        admin.base = admin.base.replace("0.0.0.0", "127.0.0.1")
        session = await admin.only()
        await proxy.restart()
        await exchange(client, server)
        assert await admin.only() == session
        seen = await admin.metrics()
        assert seen["reknit_messages_total{to=server}"] == 2
        assert seen["reknit_handshakes_total{status=101}"] == 1
    file.write_text('admin = "127.0.0.1:0"\n')  # no token: what is open to all is not for it
    await proxy.restart()
    await exchange(client, server)
    line = await proxy.logged("admin listening on 127.0.0.1:")
    async with aiohttp.ClientSession() as http:
        own = Admin(f"http://{line.rpartition(' ')[2]}", http)
        assert own.base != admin.base
        assert await own.only() == session
        with pytest.raises(aiohttp.ClientError):
            await http.get(admin.base)
