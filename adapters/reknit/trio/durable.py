"""The readiness loop with a journal: nothing goes out before what came in is written down.

All that comes in during a sweep is written with one write, and then passed on. Only this form of
the reactor pays for that; see reknit_core.durable.journal for what is written.
"""

from collections.abc import Callable, Iterable

from reknit_core.commands import Dial
from reknit_core.proxy.admission import Guest
from reknit_core.session.context import ContextStateMachine
from reknit_core.telemetry.teller import Change

from reknit.trio.links import Connection, Link
from reknit.trio.reactor import Reactor


class DurableReactor(Reactor):
    """Serves established sockets as Reactor does. `commit` writes down what is new of contexts."""

    def __init__(
        self,
        dial: Callable[[Link, Dial], None],
        report: Callable[[Link, Change], None],
        forget: Callable[[Link], None],
        leave: Callable[[Guest], None],
        commit: Callable[[Iterable[ContextStateMachine], float], None],
    ) -> None:
        super().__init__(dial, report, forget, leave)
        self._commit = commit
        self._touched: dict[int, Link] = {}  # by id(): to be written down, and then written to

    def settle(self, link: Link, now: float) -> None:
        """Do what the context asks for; what it has to write goes out after the next sweep."""
        super().settle(link, now)
        self._touch(link)

    def let_go(self, link: Link) -> None:
        """The session is another process's, or over: touch its sockets no more."""
        super().let_go(link)
        self._touched.pop(id(link), None)

    def _sweep(self, now: float) -> bool:
        more = super()._sweep(now)
        while self._touched:
            links = list(self._touched.values())
            self._touched = {}
            self._commit([link.context for link in links], now)
            for link in links:
                self._write_all(link, now)
        return more

    def _write_all(self, link: Link, now: float) -> None:
        try:
            for connection in (link.client, link.server):
                if connection is not None and connection.link is not None:
                    super()._write(connection, link, now)
            if link.context.attention:
                self.settle(link, now)
        except Exception:
            self.abandon(link)

    def _read(self, connection: Connection, link: Link, now: float) -> None:
        super()._read(connection, link, now)
        self._touch(link)

    def _pass(self, connection: Connection, data: bytes) -> bool:
        return False  # it has to be written down first

    def _write(self, connection: Connection, link: Link, now: float) -> None:
        self._touch(link)

    def _touch(self, link: Link) -> None:
        self._touched[id(link)] = link
        if self._sleep is not None:  # outside of a sweep: have one
            self._sleep.deadline = 0.0

    def _next_timer(self) -> float:
        return 0.0 if self._touched else super()._next_timer()
