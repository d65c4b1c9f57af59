"""What a worker answers to the parent, which has been asked by its admin listener."""

from collections.abc import Mapping
from typing import TYPE_CHECKING

import trio

from reknit.observe.logs import LOG
from reknit.settings.config import Config
from reknit.trio.proxy import Proxy

if TYPE_CHECKING:
    from prometheus_client.metrics_core import Metric

    from reknit.admin.app import Admin
    from reknit.admin.http_messages import Request, Response
    from reknit.observe.event_hook import EventHook

FEED = "/worker/feed"
METRICS = "/worker/metrics"


class Desk:
    """Answers as the admin listener of a single process would, and gives its part of a whole."""

    def __init__(self, config: Config, proxy: Proxy, hook: "EventHook | None") -> None:
        self._admin: "Admin | None" = None  # noqa: UP037  # imported only if it is asked for
        self._proxy = proxy
        if config.admin is not None:
            from reknit.admin.app import Admin

            self._admin = Admin(
                proxy.sessions,
                proxy.admission,
                proxy.reactor,
                proxy.is_ready,
                lambda: None,
                None if hook is None else hook.count_lost,
                requests=config.admin_requests,
                store=proxy.store,
                certificates=proxy.certificates,
            )

    async def run(self) -> None:
        """Keep time, until cancelled."""
        if self._admin is not None:
            await self._admin.keep_time()
        await trio.sleep_forever()

    def _own(self) -> "list[Metric]":
        from prometheus_client.metrics_core import CounterMetricFamily, GaugeMetricFamily

        colleagues = self._proxy.colleagues
        if colleagues is None:
            return []
        return [
            CounterMetricFamily(
                "reknit_passed_on",
                "Clients that came to another worker than that of their session.",
                colleagues.brought,
            ),
            GaugeMetricFamily(
                "reknit_tls_passed_on",
                "Connections with TLS in another worker than that of their session.",
                len(self._proxy.pumps),
            ),
        ]

    async def answer(
        self, method: str, path: str, query: Mapping[str, str], body: bytes
    ) -> "Response":
        """The answer to what the parent was asked."""
        from reknit.admin.http_messages import ProblemError, Request, Response

        try:
            answer = await self._answer(Request(method, path, query, {}, body))
        except ProblemError as problem:
            return problem.response()
        except Exception:
            LOG.exception("%s %s fails by an error of the proxy", method, path)
            return ProblemError(500, "internal", "an error of the proxy; see its log").response()
        assert isinstance(answer, Response)
        return answer

    async def _answer(self, request: "Request") -> object:
        from reknit.admin.guard import Guard
        from reknit.admin.http_messages import ProblemError, Response, json_response
        from reknit.admin.router import Router
        from reknit.workers.sums import encode

        admin = self._admin
        if admin is None:
            raise ProblemError(404, "not_found", "there is no admin listener")
        match request.path:
            case _ if request.path == FEED:
                trouble = "" if self._proxy.store is None else self._proxy.store.trouble
                now = {"snapshot": admin.feed.look(), **admin.feed.past()}
                lacks = self._proxy.sessions.contexts.lacks_server
                return json_response({**now, "trouble": trouble, "lacks_server": lacks})
            case _ if request.path == METRICS:
                return Response(200, encode([*admin.metrics.registry.collect(), *self._own()]))
            case _:
                return await Router(admin.calls, Guard(None, loopback=False))(request)
