"""Where the server is: looking its name up."""

import ipaddress
import socket
from collections.abc import Callable
from math import inf

import trio
from reknit_core.policy.upstream import Upstream

HOLDS = 1.0  # seconds: a crowd that dials at once asks once

Place = tuple[int, object]
"""A family of addresses, and an address of it as sockets have it."""
Told = Callable[[list[Place] | OSError, float], None]
Find = Callable[[Told, float], list[Place] | None]


class Places:
    """The server's addresses, the best first.

    A name is looked up in a task, run(), for at most `timeout` seconds.
    """

    def __init__(self, upstream: Upstream, timeout: float) -> None:
        self._upstream = upstream
        self._timeout = timeout
        self._known = _fixed(upstream)
        self._holds_until = inf if self._known else -inf
        self._asking: list[Told] = []
        self._asked = trio.Event()

    @property
    def is_fixed(self) -> bool:
        """Whether that needs no looking up: then run() does nothing."""
        return self._holds_until == inf

    def find(self, told: Told, now: float) -> list[Place] | None:
        """Where it is; None: `told` will hear it."""
        if now < self._holds_until:
            return self._known
        self._asking.append(told)
        self._asked.set()
        return None

    async def run(self) -> None:
        """Look names up, until cancelled."""
        while True:
            await self._asked.wait()
            outcome = await self._look_up()
            now = trio.current_time()
            if not isinstance(outcome, OSError):
                self._known, self._holds_until = outcome, now + HOLDS
            asking, self._asking = self._asking, []
            self._asked = trio.Event()
            for told in asking:
                told(outcome, now)

    async def _look_up(self) -> list[Place] | OSError:
        host, port = self._upstream.host, self._upstream.port
        with trio.move_on_after(self._timeout):
            try:
                found = await trio.socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
            except OSError as error:
                return error
            except UnicodeError as error:
                return OSError(str(error))
            return _in_turn([(info[0], info[4]) for info in found])
        return OSError(f"its name was not found in {self._timeout:g} seconds")


def _fixed(upstream: Upstream) -> list[Place]:
    """Where it is, if that needs no looking up."""
    if upstream.socket_path:
        return [(socket.AF_UNIX, upstream.socket_path)]
    try:
        address = ipaddress.ip_address(upstream.host)
    except ValueError:
        return []
    if isinstance(address, ipaddress.IPv4Address):
        return [(socket.AF_INET, (upstream.host, upstream.port))]
    if address.scope_id:
        return []  # its interface has to be found
    return [(socket.AF_INET6, (upstream.host, upstream.port))]


def _in_turn(places: list[Place]) -> list[Place]:
    """The same, but the second is of another family than the first (RFC 8305, section 4)."""
    for index, (family, _) in enumerate(places):
        if family != places[0][0]:
            return [places[0], places[index], *places[1:index], *places[index + 1 :]]
    return places
