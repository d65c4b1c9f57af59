"""A session's connection on the network in memory, and a socket that is only closing."""

from reknit_core import Transit
from reknit_core.driver import Wire

from reknit.memory.network import MemoryNetwork, MemorySocket


class MemoryTransport:
    """A MemorySocket as the core's driver has it. What comes is handed in as it comes."""

    __slots__ = ("_network", "socket", "wire")

    def __init__(self, network: MemoryNetwork, socket: MemorySocket) -> None:
        self._network = network
        self.socket = socket
        self.wire: Wire | None = None
        socket.owner = self

    # -- What the driver does ------------------------------------------------------------------

    def watch(self, *, reads: bool, writes: bool) -> None:
        """Whether bytes and the end are wanted. Room is told of in any case."""
        self.socket.read(reads)

    def in_transit(self) -> Transit:
        """What the network says."""
        return self.socket.in_transit

    def part(self, farewell: bytes, linger: float) -> None:
        """Close it."""
        part(self._network, self.socket, farewell, linger)

    # -- What the socket says ------------------------------------------------------------------

    def on_data(self, data: bytes) -> None:
        """Bytes were read."""
        if self.wire is not None:
            self.wire.readable(self._network.now, data)

    def on_eof(self) -> None:
        """The peer has ended its stream."""
        if self.wire is not None:
            self.wire.readable(self._network.now, b"")

    def on_lost(self, reason: str) -> None:
        """The connection broke."""
        if self.wire is not None:
            self.wire.broken(reason, self._network.now)

    def on_writable(self) -> None:
        """There is room again."""
        if self.wire is not None:
            self.wire.writable(self._network.now)


class Departure:
    """The owner of a socket that is only closing: what still comes is discarded."""

    def __init__(self, socket: MemorySocket) -> None:
        self._socket = socket
        socket.owner = self
        socket.discard()

    def on_data(self, data: bytes) -> None:
        """Discard it."""

    def on_eof(self) -> None:
        """The peer has seen our end of the stream."""
        self._socket.close()

    def on_lost(self, reason: str) -> None:
        """It is over."""

    def on_writable(self) -> None:
        """Nothing is left to write."""


def part(network: MemoryNetwork, socket: MemorySocket, farewell: bytes, linger: float) -> None:
    """Close a socket as Disconnect says: farewell if it is taken at once, linger in seconds."""
    Departure(socket)
    if farewell:
        socket.send(farewell)
    if linger > 0:
        socket.end()
        socket.read(True)
        network.after(linger, socket.close)
    else:
        socket.close()
