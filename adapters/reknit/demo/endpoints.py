"""The demo's two ends: they speak WebSocket through wsproto and count what they send and get."""

from collections import deque
from contextlib import suppress
from dataclasses import dataclass, field

import trio
from wsproto import ConnectionType, WSConnection
from wsproto.connection import ConnectionState
from wsproto.events import (
    AcceptConnection,
    CloseConnection,
    Event,
    Ping,
    Request,
    TextMessage,
)
from wsproto.typing import Headers
from wsproto.utilities import LocalProtocolError

HOST = "127.0.0.1"
RATE = 500  # numbers a second, in each direction
READ_SIZE = 65536  # bytes
RECEIVED = b"x-reconnect-received"


@dataclass(slots=True)
class Flow:
    """The numbers 1, 2, 3, … in one direction: what was sent, and what came of it."""

    name: str
    next: int = 1
    sent: int = 0
    received: int = 0
    repeated: int = 0
    reordered: int = 0
    gaps: int = 0  # how often one or more numbers were missing
    highest: int = 0
    stopped: bool = False
    counted: bool = False  # whether both ends name how many numbers they have received
    _seen: set[int] = field(default_factory=set)

    @property
    def lost(self) -> int:
        """Numbers that were sent and never came; while it runs, those on their way too."""
        return self.sent - len(self._seen)

    @property
    def waiting(self) -> int:
        """Numbers that are behind the newest one that came."""
        return self.sent - self.highest

    def went(self) -> None:
        """The next number is in the sender's socket."""
        self.sent = max(self.sent, self.next)
        self.next += 1

    def arrived(self, number: int) -> None:
        """Count one number at the receiving end."""
        self.received += 1
        if number in self._seen:
            self.repeated += 1
        elif number < self.highest:
            self.reordered += 1
        elif number > self.highest + 1:
            self.gaps += 1
        self._seen.add(number)
        self.highest = max(self.highest, number)


def count_of(flow: Flow) -> list[tuple[bytes, bytes]]:
    """The header by which a receiver that counts says where to go on."""
    return [(RECEIVED, str(flow.received).encode())] if flow.counted else []


def go_back(flow: Flow, headers: Headers) -> None:
    """A sender that counts goes on after the last number that the proxy has taken."""
    for name, value in headers:
        if flow.counted and bytes(name).lower() == RECEIVED:
            flow.next = int(value) + 1


class Peer:
    """One WebSocket connection over a TCP stream."""

    def __init__(self, stream: trio.SocketStream, role: ConnectionType) -> None:
        self._stream = stream
        self._websocket = WSConnection(role)
        self._events: deque[Event] = deque()
        self._writing = trio.Lock()

    async def send(self, event: Event) -> None:
        """Send one message or control frame.

        Raises trio.BrokenResourceError where the connection is gone, or a Close frame is out.
        """
        async with self._writing:
            try:
                data = self._websocket.send(event)
            except LocalProtocolError as error:
                raise trio.BrokenResourceError from error
            await self._stream.send_all(data)

    async def next_event(self) -> Event | None:
        """What the other end sent next; None at the end of the stream."""
        while not self._events:
            try:
                data = await self._stream.receive_some(READ_SIZE)
            except trio.BrokenResourceError:
                return None
            if not data:
                return None
            self._websocket.receive_data(data)
            self._events.extend(self._websocket.events())
        return self._events.popleft()

    async def exchange(self, outgoing: Flow, incoming: Flow) -> None:
        """Send one flow's numbers and take the other's, until the connection ends."""
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._pump, outgoing)
            await self._take(incoming)
            nursery.cancel_scope.cancel()

    async def _pump(self, flow: Flow) -> None:
        due = trio.current_time()
        while not flow.stopped:
            try:
                await self.send(TextMessage(str(flow.next)))
            except trio.BrokenResourceError:
                return
            flow.went()
            due += 1 / RATE
            await trio.sleep_until(due)

    async def _take(self, flow: Flow) -> None:
        text = ""
        while event := await self.next_event():
            match event:
                case TextMessage():
                    text += event.data
                    if event.message_finished:
                        flow.arrived(int(text))
                        text = ""
                case Ping():
                    await self.answer(event.response())
                case CloseConnection():
                    if self._websocket.state is ConnectionState.REMOTE_CLOSING:
                        await self.answer(event.response())
                    return

    async def answer(self, event: Event) -> None:
        """Send that, if the connection still takes it."""
        with suppress(trio.BrokenResourceError):  # the end of stream is seen next
            await self.send(event)


class DemoServer:
    """The server's process: it can be killed and started again, on the same port."""

    def __init__(self, outgoing: Flow, incoming: Flow) -> None:
        self.port = 0
        self.connections = 0
        self._outgoing = outgoing
        self._incoming = incoming
        self._life = trio.CancelScope()

    async def live(self, *, task_status: trio.TaskStatus[None]) -> None:
        """Serve until killed; started when it listens."""
        with trio.CancelScope() as self._life:
            listeners = await trio.open_tcp_listeners(self.port, host=HOST)
            self.port = listeners[0].socket.getsockname()[1]
            task_status.started()
            await trio.serve_listeners(self._handle, listeners)

    def kill(self) -> None:
        """As `kill -9`: no Close frame; the system closes the sockets."""
        self._life.cancel()

    async def _handle(self, stream: trio.SocketStream) -> None:
        peer = Peer(stream, ConnectionType.SERVER)
        request = await peer.next_event()
        if isinstance(request, Request):
            go_back(self._outgoing, request.extra_headers)
            await peer.send(AcceptConnection(extra_headers=count_of(self._incoming)))
            self.connections += 1
            await peer.exchange(self._outgoing, self._incoming)


class DemoClient:
    """The client's app: it comes back into its session after its connection was cut."""

    def __init__(self, outgoing: Flow, incoming: Flow) -> None:
        self.port = 0  # the proxy's
        self.connections = 0
        self.surprises = 0  # connections that ended though nobody cut them
        self._session = b""
        self._outgoing = outgoing
        self._incoming = incoming
        self._life = trio.CancelScope()
        self._peer: Peer | None = None
        self._leaving = False

    async def live(self, *, task_status: trio.TaskStatus[None]) -> None:
        """Connect, or come back, and stay until cut; started when the proxy has accepted."""
        with trio.CancelScope() as self._life:
            stream = await trio.open_tcp_stream(HOST, self.port)
            async with stream:
                peer = self._peer = Peer(stream, ConnectionType.CLIENT)
                resume = [(b"x-reconnect", b"true")]  # it is waited for
                if self._session:
                    resume = [(b"x-reconnect-id", self._session), *count_of(self._incoming)]
                await peer.send(Request(HOST, "/", extra_headers=resume))
                answer = await peer.next_event()
                if isinstance(answer, AcceptConnection):
                    go_back(self._outgoing, answer.extra_headers)
                    self._session = bytes(dict(answer.extra_headers)[b"x-connection-id"])
                    self.connections += 1
                    task_status.started()
                    await peer.exchange(self._outgoing, self._incoming)
        if not self._life.cancel_called and not self._leaving:
            self.surprises += 1

    def cut(self) -> None:
        """The connection ends without a Close frame, as when its process dies."""
        self._life.cancel()

    async def leave(self) -> None:
        """End the session on purpose."""
        self._leaving = True
        if self._peer is not None:
            await self._peer.answer(CloseConnection(code=1000))
