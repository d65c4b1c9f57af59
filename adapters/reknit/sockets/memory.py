"""Memory that reads took, given back to the system once nobody needs it.

What Python frees glibc keeps in its heap, and gives back only from the top: one small object that
lives on above them holds thousands of reads that are gone (malloc_trim(3)).
"""

import ctypes
import sys
from collections.abc import Callable


def _trimmer() -> Callable[[int], int] | None:
    """Glibc's malloc_trim(); None where the C library is another one, which keeps less."""
    if sys.platform != "linux":
        return None
    library = ctypes.CDLL(None)
    is_glibc = hasattr(library, "gnu_get_libc_version")
    return library.malloc_trim if is_glibc else None


_trim = _trimmer()


def give_back() -> None:
    """Return free pages to the system, where it takes that: some milliseconds at most."""
    if _trim is not None:
        _trim(0)
