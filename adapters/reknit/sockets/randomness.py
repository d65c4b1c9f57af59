"""Random bytes of the system's."""

import os

BLOCK = 4096  # bytes a draw


class Randomness:
    """Gives random bytes, which it draws in blocks: each session needs a few, several times."""

    def __init__(self) -> None:
        self._block = b""
        self._at = 0

    def __call__(self, size: int) -> bytes:
        """So many bytes, which nobody else gets."""
        end = self._at + size
        if end > len(self._block):
            self._block = os.urandom(max(BLOCK, size))
            end = size
        self._at, start = end, end - size
        return self._block[start:end]
