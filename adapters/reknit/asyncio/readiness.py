"""The established sockets of a proxy, behind one selector for which asyncio's loop waits.

The loop's own says nothing of a socket that is neither to be read nor written to; this one says
when its connection is broken.
"""

import asyncio
from collections.abc import Callable
from typing import TYPE_CHECKING

from reknit_core.proxy.admission import Guest

from reknit.sockets.poller import make_poller

if TYPE_CHECKING:
    from reknit.asyncio.adapter import SocketTransport


class Sockets:
    """Tells each what it is ready for. `leave`: told of each guest whose socket is closed."""

    def __init__(self, leave: Callable[[Guest], None]) -> None:
        self._poller = make_poller()
        self._open: dict[int, SocketTransport] = {}
        self._leave = leave
        self._idle = asyncio.Event()
        self._loop = asyncio.get_running_loop()
        self._loop.add_reader(self._poller.fileno(), self._sweep)

    def add(self, transport: "SocketTransport") -> None:
        """Nothing is watched for yet."""
        self._open[transport.fd] = transport

    def watch(self, transport: "SocketTransport", mask: int) -> None:
        """Watch for what the mask has (see Poller)."""
        if transport.mask < 0:
            self._poller.register(transport.fd, mask)
        elif mask != transport.mask:
            self._poller.modify(transport.fd, mask)
        transport.mask = mask

    def remove(self, transport: "SocketTransport") -> None:
        """It is about to be closed."""
        del self._open[transport.fd]
        if transport.mask >= 0:
            self._poller.unregister(transport.fd)
        if transport.guest is not None:
            self._leave(transport.guest)
        if not self._open:
            self._idle.set()

    async def wait_idle(self) -> None:
        """Return when none is open any more."""
        self._idle.clear()
        if self._open:
            await self._idle.wait()

    def close(self) -> None:
        """Close all of them now."""
        for transport in list(self._open.values()):
            transport.close()
        self._loop.remove_reader(self._poller.fileno())
        self._poller.close()

    def _sweep(self) -> None:
        for fd, mask in self._poller.poll(0):
            transport = self._open.get(fd)
            if transport is not None:  # else it was closed earlier in this sweep
                transport.ready(mask)
