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

    def accept(self, listening: socket.socket) -> tuple[socket.socket, object]:
        """The client that waits longest, in this file's place, and where it comes from.

        Raises OSError as accept() does.
        """
        if self._number is not None:
            os.close(self._number)
            self._number = None
        sock, peer = listening.accept()
        sock.setblocking(False)
        return sock, peer
