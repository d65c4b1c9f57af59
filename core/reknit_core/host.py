"""What a driver needs of its adapter: for a session, and of what it reads and writes by."""

from typing import Final, Protocol

from reknit_core.commands import Command, Dial
from reknit_core.events import Event
from reknit_core.queue.stream import Buffer


class Socket(Protocol):
    """What a connection reads and writes by: a non-blocking socket is one."""

    def recv(self, size: int, /) -> bytes:
        """Bytes that have come, some `size` at most; none at the peer's end of the stream.

        Raises as send() does. One that hands in by itself what comes has nothing more: b"".
        """

    def send(self, data: Buffer, /) -> int:
        """How many of these bytes were taken; fewer than all if there is no room for more.

        Raises BlockingIOError in place of 0, and OSError if the connection is broken.
        """

    def sendmsg(self, buffers: list[Buffer], /) -> int:
        """As send(), of all these buffers one behind the other."""


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
