"""What a driver needs of its adapter beside the connections."""

from typing import Final, Protocol

from reknit_core.commands import Command, Dial
from reknit_core.events import Event


class Host(Protocol):
    """What a session needs of its adapter beside the connections."""

    def dial(self, dial: Dial) -> None:
        """Connect at `dial.at` (seconds), then call connected() or dial_failed()."""

    def call_off(self) -> None:
        """The dial is not wanted any more."""

    def wake(self, deadline: float) -> None:
        """Call Driver.wake() at that time (seconds), in place of any that was named before."""

    def tell(self, what: Event | Command, now: float) -> None:
        """For the log: an event before it happens to the context, a command before it is obeyed."""

    def news(self) -> None:
        """Other sessions have commands: settle() soon those of Contexts.news()."""

    def over(self) -> None:
        """The session is closed, and nothing of it is left."""


class _Nobody:
    """The host of a session that is over: so that the two don't keep each other alive."""

    def dial(self, dial: Dial) -> None:
        pass

    def call_off(self) -> None:
        pass

    def wake(self, deadline: float) -> None:
        pass

    def tell(self, what: Event | Command, now: float) -> None:
        pass

    def news(self) -> None:
        pass

    def over(self) -> None:
        pass


NOBODY: Final = _Nobody()
