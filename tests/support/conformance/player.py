"""Plays a conformance case as one end of a raw connection, and notes what that end sees."""

import asyncio
import contextlib
import re
import zlib
from dataclasses import dataclass, field

from patience import LIMIT
from raw_websocket import CLOSE, CONTINUATION, PING, PONG, TEXT, Frame, RawConnection, frame

from conformance.cases import FLUSHED, Await, Case, HalfClose, Send

_VIOLATIONS = (1002, 1007, 1009)
_ALONE = ("server_no_context_takeover", "client_no_context_takeover")


@dataclass
class Seen:
    """What an end sees. `end` is who ends the connection, or that nobody does."""

    handshake: str = ""
    messages: list[str] = field(default_factory=list)
    controls: list[str] = field(default_factory=list)
    close: str = "no Close"
    end: str = ""
    told: str = ""
    """What the other end's program is told of the connection's end, where it can say so."""


class Play:
    """One case on one connection, whose handshake is done. `by_client`: whether it is a client."""

    def __init__(self, case: Case, connection: RawConnection, *, by_client: bool) -> None:
        self.seen = Seen()
        self._case = case
        self._connection = connection
        self._masked = by_client
        self._inflater: _Inflater | None = None
        self._message: list[Frame] = []
        self._closing = False  # whether a Close was sent
        self._ended = False  # whether the own direction of the connection is over
        self._is_sending = False  # whether a frame is under way, in pieces
        self._answers = b""  # what must not come between these
        self._news = asyncio.Event()

    def agree(self, extensions: str) -> None:
        """The extensions that were agreed on."""
        words = [word.strip() for word in extensions.split(";")]
        compared = sorted(word for word in words if word not in _ALONE)  # the proxy adds those
        self.seen.handshake += f" {'; '.join(compared)}".rstrip()
        if "permessage-deflate" in extensions:
            self._inflater = _Inflater(extensions, "server" if self._masked else "client")

    async def run(self) -> Seen:
        """Play all of it, up to the connection's end."""
        reading = asyncio.create_task(self._read())
        try:
            async with asyncio.timeout(LIMIT):
                with contextlib.suppress(ConnectionError):
                    await self._perform(reading)
                await reading
        except TimeoutError:
            self.seen.end = "nobody ends the connection"
        finally:
            reading.cancel()
        return self.seen

    async def _perform(self, reading: asyncio.Task[None]) -> None:
        for step in self._case.steps:
            match step:
                case Send(frames, piece):
                    await self._send(
                        b"".join(one.encode(masked=self._masked) for one in frames), piece
                    )
                    self._closing |= any(one.opcode == CLOSE for one in frames)
                case Await(count):
                    while self._count < count and not reading.done():
                        self._news.clear()
                        await self._news.wait()
                case HalfClose():
                    self._end()

    @property
    def _count(self) -> int:
        seen = self.seen
        return len(seen.messages) + len(seen.controls) + (seen.close != "no Close")

    async def _send(self, data: bytes, piece: int) -> None:
        step = piece or len(data) or 1
        self._is_sending = True
        for start in range(0, len(data), step):
            if self._ended:
                return
            self._connection.send(data[start : start + step])
            await (asyncio.sleep(0) if piece else self._connection.drain())
        self._is_sending = False
        self._connection.send(self._answers)
        self._answers = b""

    async def _read(self) -> None:
        try:
            while True:
                self._receive(await self._connection.read_frame())
                self._news.set()
        except (asyncio.IncompleteReadError, ConnectionError) as end:
            cut = isinstance(end, asyncio.IncompleteReadError) and end.partial
            self.seen.end = "the other end, in a frame" if cut else "the other end"
            self._ended = True
        finally:
            self._news.set()

    def _receive(self, found: Frame) -> None:
        match found.opcode:
            case opcode if opcode == PING:  # the proxy sends Pings of its own: not compared
                self._answer(frame(PONG, found.payload, masked=self._masked))
            case opcode if opcode == PONG:
                self.seen.controls.append(f"Pong {found.payload!r}")
            case opcode if opcode == CLOSE:
                self._receive_close(found)
            case _:
                self._message.append(found)
                if found.fin:
                    self.seen.messages.append(self._describe(self._message))
                    self._message = []

    def _receive_close(self, found: Frame) -> None:
        code, reason = found.close
        if code in _VIOLATIONS:
            reason = ""  # each stack has its own words for it
        self.seen.close = f"Close {code} {reason}".rstrip()
        self._answer(frame(CLOSE, found.payload, masked=self._masked))
        self._closing = True
        if not self._masked:
            self._end()  # that is the server's part (RFC 6455, 7.1.1)

    def _end(self) -> None:
        self._ended = True
        with contextlib.suppress(OSError):  # the other end is gone
            self._connection.end()

    def _answer(self, data: bytes) -> None:
        if self._closing or self._ended:
            return
        if self._is_sending:
            self._answers += data
        else:
            self._connection.send(data)

    def _describe(self, frames: list[Frame]) -> str:
        opcode, payload = frames[0].opcode, b"".join(one.payload for one in frames)
        if opcode == CONTINUATION:
            return "a continuation first"
        words = "text" if opcode == TEXT else "binary"
        if frames[0].rsv == 4 and self._inflater is not None:
            words += ", compressed"
            payload = self._inflater.inflate(payload)
        elif frames[0].rsv:
            words += f", RSV {frames[0].rsv}"
        return f"{words}: {payload[:20]!r} of {len(payload)}, {zlib.crc32(payload):08x}"


class _Inflater:
    """Reads what the other end compresses, within the window that was agreed on."""

    def __init__(self, extensions: str, writer: str) -> None:
        found = re.search(rf"{writer}_max_window_bits=\"?(\d+)", extensions)
        self._bits = int(found[1]) if found else 15
        self._alone = f"{writer}_no_context_takeover" in extensions
        self._inflater = zlib.decompressobj(-self._bits)

    def inflate(self, payload: bytes) -> bytes:
        if self._alone:
            self._inflater = zlib.decompressobj(-self._bits)
        return self._inflater.decompress(payload + FLUSHED)
