"""Waiting for readiness: one selector for all established sockets, which a loop waits for."""

import select
import selectors
import sys
from typing import Protocol

if sys.platform == "linux":
    READ = select.EPOLLIN | select.EPOLLRDHUP
    WRITE = select.EPOLLOUT
    BROKEN = select.EPOLLHUP | select.EPOLLERR
    GONE = BROKEN | select.EPOLLRDHUP
else:
    READ, WRITE, BROKEN, GONE = 1, 4, 0, 0
"""What to watch for, as epoll has it. In a result a bit of GONE says that the peer has ended the
connection, and one of BROKEN that nothing more comes; a selector that can't tell says READ."""

MASKS = (0, READ, WRITE, READ | WRITE)
"""By `reads + 2 * writes`. Made once: an int for each connection takes room."""


class Poller(Protocol):
    """What an adapter asks of a selector; `mask` is READ, WRITE, both or 0."""

    def register(self, fd: int, mask: int) -> None:
        """Watch a file descriptor."""

    def modify(self, fd: int, mask: int) -> None:
        """Watch it for something else. Errors and hang-ups are reported all the same."""

    def unregister(self, fd: int) -> None:
        """Watch it no longer."""

    def poll(self, timeout: float, maxevents: int = -1, /) -> list[tuple[int, int]]:
        """The descriptors that are ready, waiting at most `timeout` seconds for the first.

        With `maxevents` about so many of them, or all.
        """

    def fileno(self) -> int:
        """A descriptor that is readable when poll() would return something."""

    def close(self) -> None:
        """Free the selector."""


class SelectorPoller:
    """kqueue, through the standard library's selectors."""

    def __init__(self) -> None:
        self._selector = selectors.DefaultSelector()

    def register(self, fd: int, mask: int) -> None:
        """Watch a file descriptor; mask 0 watches nothing."""
        if mask:
            self._selector.register(fd, _events(mask))

    def modify(self, fd: int, mask: int) -> None:
        """Watch it for something else."""
        self.unregister(fd)
        self.register(fd, mask)

    def unregister(self, fd: int) -> None:
        """Watch it no longer."""
        if fd in self._selector.get_map():
            self._selector.unregister(fd)

    def poll(self, timeout: float, maxevents: int = -1, /) -> list[tuple[int, int]]:
        """The descriptors that are ready, all of them."""
        return [(key.fd, _mask(events)) for key, events in self._selector.select(timeout)]

    def fileno(self) -> int:
        """The selector's own descriptor."""
        return self._selector.fileno()

    def close(self) -> None:
        """Free the selector."""
        self._selector.close()


def _mask(events: int) -> int:
    read = READ if events & selectors.EVENT_READ else 0
    return read | (WRITE if events & selectors.EVENT_WRITE else 0)


def _events(mask: int) -> int:
    return (selectors.EVENT_READ if mask & READ else 0) | (
        selectors.EVENT_WRITE if mask & WRITE else 0
    )


def make_poller() -> Poller:
    """The best selector of this system."""
    if sys.platform == "linux":
        return select.epoll()
    return SelectorPoller()
