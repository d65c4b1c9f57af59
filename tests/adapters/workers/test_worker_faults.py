"""Random faults: workers killed, clients cut, takeovers by other numbers. Nothing is lost.

More of them: WORKER_FAULTS=50, and other ones: WORKER_SEED=2.
"""

import asyncio
import os
import random
import signal
from contextlib import suppress
from pathlib import Path

from counting_server import CountingServer
from numbers_both_ways import Numbers
from reknit.resume import ResumingClient
from socket_bench import Bench, socket_test
from staff import Staff

FAULTS = int(os.environ.get("WORKER_FAULTS", "6"))
SEED = int(os.environ.get("WORKER_SEED", "1"))
SESSIONS = 12


@socket_test
async def test_random_faults_cost_no_message(bench: Bench, tmp_path: Path) -> None:
    chance = random.Random(SEED)
    counting = CountingServer()
    server = await counting.start()
    kept = ("--state-dir", str(tmp_path / "state"), "--state-sync", "off")
    door = ("--takeover", str(tmp_path / "door"))
    url = f"ws://127.0.0.1:{counting.port}"
    proxy = Staff(url, "--workers", "2", *kept, *door)
    await proxy.begin()
    bench.proxies.append(proxy)  # type: ignore[arg-type]
    clients, runs = [], []
    async with asyncio.TaskGroup() as group:
        for number in range(SESSIONS):
            named = {"x-connection-id": f"user-{number}"} if number % 2 else {}
            client = ResumingClient(
                f"ws://127.0.0.1:{proxy.port}",
                retry=0.05,
                fresh=False,
                additional_headers=named,
                compression=None,
            )
            await client.__aenter__()
            clients.append(client)
            runs.append(Numbers(client, counting.session(client.connection_id)))
        done = [group.create_task(run.run()) for run in runs]
        count = 2
        for _ in range(FAULTS):
            await asyncio.sleep(chance.uniform(0.05, 0.4))
            match chance.choice(("kill", "cut", "cut", "signal", "takeover", "spoil")):
                case "kill":
                    number = chance.randrange(count) if count > 1 else 0
                    if count > 1:
                        again = sum(f"worker {number} serves again" in li for li in proxy.lines)
                        proxy.signal_worker(number, signal.SIGKILL)
                        await proxy.serves_again(number, again + 1)
                case "cut":
                    for client in chance.sample(clients, 4):
                        client._websocket.transport.abort()
                case "signal":
                    await proxy.restart()
                    count = 2
                case "takeover":
                    count = chance.choice((1, 2, 3))
                    await proxy.start("--workers", str(count))
                    await proxy.taken_over()
                    await asyncio.sleep(0.05)
                case "spoil":
                    count = await _spoil(proxy, chance, count)
        for run in runs:
            run.end()
    counts = [task.result() for task in done]
    for client in clients:
        await client.__aexit__(None, None, None)
    server.close()
    assert all(sent > 0 and came > 0 for sent, came in counts)


async def _spoil(proxy: Staff, chance: random.Random, count: int) -> int:
    """Kill a worker, of any side, while a process takes over; how many workers there are then."""
    workers = chance.choice((2, 3))
    other = await proxy.start("--workers", str(workers))
    await asyncio.sleep(chance.uniform(0.2, 1.2))
    with suppress(ProcessLookupError, IndexError):  # of one process alone there is none
        os.kill(chance.choice(proxy.alive), signal.SIGKILL)
    if await proxy.outcome(other):
        count = workers
    while True:  # who was killed may be noticed only now, and no other takes over until it serves
        other = await proxy.start("--workers", str(count))
        if await proxy.outcome(other):
            return count
