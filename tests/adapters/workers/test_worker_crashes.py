"""Workers that are killed in the worst moments: with full queues and inboxes, in takeovers."""

import asyncio
import resource
import signal
import socket
from contextlib import suppress
from pathlib import Path

from linux import only_on_linux
from raw_websocket import request
from reknit.process.takeover import Channel, End, Hello
from reknit_core.proxy.share import Share
from socket_bench import COMES_BACK, Bench, socket_test
from staff import begin, exchange, how
from upstream_server import cut


def _names(of: int, owner: int, number: int) -> list[str]:
    """Ids of sessions that one of so many workers has."""
    names = (f"user-{index}" for index in range(10_000))
    return [name for name in names if Share(0, of).owner(name) == owner][:number]


@socket_test
async def test_a_worker_is_killed_with_full_queues_while_clients_wait_for_it(
    bench: Bench, tmp_path: Path
) -> None:
    """Some are in its listener, some in its inbox; messages wait for clients, and for servers."""
    await bench.upstream.start()
    state = ("--state-dir", str(tmp_path / "state"), "--state-sync", "off")
    proxy = await begin(bench, *state, "--grace-for", "all", workers=2)
    names = _names(2, 1, 40)
    away, here = names[:32], names[32:]
    clients, servers = {}, {}
    for name in names:
        clients[name] = await bench.connect(headers={"x-connection-id": name})
        servers[name] = await bench.upstream.accept()
        await exchange(clients[name], servers[name])
    for name in away:
        cut(clients[name])
    await proxy.reached("client_down", len(away))
    for name in away:
        await servers[name].send(f"for {name}")
    await bench.upstream.kill(reset=False)
    await proxy.reached("server_down", len(here))
    for name in here:
        await clients[name].send(f"from {name}")
    await bench.turned(20)

    proxy.signal_worker(1, signal.SIGSTOP)
    before = sum("[0] DEBUG client" in line and "asks" in line for line in proxy.lines)
    returns = [bench.spawn(bench.connect(headers={"x-reconnect-id": name})) for name in away]
    await proxy.logged(r"\[0\] DEBUG client \S+ asks for a session", before + 3)
    proxy.signal_worker(1, signal.SIGKILL)
    for name in here:
        returns.append(bench.spawn(bench.connect(headers={"x-reconnect-id": name})))
    await proxy.serves_again(1)
    await bench.upstream.start()
    again = [await client for client in returns]  # nobody's connection was broken
    assert [how(client) for client in again] == ["resumed"] * len(again)
    got: set[str] = set()
    sent: set[str] = set()

    async def read(connection: object, into: set[str]) -> None:
        with suppress(Exception):
            async for text in connection:  # type: ignore[attr-defined]
                into.add(str(text))

    for client in again:
        bench.spawn(read(client, got))
    for _ in names:
        bench.spawn(read(await bench.upstream.accept(), sent))
    while not got >= {f"for {name}" for name in away}:
        await asyncio.sleep(0.01)
    while not sent >= {f"from {name}" for name in here}:
        await asyncio.sleep(0.01)


@socket_test
async def test_who_is_passed_to_a_worker_that_has_no_file_for_it_waits(bench: Bench) -> None:
    only_on_linux("prlimit")
    await bench.raw_upstream.start()
    proxy = await begin(bench, workers=2)
    pid = proxy.workers[1]
    used, most = resource.prlimit(pid, resource.RLIMIT_NOFILE)
    few = 1 + max(int(path.name) for path in Path(f"/proc/{pid}/fd").iterdir())
    resource.prlimit(pid, resource.RLIMIT_NOFILE, (few, most))

    async def come(name: str) -> int:
        client = await bench.raw()
        client.send(request("/", COMES_BACK, f"x-connection-id: {name}"))
        return (await client.read_head()).status

    clients = [bench.spawn(come(name)) for name in _names(2, 1, 32)]
    await proxy.logged(r"\[0\] DEBUG client \S+ asks for a session", 3)
    await bench.turned(20)
    resource.prlimit(pid, resource.RLIMIT_NOFILE, (used, most))
    serving = bench.spawn(_accept_all(bench))
    answers = [await client for client in clients]  # none is broken
    serving.cancel()
    assert set(answers) <= {101, 503}  # 503: it came to that worker itself
    assert answers.count(101) >= 3


async def _accept_all(bench: Bench) -> None:
    while True:
        await bench.raw_upstream.accept()


def _take(path: Path, messages: int) -> None:
    """Begin to take over, and die when so many messages have come."""
    with socket.socket(socket.AF_UNIX) as sock:
        sock.connect(str(path))
        channel = Channel(sock)
        channel.receive(Hello)
        channel.send(Hello(1))
        for _ in range(messages):
            said, sockets = channel.receive_any()
            for each in sockets:
                each.close()
            if isinstance(said, End):
                return


@socket_test
async def test_a_parent_that_dies_at_any_step_of_a_takeover_changes_nothing(
    bench: Bench, tmp_path: Path
) -> None:
    await bench.upstream.start()
    door = tmp_path / "door"
    proxy = await begin(bench, "--takeover", str(door), workers=2)
    pairs = [(await bench.connect(), await bench.upstream.accept()) for _ in range(6)]
    for messages in range(5):  # Listeners, of each worker its Sessions, and the End
        await asyncio.to_thread(_take, door, messages)
        await proxy.logged("not taken over: it has closed the connection", messages + 1)
        for client, server in pairs:
            await exchange(client, server)
    await proxy.start("--workers", "3")
    await proxy.taken_over()
    for client, server in pairs:
        await exchange(client, server)


@socket_test
async def test_of_two_that_come_at_once_each_takes_over_or_ends(
    bench: Bench, tmp_path: Path
) -> None:
    await bench.upstream.start()
    proxy = await begin(bench, "--takeover", str(tmp_path / "door"), workers=2)
    pairs = [(await bench.connect(), await bench.upstream.accept()) for _ in range(6)]
    both = [await proxy.start("--workers", workers) for workers in ("3", "2")]
    assert True in [await proxy.outcome(other) for other in both]
    for client, server in pairs:
        await exchange(client, server)
    await proxy.start("--workers", "2")
    await proxy.taken_over()
    for client, server in pairs:
        await exchange(client, server)
