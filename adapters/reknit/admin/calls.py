"""Sessions one by one: listed, shown, closed, drained, and cut for tests."""

from collections.abc import Callable, Mapping
from heapq import nlargest, nsmallest
from logging import INFO

import trio
from reknit_core.codes import GOING_AWAY
from reknit_core.events import ConnectionLost, Event, Shutdown
from reknit_core.lifecycle import State
from reknit_core.proxy.drain import FAREWELL
from reknit_core.side import Side
from reknit_core.telemetry.account import address_of, age_of, path_of
from reknit_core.telemetry.detail import Detail, attempts, detail

from reknit.admin.http_messages import ProblemError, Request, Response, json_response
from reknit.admin.router import Route
from reknit.observe.logs import tell
from reknit.observe.reports import label_of
from reknit.trio.links import Link
from reknit.trio.reactor import Reactor
from reknit.trio.sessions import Sessions

PAGE = 100  # sessions, unless a request asks for another number
MAX_PAGE = 1000
MAX_REASON = 123  # bytes of a Close frame's reason (RFC 6455, section 5.5)


class SessionCalls:
    """Answers what is asked about sessions, and does what is asked of them."""

    def __init__(self, sessions: Sessions, reactor: Reactor) -> None:
        self._sessions = sessions
        self._reactor = reactor

    def routes(self) -> tuple[Route, ...]:
        """Their paths."""
        return (
            Route("GET", "/sessions", self.list),
            Route("POST", "/sessions/find", self.find),
            Route("GET", "/sessions/{session}", self.show),
            Route("POST", "/sessions/{session}/close", self.close),
            Route("POST", "/sessions/{session}/drain", self.drain),
            Route("POST", "/sessions/{session}/cut", self.cut),
        )

    async def list(self, request: Request) -> Response:
        """A page of sessions in the order of their names; `next` is the following one's cursor.

        `session` is what a name begins with. `sort` has the largest first, by one of ORDERS; the
        cursor is how many come before then.
        """
        state = _state(request)
        limit = limit_of(request)
        cursor = request.query.get("cursor", "")
        begins = request.query.get("session", "")
        now = trio.current_time()
        fitting = (
            link
            for link in self._sessions
            if link.label.startswith(begins) and state in (None, link.context.state)
        )
        if (order := order_of(request)) is not None:
            passed = passed_of(request)
            most = nlargest(passed + limit + 1, fitting, key=lambda link: order(link, now))
            page = most[passed:]
            following = str(passed + limit) if len(page) > limit else None
        else:
            behind = (link for link in fitting if link.label > cursor)
            page = nsmallest(limit + 1, behind, key=lambda link: link.label)
            following = page[limit - 1].label if len(page) > limit else None
        shown = [_summary(link, now) for link in page[:limit]]
        return json_response({"sessions": shown, "next": following})

    async def find(self, request: Request) -> Response:
        """The session of a connection id, which stands in the body: no log has it from there."""
        connection_id = request.document().get("connection_id")
        if not isinstance(connection_id, str):
            raise ProblemError(400, "bad_id", "connection_id: allowed is text")
        link = self._sessions.find(label_of(connection_id, self._sessions.key))
        if link is None:
            raise no_session()
        return json_response(_summary(link, trio.current_time()))

    async def show(self, request: Request) -> Response:
        """All about one session."""
        link, now = find_link(self._sessions, request), trio.current_time()
        context = link.context
        client, server = detail(context, Side.CLIENT), detail(context, Side.SERVER)
        document = {
            **_summary(link, now),
            "client": _leg(client),
            "server": {
                **_leg(server),
                "attempt": attempts(context),
                "name": context.server_name or None,
            },
            "to_client": _queue(link, Side.CLIENT, client, now),
            "to_server": _queue(link, Side.SERVER, server, now),
            "trace": link.recent.lines() if link.recent else [],
        }
        return json_response(document)

    async def close(self, request: Request) -> Response:
        """End a session: both ends get the code and the reason, behind what waits for them."""
        return self._end(request, "close", Shutdown(GOING_AWAY, "closed by the operator"))

    async def drain(self, request: Request) -> Response:
        """End a session with a code by which clients come back, to another proxy."""
        return self._end(request, "drain", FAREWELL)

    async def cut(self, request: Request) -> Response:
        """Break a leg's connection, as a network would."""
        link = find_link(self._sessions, request)
        side = _side(request)
        if (link.client if side is Side.CLIENT else link.server) is None:
            raise ProblemError(409, "not_connected", f"the {side.value} is not connected")
        lost = ConnectionLost(side, detail(link.context, side).generation, "cut by the operator")
        steer(self._reactor, link, f"cut {side.value}", lost)
        return json_response(_summary(link, trio.current_time()))

    def _end(self, request: Request, call: str, default: Shutdown) -> Response:
        link = find_link(self._sessions, request)
        document = request.document()
        code = _code(document, default.code)
        server_code = default.server_code if code == default.code else None
        event = Shutdown(code, _reason(document, default.reason), server_code)
        steer(self._reactor, link, call, event)
        return json_response(_summary(link, trio.current_time()))


def find_link(sessions: Sessions, request: Request) -> Link:
    """The session that the request's path names. Raises ProblemError."""
    link = sessions.find(request.params["session"])
    if link is None:
        raise no_session()
    return link


def no_session() -> ProblemError:
    """It is not here."""
    return ProblemError(404, "unknown_session", "there is no such session, or it has ended")


def steer(reactor: Reactor, link: Link, call: str, event: Event) -> None:
    """Let what the operator calls for happen to a session, and say so in the log."""
    text = "%(session)s %(call)s by the operator"
    tell(INFO, "operator", text, session=link.label, state=link.context.state.value, call=call)
    reactor.handle(link, event, trio.current_time())


# -- What is shown -----------------------------------------------------------------------------


def _summary(link: Link, now: float) -> dict[str, object]:
    recent, context = link.recent, link.context
    return {
        "session": link.label,
        "state": context.state.value,
        "address": address_of(context),
        "path": path_of(context),
        "dialect": context.dialect,
        "state_seconds": round(now - recent.since, 3) if recent else None,
        "age_seconds": round(age_of(context, now), 3),
        "waiting_bytes": {
            "client": detail(context, Side.CLIENT).waiting_bytes,
            "server": detail(context, Side.SERVER).waiting_bytes,
        },
    }


def _leg(side: Detail) -> dict[str, object]:
    return {"phase": side.phase, "generation": side.generation}


def _queue(link: Link, side: Side, seen: Detail, now: float) -> dict[str, object]:
    """What goes to that side."""
    return {
        "messages": seen.messages,
        "dropped_messages": seen.dropped_messages,
        "waiting_bytes": seen.waiting_bytes,
        "unconfirmed_bytes": seen.unconfirmed_bytes,
        "unconfirmed_messages": seen.unconfirmed_messages,
        "waited_seconds": (
            round(link.recent.waited(link.context, side, now), 3) if link.recent else None
        ),
    }


# -- What is asked for -------------------------------------------------------------------------


def _state(request: Request) -> State | None:
    text = request.query.get("state")
    try:
        return None if text is None else State(text)
    except ValueError:
        names = ", ".join(state.value for state in State)
        raise ProblemError(400, "bad_state", f"unknown state; allowed: {names}") from None


def limit_of(request: Request) -> int:
    """How many sessions a page is to have. Raises ProblemError."""
    text = request.query.get("limit", str(PAGE))
    if not (text.isascii() and text.isdecimal() and len(text) < 9 and 1 <= int(text) <= MAX_PAGE):
        raise ProblemError(400, "bad_limit", f"limit: allowed is 1 to {MAX_PAGE}")
    return int(text)


def _in_state(link: Link, now: float) -> float:
    return now - link.recent.since if link.recent else 0.0


ORDERS: Mapping[str, Callable[[Link, float], float]] = {
    "age_seconds": lambda link, now: age_of(link.context, now),
    "state_seconds": _in_state,
    "to_client": lambda link, _: detail(link.context, Side.CLIENT).waiting_bytes,
    "to_server": lambda link, _: detail(link.context, Side.SERVER).waiting_bytes,
}
"""By what sessions may be sorted."""


def order_of(request: Request) -> Callable[[Link, float], float] | None:
    """By what; None: by their names. Raises ProblemError."""
    name = request.query.get("sort")
    if name is not None and name not in ORDERS:
        raise ProblemError(400, "bad_sort", f"sort: allowed is {', '.join(ORDERS)}")
    return None if name is None else ORDERS[name]


def passed_of(request: Request) -> int:
    """How many sessions of an order come before the page. Raises ProblemError."""
    text = request.query.get("cursor", "") or "0"
    if not (text.isascii() and text.isdecimal() and len(text) < 9):
        raise ProblemError(400, "bad_cursor", "cursor: allowed is a number, where sort is given")
    return int(text)


def _side(request: Request) -> Side:
    leg = request.document().get("leg")
    if leg not in ("client", "server"):
        raise ProblemError(400, "bad_leg", 'leg: allowed is "client" or "server"')
    return Side(leg)


def _code(document: Mapping[str, object], default: int) -> int:
    code = document.get("code", default)
    if type(code) is not int or not (code in (1000, 1001, 1008, 1011, 1012, 1013) or _own(code)):
        allowed = "1000, 1001, 1008, 1011, 1012, 1013, or 3000 to 4999"
        raise ProblemError(400, "bad_code", f"code: allowed is {allowed}")
    return code


def _own(code: int) -> bool:
    return 3000 <= code <= 4999  # RFC 6455, section 7.4.2


def _reason(document: Mapping[str, object], default: str) -> str:
    reason = document.get("reason", default)
    problem = f"reason: allowed is text of at most {MAX_REASON} bytes"
    try:
        if isinstance(reason, str) and len(reason.encode()) <= MAX_REASON:
            return reason
    except UnicodeEncodeError:
        pass
    raise ProblemError(400, "bad_reason", problem)
