"""Where sessions are kept so that they outlive this process: in a directory, or on another machine.

What is new of them is written there before it is passed on: reknit_core.durable.journal.
"""

from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple, Protocol

import trio
from reknit_core import ContextStateMachine
from reknit_core.counters import Histogram

from reknit.settings.addresses import Address


class Remote(Protocol):
    """What a store on another machine says: then nothing is passed on before."""

    def is_sure(self) -> bool:
        """Whether this process may pass on now what the store has."""

    async def written(self) -> None:
        """Return when the store has what was committed, and this process may pass it on."""


class Measure(NamedTuple):
    """Something to be watched, under the name of its metric; one that ends in _total only grows.

    `value`: with a `label`, by its values.
    """

    name: str
    help: str
    value: float | Mapping[str, float] | Histogram
    label: str = ""


class Store(Protocol):
    """Keeps sessions."""

    @property
    def trouble(self) -> str:
        """Why they are not kept, for people; empty: they are."""

    @property
    def remote(self) -> Remote | None:
        """Whom to ask before what was committed is passed on; None: commit() has written it."""

    @property
    def name(self) -> str:
        """Which store it is: the same for each process that keeps its sessions there."""

    def measures(self) -> Iterable[Measure]:
        """How it does."""

    def commit(self, contexts: Iterable[ContextStateMachine], now: float) -> None:
        """Write down what is new of these contexts."""

    def forget(self, context: ContextStateMachine) -> None:
        """The session is over."""

    async def begin(self, addresses: Sequence[Address]) -> None:
        """See that it can be used, before clients are served at these. Raises StateError."""

    async def run(self, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Do what is to be done now and then, until cancelled; started: sessions may go on."""

    async def take_over(self) -> None:
        """Keep the sessions of a process that lives, and has just given them to this one."""

    def close(self) -> None:
        """Keep nothing any more, and leave all for the next process."""

    async def end(self) -> None:
        """As close(), but leave nothing, as no session goes on."""


class Home(Protocol):
    """Where sessions live that a store brings back, or takes away again."""

    def adopt(self, contexts: Iterable[ContextStateMachine]) -> None:
        """Go on with these, whose connections are lost."""

    def drop(self, contexts: Iterable[ContextStateMachine]) -> None:
        """These are another node's: cut their connections, and forget them."""

    def touch(self, contexts: Iterable[ContextStateMachine]) -> None:
        """Have these written down, though nothing has happened to them."""
