"""Processes on pinned cores: start, stop, and what they cost by /proc. Linux only."""

import os
import platform
import resource
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO

HERE = Path(__file__).parent
sys.path.append(str(HERE.parent / "support"))  # also where this is a program, and no test

from patience import patience  # noqa: E402

START_LIMIT = patience(15.0)  # seconds in which a process must listen
STOP_LIMIT = patience(15.0)  # seconds in which it must end by itself


class StartError(Exception):
    """A process that does not run, and why."""


@dataclass(frozen=True, slots=True)
class Cores:
    """Which core serves what."""

    proxy: int
    load: int
    server: int

    @classmethod
    def choose(cls, wanted: Sequence[int] = ()) -> "Cores":
        """Of those wanted, or of all: the proxy's own, the loader's, the server's if any is left.

        Raises StartError if there are not two.
        """
        cores = list(wanted) or sorted(os.sched_getaffinity(0))
        if len(set(cores)) < 2:
            raise StartError("two cores are needed: one for the proxy, one for the loader")
        return cls(cores[0], cores[1], cores[2] if len(cores) > 2 else cores[1])


@contextmanager
def pinned(core: int | set[int]) -> Iterator[None]:
    """Run on this core or these, and so does every process that is started meanwhile."""
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {core} if isinstance(core, int) else core)
    try:
        yield
    finally:
        os.sched_setaffinity(0, before)


def start(
    command: Sequence[str],
    core: int | set[int],
    port: int,
    log: IO[str],
    environment: Mapping[str, str] | None = None,
) -> subprocess.Popen[bytes]:
    """Start a process on this core and wait until it listens. Raises StartError."""
    if _listens(port):
        raise StartError(f"port {port} is in use")
    said_before = os.fstat(log.fileno()).st_size
    process = _spawn(command, core, log, environment or {})
    try:
        _wait_for(port, process)
    except StartError as error:
        stop(process)
        said = Path(log.name).read_bytes()[said_before:].decode(errors="replace")
        raise StartError(f"{command[0]}: {error}\n{said}".rstrip()) from None
    except BaseException:
        stop(process)
        raise
    return process


def start_server(port: int, core: int | set[int], log: IO[str]) -> subprocess.Popen[bytes]:
    """Start the server that the proxies stand before. Raises StartError."""
    return start(_server(port), core, port, log)


def start_server_later(
    port: int, core: int, log: IO[str], seconds: float
) -> subprocess.Popen[bytes]:
    """Start a server that listens only after so many seconds, and return at once."""
    return _spawn([*_server(port), str(seconds)], core, log, {})


def _server(port: int) -> list[str]:
    return [sys.executable, str(HERE / "server.py"), str(port)]


def _spawn(
    command: Sequence[str], core: int | set[int], log: IO[str], environment: Mapping[str, str]
) -> subprocess.Popen[bytes]:
    with pinned(core):
        try:
            return subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                env={**os.environ, **environment},
                start_new_session=True,  # so that stop() reaches its children too
            )
        except OSError as error:
            raise StartError(f"{command[0]}: {error.strerror}") from None


def _wait_for(port: int, process: subprocess.Popen[bytes]) -> None:
    limit = time.monotonic() + START_LIMIT
    while time.monotonic() < limit:
        if process.poll() is not None:
            raise StartError(f"ended with status {process.returncode}")
        if _listens(port):
            return
        time.sleep(0.05)
    raise StartError(f"nothing listens on port {port} after {START_LIMIT:g} seconds")


def _listens(port: int) -> bool:
    try:
        socket.create_connection(("127.0.0.1", port), 0.5).close()
    except OSError:
        return False
    return True


def stop(process: subprocess.Popen[bytes]) -> None:
    """End a process and its children: first kindly."""
    for number in (signal.SIGTERM, signal.SIGKILL):
        try:
            os.killpg(process.pid, number)
            process.wait(STOP_LIMIT)
        except ProcessLookupError:
            return
        except subprocess.TimeoutExpired:
            continue


def free_port() -> int:
    """A port that nothing listens on."""
    with socket.create_server(("127.0.0.1", 0)) as listening:
        return int(listening.getsockname()[1])


def raise_file_limit(wanted: int = 65536) -> int:
    """Allow this process and its children that many open files; how many it became."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    for soft, top in ((wanted, max(wanted, hard)), (min(wanted, hard), hard)):
        try:
            resource.setrlimit(resource.RLIMIT_NOFILE, (soft, top))
        except (OSError, ValueError):
            continue
        break
    return resource.getrlimit(resource.RLIMIT_NOFILE)[0]


# -- What a process costs ----------------------------------------------------------------------


def _family(pid: int) -> list[int]:
    """A process and all its descendants."""
    children: dict[int, list[int]] = {}
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                parent = int((entry / "stat").read_text().rpartition(")")[2].split()[1])
            except OSError:
                continue  # it has ended
            children.setdefault(parent, []).append(int(entry.name))
    found = [pid]
    for each in found:
        found += children.get(each, [])
    return found


def processor_seconds(pid: int) -> float:
    """User and system time of a process and its descendants, all threads."""
    total = 0.0
    for each in _family(pid):
        try:
            # The process's own clock (clock_getcpuclockid): utime + stime of /proc, but in ns.
            total += time.clock_gettime(~each << 3 | 2)
        except OSError:
            continue
    return total


def memory(pid: int) -> int:
    """Bytes of a process and its descendants: PSS, shared pages counted by share."""
    return sum(_kib(f"/proc/{each}/smaps_rollup", "Pss") for each in _family(pid)) * 1024


def peak_memory(pid: int) -> int:
    """The largest resident size, in bytes, that one process ever had."""
    return _kib(f"/proc/{pid}/status", "VmHWM") * 1024


def forget_peak(pid: int) -> None:
    """From now on peak_memory counts anew."""
    Path(f"/proc/{pid}/clear_refs").write_text("5")


def _kib(file: str, field: str) -> int:
    try:
        lines = Path(file).read_text().splitlines()
    except OSError:
        return 0
    return next((int(line.split()[1]) for line in lines if line.startswith(f"{field}:")), 0)


def machine() -> dict[str, object]:
    """What it runs on."""
    lines = Path("/proc/cpuinfo").read_text().splitlines()
    named = (line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    return {
        "processor": next(named, platform.machine()),
        "cores": os.cpu_count(),
        "system": f"Linux {platform.release()}",
    }
