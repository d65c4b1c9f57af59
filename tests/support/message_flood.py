"""A sender without mercy: numbered messages, as fast as they are taken."""

from socket_bench import Bench
from websockets.asyncio.connection import Connection

MESSAGE_SIZE = 32 * 1024  # bytes
FLOOD = 3000  # messages: far more than a small queue and the system's buffers hold


class Flood:
    """Sends from the moment it is made; `task` ends when all is taken."""

    def __init__(self, bench: Bench, connection: Connection) -> None:
        self.sent = 0
        self._bench = bench
        self._connection = connection
        self.task = bench.spawn(self._run())

    async def _run(self) -> None:
        for number in range(FLOOD):
            await self._connection.send(number.to_bytes(4, "big") + bytes(MESSAGE_SIZE - 4))
            self.sent += 1

    async def held_back(self) -> None:
        """Wait until it gets no further, however often the proxy looks at its sockets."""
        before = -1
        while before < self.sent:
            before = self.sent
            await self._bench.turned()
        assert not self.task.done(), "the whole flood was taken"


async def receive_flood(connection: Connection) -> None:
    """Take the whole flood, each message once and in order."""
    for number in range(FLOOD):
        message = await connection.recv()
        assert isinstance(message, bytes)
        assert int.from_bytes(message[:4], "big") == number
        assert len(message) == MESSAGE_SIZE
