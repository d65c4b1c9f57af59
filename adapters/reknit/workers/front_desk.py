"""The admin listener of several workers: it asks them, and answers for all."""

import json
from collections.abc import AsyncGenerator, Callable, Sequence
from dataclasses import replace
from heapq import nlargest, nsmallest
from itertools import zip_longest
from logging import INFO
from typing import Any

import trio
from prometheus_client import CollectorRegistry, ProcessCollector
from prometheus_client.exposition import choose_encoder
from prometheus_client.metrics_core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector
from reknit_core.servers import NONE_UP

from reknit.admin.calls import MAX_PAGE, limit_of, order_of, passed_of
from reknit.admin.feed import EVERY, Places, event
from reknit.admin.http_messages import (
    ProblemError,
    Request,
    Response,
    Stream,
    json_response,
    text_response,
)
from reknit.admin.metrics.collector import viewers
from reknit.admin.page import Page
from reknit.admin.router import Route
from reknit.observe.logs import tell
from reknit.workers.desk import FEED, METRICS
from reknit.workers.messages import Answer, Ask
from reknit.workers.sums import Tally, decode, families, sum_snapshots, sum_up
from reknit.workers.worker_process import WorkerProcess

PATIENCE = 5.0  # seconds for a worker's answer: one that takes longer does not live
AT_LEAST = 60.0  # seconds for an answer that may wait for a client or a server, and some more

Staff = Callable[[], Sequence[WorkerProcess]]
_PARENT = "parent"


class FrontDesk:
    """`staff`: the workers as they are now. `restarted`: how many were started again so far."""

    def __init__(
        self,
        staff: Staff,
        restarted: Callable[[], int],
        is_ready: Callable[[], bool],
        drain: Callable[[], None],
        tell_about: Callable[[], dict[str, object]],
    ) -> None:
        self._staff = staff
        self._tell_about = tell_about
        self._restarted = restarted
        self._is_ready = is_ready
        self._drain = drain
        self._tally = Tally()
        self._process = CollectorRegistry()
        ProcessCollector(registry=self._process)
        self._viewers = Places()
        self._snapshot: tuple[float, bytes] | None = None
        self._looking = trio.Lock()

    def routes(self) -> tuple[Route, ...]:
        """All paths."""
        return (
            *Page().routes(),
            Route("GET", "/livez", self._livez, is_open=True, any_host=True),
            Route("GET", "/readyz", self._readyz, is_open=True, any_host=True),
            Route("POST", "/drain", self._start_drain),
            Route("GET", "/feed", self._feed),
            Route("GET", "/metrics", self._metrics),
            Route("GET", "/sessions", self._list),
            Route("POST", "/sessions/find", self._find),
            Route("GET", "/sessions/{session}", self._find),
            Route("POST", "/sessions/{session}/close", self._find),
            Route("POST", "/sessions/{session}/drain", self._find),
            Route("POST", "/sessions/{session}/cut", self._find),
            Route("POST", "/sessions/{session}/request", self._find),
        )

    def gone(self, worker: WorkerProcess) -> None:
        """That worker has died."""
        self._tally.gone(str(worker.number))

    # -- Asking --------------------------------------------------------------------------------

    async def _ask_all(
        self, request: Request, path: str, patience: float = PATIENCE
    ) -> list[tuple[WorkerProcess, Answer | None]]:
        """Each worker that serves, with its answer; None: it gave none in time, or has died."""
        query = dict(request.query)
        ask = Ask(0, request.method.replace("HEAD", "GET"), path, query, request.body)
        answers: dict[int, Answer | None] = {}

        async def get(worker: WorkerProcess) -> None:
            with trio.move_on_after(patience):
                answers[worker.number] = await worker.ask(ask)

        staff = [worker for worker in self._staff() if worker.serves]
        async with trio.open_nursery() as nursery:
            for worker in staff:
                nursery.start_soon(get, worker)
        return [(worker, answers.get(worker.number)) for worker in staff]

    async def _documents(self, request: Request, path: str) -> list[tuple[WorkerProcess, Any]]:
        """The JSON of those that answer. Raises ProblemError with what one of them refuses."""
        found = []
        for worker, answer in await self._ask_all(request, path):
            if answer is not None:
                document = json.loads(answer.body)
                if answer.status != 200:
                    raise ProblemError(answer.status, document["error"], document["message"])
                found.append((worker, document))
        return found

    # -- How the whole is ----------------------------------------------------------------------

    async def _livez(self, request: Request) -> Response:
        for worker, answer in await self._ask_all(request, FEED):
            if answer is None and not worker.has_ended:
                return text_response(f"worker {worker.number} does not answer", 503)
        return text_response("alive")

    async def _readyz(self, request: Request) -> Response:
        if not self._is_ready():
            return text_response("draining", 503)
        away = sum(not worker.serves for worker in self._staff())
        if away:
            return text_response(f"ready, but being started again: {away} of the workers")
        found = [document for _, document in await self._documents(request, FEED)]
        if found and all(document["lacks_server"] for document in found):
            return text_response(NONE_UP, 503)
        if any(document["trouble"] for document in found):
            return text_response("ready, but sessions are not kept: see the log")
        return text_response("ready")

    async def _start_drain(self, request: Request) -> Response:
        tell(INFO, "operator", "%(call)s by the operator", call="drain")
        self._drain()
        return json_response({"draining": True}, 202)

    # -- Metrics -------------------------------------------------------------------------------

    async def _metrics(self, request: Request) -> Response:
        parts = {}
        for worker, answer in await self._ask_all(request, METRICS):
            if answer is not None and answer.status == 200:
                parts[str(worker.number)] = decode(answer.body)
        own = [*self._process.collect(), viewers(self._viewers.taken)]
        parts[_PARENT] = families(own)
        encode, content_type = choose_encoder(request.headers.get("accept", ""))
        metrics = [*self._tally.add_up(parts), *self._own()]
        return Response(200, encode(_Collected(metrics)), content_type)

    def _own(self) -> list[Metric]:
        serving = sum(worker.serves for worker in self._staff())
        return [
            GaugeMetricFamily("reknit_workers", "Workers that serve.", serving),
            CounterMetricFamily(
                "reknit_workers_restarted",
                "Workers that have died and were started again.",
                self._restarted(),
            ),
        ]

    # -- The live page -------------------------------------------------------------------------

    async def _feed(self, request: Request) -> Stream:
        self._viewers.check()
        parts = self._events(request)
        await anext(parts)  # counts this one, before anybody else is asked
        return Stream(parts, "text/event-stream; charset=utf-8")

    async def _events(self, request: Request) -> AsyncGenerator[bytes, None]:
        with self._viewers:
            yield b""
            past = [document for _, document in await self._documents(request, FEED)]
            outages = _sum_from_the_end([document["outages"] for document in past])
            rates = sum_up([document["rates"] for document in past])
            about = {**self._tell_about(), "workers": len(self._staff())}
            yield event("begin", {"about": about, "outages": outages, "rates": rates})
            while True:
                yield await self._look(request)
                await trio.sleep(EVERY)

    async def _look(self, request: Request) -> bytes:
        """One snapshot for all who look, and a new one each second."""
        async with self._looking:
            now = trio.current_time()
            if self._snapshot is None or now - self._snapshot[0] >= EVERY / 2:
                documents = await self._documents(request, FEED)
                summed = sum_snapshots([document["snapshot"] for _, document in documents])
                summed["at_seconds"] = round(now, 3)
                self._snapshot = now, event("snapshot", summed)
            return self._snapshot[1]

    # -- Sessions ------------------------------------------------------------------------------

    async def _list(self, request: Request) -> Response:
        """A page of all sessions, as each worker has given one of its own."""
        limit = limit_of(request)
        found: list[dict[str, Any]] = []
        is_more = False
        if order_of(request) is not None:
            return await self._sorted(request, limit)
        for worker, document in await self._documents(request, "/sessions"):
            found += [{**each, "worker": worker.number} for each in document["sessions"]]
            is_more = is_more or document["next"] is not None
        page = nsmallest(limit, found, key=lambda each: str(each["session"]))
        is_more = is_more or len(found) > limit
        following = page[-1]["session"] if is_more and page else None
        return json_response({"sessions": page, "next": following})

    async def _sorted(self, request: Request, limit: int) -> Response:
        """The largest of all are among the largest of each worker."""
        passed = passed_of(request)
        wanted = min(passed + limit + 1, MAX_PAGE)
        query = {**request.query, "cursor": "0", "limit": str(wanted)}
        found: list[dict[str, Any]] = []
        for worker, document in await self._documents(replace(request, query=query), "/sessions"):
            found += [{**each, "worker": worker.number} for each in document["sessions"]]
        name = request.query["sort"]
        most = nlargest(wanted, found, key=lambda each: _size(each, name))
        following = str(passed + limit) if len(most) > passed + limit else None
        return json_response({"sessions": most[passed : passed + limit], "next": following})

    async def _find(self, request: Request) -> Response:
        """Whichever worker has that session answers; the others say that there is none."""
        none: Answer | None = None
        for _, answer in await self._ask_all(request, request.path, AT_LEAST + PATIENCE):
            if answer is not None and answer.status != 404:
                return _response(answer)
            none = none or answer
        if none is None:
            raise ProblemError(503, "no_worker", "no worker answers")
        return _response(none)


def _size(session: dict[str, Any], name: str) -> float:
    """What a session is sorted by: see ORDERS."""
    if name.startswith("to_"):
        return float(session["waiting_bytes"][name.removeprefix("to_")])
    return float(session[name] or 0.0)


def _response(answer: Answer) -> Response:
    return Response(answer.status, answer.body, answer.content_type)


def _sum_from_the_end(several: list[list[list[int]]]) -> list[list[int]]:
    """Moments of workers that live for longer and shorter, added up."""
    if not several:
        return []
    width = 4
    rows = zip_longest(*(reversed(each) for each in several), fillvalue=[0] * width)
    return [[sum(column) for column in zip(*row, strict=True)] for row in rows][::-1]


class _Collected(Collector):
    """What an encoder asks for its metrics."""

    def __init__(self, metrics: list[Metric]) -> None:
        self._metrics = metrics

    def collect(self) -> list[Metric]:
        return self._metrics
