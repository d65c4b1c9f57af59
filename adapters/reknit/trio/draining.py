"""The end of a proxy: its sessions are sent away, over a time or at once."""

from collections.abc import Iterable
from logging import INFO, WARNING

import trio
from reknit_core.proxy.drain import FAREWELL, Toll, schedule

from reknit.observe.logs import tell
from reknit.trio.door.passing import Passing
from reknit.trio.links import Link
from reknit.trio.reactor import Reactor
from reknit.trio.sessions import Sessions


class Drain:
    """Sends sessions away, each at its moment of `seconds`; `patience` (seconds) is for the last.

    Also for some that are left when the others have moved to another process. Plain requests on
    their way may end meanwhile.
    """

    def __init__(
        self,
        sessions: Sessions,
        passing: Passing,
        reactor: Reactor,
        seconds: float,
        patience: float,
    ) -> None:
        self._sessions = sessions
        self._passing = passing
        self._reactor = reactor
        self._patience = patience
        self._hurried = trio.Event()
        self.take(seconds)
        self._limit = trio.CancelScope()

    @property
    def is_hurried(self) -> bool:
        """Whether it no longer takes its time."""
        return self._hurried.is_set()

    def take(self, seconds: float) -> None:
        """Take so long, when it comes to that."""
        self._seconds = seconds
        if not seconds:
            self._hurried.set()

    def hurry(self) -> None:
        """Send all that are left away at once."""
        self._hurried.set()
        self._limit.deadline = min(self._limit.deadline, trio.current_time() + self._patience)

    async def run(self) -> None:
        """Send every session away, and return when all sockets are closed, or at the limit.

        Says what that costs, if there are any.
        """
        seconds = 0.0 if self.is_hurried else self._seconds
        counters = self._sessions.contexts.counters
        before = Toll.so_far(counters)
        number = len(self._sessions)
        if number:
            text = "draining: %(sessions)d sessions in %(seconds)g seconds"
            tell(INFO, "draining", text, sessions=number, seconds=seconds)
        self._limit.deadline = trio.current_time() + seconds + self._patience
        try:
            with self._limit:
                async with trio.open_nursery() as nursery:
                    nursery.start_soon(self._send_away, list(self._sessions), seconds)
                    await self._sessions.wait_empty()
                    nursery.cancel_scope.cancel()
                await self._reactor.wait_idle()
                await self._passing.wait_empty()
        finally:
            if self._passing:
                text = "%(requests)d plain requests cut"
                tell(WARNING, "requests_cut", text, requests=len(self._passing))
            if number:
                left = [link.context for link in self._sessions]
                self._tell_toll(len(left), Toll.so_far(counters).since(before).plus(Toll.of(left)))

    def _tell_toll(self, cut: int, toll: Toll) -> None:
        text = "drained: %(cut)d sessions cut, %(messages)d messages lost (%(bytes)d bytes)"
        level = WARNING if cut or toll.messages else INFO
        tell(level, "drained", text, cut=cut, messages=toll.messages, bytes=toll.bytes)

    async def _send_away(self, links: Iterable[Link], seconds: float) -> None:
        began = trio.current_time()
        by_context = {link.context: link for link in links}
        for moment, context in schedule(by_context, seconds):
            with trio.move_on_at(began + moment):
                await self._hurried.wait()
            link = by_context[context]
            if link not in self._sessions:
                continue  # it has ended by itself
            self._reactor.handle(link, FAREWELL, trio.current_time())
