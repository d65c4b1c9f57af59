"""Where a process listens, by a name that no other process can have at the same time."""

import socket
from collections.abc import Iterable
from pathlib import Path

from reknit.settings.addresses import Address

_MACHINE = Path("/etc/machine-id")


def place_of(addresses: Iterable[Address]) -> str:
    """The machine, and the addresses on it that this process has: so no other has them."""
    try:
        machine = _MACHINE.read_text().strip()
    except (OSError, ValueError):
        machine = ""
    return " ".join((machine, socket.gethostname(), *sorted(map(str, addresses))))
