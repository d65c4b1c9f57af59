"""A client, the proxy's part, and servers that die: whole conversations over a lossy world.

A server is strict: what it may not hear raises. It reads some of what has arrived, and what it
has not read, or not yet said, is gone with it. The position from which the queue is sent again is
anything that has arrived, as Pongs say it, or more, as answers do.
"""

from collections import deque
from collections.abc import Iterable
from random import Random
from typing import Protocol

from reknit_core.dialect.interpreter import Interpreter
from reknit_core.dialect.registry import registry
from reknit_core.dialect.speech import Message


class Server(Protocol):
    """A strict server. `greeting`: what it says at first, if anything."""

    greeting: bytes

    def hear(self, data: bytes) -> Iterable[bytes]:
        """The next bytes; its answers. Raises AssertionError for what it may not hear."""


class World:
    """One session, from its first server to the last."""

    def __init__(self, dialect: str, servers: type[Server], random: Random) -> None:
        conversation = registry().find(dialect).converse()
        assert conversation is not None
        self.interpreter = Interpreter(conversation, 1 << 20)
        self.heard = bytearray()  # by the client
        self._random = random
        self._servers = servers
        self._queue: list[tuple[int, Message]] = []  # with the ends
        self._end = self._base = self._sent = 0
        self.server: Server | None = None
        self._arrived: deque[bytes] = deque()
        self._answers: deque[bytes] = deque()
        self._begin()

    def play(self, stream: list[bytes], losses: float) -> None:
        """The client says all this, cut anywhere; servers die so often."""
        left = deque(self._cut(stream))
        while left:
            if self._random.random() < 0.3:
                self._say(left.popleft())
            self._step(losses)
        for _ in range(10_000):
            self._step(0)
            if self._is_at_rest:
                return
        raise AssertionError("it never comes to rest")

    @property
    def _is_at_rest(self) -> bool:
        is_sent = self.server is not None and self._sent == self._end
        return is_sent and not (self._arrived or self._answers or self.interpreter.is_reopening)

    def _cut(self, stream: list[bytes]) -> Iterable[bytes]:
        for unit in stream:
            place = self._random.randrange(len(unit) * 2)
            yield from (unit[:place], unit[place:]) if 0 < place < len(unit) else (unit,)

    def _say(self, data: bytes) -> None:
        end = self._end + len(data)
        away = self.server is None
        verdict = self.interpreter.from_client(Message(data, False), end, server_away=away)
        if verdict.reply is not None:
            self.heard += verdict.reply.data
        if verdict.passes is not None:
            self._queue.append((end, verdict.passes))
            self._end = end

    def _step(self, losses: float) -> None:
        if self.server is None:
            if self._random.random() < 0.5:
                self._reopen()
            return
        if self._random.random() < losses:
            self._lose()
            return
        self._send()
        for _ in range(self._random.randrange(4)):
            if self._arrived:
                self._answers.extend(self.server.hear(self._arrived.popleft()))
        for _ in range(self._random.randrange(4)):
            if self._answers:
                self._pass(self._answers.popleft())

    def _send(self) -> None:
        self._arrived.extend(word.data for word in self.interpreter.words())
        for end, message in self._queue:
            if self._sent < end <= self.interpreter.hold:
                self._arrived.append(message.data)
                self._sent = end
        if self._random.random() < 0.2:
            self._confirm()

    def _pass(self, data: bytes) -> None:
        verdict = self.interpreter.from_server(Message(data, False), client_away=False)
        assert not verdict.falls_back
        if verdict.passes is not None:
            self.heard += verdict.passes.data

    def _confirm(self) -> None:
        """A Pong, or an answer."""
        ends = [self._base, *(end for end, _ in self._queue if self._base < end <= self._sent)]
        self._base = max(self._random.choice(ends), self.interpreter.confirmed)
        self._queue = [each for each in self._queue if each[0] > self._base]
        self.interpreter.heard_to(self._base)

    def _lose(self) -> None:
        self._confirm()
        self.server = None
        self._arrived.clear()
        self._answers.clear()
        self.interpreter.server_lost()
        assert not self.interpreter.is_lost

    def _reopen(self) -> None:
        assert self.interpreter.reopen(self._base, repeats=True) == []
        assert not self.interpreter.is_lost
        self._sent = self._base
        self._begin()

    def _begin(self) -> None:
        self.server = self._servers()
        if self.server.greeting:
            self._answers.append(self.server.greeting)
