"""For an ASGI server behind the proxy: each message of a client exactly once.

    app = FastAPI()
    app.add_middleware(CountReceived)

It counts the messages that the application receives in each session, and says the count when the
proxy dials again, so that the proxy continues with the next message. What the application has not
received from a session's earlier connection is left out: it comes again on the new one.

The promise holds for as long as the process lives. To keep it over a restart, the application
stores what it does and says by `handled` how many messages of a session it has stored.
"""

from collections.abc import Awaitable, Callable, MutableMapping
from inspect import isawaitable
from math import inf
from time import monotonic
from typing import Any

Scope = MutableMapping[str, Any]
Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
Application = Callable[[Scope, Receive, Send], Awaitable[None]]
Handled = Callable[[str], int | Awaitable[int]]

_REPLACED = {"type": "websocket.disconnect", "code": 1006, "reason": "the proxy has dialled again"}


class _Session:
    """One connection of a session: `count` goes on where the one before stood.

    `ended`: when that connection ended (seconds).
    """

    __slots__ = ("count", "ended")

    def __init__(self, count: int) -> None:
        self.count = count
        self.ended = inf


class CountReceived:
    """ASGI middleware. Anything but a WebSocket through the proxy passes unchanged.

    `handled`: how many messages of a session are handled for good, by its id; asked where this
    process knows nothing of the session. `keep`: seconds for which one is remembered after its
    last connection; longer than the proxy tries to come back.
    """

    def __init__(
        self, app: Application, *, handled: Handled = lambda _: 0, keep: float = 600.0
    ) -> None:
        self._app = app
        self._handled = handled
        self._keep = keep
        self._sessions: dict[str, _Session] = {}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one connection."""
        headers = dict(scope["headers"]) if scope["type"] == "websocket" else {}
        name = headers.get(b"x-connection-id", b"").decode("latin-1")
        if not name:
            await self._app(scope, receive, send)
            return
        session = await self._begin(name, is_return=headers.get(b"x-reconnect") == b"true")

        async def counted() -> Message:
            message = await receive()
            if self._sessions.get(name) is not session:
                return dict(_REPLACED)
            session.count += message["type"] == "websocket.receive"
            return message

        async def said(message: Message) -> None:
            if message["type"] == "websocket.accept":
                count = (b"x-reconnect-received", str(session.count).encode())
                message = {**message, "headers": [*message.get("headers", ()), count]}
            await send(message)

        try:
            await self._app(scope, counted, said)
        finally:
            session.ended = monotonic()

    async def _begin(self, name: str, *, is_return: bool) -> _Session:
        """The session's next connection: from here on the one before brings nothing more."""
        self._forget_old()
        before = self._sessions.pop(name, None)
        if not is_return:
            count = 0
        elif before is not None:
            count = before.count
        else:
            stored = self._handled(name)
            count = await stored if isawaitable(stored) else stored
        session = self._sessions[name] = _Session(count)
        return session

    def _forget_old(self) -> None:
        """Look at the first few: each new session makes room for itself."""
        limit = monotonic() - self._keep
        for name in [*self._sessions][:2]:
            if self._sessions[name].ended < limit:
                del self._sessions[name]
