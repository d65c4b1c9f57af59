"""Sends events to a URL, in batches of JSON: for alerts. No session ever waits for it."""

import json
import logging
from collections import deque
from http.client import HTTPException, HTTPMessage
from typing import IO
from urllib.error import HTTPError
from urllib.request import HTTPRedirectHandler, Request, build_opener

import trio
from reknit_core.telemetry.seldom import is_said

from reknit.observe.logs import as_document, tell

QUEUE = 10_000  # events; when it is full the oldest go
BATCH = 500  # events in one request
EVERY = 1.0  # seconds
WAITS = (0.0, 1.0, 4.0)  # seconds before each attempt to send a batch
TIMEOUT = 10.0  # seconds
LAST = 2.0  # seconds for what is left when the proxy stops

_FAILED = "events_lost"  # the hook's own event, which it doesn't send itself


class EventHook(logging.Handler):
    """Sends each event of level `info` or above that the logger `reknit` gets."""

    def __init__(self, url: str) -> None:
        super().__init__(logging.INFO)
        self._url = url
        self._opener = build_opener(_NoRedirect)
        self._queue: deque[dict[str, object]] = deque()
        self._lost = 0  # since the last batch that arrived
        self._told = 0  # lost events that a batch has told of
        self._failures = 0  # batches since the last one that arrived
        self._finishing = trio.Event()
        self._finished = trio.Event()

    def emit(self, record: logging.LogRecord) -> None:
        """Queue an event."""
        if getattr(record, "event", _FAILED) == _FAILED:
            return
        if len(self._queue) == QUEUE:
            self._queue.popleft()
            self._lost += 1
        self._queue.append(as_document(record))

    def count_lost(self) -> int:
        """How many events could not be sent, since the proxy began."""
        return self._told + self._lost

    async def run(self) -> None:
        """Send until finish() is called."""
        logger = logging.getLogger("reknit")
        level = logger.level
        logger.addHandler(self)
        logger.setLevel(min(level, self.level))
        try:
            while not self._finishing.is_set():
                with trio.move_on_after(EVERY):
                    await self._finishing.wait()
                await self._flush()
            self._finished.set()
        finally:
            logger.removeHandler(self)
            logger.setLevel(level)

    async def finish(self) -> None:
        """Send what is left, if it can be sent soon."""
        self._finishing.set()
        with trio.move_on_after(LAST):
            await self._finished.wait()

    async def _flush(self) -> None:
        while self._queue:
            batch = [self._queue.popleft() for _ in range(min(BATCH, len(self._queue)))]
            if not await self._send(batch):
                self._lost += len(batch)

    async def _send(self, batch: list[dict[str, object]]) -> bool:
        problem = ""
        for wait in WAITS:
            await trio.sleep(wait)
            lost = self._lost
            body = json.dumps({"events": batch, "lost": lost}).encode()
            problem = await trio.to_thread.run_sync(self._post, body, abandon_on_cancel=True)
            if not problem:
                self._lost -= lost
                self._told += lost
                self._failures = 0
                return True
        self._failures += 1
        if is_said(self._failures):  # of those in a row: a receiver may be away for days
            text = "%(number)d events could not be sent: %(reason)s; %(total)d batches so far"
            number, total = len(batch), self._failures
            tell(logging.WARNING, _FAILED, text, number=number, reason=problem, total=total)
        return False

    def _post(self, body: bytes) -> str:
        """Send it, in a thread; returns what went wrong, without the URL: that may be secret."""
        request = Request(self._url, body, {"content-type": "application/json"})  # noqa: S310
        try:
            with self._opener.open(request, timeout=TIMEOUT):
                return ""
        except HTTPError as error:
            error.close()
            return f"the receiver answered {error.code}"
        except (OSError, HTTPException) as error:
            return str(getattr(error, "reason", "") or type(error).__name__)


class _NoRedirect(HTTPRedirectHandler):
    """A redirected POST would go on as a GET, without its body."""

    def redirect_request(
        self, req: Request, fp: IO[bytes], code: int, msg: str, headers: HTTPMessage, newurl: str
    ) -> None:
        """Don't: the redirect counts as a failure."""
        return
