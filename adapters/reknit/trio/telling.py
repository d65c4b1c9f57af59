"""What the log says of the sessions, in time: the task that says what is due."""

from math import inf

import trio
from reknit_core.counters import Counters
from reknit_core.telemetry.teller import Change

from reknit.observe.reports import Reports
from reknit.trio.links import Link


class TimedReports:
    """Reports with a clock. `counters`: those of the same sessions."""

    def __init__(self, counters: Counters) -> None:
        self._reports = Reports(counters, self._wake)
        self._due = inf
        self._sleep: trio.CancelScope | None = None

    def report(self, link: Link, change: Change, now: float) -> None:
        """That has happened to a session."""
        self._reports.report(link.label, link.context, change, now)

    def forget(self, link: Link) -> None:
        """That session is over, or another process's."""
        self._reports.forget(link.label)

    async def run(self) -> None:
        """Say what is due in time, until cancelled."""
        while True:
            with trio.CancelScope(deadline=self._due) as self._sleep:
                await trio.sleep_forever()
            self._sleep = None
            self._due = inf
            self._reports.look(trio.current_time())

    def finish(self) -> None:
        """Say what is left to be said: the proxy stops."""
        self._reports.finish()

    def _wake(self, deadline: float) -> None:
        self._due = deadline
        if self._sleep is not None:
            self._sleep.deadline = deadline
