"""Takeovers of several workers, by as many, more, fewer or one; and what they keep on the disk."""

import asyncio
import signal
import socket
from pathlib import Path

import pytest
from reknit.process.takeover import Channel, Hello
from socket_bench import Bench, closed, id_of, socket_test
from staff import Staff, begin, exchange, how, with_tls
from streams import PAUSE, Stream
from upstream_server import cut
from websockets.asyncio.client import unix_connect

SESSIONS = 24
ENOUGH = 20  # messages that each stream passes on before it may end


async def takes_over(proxy: Staff, *options: str, workers: int) -> None:
    """A process with so many workers takes over from the running one."""
    await proxy.start("--workers", str(workers), *options)
    await proxy.taken_over()


@socket_test
async def test_sessions_under_load_notice_nothing_of_takeovers_by_other_numbers_of_workers(
    bench: Bench, tmp_path: Path
) -> None:
    await bench.upstream.start()
    proxy = await begin(bench, "--takeover", str(tmp_path / "door"), workers=3)
    streams, clients = [], []
    for index in range(SESSIONS):
        named = {"x-connection-id": f"user-{index}"} if index % 2 else {}
        client, server = await bench.connect(headers=named), await bench.upstream.accept()
        clients.append(client)
        size = 300_000 if index % 10 == 0 else 40
        streams += [Stream(client, server, size), Stream(server, client, size)]
    runs = [bench.spawn(stream.run()) for stream in streams]
    await proxy.restart()
    for workers in (4, 2, 1, 3):
        await takes_over(proxy, workers=workers)
    while min(stream.received for stream in streams) < ENOUGH:
        await asyncio.sleep(PAUSE)
    for stream in streams:
        stream.end()
    await asyncio.gather(*runs)
    assert bench.upstream.accepted == SESSIONS
    for client in clients:
        again = await bench.connect(headers={"x-reconnect-id": id_of(client)})
        assert how(again) == "resumed"
    assert bench.upstream.accepted == SESSIONS


@socket_test
async def test_requests_that_are_begun_go_on_in_the_next_processes(
    bench: Bench, tmp_path: Path
) -> None:
    await bench.upstream.start()
    proxy = await begin(bench, "--takeover", str(tmp_path / "door"), workers=2)
    await bench.connect(headers={"x-connection-id": "user-1"})
    await bench.upstream.accept()
    begun = [await bench.raw() for _ in range(6)]
    whole = (
        b"GET / HTTP/1.1\r\nhost: x\r\nupgrade: websocket\r\nconnection: upgrade\r\n"
        b"sec-websocket-key: dGhlIHNhbXBsZSBub25jZQ==\r\nsec-websocket-version: 13\r\n"
        b"x-reconnect-id: user-1\r\n\r\n"
    )
    for client in begun:
        client.send(whole[:60])
    await bench.turned()
    await takes_over(proxy, workers=3)
    for client in begun:
        client.send(whole[60:])
        assert (await client.read_head()).status == 101


@pytest.mark.parametrize("keeps", [True, False])
@socket_test
async def test_sessions_whose_tls_is_elsewhere_move_and_their_tls_stays_or_is_cut(
    bench: Bench, tmp_path: Path, keeps: bool
) -> None:
    await bench.upstream.start()
    tls = with_tls(bench, tmp_path)
    choice = ("--takeover-tls", "keep" if keeps else "drain")
    proxy = await begin(bench, *tls, *choice, workers=3)
    pairs = []
    for number in range(9):
        named = {"x-connection-id": f"user-{number}"}
        pairs.append((await bench.connect(headers=named), await bench.upstream.accept()))
    await proxy.restart()
    if keeps:
        for client, server in pairs:
            await exchange(client, server)
            await client.close()
            assert (await closed(server))[0] == 1000
        return
    codes = [(await closed(client))[0] for client, _ in pairs]
    assert set(codes) <= {1012, 1006}
    back = [number for number, code in enumerate(codes) if code == 1006]
    assert back  # some were elsewhere: their sessions have moved, and wait
    for number in back:
        again = await bench.connect(headers={"x-reconnect-id": f"user-{number}"})
        await exchange(again, pairs[number][1])


@socket_test
async def test_a_takeover_that_fails_changes_nothing(bench: Bench, tmp_path: Path) -> None:
    await bench.upstream.start()
    proxy = await begin(bench, "--takeover", str(tmp_path / "door"), workers=2)
    pairs = [(await bench.connect(), await bench.upstream.accept()) for _ in range(6)]
    for _ in range(2):
        other = await proxy.start("--workers", "2", "--state-dir", str(tmp_path / "state"))
        assert await other.wait() == 1  # it would keep sessions where this one does not
        proxy._started.remove(other)
    for client, server in pairs:
        await exchange(client, server)


@socket_test
async def test_a_parent_that_dies_while_it_takes_over_changes_nothing(
    bench: Bench, tmp_path: Path
) -> None:
    """It says that it can, and then nothing more."""
    await bench.upstream.start()
    proxy = await begin(bench, "--takeover", str(tmp_path / "door"), workers=2)
    pairs = [(await bench.connect(), await bench.upstream.accept()) for _ in range(6)]

    def half() -> None:
        with socket.socket(socket.AF_UNIX) as sock:
            sock.connect(str(tmp_path / "door"))
            channel = Channel(sock)
            channel.receive(Hello)
            channel.send(Hello(1))
            _, sockets = channel.receive_any()
            for each in sockets:
                each.close()

    for _ in range(2):
        await asyncio.to_thread(half)
    await proxy.logged("not taken over: it has closed the connection", 2)
    for client, server in pairs:
        await exchange(client, server)
    await takes_over(proxy, workers=2)
    for client, server in pairs:
        await exchange(client, server)


# -- On the disk -------------------------------------------------------------------------------


async def _come_back(bench: Bench, ids: list[str]) -> None:
    for name in ids:
        again = await bench.connect(headers={"x-reconnect-id": name})
        assert how(again) == "resumed"
        assert await again.recv() == f"for {name}"
    for _ in ids:
        server = await bench.upstream.accept()
        await server.send("here")


async def _leave(bench: Bench, proxy: Staff, number: int) -> list[str]:
    """So many sessions, each with a message for its client, who is away."""
    ids = []
    for index in range(number):
        named = {"x-connection-id": f"user-{index}"} if index % 2 else {}
        client, server = await bench.connect(headers=named), await bench.upstream.accept()
        ids.append(id_of(client))
        cut(client)
        await proxy.reached("client_down", index + 1)
        await server.send(f"for {id_of(client)}")
    return ids


@pytest.mark.parametrize(("before", "after"), [(2, 2), (3, 2), (2, 1), (1, 3)])
@socket_test
async def test_sessions_survive_a_crash_and_another_number_of_workers(
    bench: Bench, tmp_path: Path, before: int, after: int
) -> None:
    await bench.upstream.start()
    state = ("--state-dir", str(tmp_path / "state"))
    proxy = await begin(bench, *state, workers=before)
    ids = await _leave(bench, proxy, 8)
    await bench.turned()
    await asyncio.sleep(0.1)
    proxy.signal(signal.SIGKILL)
    await proxy.ended()
    bench.proxies.remove(proxy)  # type: ignore[arg-type]
    again = await begin(bench, *state, workers=after)
    await _come_back(bench, ids)
    files = list((tmp_path / "state").rglob("sessions-*"))
    homes = {path.parent.name for path in files}
    if after == 1:
        assert homes == {"state"}
    else:
        assert homes <= {f"worker-{number}-of-{after}" for number in range(after)}
    assert await again.stop() == 0
    assert not [*(tmp_path / "state").rglob("sessions-*")]


@socket_test
async def test_a_workers_sessions_come_back_with_the_next_one(bench: Bench, tmp_path: Path) -> None:
    await bench.upstream.start()
    proxy = await begin(bench, "--state-dir", str(tmp_path / "state"), workers=2)
    ids = await _leave(bench, proxy, 8)
    await asyncio.sleep(0.1)
    for number in range(2):
        proxy.signal_worker(number, signal.SIGKILL)
        await proxy.serves_again(number)
    await _come_back(bench, ids)


@socket_test
async def test_what_is_kept_moves_with_a_takeover(bench: Bench, tmp_path: Path) -> None:
    await bench.upstream.start()
    state = ("--state-dir", str(tmp_path / "state"), "--takeover", str(tmp_path / "door"))
    proxy = await begin(bench, *state, workers=2)
    ids = await _leave(bench, proxy, 8)
    for workers in (3, 1, 2):
        await takes_over(proxy, workers=workers)
    await asyncio.sleep(0.1)
    homes = {path.parent.name for path in (tmp_path / "state").rglob("sessions-*")}
    assert homes == {"worker-0-of-2", "worker-1-of-2"}
    proxy.signal_worker(0, signal.SIGKILL)
    proxy.signal_worker(1, signal.SIGKILL)
    await proxy.serves_again(0)
    await proxy.serves_again(1)
    await _come_back(bench, ids)


@socket_test
async def test_a_unix_socket_is_taken_over_too(bench: Bench, tmp_path: Path) -> None:
    path = tmp_path / "clients"
    await bench.upstream.start()
    proxy = await begin(
        bench, "--listen", f"unix:{path}", "--takeover", str(tmp_path / "door"), workers=2
    )
    await takes_over(proxy, workers=3)
    for number in range(6):
        named = {"x-connection-id": f"user-{number}"}
        async with unix_connect(str(path), "ws://x/", additional_headers=named) as client:
            await exchange(client, await bench.upstream.accept())
