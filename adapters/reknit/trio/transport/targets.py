"""The servers as a dialler needs them: by name, each with its host and where it is."""

from collections.abc import Iterable
from typing import NamedTuple

import trio
from reknit_core.policy.upstream import Upstream

from reknit.trio.transport.names import Find, Places


class Target(NamedTuple):
    """A server. `host`: as its certificate must name it, if it speaks TLS. `find`: see Places."""

    host: str
    find: Find
    is_secure: bool


class Targets:
    """All servers by name, a name being looked up for `timeout` seconds at most."""

    def __init__(self, upstreams: Iterable[Upstream], timeout: float) -> None:
        self._places: list[Places] = []
        self._all: dict[str, Target] = {}
        for upstream in upstreams:
            places = Places(upstream, timeout)
            self._places.append(places)
            self._all[upstream.url] = Target(upstream.host, places.find, upstream.secure)

    def __getitem__(self, name: str) -> Target:
        return self._all[name]

    async def run(self) -> None:
        """Look names up, until cancelled."""
        async with trio.open_nursery() as nursery:
            for places in self._places:
                nursery.start_soon(places.run)
