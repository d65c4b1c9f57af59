"""A proxy at each side of a bad network, in front of the bench's server."""

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass

from bad_link import BadLink
from proxy_process import ProxyProcess
from socket_bench import Bench


@dataclass(slots=True)
class ProxyPair:
    """client -> near -> link -> far -> server; clients of the bench come to the near one."""

    bench: Bench
    near: ProxyProcess
    link: BadLink
    far: ProxyProcess

    async def cut(self, *, away: bool = False) -> None:
        """Cut the connection between them, and wait until both have noticed."""
        states = [sum(s == name for s, _ in proxy.transitions) for proxy, name in self._losses]
        self.link.cut(away=away)
        for (proxy, name), before in zip(self._losses, states, strict=True):
            await proxy.reached(name, before + 1)

    @property
    def _losses(self) -> tuple[tuple[ProxyProcess, str], ...]:
        return ((self.near, "server_down"), (self.far, "client_down"))


@asynccontextmanager
async def open_pair(
    bench: Bench,
    *,
    near: Sequence[str] = (),
    far: Sequence[str] = (),
    scheme: str = "ws",
    port: int = 0,
) -> AsyncIterator[ProxyPair]:
    """Start both, with these options. `scheme`: of what is spoken between them.

    `port`: of another server than the bench's.
    """
    server = f"ws://127.0.0.1:{port or bench.upstream.port}"
    far_proxy = await ProxyProcess.start(server, *far)
    bench.proxies.append(far_proxy)
    async with BadLink(far_proxy.port) as link:
        near_proxy = await ProxyProcess.start(f"{scheme}://127.0.0.1:{link.port}", *near)
        bench.proxies.append(near_proxy)
        yield ProxyPair(bench, near_proxy, link, far_proxy)
