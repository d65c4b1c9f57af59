"""The sockets on which all workers listen: as many for an address as there are, where that goes.

Those of one address are a group: the system gives each connection to one of them (SO_REUSEPORT).
The parent keeps all of them open, so that no connection is lost which waits in one. A Unix
socket, and one that somebody else has opened, is shared: whoever is first has the connection.
"""

import socket
from collections.abc import Iterable

import trio

from reknit.process.serve import listening
from reknit.settings.addresses import Address, Listen
from reknit.sockets.listening import BACKLOG
from reknit.trio.door.listeners import close_listeners, open_listeners

_SHARES = (socket.SOL_SOCKET, socket.SO_REUSEPORT)


async def listen_on(addresses: Iterable[Address], count: int) -> list[socket.socket]:
    """Listen on all of them, or on none. Raises ListenError."""
    listeners: list[socket.socket] = []
    try:
        for address in addresses:
            if isinstance(address, Listen):
                listeners += await listening(_open_groups(address, count), address)
            else:
                listeners += await listening(open_listeners(address), address)
    except BaseException:
        close_listeners(listeners)
        raise
    return listeners


async def _open_groups(address: Listen, count: int) -> list[socket.socket]:
    found = await trio.socket.getaddrinfo(
        address.host, address.port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
    )
    opened: list[socket.socket] = []
    try:
        for family, _, _, _, name in dict.fromkeys(found):
            # Sockets that share an address let anybody of the same user join: first see whether
            # somebody has it already.
            with _socket(family) as first:
                first.bind(name)
                taken = first.getsockname()
            opened += [_bind(family, taken) for _ in range(count)]
        for sock in opened:
            sock.listen(BACKLOG)
    except BaseException:
        close_listeners(opened)
        raise
    return opened


def _socket(family: int) -> socket.socket:
    sock = socket.socket(family, socket.SOCK_STREAM)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    if family == socket.AF_INET6:
        sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
    return sock


def _bind(family: int, name: tuple[str, int]) -> socket.socket:
    """Raises OSError."""
    sock = _socket(family)
    try:
        sock.setsockopt(*_SHARES, 1)
        sock.bind(name)
        sock.setblocking(False)
    except OSError:
        sock.close()
        raise
    return sock


def widen(listeners: list[socket.socket], count: int) -> list[socket.socket]:
    """What is missing of the groups of a process before, for so many workers.

    They get connections only from listen_now() on. Where none can be added, those that there are
    are shared.
    """
    more: list[socket.socket] = []
    for group in _groups(listeners):
        first = group[0]
        try:
            if first.family != socket.AF_UNIX and first.getsockopt(*_SHARES):
                name = first.getsockname()
                more += [_bind(first.family, name) for _ in range(count - len(group))]
        except OSError:
            continue
    return more


def listen_now(sockets: list[socket.socket]) -> None:
    """Have them get connections."""
    for sock in sockets:
        sock.listen(BACKLOG)


def share_out(listeners: list[socket.socket], count: int) -> list[list[socket.socket]]:
    """Which of them each worker has: every one is somebody's, and everybody has every address."""
    shares: list[list[socket.socket]] = [[] for _ in range(count)]
    for group in _groups(listeners):
        for worker, share in enumerate(shares):
            share += group[worker::count] or [group[worker % len(group)]]
    return shares


def _groups(listeners: list[socket.socket]) -> list[list[socket.socket]]:
    """By address."""
    groups: dict[object, list[socket.socket]] = {}
    for sock in listeners:
        groups.setdefault(sock.getsockname(), []).append(sock)
    return [*groups.values()]
