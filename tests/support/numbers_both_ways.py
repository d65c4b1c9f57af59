"""Ends that count and send each other numbers: nothing may be lost, repeated or moved."""

import asyncio

from counting_server import Session
from reknit.resume import ResumingClient

PAUSE = 0.004  # seconds between two messages of one sender


class Numbers:
    """One session's ends, which send each other numbers."""

    def __init__(self, client: ResumingClient, session: Session) -> None:
        self._client = client
        self._session = session
        self.sent = 0
        self._received: list[str] = []
        self._ending = False

    async def run(self) -> tuple[int, int]:
        """How many went each way: each one once, and in order."""
        async with asyncio.TaskGroup() as group:
            group.create_task(self._send())
            group.create_task(self._receive())
        while self._session.received[-1:] != ["end"]:
            await asyncio.sleep(PAUSE)
        expected = [str(number) for number in range(self.sent)]
        assert self._session.received == [*expected, "end"]
        assert self._received == self._session.said[:-1]
        return self.sent, len(self._received)

    def end(self) -> None:
        self._ending = True

    async def _send(self) -> None:
        while not self._ending:
            await self._client.send(str(self.sent))
            self._session.say(f"to you {self.sent}")
            self.sent += 1
            await asyncio.sleep(PAUSE)
        self._session.say("end")
        await self._client.send("end")

    async def _receive(self) -> None:
        while (message := await self._client.recv()) != "end":
            self._received.append(str(message))
