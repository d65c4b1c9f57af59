"""A proxy in a program of one's own, under asyncio."""

import ssl
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager

from reknit_core.policy.policy import Policy
from reknit_core.servers import Upstreams, as_upstreams

from reknit.asyncio.proxy import AsyncioProxy
from reknit.asyncio.streams import listen as open_listeners
from reknit.observe.dialects import load_dialects
from reknit.settings.addresses import Address, Listen

ANYWHERE = Listen("127.0.0.1", 0)


@asynccontextmanager
async def open_proxy(
    policy: Policy,
    upstream: Upstreams,
    listen: Address = ANYWHERE,
    *,
    tls: ssl.SSLContext | None = None,
    upstream_tls: ssl.SSLContext | None = None,
    dialects: Iterable[object] = (),
) -> AsyncIterator[AsyncioProxy]:
    """A proxy that runs inside of the `async with`, in any thread's loop.

    It takes no signals, and leaves the garbage collection and the limit of open files as they
    are. In the end sessions are closed at once; drain() before that sends them away in time.
    `upstream`: the server, or several. `tls`: how clients speak TLS. `upstream_tls`: how a server
    does, for `wss://`; None: as Python does by default. `dialects`: the program's own
    (`reknit_core.Dialect`), which `policy.dialect` chooses from too. Raises OSError, DialectError
    or PolicyError (both a ValueError).
    """
    upstreams = as_upstreams(upstream)
    if upstream_tls is None and any(each.secure for each in upstreams):
        upstream_tls = ssl.create_default_context()
    known = load_dialects(policy, dialects)
    listeners = await open_listeners(listen)
    proxy = AsyncioProxy(policy, upstreams, listeners, tls, upstream_tls, known)
    try:
        yield proxy
        await proxy.drain()
    finally:
        proxy.close()
