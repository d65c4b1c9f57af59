"""`reknit demo`: a server, the proxy and a client in one process, on real sockets.

Numbers stream both ways while the server is killed and the client is cut, again and again. At
the end it counts what became of them, and holds that against the delivery policy's promise.
"""

import logging
import signal
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from enum import Enum
from typing import assert_never

import trio
from reknit_core.policy.policy import Delivery, Policy
from reknit_core.policy.upstream import Upstream
from rich.console import Console

from reknit.demo.endpoints import HOST, DemoClient, DemoServer, Flow
from reknit.demo.screen import Board, LogToView, Note, View, open_view, result_table
from reknit.settings.addresses import Listen
from reknit.trio.door.listeners import open_listeners
from reknit.trio.proxy import Proxy
from reknit.trio.transport.certificates import Certificates

FULL = 12.0  # seconds that the story takes as it is written
CATCH_UP = 10.0  # seconds that the last numbers may take to arrive
FRAME = 0.1  # seconds between two pictures
RETRY = 0.25  # seconds between two attempts to reach the server, in a story of full length


class Act(Enum):
    """What the demo does to client and server."""

    KILL = "the server is killed"
    START = "the server is started again"
    CUT = "the client is cut off"
    RETURN = "the client returns"
    CUT_NETWORK = "the network is cut, and is there again"
    NETWORK_AWAY = "the network is cut, and stays away"
    NETWORK_BACK = "the network is back"


class Promise(Enum):
    """What a cut connection may cost; exactly once: both sides count their messages."""

    AT_MOST_ONCE = "at-most-once"
    AT_LEAST_ONCE = "at-least-once"
    EXACTLY_ONCE = "exactly-once"

    @property
    def delivery(self) -> Delivery:
        """The proxy's part in it."""
        at_most_once = self is Promise.AT_MOST_ONCE
        return Delivery.AT_MOST_ONCE if at_most_once else Delivery.AT_LEAST_ONCE


KEPT = {
    Promise.AT_MOST_ONCE: "At most once, as promised: nothing is repeated or reordered.\n"
    "Lost is only what was in a socket when it was cut.",
    Promise.AT_LEAST_ONCE: "At least once, as promised: nothing is lost or reordered.\n"
    "Repeated is only what was not yet confirmed when a connection was cut.",
    Promise.EXACTLY_ONCE: "Exactly once, as promised: nothing is lost, repeated or reordered.\n"
    "Client and server count messages, and report their counts when they return.",
}

KEPT_BY_TWO = (
    "Exactly once: nothing is lost, repeated or reordered.\n"
    "Neither counts or reconnects, and each had one connection: the proxies count."
)


Story = tuple[tuple[float, Act | None], ...]  # when, in seconds

STORY: Story = (
    (1.0, Act.KILL),
    (2.4, Act.START),
    (3.4, Act.CUT),
    (4.8, Act.RETURN),
    (5.8, Act.KILL),
    (6.4, Act.CUT),
    (7.2, Act.START),
    (8.0, Act.RETURN),
    (8.8, Act.CUT),
    (9.2, Act.KILL),
    (9.8, Act.RETURN),
    (10.4, Act.START),
    (11.4, None),
)


@dataclass(frozen=True, slots=True)
class Result:
    """How it went."""

    flows: tuple[Flow, Flow]
    promise: Promise
    cuts: int  # connections that were killed or cut
    client_surprises: int
    finished: bool
    pair: bool = False  # whether it was the network between two proxies that was cut

    def broken_promises(self) -> list[str]:
        """What happened against the promise; empty if the proxy kept its word."""
        if not self.finished:
            return ["the demo was stopped early"]
        broken = []
        if self.client_surprises:
            broken.append("an end lost a connection that the demo did not cut")
        for flow in self.flows:
            if flow.reordered:
                broken.append(f"{flow.name}: {flow.reordered} reordered")
            if flow.waiting:
                broken.append(f"{flow.name}: the last {flow.waiting} never came")
            if flow.repeated and self.promise is not Promise.AT_LEAST_ONCE:
                broken.append(f"{flow.name}: {flow.repeated} repeated")
            if flow.lost and self.promise is not Promise.AT_MOST_ONCE:
                broken.append(f"{flow.name}: {flow.lost} lost")
            elif flow.gaps > self.cuts:
                broken.append(f"{flow.name}: numbers were lost where nothing was cut")
        return broken


class Demo:
    """One run. Makes the proxy's log, and what happens, visible on the board."""

    story: Story = STORY

    def __init__(self, promise: Promise, board: Board, view: View) -> None:
        to_server, to_client = board.flows
        self._promise = promise
        to_server.counted = to_client.counted = promise is Promise.EXACTLY_ONCE
        self._board = board
        self._view = view
        self._server = DemoServer(outgoing=to_client, incoming=to_server)
        self._client = DemoClient(outgoing=to_server, incoming=to_client)
        self._cuts = 0
        self._stop = trio.Event()
        self._finished = False

    async def run(self) -> Result:
        """Play the story. Ctrl-C ends it early."""
        self._board.begin = self._board.clock()
        async with trio.open_nursery() as nursery:
            with trio.open_signal_receiver(signal.SIGINT) as interrupts:
                nursery.start_soon(self._stop_on, interrupts)
                nursery.start_soon(self._refresh)
                await nursery.start(self._server.live)
                self._board.server_up = True
                self._client.port = await nursery.start(self._proxy, nursery.cancel_scope)
                await nursery.start(self._client.live)
                self._board.client_up = True
                await self._play(nursery)
                await self._catch_up()
                await self._part()
                self._stop.set()
                await trio.sleep_forever()  # the proxy's end is the end of all
        return self._result()

    def _result(self) -> Result:
        surprises = self._client.surprises
        return Result(self._board.flows, self._promise, self._cuts, surprises, self._finished)

    async def _proxy(self, scope: trio.CancelScope, *, task_status: trio.TaskStatus[int]) -> None:
        listeners = await open_listeners(Listen(HOST, 0))
        task_status.started(listeners[0].getsockname()[1])
        await self._new_proxy(self._server.port).run(listeners, self._stop)
        scope.cancel()

    def _new_proxy(self, port: int) -> Proxy:
        """A proxy for who listens there."""
        policy = Policy(
            delivery=self._promise.delivery,
            retry_interval=RETRY * self._board.seconds / FULL,
            retry_jitter=0.0,
        )
        return Proxy(policy, Upstream(HOST, port), Certificates())

    async def _stop_on(self, signals: AsyncIterator[int]) -> None:
        async for _ in signals:
            self._stop.set()

    async def _play(self, nursery: trio.Nursery) -> None:
        pace = self._board.seconds / FULL
        for at, act in self.story:
            await trio.sleep_until(self._board.begin + at * pace)
            if act is not None:
                self._tell(act.value)
                await self._do(act, nursery)

    async def _do(self, act: Act, nursery: trio.Nursery) -> None:
        match act:
            case Act.KILL:
                self._cuts += 1
                self._board.server_up = False
                self._server.kill()
            case Act.START:
                await nursery.start(self._server.live)
                self._board.server_up = True
            case Act.CUT:
                self._cuts += 1
                self._board.client_up = False
                self._client.cut()
            case Act.RETURN:
                await nursery.start(self._client.live)
                self._board.client_up = True
            case Act.CUT_NETWORK | Act.NETWORK_AWAY | Act.NETWORK_BACK:
                raise AssertionError("there is no network between two proxies")
            case _:
                assert_never(act)

    async def _catch_up(self) -> None:
        self._tell("no new numbers; waiting for the last ones")
        for flow in self._board.flows:
            flow.stopped = True
        with trio.move_on_after(CATCH_UP):
            await trio.sleep(FRAME)  # a number may be on its way into a socket, not yet counted
            while any(flow.waiting for flow in self._board.flows):
                await trio.sleep(FRAME)

    async def _part(self) -> None:
        self._tell("the client closes the session")
        await self._client.leave()
        with trio.move_on_after(CATCH_UP):
            while not self._board.is_over:
                await trio.sleep(FRAME)
        self._board.client_up = self._board.server_up = False
        self._finished = True
        self._view.refresh()

    async def _refresh(self) -> None:
        while True:
            self._view.refresh()
            await trio.sleep(FRAME)

    def _tell(self, text: str) -> None:
        note = Note(self._board.at, text, staged=True)
        self._board.notes.append(note)
        self._view.note(note)


@contextmanager
def _log_to(handler: logging.Handler) -> Iterator[None]:
    """The proxy's log goes to that handler, and nowhere else, for a while."""
    logger = logging.getLogger("reknit")
    level, propagate, handlers = logger.level, logger.propagate, logger.handlers
    logger.setLevel(logging.DEBUG)
    logger.propagate, logger.handlers = False, [handler]
    try:
        yield
    finally:
        logger.setLevel(level)
        logger.propagate, logger.handlers = propagate, handlers


def play(seconds: float, promise: Promise, console: Console, kind: type[Demo] = Demo) -> Result:
    """Run the demo in that many seconds and show it live. `show` says what came of it."""
    board = Board((Flow("client to server"), Flow("server to client")), seconds, trio.current_time)
    with open_view(board, console) as view, _log_to(LogToView(board, view)):
        return trio.run(kind(promise, board, view).run)


def show(result: Result, console: Console) -> None:
    """Print the counts, and whether they are as promised."""
    console.print(result_table(result.flows))
    broken = result.broken_promises()
    if broken:
        console.print("Not as promised: " + "; ".join(broken), style="red", highlight=False)
        return
    told = (
        f"The network was cut {result.cuts} times; client and server noticed nothing.\n"
        f"{KEPT_BY_TWO}"
        if result.pair
        else f"{result.cuts} connections were cut; client and server saw one session.\n"
        f"{KEPT[result.promise]}"
    )
    console.print(
        told,
        style="green",
        highlight=False,
    )
