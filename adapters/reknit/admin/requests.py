"""Requests to the peers of a session: one message, and the first one that comes in reply.

At most one at a time for each peer of a session; the core sees to that.
"""

import json
from collections.abc import Mapping

import trio
from reknit_core.commands import Answered
from reknit_core.events import Ask, StopAsking
from reknit_core.side import Side
from reknit_core.wire.inband import Expected

from reknit.admin.calls import find_link, steer
from reknit.admin.http_messages import ProblemError, Request, Response
from reknit.admin.router import Route
from reknit.trio.links import Link
from reknit.trio.reactor import Reactor
from reknit.trio.sessions import Sessions

TIMEOUT = 10.0  # seconds to wait for the reply, unless a request says otherwise
MAX_TIMEOUT = 60.0

Answers = trio.MemorySendChannel[Answered]


class RequestCalls:
    """Asks peers; `is_allowed`: whether the configuration lets it."""

    def __init__(self, sessions: Sessions, reactor: Reactor, *, is_allowed: bool) -> None:
        self._sessions = sessions
        self._reactor = reactor
        self._is_allowed = is_allowed
        self._waiting: dict[tuple[Link, Side], Answers] = {}

    def routes(self) -> tuple[Route, ...]:
        """Their path."""
        return (Route("POST", "/sessions/{session}/request", self.ask),)

    async def ask(self, request: Request) -> Response:
        """Send a message to a session's client or server, and answer with the reply."""
        if not self._is_allowed:
            raise ProblemError(403, "requests_off", "--admin-requests allows this, and is off")
        link = find_link(self._sessions, request)
        document = request.document()
        ask = Ask(_side(document), _text(document), _expected(document))
        timeout = _timeout(document)
        began = trio.current_time()
        answer: Answered | None = None
        with trio.move_on_after(timeout):
            answer = await self._ask(link, ask)
        if answer is None:
            raise ProblemError(504, "no_reply", f"no reply in {timeout:g} seconds")
        if answer.reply is None:
            raise ProblemError(409, "no_reply", answer.reason)
        seconds = trio.current_time() - began
        return Response(200, b'{"reply": %b, "seconds": %.6f}\n' % (answer.reply, seconds))

    async def _ask(self, link: Link, ask: Ask) -> Answered:
        place = (link, ask.side)
        if place in self._waiting:
            raise ProblemError(409, "busy", f"another request to the {ask.side.value} is open")
        sender, receiver = trio.open_memory_channel[Answered](1)
        self._waiting[place] = sender
        link.on_answer = lambda answer: self._answered(link, answer)
        try:
            steer(self._reactor, link, f"request to the {ask.side.value}", ask)
            return await receiver.receive()
        except trio.Cancelled:
            if link in self._sessions:
                end = f"end of the request to the {ask.side.value}"
                steer(self._reactor, link, end, StopAsking(ask.side))
            raise
        finally:
            del self._waiting[place]

    def _answered(self, link: Link, answer: Answered) -> None:
        sender = self._waiting.get((link, answer.side))
        if sender is not None:
            sender.send_nowait(answer)


# -- What is asked for -------------------------------------------------------------------------


def _side(document: Mapping[str, object]) -> Side:
    to = document.get("to")
    if to not in ("client", "server"):
        raise ProblemError(400, "bad_to", 'to: allowed is "client" or "server"')
    return Side(to)


def _text(document: Mapping[str, object]) -> str:
    """The message: text as it is, anything else as JSON."""
    if "message" not in document:
        raise ProblemError(400, "bad_message", "message: it is missing")
    message = document["message"]
    text = message if isinstance(message, str) else json.dumps(message)
    try:
        text.encode()
    except UnicodeEncodeError:
        raise ProblemError(400, "bad_message", "message: half a character") from None
    return text


def _expected(document: Mapping[str, object]) -> Expected:
    match = document.get("match")
    scalars = (str, int, float, type(None))
    if not (
        isinstance(match, dict)
        and match
        and all(isinstance(value, scalars) for value in match.values())
    ):
        allowed = 'an object like {"id": 7, "result.ok": true}: fields of the reply'
        raise ProblemError(400, "bad_match", f"match: allowed is {allowed}")
    return match


def _timeout(document: Mapping[str, object]) -> float:
    timeout = document.get("timeout", TIMEOUT)
    if isinstance(timeout, bool) or not isinstance(timeout, int | float):
        timeout = 0.0
    if not 0 < timeout <= MAX_TIMEOUT:
        allowed = f"more than 0 and at most {MAX_TIMEOUT:g} seconds"
        raise ProblemError(400, "bad_timeout", f"timeout: allowed is {allowed}")
    return timeout
