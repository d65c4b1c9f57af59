"""A small HTTP/1.1 server on h11 and trio: bounded in every direction, and slow to nobody."""

import logging
from collections.abc import Callable
from contextlib import aclosing
from http import HTTPStatus
from urllib.parse import parse_qsl, unquote, urlsplit

import h11
import trio

from reknit.admin.http_messages import Handler, ProblemError, Request, Response, Stream

LOG = logging.getLogger("reknit")

MAX_HEAD = 16 * 1024  # bytes
MAX_BODY = 64 * 1024  # bytes
STRANGERS = 64  # connections at one time; for a further one the idlest gives way
KNOWN = 64  # connections at one time that have asked what not everybody may; so many more stay
PATIENCE = 20.0  # seconds for a client to send a request, and to take its answer

_ALWAYS = (
    (b"cache-control", b"no-store"),
    (b"x-content-type-options", b"nosniff"),
    (b"x-frame-options", b"DENY"),  # nobody may be led to click here from another page
)


class Places:
    """Who is connected: strangers have places of their own.

    There is always room for one more stranger, as a health check is one: the one that has said
    nothing for longest gives way. Who is known is never sent away.
    """

    def __init__(self) -> None:
        self._strangers: dict[Visitor, None] = {}  # the one that was heard of last at the end
        self._known: set[Visitor] = set()

    def enter(self, visitor: "Visitor") -> None:
        """A stranger has come."""
        if len(self._strangers) >= STRANGERS:
            idlest = next(iter(self._strangers))
            del self._strangers[idlest]
            idlest.scope.cancel()
        self._strangers[visitor] = None

    def hear(self, visitor: "Visitor") -> None:
        """It has sent something."""
        if visitor in self._strangers:
            del self._strangers[visitor]
            self._strangers[visitor] = None

    def know(self, visitor: "Visitor") -> None:
        """It may ask what not everybody may. While those places are taken it stays a stranger."""
        if len(self._known) < KNOWN:
            self._strangers.pop(visitor, None)
            self._known.add(visitor)

    def leave(self, visitor: "Visitor") -> None:
        """It has gone, or is sent away."""
        self._strangers.pop(visitor, None)
        self._known.discard(visitor)


class Visitor:
    """A connection, and what ends it."""

    __slots__ = ("connection", "scope", "stream")

    def __init__(self, stream: trio.abc.Stream) -> None:
        self.stream = stream
        self.connection = h11.Connection(h11.SERVER, max_incomplete_event_size=MAX_HEAD)
        self.scope = trio.CancelScope()


class Server:
    """Answers the requests of every connection by `handle`.

    `knows`: whether a request is of somebody who may ask what not everybody may.
    """

    def __init__(self, handle: Handler, knows: Callable[[Request], bool]) -> None:
        self._handle = handle
        self._knows = knows
        self._places = Places()

    async def serve(self, stream: trio.abc.Stream) -> None:
        """Serve one connection until either end closes it. Raises nothing but Cancelled."""
        visitor = Visitor(stream)
        self._places.enter(visitor)
        try:
            with visitor.scope:
                await self._converse(visitor)
        finally:
            self._places.leave(visitor)
            await trio.aclose_forcefully(stream)

    async def _converse(self, visitor: Visitor) -> None:
        connection, stream = visitor.connection, visitor.stream
        try:
            while await self._exchange(visitor):
                connection.start_next_cycle()
            with trio.move_on_after(1):  # closing at once could cost the client the answer
                if isinstance(stream, trio.SocketStream):
                    await stream.send_eof()
                while await stream.receive_some(4096):
                    pass
        except (OSError, trio.BrokenResourceError, trio.TooSlowError, h11.LocalProtocolError):
            pass  # the client is gone, or doesn't go on
        except Exception:
            LOG.exception("the admin listener lets a client go by an error of the proxy")

    async def _exchange(self, visitor: Visitor) -> bool:
        """One request and its answer; whether another may follow."""
        connection, stream = visitor.connection, visitor.stream
        try:
            with trio.fail_after(PATIENCE):
                request = await self._read_request(visitor)
            if request is None:
                return False
            if self._knows(request):
                self._places.know(visitor)
            response = await self._answer(request)
        except h11.RemoteProtocolError as error:
            response = ProblemError(error.error_status_hint, "bad_request", str(error)).response()
            await _send(connection, stream, response, (b"connection", b"close"))
            return False
        except ProblemError as problem:
            await _send(connection, stream, problem.response(), (b"connection", b"close"))
            return False
        if isinstance(response, Stream):
            await _send_parts(connection, stream, response, body=request.method != "HEAD")
            return False
        await _send(connection, stream, response, body=request.method != "HEAD")
        return connection.our_state is h11.DONE and connection.their_state is h11.DONE

    async def _read_request(self, visitor: Visitor) -> Request | None:
        """The next request; None if the client closes. Raises ProblemError, RemoteProtocolError."""
        connection, stream = visitor.connection, visitor.stream
        head: h11.Request | None = None
        body = b""
        while True:
            event = connection.next_event()
            if event is h11.NEED_DATA:
                if connection.they_are_waiting_for_100_continue:
                    go_on = h11.InformationalResponse(status_code=100, headers=[])
                    await stream.send_all(connection.send(go_on) or b"")
                data = bytes(await stream.receive_some(4096))
                self._places.hear(visitor)
                connection.receive_data(data)
            elif isinstance(event, h11.Request):
                head = event
            elif isinstance(event, h11.Data):
                body += event.data
                if len(body) > MAX_BODY:
                    raise ProblemError(413, "body_too_large", f"the body is over {MAX_BODY} bytes")
            elif isinstance(event, h11.EndOfMessage):
                assert head is not None  # h11 tells of it first
                return _request(head, body)
            else:  # ConnectionClosed, or PAUSED by an upgrade that we don't make
                return None

    async def _answer(self, request: Request) -> Response | Stream:
        try:
            return await self._handle(request)
        except ProblemError as problem:
            return problem.response()
        except Exception:
            LOG.exception("%s %s fails by an error of the proxy", request.method, request.path)
            return ProblemError(500, "internal", "an error of the proxy; see its log").response()


def _request(head: h11.Request, body: bytes) -> Request:
    headers: dict[str, str] = {}
    for name, value in head.headers:
        text = value.decode("latin-1")
        key = name.decode("ascii")
        headers[key] = f"{headers[key]}, {text}" if key in headers else text
    try:
        target = urlsplit(head.target.decode("ascii"))
        query = dict(parse_qsl(target.query, keep_blank_values=True, max_num_fields=100))
    except ValueError:
        raise ProblemError(400, "bad_target", "the request's target can't be read") from None
    return Request(head.method.decode("ascii"), unquote(target.path), query, headers, body)


async def _send(
    connection: h11.Connection,
    stream: trio.abc.Stream,
    response: Response,
    *more: tuple[bytes, bytes],
    body: bool = True,
) -> None:
    headers = [
        (b"content-type", response.content_type.encode("ascii")),
        (b"content-length", b"%d" % len(response.body)),
        *_ALWAYS,
        *((name.encode("ascii"), value.encode("latin-1")) for name, value in response.headers),
        *more,
    ]
    reason = HTTPStatus(response.status).phrase.encode("ascii")
    head = h11.Response(status_code=response.status, headers=headers, reason=reason)
    events = [head, h11.Data(data=response.body), h11.EndOfMessage()]
    if not body:
        del events[1]
    with trio.fail_after(PATIENCE):
        await stream.send_all(b"".join(connection.send(event) or b"" for event in events))


async def _send_parts(
    connection: h11.Connection, stream: trio.abc.Stream, response: Stream, *, body: bool
) -> None:
    """Send part by part until the client is gone, which only the next part can tell."""
    headers = [
        (b"content-type", response.content_type.encode("ascii")),
        *_ALWAYS,
        (b"connection", b"close"),
    ]
    head = h11.Response(status_code=200, headers=headers, reason=b"OK")
    async with aclosing(response.parts):
        with trio.fail_after(PATIENCE):
            await stream.send_all(connection.send(head) or b"")
        while body:
            part = await anext(response.parts)
            with trio.fail_after(PATIENCE):
                await stream.send_all(connection.send(h11.Data(data=part)) or b"")
