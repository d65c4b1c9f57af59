"""A file that is kept open to be given up: for a client who finds none left."""

import os
import socket
from contextlib import suppress


class SpareFile:
    """One open file that nobody reads."""

    def __init__(self) -> None:
        self._number: int | None = None
        self.restore()

    def restore(self) -> bool:
        """Open it, if it isn't and there is room for it; whether it is open now."""
        if self._number is None:
            with suppress(OSError):
                self._number = os.open(os.devnull, os.O_RDONLY)
        return self._number is not None

    def accept(self, listening: socket.socket) -> tuple[socket.socket, object] | None:
        """The client that waits longest, in this file's place, and where it comes from.

        None if it has gone meanwhile.
        """
        if self._number is not None:
            os.close(self._number)
            self._number = None
        try:
            sock, peer = listening.accept()
        except OSError:
            return None
        sock.setblocking(False)
        return sock, peer
