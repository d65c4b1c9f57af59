"""Listening on the file of a Unix socket."""

import os
import socket
from pathlib import Path

BACKLOG = 4096  # connections that may wait to be accepted
OWNER_ONLY = 0o177  # a umask


def listen_unix(path: str, *, owner_only: bool = False) -> socket.socket:
    """A non-blocking socket that listens there. Raises OSError.

    The file of a socket that a dead process has left is replaced. `owner_only`: no other user
    may connect through the file.
    """
    remove_dead(path)
    sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    before = os.umask(OWNER_ONLY) if owner_only else None
    try:
        sock.bind(path)
        sock.listen(BACKLOG)
        sock.setblocking(False)
    except OSError:
        sock.close()
        raise
    finally:
        if before is not None:
            os.umask(before)
    return sock


def remove_dead(path: str) -> None:
    """Remove the file of a socket to which nobody listens."""
    if not Path(path).is_socket():
        return
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        probe.setblocking(False)  # a process that is busy is alive
        try:
            probe.connect(path)
        except ConnectionRefusedError:
            Path(path).unlink(missing_ok=True)
        except OSError:
            pass  # if it is in the way, binding will say so
