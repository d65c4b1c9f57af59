"""The client helpers that reknit ships: nothing lost, nothing twice, in order, both ways."""

import json
import os
import random
import shutil
import signal
import subprocess
import sys
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from functools import partial
from importlib.metadata import version
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import pytest
import reknit
import trio
from browser import FLAGS, find_chromium, page_server
from children import (
    HERE,
    LIMIT,
    Children,
    Relay,
    children,
    free_port,
    start_proxy,
)
from journal import read_journal
from node import node_runs, skip_without_ws
from raw_peer import RawPeer, RawServer
from wsproto.events import CloseConnection, Ping, Pong, TextMessage
from wsproto.utilities import LocalProtocolError

HELPERS = Path(reknit.__file__).parent / "js"
PYTHON = (sys.executable, str(HERE / "resuming_client.py"))
NODE = ("node", str(HERE / "resuming_client.mjs"), str(HELPERS / "resume.js"))
COUNT = 1500  # messages in each direction, at least
RATE = 1000  # a second
KEPT = 600  # messages that the client keeps: it has to ask what has arrived in between
ENDLESS = 100_000  # messages, at 100 a second
CUTS = 6
CUT_AFTER = COUNT // (2 * CUTS)  # messages, on average: the last cut comes before the last one


class Session:
    """A server, a proxy and a relay in front of it: where a client connects."""

    def __init__(self, started: Children, relay: Relay, journal: Path) -> None:
        self.children = started
        self._relay = relay
        self.url = f"ws://127.0.0.1:{relay.port}/"
        self._journal = journal

    async def cut_often(self) -> None:
        """Cut the client's connection at random moments, once it has a session."""
        moments = random.Random(1)
        with trio.fail_after(LIMIT):
            for cut in range(CUTS):
                arrived = (cut + moments.random()) * CUT_AFTER
                while len(read_journal(self._journal)) <= arrived:
                    await trio.sleep(0.01)
                self._relay.cut()

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
        assert len(result["greetings"]) > 1  # not one a cut: it can come before the greeting
        return result


@asynccontextmanager
async def session(tmp_path: Path) -> AsyncIterator[Session]:
    journal = tmp_path / "server"
    port = free_port()
    async with children() as started, trio.open_nursery() as nursery:
        program = str(HERE / "run_peer.py")
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
        _, proxy_port = await start_proxy(started, port, "--resume-token", "--require-minted-id")
        relay = Relay(proxy_port)
        await nursery.start(relay.run)
        yield Session(started, relay, journal)
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
    trio.run(run_program, tmp_path, PYTHON)


def test_node_with_ws(tmp_path: Path) -> None:
    if not node_runs("-e", "require('ws')"):
        pytest.skip("needs Node and its package ws: npm install ws, and NODE_PATH to find it")
    trio.run(run_program, tmp_path, NODE, "ws")


@pytest.mark.parametrize("flag", [(), ("--experimental-websocket",)])
def test_node_with_its_own_websocket(tmp_path: Path, flag: tuple[str, ...]) -> None:
    if not node_runs(*flag, "-e", "WebSocket"):
        pytest.skip(f"needs a Node with a global WebSocket{' behind a flag' if flag else ''}")
    trio.run(run_program, tmp_path, ("node", *flag, *NODE[1:]))


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


# -- How a session ends ------------------------------------------------------------------------


async def end_of(command: tuple[str, ...], *after: str, lose: bool) -> int:
    """Lose the session behind a client's back, or close it; returns the code that it ends with."""
    server = RawServer()
    with trio.fail_after(LIMIT):
        async with children() as started, trio.open_nursery() as nursery:
            await nursery.start(server.run)
            proxy, port = await start_proxy(started, server.port)
            relay = Relay(port)
            await nursery.start(relay.run)
            url = f"ws://127.0.0.1:{relay.port}/"
            client = await started.start(*command, url, str(COUNT), "100", str(COUNT), *after)
            peer = await server.next()
            await peer.send(TextMessage("1"))
            await peer.send(Ping(b"after it"))
            while not isinstance(await peer.receive(), Pong):
                pass
            if lose:
                await proxy.kill()
                _, relay.target = await start_proxy(started, server.port)
            else:
                await peer.send(CloseConnection(4321))
            result = json.loads((await client.said("result")).partition(" ")[2])
            assert result["received"] == [1]
            nursery.cancel_scope.cancel()
            return int(result["ended"])


@pytest.mark.parametrize(("lose", "code"), [(True, 4404), (False, 4321)])
@pytest.mark.parametrize("language", ["python", "node"])
def test_the_end_is_told(language: str, *, lose: bool, code: int) -> None:
    if language == "node":
        skip_without_ws()
    command, after = (NODE, "ws") if language == "node" else (PYTHON, "")

    async def run() -> None:
        assert await end_of(command, after, "final", lose=lose) == code

    trio.run(run)


# -- A fresh session follows one that is gone --------------------------------------------------

Starts = Callable[[Children, str], Awaitable[Callable[[], Awaitable[str]]]]
"""Starts a client at that URL; returns how to get its result."""


class Half:
    """A server's end of a session: the numbers that it gets, until either end closes."""

    def __init__(self, peer: RawPeer) -> None:
        self._peer = peer
        self.numbers: list[int] = []

    async def run(self, *, until: int = 0) -> None:
        """Take what comes, until so many numbers have come or it has ended."""
        while event := await self._peer.receive():
            match event:
                case TextMessage(data=data):
                    self.numbers.append(int(data))
                    if len(self.numbers) == until:
                        return
                case Ping():
                    with suppress(trio.BrokenResourceError):
                        await self._peer.send(event.response())
                case CloseConnection():
                    with suppress(LocalProtocolError):  # it answers ours
                        await self._peer.send(event.response())
                    break
        await self._peer.stream.aclose()


async def drain_twice(start: Starts, *, kill: bool) -> None:
    """The proxy stops, or is killed, and another one is there, twice: each session is told of."""
    server = RawServer()
    with trio.fail_after(LIMIT):
        async with children() as started, trio.open_nursery() as nursery:
            await nursery.start(server.run)
            proxy, port = await start_proxy(started, server.port)
            relay = Relay(port)
            await nursery.start(relay.run)
            get_result = await start(started, f"ws://127.0.0.1:{relay.port}/")
            halves = []
            for session in range(3):
                peer = await server.next()
                half = Half(peer)
                halves.append(half)
                await peer.send(TextMessage(str(session)))
                await half.run(until=10)
                if session == 2:
                    await peer.send(CloseConnection(4321))
                    await half.run()
                    break
                proxy.process.send_signal(signal.SIGKILL if kill else signal.SIGTERM)
                await half.run()
                await proxy.process.wait()
                proxy, relay.target = await start_proxy(started, server.port)
            result = json.loads(await get_result())
            nursery.cancel_scope.cancel()
    assert result["ended"] == 4321
    assert result["received"] == [0, 1, 2]
    assert result["greetings"] == ["new"] * 3
    assert [recovered for recovered, _ in result["opened"]] == [False] * 3
    first = 1
    for half, (_, unconfirmed) in zip(halves, result["opened"], strict=True):
        last = half.numbers[-1]
        if unconfirmed:  # of the session before: with what its server has got nothing is missing
            assert unconfirmed == list(range(unconfirmed[0], unconfirmed[-1] + 1))
            assert unconfirmed[0] <= first
            first = unconfirmed[-1] + 1
        assert half.numbers == list(range(first, last + 1))
        first = last + 1


def starts(command: tuple[str, ...], *after: str) -> Starts:
    async def start(started: Children, url: str) -> Callable[[], Awaitable[str]]:
        client = await started.start(*command, url, str(ENDLESS), "100", str(ENDLESS), *after)

        async def result() -> str:
            return (await client.said("result")).partition(" ")[2]

        return result

    return start


@pytest.mark.parametrize("kill", [False, True])
def test_python_begins_anew(*, kill: bool) -> None:
    trio.run(partial(drain_twice, starts(PYTHON), kill=kill))


@pytest.mark.parametrize("kill", [False, True])
def test_node_with_ws_begins_anew(*, kill: bool) -> None:
    skip_without_ws()
    trio.run(partial(drain_twice, starts(NODE, "ws"), kill=kill))


def test_node_with_its_own_websocket_begins_anew() -> None:
    flag = ("--experimental-websocket",)
    if not node_runs(*flag, "-e", "WebSocket"):
        pytest.skip("needs a Node with a global WebSocket behind a flag")
    trio.run(partial(drain_twice, starts(("node", *flag, *NODE[1:])), kill=False))


def test_chromium_begins_anew(tmp_path: Path) -> None:
    chromium = find_chromium()
    if chromium is None:
        pytest.skip("needs Chromium, on the path or named by $CHROMIUM")
    files = ("resuming_client.html", "resuming_client.js")
    with page_server(*(HERE / name for name in files), HELPERS / "resume.js") as pages:

        async def start(started: Children, url: str) -> Callable[[], Awaitable[str]]:
            query = {"url": url, "count": ENDLESS, "rate": 100, "limit": ENDLESS}
            page = f"{pages.url}resuming_client.html?{urlencode(query)}"
            profile = f"--user-data-dir={tmp_path / 'profile'}"
            await started.start(chromium, *FLAGS, profile, page, errors=True)

            async def result() -> str:
                return await trio.to_thread.run_sync(lambda: pages.results.get(timeout=LIMIT))

            return result

        trio.run(partial(drain_twice, start, kill=False))


FLUSHES = """
import asyncio, sys
from reknit.resume import ResumingClient, SessionLost

async def main():
    async with ResumingClient(sys.argv[1], retry=0.02, proxy=None) as client:
        await client.recv()
        await client.send("7")

try:
    asyncio.run(main())
except SessionLost as error:
    print("result", error, flush=True)
"""


def test_leaving_python_does_not_pass_over_a_session_that_ended_too_early() -> None:
    async def run() -> None:
        server = RawServer()
        with trio.fail_after(LIMIT):
            async with children() as started, trio.open_nursery() as nursery:
                await nursery.start(server.run)
                proxy, port = await start_proxy(started, server.port)
                url = f"ws://127.0.0.1:{port}/"
                client = await started.start(sys.executable, "-c", FLUSHES, url)
                peer = await server.next()
                await peer.send(TextMessage("go"))
                while not isinstance(await peer.receive(), TextMessage):
                    pass
                proxy.process.send_signal(signal.SIGTERM)
                while not isinstance(event := await peer.receive(), CloseConnection):
                    pass  # no Ping is answered: nothing is confirmed
                await peer.send(event.response())
                await peer.stream.aclose()
                assert "before all had arrived" in await client.said("result")
                nursery.cancel_scope.cancel()

    trio.run(run)


def test_node_without_a_websocket_says_what_to_pass() -> None:
    if not node_runs("-e", ""):
        pytest.skip("needs Node")
    script = f"""
        import {{ ResumingWebSocket }} from {json.dumps((HELPERS / "resume.js").as_uri())};
        try {{
          new ResumingWebSocket("ws://127.0.0.1:9", [], {{ WebSocket: null }});
        }} catch (error) {{
          console.log(error.message);
        }}
    """
    run = subprocess.run(
        ["node", "--input-type=module", "-e", script],
        capture_output=True,
        check=True,
        timeout=LIMIT,
    )
    assert "pass the one of the package ws" in run.stdout.decode()


def test_node_says_when_too_much_is_unconfirmed() -> None:
    skip_without_ws()
    script = f"""
        import {{ createRequire }} from "node:module";
        import {{ ResumingWebSocket }} from {json.dumps((HELPERS / "resume.js").as_uri())};
        const WebSocket = createRequire({json.dumps(HERE.as_uri() + "/")})("ws");
        const session = new ResumingWebSocket("ws://127.0.0.1:9", [], {{ limit: 3, WebSocket }});
        for (const data of ["a", "b", "c"]) session.send(data);
        try {{
          session.send("d");
        }} catch (error) {{
          console.log(error.name);
        }}
        process.exit();
    """
    run = subprocess.run(
        ["node", "--input-type=module", "-e", script],
        capture_output=True,
        check=True,
        timeout=LIMIT,
    )
    assert run.stdout.decode().strip() == "RangeError"


# -- The package -------------------------------------------------------------------------------


def test_it_is_seen_as_a_websocket() -> None:
    if not node_runs("--test", "--help"):
        pytest.skip("needs a Node that runs tests")
    run = subprocess.run(
        ["node", "--test", str(HERE / "resuming_websocket.test.mjs")],
        capture_output=True,
        check=False,
        timeout=LIMIT,
        env={**os.environ, "RESUME_JS": (HELPERS / "resume.js").as_uri()},
    )
    assert run.returncode == 0, run.stdout.decode()


def test_its_version_is_the_projects() -> None:
    assert json.loads((HELPERS / "package.json").read_text())["version"] == version("reknit")


def test_what_npm_packs_can_be_installed(tmp_path: Path) -> None:
    npm = shutil.which("npm")
    if npm is None:
        pytest.skip("needs npm")

    def run(*command: str) -> str:
        done = subprocess.run(
            command, cwd=tmp_path, capture_output=True, check=True, timeout=LIMIT, text=True
        )
        return done.stdout.strip()

    packed = run(npm, "pack", "--silent", "--ignore-scripts", str(HELPERS))
    run(npm, "install", "--silent", "--offline", "--no-audit", "--no-fund", f"./{packed}")
    script = 'import { ResumingWebSocket as R } from "reknit"; import { countReceived as c }'
    script += ' from "reknit/count"; console.log(R.OPEN, typeof c)'
    assert run("node", "--input-type=module", "-e", script) == "1 function"
    installed = {file.name for file in (tmp_path / "node_modules" / "reknit").iterdir()}
    assert {"resume.d.ts", "count.d.ts", "package.json"} <= installed
