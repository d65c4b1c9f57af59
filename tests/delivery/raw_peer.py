"""An end that speaks WebSocket by hand, through wsproto: it answers Pings as a test wants."""

from collections import deque
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager

import trio
from wsproto import ConnectionType, WSConnection
from wsproto.events import AcceptConnection, Event, Ping, Request, TextMessage

READ_SIZE = 65536  # bytes
SESSION = "raw"


class RawPeer:
    """One WebSocket connection over a TCP stream."""

    def __init__(self, stream: trio.SocketStream, role: ConnectionType) -> None:
        self.stream = stream
        self._websocket = WSConnection(role)
        self._events: deque[Event] = deque()
        self._sending = trio.Lock()
        self._text = ""  # of a message that isn't complete yet

    async def send(self, event: Event) -> None:
        """Send a message or a control frame."""
        await self.send_frames(self._websocket.send(event))

    async def send_frames(self, frames: bytes) -> None:
        """Send frames that are bytes already."""
        async with self._sending:
            await self.stream.send_all(frames)

    async def receive(self) -> Event | None:
        """What comes next, Pings and Pongs too; None at the end of the stream, however it ends."""
        while not self._events:
            try:
                data = await self.stream.receive_some(READ_SIZE)
            except (trio.BrokenResourceError, trio.ClosedResourceError):
                return None
            if not data:
                return None
            self._websocket.receive_data(data)
            for event in self._websocket.events():
                self._take(event)
        return self._events.popleft()

    async def answer_pings(self) -> None:
        """Read to the end; answer every Ping, ignore all else."""
        while event := await self.receive():
            if isinstance(event, Ping):
                await self.send(event.response())

    def _take(self, event: Event) -> None:
        if isinstance(event, TextMessage):  # wsproto hands out what it has of a message
            self._text += event.data
            if not event.message_finished:
                return
            event, self._text = TextMessage(self._text), ""
        self._events.append(event)


class RawServer:
    """Hands each connection, its handshake done, to who asks for the next one."""

    def __init__(self) -> None:
        self.port = 0
        self._arrivals, self._waiting = trio.open_memory_channel[RawPeer](100)

    async def run(self, *, task_status: trio.TaskStatus[None]) -> None:
        """Serve until cancelled."""
        listeners = await trio.open_tcp_listeners(0, host="127.0.0.1")
        self.port = listeners[0].socket.getsockname()[1]
        task_status.started()
        await trio.serve_listeners(self._handle, listeners)

    async def next(self) -> RawPeer:
        """The next connection."""
        return await self._waiting.receive()

    async def _handle(self, stream: trio.SocketStream) -> None:
        peer = RawPeer(stream, ConnectionType.SERVER)
        if isinstance(await peer.receive(), Request):
            await peer.send(AcceptConnection())
            await self._arrivals.send(peer)
            await trio.sleep_forever()  # the stream is open for as long as this runs


@asynccontextmanager
async def raw_client(port: int, session: str = SESSION) -> AsyncIterator[RawPeer]:
    """A connection into that session."""
    stream = await trio.open_tcp_stream("127.0.0.1", port)
    async with stream:
        peer = RawPeer(stream, ConnectionType.CLIENT)
        await peer.send(Request("127.0.0.1", f"/?connection_id={session}"))
        assert isinstance(await peer.receive(), AcceptConnection)
        yield peer


async def proxy_turned(port: int, times: int = 10) -> None:
    """The proxy has looked at its sockets that often: it has answered so many others."""
    for _ in range(times):
        async with await trio.open_tcp_stream("127.0.0.1", port) as stream:
            await stream.send_all(b"no request\r\n\r\n")
            while await stream.receive_some():
                pass


def numbered(numbers: Iterable[int], size: int, *, masked: bool) -> bytes:
    """Text messages as frames, one a number, each padded to `size` (126 to 65535) bytes."""
    head = bytes((0x81, masked << 7 | 126)) + size.to_bytes(2, "big") + bytes(4 * masked)
    return b"".join(head + str(number).rjust(size).encode() for number in numbers)
