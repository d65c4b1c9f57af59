"""What both hostile ends send and take: floods, and what must not be missed of the proxy's answers.

Frames come from tests/support, so this needs that folder on the path.
"""

import asyncio
import os
import struct
from collections.abc import Awaitable

from raw_websocket import BINARY, CONTINUATION, PING, PONG, TEXT, RawConnection, frame
from reknit_core.wire.frames import FrameScanner, Opcode, payload

BLOCK = 64 * 1024  # bytes of a flood that are written at one time
LARGE = 32 * 1024  # bytes of a large message
DRIP = 1.0  # seconds between two bytes of somebody slow


def block(*frames: bytes) -> bytes:
    """A write's worth of these frames, in turn."""
    group = b"".join(frames)
    return group * (BLOCK // len(group) + 1)


def floods(*, masked: bool) -> dict[str, tuple[bytes, bytes]]:
    """By name: what comes once, and what comes over and over behind it."""

    def a(opcode: int, size: int = 0, *, fin: bool = True) -> bytes:
        return frame(opcode, bytes(size), masked=masked, fin=fin)

    return {
        "pings": (b"", block(a(PING))),
        "large-pings": (b"", block(a(PING, 125))),
        "pongs": (b"", block(a(PONG))),
        "empty": (b"", block(a(TEXT))),
        "uneven": (b"", block(a(TEXT), a(TEXT, 1), a(BINARY, 2))),
        "fragments": (a(TEXT, 1, fin=False), block(a(CONTINUATION, 1, fin=False))),
        "empty-fragments": (a(TEXT, fin=False), block(a(CONTINUATION, fin=False))),
        "pings-in-fragments": (
            a(TEXT, 1, fin=False),
            block(a(PING, 1), a(CONTINUATION, 1, fin=False)),
        ),
        "large": (b"", block(a(BINARY, LARGE))),
    }


def huge(size: int, *, masked: bool) -> bytes:
    """The header of a message of that many bytes."""
    return struct.pack("!BBQ", 0x82, masked << 7 | 127, size) + (bytes(4) if masked else b"")


async def send_on(connection: RawConnection, data: bytes) -> None:
    """Send it over and over; only the other end's back-pressure holds this up."""
    while True:
        connection.send(data)
        await connection.drain()


async def drip(connection: RawConnection, data: bytes) -> None:
    """A byte at a time."""
    for byte in data:
        connection.send(bytes((byte,)))
        await asyncio.sleep(DRIP)


async def take(connection: RawConnection, *, masked: bool) -> str:
    """Read all that comes, and answer Pings; how it ends."""
    scanner = FrameScanner(masked=not masked, deflate=True, limit=1 << 40)
    try:
        while (data := b"" if scanner.behind else await connection.read_some()) or scanner.behind:
            data = scanner.scan(data)
            for control in scanner.controls:
                body = payload(data[control.start : control.end])
                if control.opcode is Opcode.CLOSE:
                    return f"Close {int.from_bytes(body[:2], 'big')}"
                if control.opcode is Opcode.PING:
                    connection.send(frame(PONG, body, masked=masked))
            if scanner.violation:
                raise RuntimeError(f"the proxy sent what breaks RFC 6455: {scanner.violation}")
    except ConnectionError:
        pass
    return "cut"


async def both(sending: Awaitable[None], connection: RawConnection, *, masked: bool) -> str:
    """Send, and take what comes, until that ends."""
    task = asyncio.ensure_future(sending)
    try:
        return await take(connection, masked=masked)
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


def step_back() -> None:
    """Leave the processor to whoever is measured."""
    os.nice(5)
