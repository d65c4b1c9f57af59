"""Passing plain requests to the server: the sockets around the core's exchanges."""

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
from reknit.sockets.poller import MASKS
from reknit.sockets.stream_socket import StreamSocket
from reknit.trio.gathering import Gathering
from reknit.trio.reactor import Reactor
from reknit.trio.transport.dialler import DialError, Dialler, Dialling
from reknit.trio.transport.targets import Target, Targets
from reknit.trio.watched import Deadlines, Watched

READ_SIZE = 64 * 1024  # bytes

Passed = Callable[[bytes | None, float], None]
"""Is told when an exchange is over: what the client has sent behind its request; None: there can't
be another one."""


class Passing:
    """The exchanges that are open."""

    def __init__(
        self, plain: PlainHttp, dialler: Dialler, targets: Targets, reactor: Reactor
    ) -> None:
        self._plain = plain
        self._targets = targets
        self._dialler = dialler
        self._reactor = reactor
        self._deadlines: Deadlines[Passage] = Deadlines(
            plain.policy.http_timeout, reactor.schedule, Passage.late
        )
        self._seldom = Seldom()
        self._open: Gathering[Passage] = Gathering()

    def __len__(self) -> int:
        return len(self._open)

    async def wait_empty(self) -> None:
        """Return when none is open any more."""
        await self._open.wait_empty()

    def begin(
        self,
        client: StreamSocket,
        address: str,
        handshake: ClientHandshake,
        request: PlainRequest,
        now: float,
        passed: Passed,
    ) -> None:
        """Pass a request of the client at that address on, and its answer back."""
        exchange = self._plain.begin(handshake, request, now)
        passage = Passage(self, exchange, client, address, passed)
        self._open.add(passage)
        self._deadlines.begin(passage, now)
        self.dial(passage, now)

    # -- What a passage says -------------------------------------------------------------------

    def dial(self, passage: "Passage", now: float) -> None:
        """It needs a connection to its server."""
        passage.dialling = self._dialler.dial(now, passage.dialled, passage.where)

    def where(self, server: str | None) -> Target | DialError:
        """That is where the server is; None: nowhere."""
        if server is None:
            return DialError(self._plain.servers.why_none)
        return self._targets[server]

    def news(self) -> None:
        """There may be news of the servers."""
        if self._plain.servers.has_news:
            self._reactor.news()

    def move(self, passage: "Passage", now: float) -> None:
        """It goes on: watch for what it waits for."""
        exchange = passage.exchange
        for end in passage.ends:
            reads, writes = exchange.wants_read(end.side), exchange.wants_write(end.side)
            self._reactor.watch_also(end, MASKS[reads + 2 * writes])
        self._deadlines.begin(passage, now)

    def forget(self, passage: "Passage") -> None:
        """It is over."""
        for end in passage.ends:
            self._reactor.release(end)
        self._deadlines.end(passage)
        self._open.discard(passage)

    def tell(self, passage: "Passage") -> None:
        """Log how it ended."""
        address, problem = passage.address, passage.exchange.problem
        if problem:
            # What any stranger can cause: of each kind at the 1st, 2nd, 4th, 8th, … time.
            text = "plain request of client %(address)s failed: %(reason)s"
            kind = problem.partition(":")[0]  # what follows is the system's word
            fields = {"address": address, "reason": problem}
            tell_seldom(self._seldom, kind, INFO, "request_failed", text, **fields)
        else:
            tell(DEBUG, "passed", "passed a request of client %(address)s", address=address)


class End(Watched):
    """One side's connection of an exchange."""

    __slots__ = ("_passage", "side", "socket")

    def __init__(self, passage: "Passage", side: Side, sock: StreamSocket) -> None:
        super().__init__(sock.fileno())
        self._passage = passage
        self.side = side
        self.socket = sock

    def ready(self, now: float) -> None:
        """It can be read, or written to."""
        self._passage.ready(self, now)

    def drop(self) -> None:
        """Cut the exchange."""
        self._passage.cut()


class Passage:
    """An exchange with its sockets."""

    __slots__ = ("_passed", "_passing", "address", "dialling", "ends", "exchange")

    def __init__(
        self,
        passing: Passing,
        exchange: Exchange,
        client: StreamSocket,
        address: str,
        passed: Passed,
    ) -> None:
        self._passing = passing
        self._passed = passed
        self.exchange = exchange
        self.address = address
        self.ends = [End(self, Side.CLIENT, client)]
        self.dialling: Dialling | None = None

    def dialled(self, outcome: StreamSocket | DialError, now: float) -> None:
        """There is a connection to the server, or none."""
        self.dialling = None
        if isinstance(outcome, DialError):
            goes_on = self.exchange.unreachable(str(outcome), now)
            self._passing.news()
            if goes_on:
                self._passing.dial(self, now)
        else:
            self.ends.append(End(self, Side.SERVER, outcome))
        self._go_on(now)

    def where(self) -> Target | DialError:
        """Where its server is."""
        return self._passing.where(self.exchange.server)

    def ready(self, end: End, now: float) -> None:
        """That one can be read, or written to."""
        if self.exchange.wants_read(end.side):
            self._read(end, now)
        self._go_on(now)

    def late(self, now: float) -> None:
        """Nothing has moved for too long."""
        self.exchange.handle_timeout(now)
        self._go_on(now)

    def cut(self) -> None:
        """It ends here, and both connections too."""
        self._end(None, trio.current_time())

    def _go_on(self, now: float) -> None:
        for end in self.ends:
            self._write(end, now)
        if self.exchange.is_over:
            self._passing.tell(self)
            self._end(self.exchange.rest, now)
        else:
            self._passing.move(self, now)

    def _read(self, end: End, now: float) -> None:
        try:
            data = end.socket.recv(READ_SIZE)
        except BlockingIOError:
            return
        except OSError as error:
            self.exchange.lost(end.side, reason_of(error))
            return
        if data:
            self.exchange.receive_data(end.side, data, now)
        else:
            self.exchange.receive_eof(end.side, now)

    def _write(self, end: End, now: float) -> None:
        """Write once: a peer that takes all at once holds up nobody."""
        exchange, side = self.exchange, end.side
        if exchange.wants_write(side):
            try:
                taken = end.socket.send(exchange.pending(side))
            except BlockingIOError:
                return
            except OSError:
                exchange.refuses(side)
                return
            exchange.advance(side, taken, now)

    def _end(self, rest: bytes | None, now: float) -> None:
        self._passing.forget(self)
        if self.dialling is not None:
            self.dialling.cancel()
        for end in self.ends[1:]:
            end.socket.close()
        self._passed(rest, now)
