"""`reknit demo --pair`: a proxy at each side of a network that is cut, again and again."""

from contextlib import suppress

import trio
from reknit_core.lifecycle import State

from reknit.demo.demonstration import Act, Demo, Promise, Result, Story
from reknit.demo.endpoints import HOST, READ_SIZE
from reknit.demo.screen import FAR, NEAR, PLACE, Board, View
from reknit.settings.addresses import Listen
from reknit.trio.door.listeners import open_listeners

PAIR_STORY: Story = (  # when, in seconds
    *((1.0 + 0.5 * number, Act.CUT_NETWORK) for number in range(4)),
    (3.2, Act.NETWORK_AWAY),
    (4.6, Act.NETWORK_BACK),
    *((5.2 + 0.4 * number, Act.CUT_NETWORK) for number in range(5)),
    (7.4, Act.NETWORK_AWAY),
    (9.2, Act.NETWORK_BACK),
    *((9.8 + 0.4 * number, Act.CUT_NETWORK) for number in range(3)),
    (11.4, None),
)


class DemoNetwork:
    """What lies between the two proxies: it can be cut, and away."""

    def __init__(self) -> None:
        self.to = 0  # the far proxy's port
        self.is_away = False
        self._passing: set[trio.CancelScope] = set()

    async def live(self, *, task_status: trio.TaskStatus[int]) -> None:
        """Relay to that port; started, with the port to come to, when it listens."""
        listeners = await trio.open_tcp_listeners(0, host=HOST)
        task_status.started(listeners[0].socket.getsockname()[1])
        await trio.serve_listeners(self._relay, listeners)

    def cut(self, *, away: bool) -> bool:
        """Every connection ends in the middle of whatever passes; whether there was one."""
        self.is_away = away
        for scope in self._passing:
            scope.cancel()
        return bool(self._passing)

    async def _relay(self, near: trio.SocketStream) -> None:
        with trio.CancelScope() as scope, suppress(OSError, trio.BrokenResourceError):
            if self.is_away:
                return
            self._passing.add(scope)
            try:
                far = await trio.open_tcp_stream(HOST, self.to)
                async with far, trio.open_nursery() as nursery:
                    nursery.start_soon(self._pass, near, far)
                    nursery.start_soon(self._pass, far, near)
            finally:
                self._passing.discard(scope)

    async def _pass(self, source: trio.SocketStream, target: trio.SocketStream) -> None:
        with suppress(trio.BrokenResourceError, trio.ClosedResourceError):
            while data := await source.receive_some(READ_SIZE):
                await target.send_all(data)
            await target.send_eof()


class PairDemo(Demo):
    """One run with two proxies, whose ends don't count and are not cut."""

    story = PAIR_STORY

    def __init__(self, promise: Promise, board: Board, view: View) -> None:
        super().__init__(promise, board, view)
        for flow in board.flows:
            flow.counted = False
        board.near = State.OPENING
        self._network = DemoNetwork()

    def _result(self) -> Result:
        surprises = self._client.surprises + self._server.connections - 1
        flows, finished = self._board.flows, self._finished
        return Result(flows, self._promise, self._cuts, surprises, finished, pair=True)

    async def _proxy(self, scope: trio.CancelScope, *, task_status: trio.TaskStatus[int]) -> None:
        async with trio.open_nursery() as nursery:
            self._network.to = await nursery.start(self._live, FAR, self._server.port)
            to_far = await nursery.start(self._network.live)
            self._board.link_up = True
            task_status.started(await nursery.start(self._live, NEAR, to_far))
            await self._stop.wait()
            self._network.cut(away=True)
            scope.cancel()

    async def _live(self, place: str, port: int, *, task_status: trio.TaskStatus[int]) -> None:
        """One of the two, for who listens at that port; it logs as the one in that place."""
        PLACE.set(place)
        listeners = await open_listeners(Listen(HOST, 0))
        task_status.started(listeners[0].getsockname()[1])
        await self._new_proxy(port).run(listeners, trio.Event())

    async def _do(self, act: Act, nursery: trio.Nursery) -> None:
        match act:
            case Act.CUT_NETWORK | Act.NETWORK_AWAY:
                self._cuts += self._network.cut(away=act is Act.NETWORK_AWAY)
            case Act.NETWORK_BACK:
                self._network.is_away = False
            case _:
                await super()._do(act, nursery)
        self._board.link_up = not self._network.is_away
