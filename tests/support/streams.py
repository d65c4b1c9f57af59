"""Numbered messages that flow while something else happens."""

import asyncio

from websockets.asyncio.connection import Connection

PAUSE = 0.02  # seconds between two messages of one sender


class Stream:
    """Numbered messages from one end to the other, until it is told to end."""

    def __init__(self, sender: Connection, receiver: Connection, size: int) -> None:
        self._sender = sender
        self._receiver = receiver
        self._filling = bytes(size)
        self._ending = False
        self.received = 0

    async def run(self) -> int:
        """How many arrived: each one once, and in order."""
        async with asyncio.TaskGroup() as group:
            sent = group.create_task(self._send())
            received = group.create_task(self._receive())
        assert received.result() == sent.result()
        return received.result()

    def end(self) -> None:
        self._ending = True

    async def _send(self) -> int:
        number = 0
        while not self._ending:
            await self._sender.send(number.to_bytes(4, "big") + self._filling)
            number += 1
            await asyncio.sleep(PAUSE)
        await self._sender.send("end")
        return number

    async def _receive(self) -> int:
        while (message := await self._receiver.recv()) != "end":
            assert isinstance(message, bytes)
            assert int.from_bytes(message[:4], "big") == self.received
            assert len(message) == 4 + len(self._filling)
            self.received += 1
        return self.received
