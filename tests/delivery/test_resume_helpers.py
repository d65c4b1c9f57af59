"""The client helpers that reknit ships: nothing lost, nothing twice, in order, both ways."""

import json
import random
import shutil
import subprocess
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import pytest
import reknit
import trio
from delivery_browser import FLAGS, find_chromium, page_server
from delivery_journal import read_journal
from delivery_processes import (
    HERE,
    LIMIT,
    Child,
    Children,
    Relay,
    children,
    free_port,
    start_proxy,
)

HELPERS = Path(reknit.__file__).parent
COUNT = 1500  # messages in each direction, at least
RATE = 1000  # a second
KEPT = 600  # messages that the client keeps: it has to ask what has arrived in between
CUTS = 6
CUT_EVERY = (0.05, 0.2)  # seconds; the last cut comes before the last message can be sent


class Session:
    """A server, a proxy and a relay in front of it: where a client connects."""

    def __init__(self, started: Children, server: Child, relay: Relay, journal: Path) -> None:
        self.children = started
        self._server = server
        self._relay = relay
        self.url = f"ws://127.0.0.1:{relay.port}/"
        self._journal = journal

    async def cut_often(self) -> None:
        """Cut the client's connection at random moments, once it has a session."""
        await self._server.said("open")
        moments = random.Random(1)
        cuts = 0
        with trio.fail_after(LIMIT):
            while cuts < CUTS:
                await trio.sleep(moments.uniform(*CUT_EVERY))
                cuts += self._relay.cut() > 0

    async def check(self, text: str) -> dict[str, Any]:
        """Hold a client's result against the server's journal."""
        result: dict[str, Any] = json.loads(text)
        assert result["ended"] == 1000
        assert len(result["received"]) >= COUNT
        assert result["received"] == list(range(1, len(result["received"]) + 1))
        with trio.move_on_after(LIMIT):
            while len(read_journal(self._journal)) < COUNT:
                await trio.sleep(0.02)
        assert read_journal(self._journal) == list(range(1, COUNT + 1))
        assert result["greetings"][0] == "new"
        assert set(result["greetings"][1:]) == {"resumed"}
        assert len(result["greetings"]) > CUTS
        return result


@asynccontextmanager
async def session(tmp_path: Path) -> AsyncIterator[Session]:
    journal = tmp_path / "server"
    port = free_port()
    async with children() as started, trio.open_nursery() as nursery:
        program = str(HERE / "delivery_program.py")
        server = await started.start(
            sys.executable,
            program,
            "server",
            "websockets",
            str(journal),
            str(port),
            f"--rate={RATE}",
        )
        await server.order("go")
        await server.said("listening")
        _, proxy_port = await start_proxy(started, port)
        relay = Relay(proxy_port)
        await nursery.start(relay.run)
        yield Session(started, server, relay, journal)
        nursery.cancel_scope.cancel()


async def run_program(tmp_path: Path, command: tuple[str, ...], *after: str) -> dict[str, Any]:
    """A client program that says its result, while its connection is cut."""
    async with session(tmp_path) as place:
        numbers = (str(COUNT), str(RATE), str(KEPT))
        client = await place.children.start(*command, place.url, *numbers, *after)
        await place.cut_often()
        line = await client.said("result")
        return await place.check(line.partition(" ")[2])


def test_python(tmp_path: Path) -> None:
    trio.run(run_program, tmp_path, (sys.executable, str(HERE / "resuming_client.py")))


def node_has(*command: str) -> bool:
    node = shutil.which("node")
    if node is None:
        return False
    run = subprocess.run([node, *command], capture_output=True, check=False, timeout=20)
    return run.returncode == 0


NODE = (str(HERE / "resuming_client.mjs"), str(HELPERS / "resume.js"))


def test_node_with_ws(tmp_path: Path) -> None:
    if not node_has("-e", "require('ws')"):
        pytest.skip("needs Node and its package ws: npm install ws, and NODE_PATH to find it")
    trio.run(run_program, tmp_path, ("node", *NODE), "ws")


@pytest.mark.parametrize("flag", [(), ("--experimental-websocket",)])
def test_node_with_its_own_websocket(tmp_path: Path, flag: tuple[str, ...]) -> None:
    if not node_has(*flag, "-e", "WebSocket"):
        pytest.skip(f"needs a Node with a global WebSocket{' behind a flag' if flag else ''}")
    trio.run(run_program, tmp_path, ("node", *flag, *NODE))


def test_chromium(tmp_path: Path) -> None:
    chromium = find_chromium()
    if chromium is None:
        pytest.skip("needs Chromium, on the path or named by $CHROMIUM")
    files = ("resuming_client.html", "resuming_client.js")

    async def run() -> None:
        with page_server(*(HERE / name for name in files), HELPERS / "resume.js") as pages:
            async with session(tmp_path) as place:
                query = {"url": place.url, "count": COUNT, "rate": RATE, "limit": KEPT}
                page = f"{pages.url}resuming_client.html?{urlencode(query)}"
                profile = f"--user-data-dir={tmp_path / 'profile'}"
                await place.children.start(chromium, *FLAGS, profile, page, errors=True)
                await place.cut_often()
                with trio.fail_after(LIMIT):
                    result = await trio.to_thread.run_sync(lambda: pages.results.get(timeout=LIMIT))
                await place.check(result)

    trio.run(run)
