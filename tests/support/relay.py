"""A relay between two ends that cuts what it passes, or holds it."""

import asyncio
import contextlib
import socket
import struct


class Relay:
    """Passes bytes between a port of its own and another; it can cut what it passes, or hold it."""

    def __init__(self, port: int) -> None:
        self._to = port
        self._writers: set[asyncio.StreamWriter] = set()
        self._tasks: set[asyncio.Task[None]] = set()
        self._server: asyncio.Server | None = None
        self._holds = asyncio.Event()
        self.holding = asyncio.Event()
        """Whether a connection is held: nothing comes from the server but its handshake."""
        self._holds.set()
        self.port = free_port()

    async def listen(self) -> None:
        """Take connections, until `refuse`."""
        self._server = await asyncio.start_server(self._accept, "127.0.0.1", self.port)

    async def close(self) -> None:
        """Take none, and end all."""
        self.refuse()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    def refuse(self) -> None:
        """Take none, as where nobody listens."""
        if self._server is not None:
            self._server.close()

    def cut(self) -> None:
        """Reset all connections."""
        for writer in self._writers:
            sock = writer.get_extra_info("socket")
            with contextlib.suppress(OSError):  # it is closed meanwhile
                sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            writer.transport.abort()

    def hold(self) -> None:
        """The next connection gets the answer to its handshake and nothing else."""
        self._holds.clear()
        self.holding.clear()

    def let_go(self) -> None:
        """Hold nothing."""
        self._holds.set()

    def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.ensure_future(self._relay(reader, writer))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _relay(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            to_reader, to_writer = await asyncio.open_connection("127.0.0.1", self._to)
        except OSError:
            writer.transport.abort()
            return
        both = {writer, to_writer}
        self._writers |= both
        held = not self._holds.is_set()
        passing = [
            asyncio.ensure_future(self._pass(reader, to_writer, held=False)),
            asyncio.ensure_future(self._pass(to_reader, writer, held=held)),
        ]
        try:
            await asyncio.wait(passing, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for each in passing:
                each.cancel()
            self._writers -= both
            for each_writer in both:
                each_writer.close()

    async def _pass(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, *, held: bool
    ) -> None:
        with contextlib.suppress(OSError):
            while data := await reader.read(65536):
                head, blank, rest = data.partition(b"\r\n\r\n")
                if held:
                    writer.write(head + blank)
                    self.holding.set()
                    await self._holds.wait()
                    held, data = False, rest
                writer.write(data)
                await writer.drain()


def free_port() -> int:
    """A port that nobody listens at."""
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        port: int = sock.getsockname()[1]
        return port
