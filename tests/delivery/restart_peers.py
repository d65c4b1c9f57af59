"""Both ends of the sessions of a restart run: `restart_peers.py server|client JOURNAL PORT …`.

A session is a path, `/7`. Each end sends its messages by the schedule and notes what it handles.
The server counts: when the proxy comes again it says how many messages of that session stand in
its journal, and goes on with the first of its own that the proxy has not got. The client does
nothing of the kind: its connection is to last.

    ready                (started) imported, waits
    go START             order: begin; the first message is due at that time
    listening PORT       the server
    open SESSION         a client is connected
    closed SESSION CODE  a client's connection has ended
    SIGTERM              the server closes all by 1012, handles what has come, and ends
"""

import argparse
import asyncio
import signal
import sys
from collections.abc import AsyncIterable
from pathlib import Path
from time import monotonic

from restart_journal import OPENED, Journal, Schedule, handled_so_far
from websockets.asyncio.client import connect
from websockets.asyncio.connection import Connection
from websockets.asyncio.server import ServerConnection, serve
from websockets.exceptions import ConnectionClosed
from websockets.http11 import Request, Response

RECEIVED = "x-reconnect-received"
AT_ONCE = 50  # clients that connect at one time
SERVICE_RESTART = 1012


class End:
    """What server and client have in common."""

    def __init__(self, options: argparse.Namespace, start: float) -> None:
        self.options = options
        self.schedule = Schedule(options.sessions, options.rate, start)
        self.handled = handled_so_far(options.journal, options.sessions)
        self._journal = Journal(options.journal)

    async def converse(self, websocket: Connection, session: int, taken: int) -> None:
        """Until the connection ends; the other end has got `taken` messages."""
        self._journal.note(session, OPENED, monotonic())
        sending = asyncio.create_task(self._send(websocket, session, taken))
        try:
            await self._handle(websocket, session)
        finally:
            sending.cancel()

    async def _handle(self, messages: AsyncIterable[str | bytes], session: int) -> None:
        try:
            async for message in messages:
                self._journal.note(session, int(message), monotonic())
                self.handled[session] += 1
        except ConnectionClosed:
            pass

    async def _send(self, websocket: Connection, session: int, number: int) -> None:
        try:
            while True:
                number += 1
                await asyncio.sleep(self.schedule.due(session, number) - monotonic())
                await websocket.send(str(number))
        except ConnectionClosed:
            pass


class Server(End):
    def __init__(self, options: argparse.Namespace, start: float) -> None:
        super().__init__(options, start)
        self._open: dict[int, ServerConnection] = {}

    async def run(self) -> None:
        stop = asyncio.Event()
        asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stop.set)
        async with serve(
            self._serve,
            "127.0.0.1",
            self.options.port,
            process_response=self._respond,
            compression=None,
            ping_interval=None,
        ) as server:
            print("listening", self.options.port, flush=True)
            await stop.wait()
            server.close(close_connections=False)
            await asyncio.gather(*(each.close(SERVICE_RESTART) for each in self._open.values()))

    async def _respond(self, _: ServerConnection, request: Request, response: Response) -> None:
        session = _session(request)
        while session in self._open:  # what is left of the last connection isn't handled yet
            await self._open[session].wait_closed()
            await asyncio.sleep(0)
        if request.headers.get("x-reconnect") == "true":
            response.headers[RECEIVED] = str(self.handled[session])

    async def _serve(self, websocket: ServerConnection) -> None:
        assert websocket.request is not None
        session = _session(websocket.request)
        self._open[session] = websocket
        try:
            taken = int(websocket.request.headers.get(RECEIVED, 0))
            await self.converse(websocket, session, taken)
        finally:
            del self._open[session]


class Client(End):
    async def run(self) -> None:
        turn = asyncio.Semaphore(AT_ONCE)
        async with asyncio.TaskGroup() as group:
            for session in range(self.options.sessions):
                group.create_task(self._join(session, turn))

    async def _join(self, session: int, turn: asyncio.Semaphore) -> None:
        uri = f"ws://127.0.0.1:{self.options.port}/{session}"
        async with turn:
            websocket = await connect(uri, compression=None, ping_interval=None, proxy=None)
        print("open", session, flush=True)
        await self.converse(websocket, session, 0)
        print("closed", session, websocket.close_code, flush=True)


def _session(request: Request) -> int:
    return int(request.path.removeprefix("/"))


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("role", choices=("server", "client"))
    parser.add_argument("journal", type=Path)
    parser.add_argument("port", type=int)
    parser.add_argument("--sessions", type=int)
    parser.add_argument("--rate", type=float)
    options = parser.parse_args()
    print("ready", flush=True)
    order, _, start = sys.stdin.readline().partition(" ")
    if order == "go":
        asyncio.run((Server if options.role == "server" else Client)(options, float(start)).run())


if __name__ == "__main__":
    main()
