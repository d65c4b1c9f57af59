"""The helpers for servers that count: each message of a client exactly once, whatever dies."""

import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import reknit
import trio
from children import HERE, LIMIT, Child, Children, Relay, children, free_port, start_proxy
from journal import read_journal
from node import node_runs

COUNT = 2100
FAULTS = 6  # by turns: the server is killed twice, its connection is cut
CLIENT = f"""
import asyncio, sys
from websockets.asyncio.client import connect

async def main():
    async with connect(sys.argv[1], proxy=None) as websocket:
        for number in range(1, {COUNT + 1}):
            await websocket.send(str(number))
            if number % 10 == 0:
                await asyncio.sleep(0.01)
        await asyncio.Event().wait()

asyncio.run(main())
"""


def fastapi(port: int, journal: Path) -> tuple[str, ...]:
    return (sys.executable, str(HERE / "counting_fastapi.py"), str(port), str(journal))


def node(port: int, journal: Path) -> tuple[str, ...]:
    helper = Path(reknit.__file__).parent / "js" / "count.js"
    return ("node", str(HERE / "counting_node.mjs"), helper.as_uri(), str(port), str(journal))


async def start(started: Children, command: tuple[str, ...], port: int) -> Child:
    """It takes connections when this returns."""
    child = await started.start(*command)
    while True:
        try:
            stream = await trio.open_tcp_stream("127.0.0.1", port)
        except OSError:
            await trio.sleep(0.02)
            continue
        await stream.aclose()
        return child


async def run(command: Callable[[int, Path], tuple[str, ...]], journal: Path) -> None:
    port = free_port()
    with trio.fail_after(LIMIT):
        async with children() as started, trio.open_nursery() as nursery:
            server = await start(started, command(port, journal), port)
            relay = Relay(port)
            await nursery.start(relay.run)
            _, proxy_port = await start_proxy(started, relay.port)
            await started.start(sys.executable, "-c", CLIENT, f"ws://127.0.0.1:{proxy_port}/")
            for fault in range(1, FAULTS + 1):
                while len(read_journal(journal)) < fault * COUNT // (FAULTS + 1):
                    await trio.sleep(0.01)
                if fault % 2:
                    relay.cut()
                    continue
                for _ in range(2):
                    await server.kill()
                    server = await start(started, command(port, journal), port)
            while len(read_journal(journal)) < COUNT:
                await trio.sleep(0.01)
            nursery.cancel_scope.cancel()
    assert read_journal(journal) == list(range(1, COUNT + 1))


def test_fastapi(tmp_path: Path) -> None:
    trio.run(run, fastapi, tmp_path / "journal")


def test_express_and_ws(tmp_path: Path) -> None:
    if not node_runs("-e", "require('ws'), require('express')"):
        pytest.skip("needs Node and its packages ws and express (tests/README.md)")
    trio.run(run, node, tmp_path / "journal")
