"""A bad network: a relay between two ports whose connections a test cuts."""

import asyncio
import socket
import struct
from typing import Self

_LINGER = struct.pack("ii", 1, 0)
_READ = 65536  # bytes


class BadLink:
    """Relays each connection to `port`, until it is cut. While it is away it takes none."""

    def __init__(self, port: int) -> None:
        self.to = port
        self.port = 0
        self.cuts = 0
        """How often connections were cut off."""
        self.is_away = False
        self._listener: asyncio.Server | None = None
        self._passing: set[asyncio.Task[None]] = set()
        self._flowing = asyncio.Event()
        self._flowing.set()

    async def __aenter__(self) -> Self:
        self._listener = await asyncio.start_server(self._relay, "127.0.0.1", 0)
        self.port = self._listener.sockets[0].getsockname()[1]
        return self

    async def __aexit__(self, *exception: object) -> None:
        assert self._listener is not None
        self._listener.close()
        passing = list(self._passing)
        for task in passing:
            task.cancel()
        await asyncio.gather(*passing, return_exceptions=True)

    def cut(self, *, away: bool = False) -> None:
        """End every connection by a reset on both sides; with `away`, until it is mended."""
        self.cuts += bool(self._passing)
        self.is_away = away
        self._flowing.set()
        for task in self._passing:
            task.cancel()

    @property
    def is_used(self) -> bool:
        """Whether there is a connection to cut."""
        return bool(self._passing)

    def swallow(self) -> None:
        """From here on nothing passes, and nobody is told; until it is cut."""
        self._flowing.clear()

    def mend(self) -> None:
        """Connections pass again."""
        self.is_away = False

    async def _relay(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if self.is_away:
            _reset(writer)
            return
        task = asyncio.current_task()
        assert task is not None
        self._passing.add(task)
        writers = [writer]
        try:
            far_reader, far_writer = await asyncio.open_connection("127.0.0.1", self.to)
            writers.append(far_writer)
            passing = (self._pass(reader, far_writer), self._pass(far_reader, writer))
            await asyncio.gather(*passing, return_exceptions=True)
        except (OSError, asyncio.CancelledError):
            pass  # there is nobody there, or it is cut
        finally:
            self._passing.discard(task)
            for one in writers:
                _reset(one)

    async def _pass(self, source: asyncio.StreamReader, target: asyncio.StreamWriter) -> None:
        while data := await source.read(_READ):
            await self._flowing.wait()
            target.write(data)
            await target.drain()
        if target.can_write_eof():
            target.write_eof()


def _reset(writer: asyncio.StreamWriter) -> None:
    """End a connection at once; what has passed so far is not taken back."""
    if not writer.transport.is_closing():
        sock = writer.get_extra_info("socket")
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _LINGER)
    writer.transport.abort()
