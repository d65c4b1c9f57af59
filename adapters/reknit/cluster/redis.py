"""A connection to Redis or Valkey: hiredis packs commands and parses answers, this carries them.

Commands go out at once, those of one call in one piece. Answers come in the same order, each within
LIMIT: one that doesn't ends the connection, as then nobody knows what has been carried out.
"""

from collections import deque
from collections.abc import Iterable
from contextlib import suppress

import hiredis
import trio
from reknit_core.wire.reasons import reason_of, shortened

from reknit.sockets.stream_socket import StreamSocket

LIMIT = 0.5  # seconds for the answer to a command
_PASSING = ("LOADING", "MASTERDOWN", "BUSY", "TRYAGAIN")  # errors that go by themselves
LOOK = 0.1  # seconds between two looks whether one is late
READ_SIZE = 256 * 1024  # bytes

Words = tuple[bytes | str | int | memoryview, ...]
"""A command, and what it is about."""
Reply = bytes | int | None | hiredis.ReplyError | list["Reply"]


class RedisError(Exception):
    """The store can't be used: why, for people. `is_final`: that doesn't change by itself."""

    def __init__(self, reason: str, *, is_final: bool = False) -> None:
        super().__init__(reason)
        self.is_final = is_final


class Batch:
    """Commands that went out in one piece, and the answers to them so far."""

    __slots__ = ("count", "replies", "sent_at", "woken")

    def __init__(self, count: int) -> None:
        self.count = count
        self.sent_at = trio.current_time()
        self.replies: list[Reply] = []
        self.woken: trio.Event | None = None  # set when whoever waits for it is to look again

    def wake(self) -> bool:
        """Let who waits for it look again; False if nobody waits for it beside who reads."""
        woken, self.woken = self.woken, None
        if woken is not None:
            woken.set()
        return woken is not None


class Redis:
    """One that stands, on `sock`. Those who wait for answers read them for all; nobody else does.

    `lost`: set once it is broken, for the `reason`.
    """

    def __init__(self, sock: StreamSocket) -> None:
        self._sock = sock
        self._parser = hiredis.Reader()
        self._waiting: deque[Batch] = deque()  # for answers, in order
        self._unsent = b""
        self._is_read = False
        self.lost = trio.Event()
        self.reason = ""

    def send(self, commands: Iterable[Words]) -> Batch:
        """Let these go out. If it is broken, answers() says so."""
        # Its types speak of commands with one word only.
        packed = [hiredis.pack_command(command) for command in commands]  # type: ignore[arg-type]
        batch = Batch(len(packed))
        if not packed or self.lost.is_set():
            return batch
        self._waiting.append(batch)
        self._unsent += b"".join(packed)
        try:
            self._flush()
        except BlockingIOError:
            pass  # who waits for the answer goes on
        except OSError as error:
            self.close(reason_of(error))
        return batch

    async def answers(self, batch: Batch) -> list[Reply]:
        """The answers to these, as soon as all have come. Raises RedisError."""
        if len(batch.replies) < batch.count:
            await self._wait(batch)
        if len(batch.replies) < batch.count:
            raise RedisError(self.reason)
        return batch.replies

    async def ask(self, *commands: Words) -> list[Reply]:
        """Send these, and return the answers to them, none of which is an error.

        Raises RedisError.
        """
        replies = await self.answers(self.send(commands))
        for reply in replies:
            if isinstance(reply, hiredis.ReplyError):
                raise refused(reply)
        return replies

    async def watch(self) -> None:
        """End it when an answer is late: one task for all of them, as a sweep has no time to lose.

        Returns when it is broken.
        """
        while not self.lost.is_set():
            with trio.move_on_after(LOOK):
                await self.lost.wait()
            if self._is_late():  # unless it is this process that was late
                self._read()
                if self._is_late():
                    self.close(f"no answer for {LIMIT:g} seconds")

    def _is_late(self) -> bool:
        return bool(self._waiting) and trio.current_time() > self._waiting[0].sent_at + LIMIT

    def close(self, reason: str) -> None:
        """It is broken, or of no use any more."""
        if self.lost.is_set():
            return
        self.reason = reason
        trio.lowlevel.notify_closing(self._sock.fileno())
        self._sock.close()
        self.lost.set()
        for batch in self._waiting:
            batch.wake()
        self._waiting.clear()

    def _flush(self) -> None:
        rest = memoryview(self._unsent)
        try:
            while rest:
                rest = rest[self._sock.send(rest) :]
        finally:
            self._unsent = bytes(rest)

    async def _wait(self, batch: Batch) -> None:
        """Read, or wait for another task that reads, until all of it has come."""
        while len(batch.replies) < batch.count and not self.lost.is_set():
            if self._is_read:
                if batch.woken is None:
                    batch.woken = trio.Event()
                await batch.woken.wait()
                continue
            self._is_read = True
            try:
                await self._read_until(batch)
            finally:
                self._is_read = False
                for waiting in self._waiting:  # it is the next one's turn to read
                    if waiting.wake():
                        break

    async def _read_until(self, batch: Batch) -> None:
        try:
            while len(batch.replies) < batch.count and not self.lost.is_set():
                if self._unsent:
                    await trio.lowlevel.wait_writable(self._sock.fileno())
                    self._try_flush()
                    continue
                await trio.lowlevel.wait_readable(self._sock.fileno())
                self._read()
        except OSError as error:
            self.close(reason_of(error))
        except trio.ClosedResourceError:
            pass  # close() has said why

    def _read(self) -> None:
        """Take what has come, if it isn't broken meanwhile."""
        if self.lost.is_set():
            return
        try:
            data = self._sock.recv(READ_SIZE)
            if not data:
                self.close("it has closed the connection")
                return
            self._parser.feed(data)
            self._take()
        except BlockingIOError:
            pass
        except OSError as error:
            self.close(reason_of(error))
        except hiredis.ProtocolError:
            self.close("what it answers is not the protocol of Redis")

    def _try_flush(self) -> None:
        with suppress(BlockingIOError):
            self._flush()

    def _take(self) -> None:
        """Hand out the answers that have come."""
        while self._waiting:
            reply = self._parser.gets()
            if reply is False:
                return
            first = self._waiting[0]
            first.replies.append(reply)
            if len(first.replies) == first.count:
                self._waiting.popleft()
                first.wake()
        if self._parser.has_data():
            self.close("answers to what was not asked")


def refused(reply: hiredis.ReplyError) -> RedisError:
    """What a command's error means, for people."""
    text = shortened(str(reply))
    kind = text.partition(" ")[0]
    if kind == "MOVED":
        return RedisError(
            "it is a part of a Redis Cluster, which sends us elsewhere (MOVED): "
            "an address that serves all keys by itself is needed",
            is_final=True,
        )
    if kind == "NOAUTH":
        return RedisError("it wants a password: see REKNIT_CLUSTER_PASSWORD", is_final=True)
    if kind == "WRONGPASS":
        return RedisError("it doesn't take this user and password", is_final=True)
    if kind == "READONLY":
        return RedisError("it has become a replica")
    return RedisError(text, is_final=kind not in _PASSING)
