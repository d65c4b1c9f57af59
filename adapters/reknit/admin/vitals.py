"""What the process takes of the machine, and what it is: for the live page."""

import os
import resource
import socket
import sys
import time
from collections.abc import Iterable
from importlib.metadata import version
from pathlib import Path

from reknit_core.counters import SECONDS

from reknit.settings.addresses import Address

_BEGAN = time.monotonic()
_FILES = Path("/proc/self/fd")  # Linux; elsewhere /dev/fd
_MEMORY = Path("/proc/self/statm")


def vitals() -> dict[str, float]:
    """Processor time (seconds), memory (bytes) and open files of this process."""
    return {
        "cpu_seconds": round(time.process_time(), 3),
        "memory_bytes": _memory(),
        "open_files": _open_files(),
        "files_limit": resource.getrlimit(resource.RLIMIT_NOFILE)[0],
    }


def _memory() -> int:
    """What is resident; where the system doesn't say, the most that ever was."""
    try:
        return int(_MEMORY.read_text().split()[1]) * resource.getpagesize()
    except OSError:
        most = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        return most if sys.platform == "darwin" else most * 1024


def _open_files() -> int:
    try:
        return len(os.listdir(_FILES if _FILES.exists() else "/dev/fd"))  # noqa: PTH208
    except OSError:
        return 0


def about(
    listeners: Iterable[Address], *, steers: bool = False, workers: int = 1
) -> dict[str, object]:
    """What this proxy is. `steers`: whether the page may offer what ends sessions.

    `bounds`: of the histograms in its snapshots, in seconds.
    """
    return {
        "version": version("reknit"),
        "host": socket.gethostname(),
        "pid": os.getpid(),
        "listen": [str(each) for each in dict.fromkeys(listeners)],
        "uptime_seconds": round(time.monotonic() - _BEGAN, 1),
        "workers": workers,
        "steers": steers,
        "bounds": SECONDS,
    }
