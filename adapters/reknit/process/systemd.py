"""Under systemd: the sockets that it has opened, and what it wants to be told.

As in sd_listen_fds(3) and sd_notify(3). Without systemd nothing happens here.
"""

import faulthandler
import os
import socket
import sys
import time
from collections.abc import Mapping, MutableMapping
from logging import WARNING

import trio
from reknit_core.wire.reasons import reason_of

from reknit.observe.logs import tell

FIRST_FD = 3
PATIENCE = 0.5  # seconds for a manager that has too much to read: the sessions wait meanwhile

READY = "READY=1"
STOPPING = "STOPPING=1"
WATCHDOG = "WATCHDOG=1"


def listening_sockets(environ: MutableMapping[str, str] = os.environ) -> list[socket.socket]:
    """The sockets of a .socket unit, for this very process; none without socket activation.

    Raises OSError for one that is no listening stream socket.
    """
    if environ.get("LISTEN_PID") != str(os.getpid()):
        return []
    count = int(environ.get("LISTEN_FDS", "0"))
    for name in ("LISTEN_PID", "LISTEN_FDS", "LISTEN_FDNAMES"):
        environ.pop(name, None)
    sockets = [socket.socket(fileno=fd) for fd in range(FIRST_FD, FIRST_FD + count)]
    for sock in sockets:
        known = sock.family in (socket.AF_INET, socket.AF_INET6, socket.AF_UNIX)
        streams = known and sock.type == socket.SOCK_STREAM
        if not streams or not sock.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN):
            number = sock.fileno()
            raise OSError(f"systemd passes descriptor {number}: no listening TCP or Unix socket")
        sock.set_inheritable(False)
        sock.setblocking(False)
    return sockets


def notify(*states: str, environ: Mapping[str, str] = os.environ) -> None:
    """Tell the service manager, if there is one that wants to know."""
    address = environ.get("NOTIFY_SOCKET", "")
    if not address.startswith(("/", "@")):
        return
    if address.startswith("@"):
        address = "\0" + address[1:]
    try:
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sock:
            sock.settimeout(PATIENCE)
            sock.connect(address)
            sock.send("\n".join(states).encode())
    except OSError as error:
        text = "systemd can't be told %(state)s: %(reason)s"
        tell(WARNING, "systemd", text, state=states[0], reason=reason_of(error))


def watchdog_seconds(environ: Mapping[str, str] = os.environ) -> float | None:
    """How long the service manager waits for a WATCHDOG; None: it waits for none.

    WATCHDOG_PID isn't looked at: it names the first process of those that take over one another.
    """
    text = environ.get("WATCHDOG_USEC", "")
    return int(text) / 1_000_000 if text.isdecimal() and int(text) else None


async def keep_watchdog(environ: Mapping[str, str] = os.environ) -> None:
    """Say for ever that the loop goes round, if the manager wants to know.

    It ends a process that doesn't say so by SIGABRT: then the log has where that stood.
    """
    seconds = watchdog_seconds(environ)
    if seconds is None:
        return
    if sys.__stderr__ is not None:
        faulthandler.enable(sys.__stderr__)
    while True:
        notify(WATCHDOG, environ=environ)
        await trio.sleep(seconds / 2)


def reloading() -> tuple[str, str]:
    """What to say when a new process is to take over."""
    return "RELOADING=1", f"MONOTONIC_USEC={time.clock_gettime_ns(time.CLOCK_MONOTONIC) // 1000}"


def main_process(pid: int) -> tuple[str, str]:
    """What to say when that process has taken over."""
    return f"MAINPID={pid}", READY
