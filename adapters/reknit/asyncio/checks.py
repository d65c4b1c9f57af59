"""Checks of servers under asyncio: connections of the proxy's own, when the core says so."""

import asyncio
from collections.abc import Awaitable, Callable, Coroutine
from contextlib import closing
from math import inf
from typing import Any

from reknit_core.policy.policy import Policy
from reknit_core.policy.upstream import Upstream
from reknit_core.proxy.server_check import ServerCheck
from reknit_core.servers import Server, Servers
from reknit_core.wire.reasons import reason_of

from reknit.asyncio.streams import receive, send_all
from reknit.observe.servers import tell_servers
from reknit.sockets.stream_socket import StreamSocket

READ_SIZE = 4096  # bytes


class Checks:
    """`connect`: a connection to a server, or OSError. `start`: runs something as a task."""

    def __init__(
        self,
        servers: Servers,
        policy: Policy,
        connect: Callable[[Upstream], Awaitable[StreamSocket]],
        start: Callable[[Coroutine[Any, Any, None]], object],
    ) -> None:
        self._servers = servers
        self._policy = policy
        self._connect = connect
        self._start = start
        self._loop = asyncio.get_running_loop()
        self._timer: asyncio.TimerHandle | None = None

    def look(self, now: float) -> None:
        """There may be news: say it, check who is to be checked, and come back in time."""
        for server in self._servers.checks_due(now):
            self._start(self._check(server))
        tell_servers(self._servers)
        self.close()
        at = self._servers.next_check
        if at < inf:  # a loop may call a little early
            self._timer = self._loop.call_at(at, lambda: self.look(max(self._loop.time(), at)))

    def close(self) -> None:
        """Come back no more."""
        if self._timer is not None:
            self._timer.cancel()

    async def _check(self, server: Server) -> None:
        check = ServerCheck(self._servers, server, self._policy)
        limit = self._policy.connect_timeout
        try:
            with closing(await self._connect(server.upstream)) as sock:
                async with asyncio.timeout(limit):
                    await self._ask(check, sock)
            problem = check.problem
        except TimeoutError:
            problem = "no answer to the check in time"
        except OSError as error:
            problem = reason_of(error)
        now = self._loop.time()
        self._servers.checked(server, problem, now)
        self.look(now)

    async def _ask(self, check: ServerCheck, sock: StreamSocket) -> None:
        await send_all(sock, check.request)
        while check.request and not check.receive_data(await receive(sock, READ_SIZE)):
            pass
