"""Files that people name: read without end they must not be, whatever they are."""

import os
import select
import stat
from io import BytesIO, TextIOWrapper

PATIENCE = 5.0  # seconds without a byte from a pipe
LARGEST = 256 * 2**20  # bytes: a browser's recording may be large
_PIECE = 1 << 20  # bytes
_FLAGS = os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_CLOEXEC", 0)


class FileError(OSError):
    """A file has more than is read of it, or does not say anything."""


def read_text(name: str) -> str:
    """The text of a file, as read_file() reads it. Raises OSError, ValueError."""
    return TextIOWrapper(BytesIO(read_file(name)), encoding="utf-8").read()


def read_file(name: str) -> bytes:
    """What is in that file, or comes through that pipe. Raises OSError, ValueError.

    One of more than LARGEST is refused, and a pipe that says nothing for PATIENCE.
    """
    file = os.open(name, _FLAGS)
    try:
        is_regular = stat.S_ISREG(os.fstat(file).st_mode)
        found = BytesIO()
        while True:
            if not is_regular and not select.select([file], [], [], PATIENCE)[0]:
                raise FileError(f"nothing has come from it for {PATIENCE:g} seconds")
            piece = os.read(file, _PIECE)
            if not piece:
                return found.getvalue()
            found.write(piece)
            if found.tell() > LARGEST:
                raise FileError(f"it has more than {LARGEST:,} bytes")
    finally:
        os.close(file)
