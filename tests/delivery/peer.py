"""What a server and a client of a delivery run share: numbered messages both ways.

They take orders from standard input, and end with it, and answer on standard output, a line each:

    (started)    ready             imported, waits
    go           listening PORT    a server only
                 open              for each session that is opened or resumed
    stop         sent N            nothing is sent any more; N was the last
"""

import argparse
import asyncio
import sys
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

from journal import Journal

TICK = 0.01  # seconds between two bursts of messages
SIZE = 64  # bytes of a message

PAUSE_EVERY = 100  # messages that a slow handler takes in one go
PAUSE = 0.04  # seconds that it then takes for them

RECEIVED = "x-reconnect-received"

Send = Callable[[str], Awaitable[object]]


class Peer:
    """One end: sends at a rate, writes down what it handles."""

    def __init__(self, options: argparse.Namespace) -> None:
        self.options = options
        self.journal = Journal(options.journal)
        self.idle = asyncio.Event()  # set while no connection is being served
        self.idle.set()
        self._stopped = False
        self._sender: asyncio.Task[None] | None = None
        self._sent = 0

    async def handle(self, text: str | bytes) -> None:
        """The application's part: a message counts as handled once it is written down."""
        self.journal.append(int(text))
        if self.options.slow and self.journal.count % PAUSE_EVERY == 0:
            await asyncio.sleep(PAUSE)

    @asynccontextmanager
    async def serving(self, send: Send, taken: int) -> AsyncIterator[None]:
        """Send while a connection is up: the proxy has taken `taken` messages, so go on there."""
        self.idle.clear()
        say("open")
        self._sender = sender = asyncio.create_task(self._send(send, taken))
        try:
            yield
        finally:
            sender.cancel()
            await asyncio.wait((sender,))
            if not sender.cancelled():
                sender.exception()  # the connection is gone; each library has its own errors
            self.idle.set()

    async def _send(self, send: Send, number: int) -> None:
        self._sent = number
        loop = asyncio.get_running_loop()
        due = loop.time()
        while not self._stopped:
            for _ in range(round(self.options.rate * TICK)):
                await send(str(self._sent + 1).rjust(SIZE))
                self._sent += 1
            due += TICK
            await asyncio.sleep(due - loop.time())

    async def obey(self, orders: asyncio.StreamReader) -> None:
        """Take orders until there are no more."""
        async for line in orders:
            if line.strip() == b"stop":
                self._stopped = True
                if self._sender is not None:
                    await asyncio.wait((self._sender,))
                say(f"sent {self._sent}")


async def open_orders() -> asyncio.StreamReader:
    """Standard input."""
    orders = asyncio.StreamReader()
    loop = asyncio.get_running_loop()
    await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(orders), sys.stdin)
    return orders


def say(line: str) -> None:
    """Tell the parent."""
    print(line, flush=True)
