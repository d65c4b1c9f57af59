"""Passing plain requests to the server: sockets and tasks around the core's exchanges.

Their sockets are never the reactor's: a body on its way costs the sessions only its turns.
"""

from collections.abc import Callable
from logging import DEBUG, INFO

import trio
from reknit_core.proxy.plain_http import Exchange, PlainHttp
from reknit_core.proxy.plain_request import PlainRequest
from reknit_core.side import Side
from reknit_core.telemetry.seldom import Seldom
from reknit_core.wire.handshake import ClientHandshake
from reknit_core.wire.reasons import reason_of

from reknit.observe.logs import tell, tell_seldom
from reknit.sockets.stream_socket import StreamSocket
from reknit.trio.transport.dialler import DialError, Dialler
from reknit.trio.transport.streams import receive

READ_SIZE = 64 * 1024  # bytes


class Passing:
    """The exchanges that are open."""

    def __init__(self, plain: PlainHttp, dialler: Dialler) -> None:
        self._plain = plain
        self._dialler = dialler
        self._seldom = Seldom()
        self._open = 0
        self._ended = trio.Event()  # set, and replaced, when one has ended

    def __len__(self) -> int:
        return self._open

    async def wait_empty(self) -> None:
        """Return when none is open any more."""
        while self._open:
            await self._ended.wait()

    async def run(
        self, client: StreamSocket, address: str, handshake: ClientHandshake, request: PlainRequest
    ) -> bytes | None:
        """Pass a request on, and its answer back.

        Returns what the client, who is at that address, has sent behind it for the next one;
        None: there can't be one.
        """
        exchange = self._plain.begin(handshake, request, trio.current_time())
        self._open += 1
        try:
            await _Passage(exchange, client, self._dialler).run()
        finally:
            self._open -= 1
            self._ended.set()
            self._ended = trio.Event()
        if exchange.problem:
            self._tell_failure(address, exchange.problem)
        else:
            tell(DEBUG, "passed", "passed a request of client %(address)s", address=address)
        return exchange.rest

    def _tell_failure(self, address: str, problem: str) -> None:
        """Say what any stranger can cause: of each kind at the 1st, 2nd, 4th, 8th, … time."""
        text = "plain request of client %(address)s failed: %(reason)s"
        kind = problem.partition(":")[0]  # what follows is the system's word
        fields = {"address": address, "reason": problem}
        tell_seldom(self._seldom, kind, INFO, "request_failed", text, **fields)


class _Passage:
    """One exchange's sockets, each with a task that reads and one that writes."""

    def __init__(self, exchange: Exchange, client: StreamSocket, dialler: Dialler) -> None:
        self._exchange = exchange
        self._client = client
        self._dialler = dialler
        self._changed = trio.Event()  # set, and replaced, when something has happened

    async def run(self) -> None:
        """Return when it is over; the server's connection is closed then."""
        async with trio.open_nursery() as nursery:
            self._serve(Side.CLIENT, self._client, nursery)
            nursery.start_soon(self._dial, nursery)
            nursery.start_soon(self._watch)
            await self._until(lambda: self._exchange.is_over)
            nursery.cancel_scope.cancel()

    def _serve(self, side: Side, sock: StreamSocket, nursery: trio.Nursery) -> None:
        nursery.start_soon(self._read, side, sock)
        nursery.start_soon(self._write, side, sock)

    async def _dial(self, nursery: trio.Nursery) -> None:
        try:
            server = await self._dialler.connect()
        except DialError as error:
            self._exchange.lost(Side.SERVER, str(error))
            self._tell()
            return
        try:
            self._serve(Side.SERVER, server, nursery)
            await trio.sleep_forever()
        finally:
            server.close()

    async def _read(self, side: Side, sock: StreamSocket) -> None:
        exchange = self._exchange
        while True:
            await self._until(lambda: exchange.wants_read(side))
            try:
                data = await receive(sock, READ_SIZE)
            except OSError as error:
                exchange.lost(side, reason_of(error))
                break
            now = trio.current_time()
            if not data:
                exchange.receive_eof(side, now)
                break
            exchange.receive_data(side, data, now)
            self._tell()
        self._tell()

    async def _write(self, side: Side, sock: StreamSocket) -> None:
        exchange = self._exchange
        while True:
            await self._until(lambda: exchange.wants_write(side))
            await trio.lowlevel.checkpoint()  # a peer that takes all at once holds up nobody
            try:
                taken = sock.send(exchange.pending(side))
            except BlockingIOError:
                await trio.lowlevel.wait_writable(sock)
            except OSError:
                exchange.refuses(side)
                self._tell()
            else:
                exchange.advance(side, taken, trio.current_time())
                self._tell()

    async def _watch(self) -> None:
        while True:
            await trio.sleep_until(self._exchange.deadline)
            self._exchange.handle_timeout(trio.current_time())
            self._tell()

    async def _until(self, happens: Callable[[], bool]) -> None:
        while not happens():
            await self._changed.wait()

    def _tell(self) -> None:
        self._changed.set()
        self._changed = trio.Event()
