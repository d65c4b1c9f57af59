"""Hostile clients of a proxy, one kind at a time.

usage: hostile_clients.py ATTACK PORT SECONDS

Says when it begins, and at the end, as JSON, what the proxy did with them and how often: the status
or close code that it gave, "cut" where it ended the connection without, "kept" where it was open.
"""

import asyncio
import gc
import json
import socket
import sys
import zlib
from collections import Counter
from collections.abc import Awaitable, Callable
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from itertools import count

from hostile_traffic import block, both, drip, floods, huge, send_on, step_back, take
from raw_websocket import BINARY, RawConnection, close_frame, frame, raw_connect, request

SOURCE = "127.0.0.2"
AT_ONCE = 32  # clients of an attack that comes over and over
ALMOST = 15 * 2**20  # bytes of a message of 16 MiB
SLICE = 2000  # connections that are begun a second, where many stand


@dataclass(slots=True)
class Crowd:
    """The clients of one attack. `outcomes`: what became of them."""

    port: int
    outcomes: Counter[str]

    async def connect(self) -> RawConnection:
        """A connection on which nothing is said yet."""
        return await raw_connect(self.port, local=SOURCE)

    async def session(self, path: str, *headers: str) -> RawConnection | None:
        """A client with a session; None if it is refused, which is counted."""
        connection = await self.connect()
        connection.send(request(f"/hostile/{path}", *headers))
        try:
            status = (await connection.read_head()).status
        except (EOFError, ConnectionError):
            self.outcomes["cut"] += 1
        else:
            if status == 101:
                return connection
            self.outcomes[str(status)] += 1
        connection.abort()
        return None

    async def answer(self, connection: RawConnection) -> None:
        """Count the answer that comes to a request, or to none."""
        try:
            self.outcomes[str((await connection.read_head()).status)] += 1
        except (EOFError, ConnectionError):
            self.outcomes["cut"] += 1
        except asyncio.CancelledError:
            self.outcomes["kept"] += 1
            raise
        finally:
            connection.abort()

    async def until_it_ends(self, sending: Awaitable[None], connection: RawConnection) -> None:
        """Count how the connection ends, while something is sent."""
        try:
            self.outcomes[await both(sending, connection, masked=True)] += 1
        except asyncio.CancelledError:
            self.outcomes["kept"] += 1
            raise
        finally:
            connection.abort()


Attack = Callable[[Crowd], Awaitable[None]]


# -- Forms of attacks --------------------------------------------------------------------------


async def stand(crowd: Crowd, one: Attack, number: int) -> None:
    """That many clients, each for as long as it lasts."""
    async with asyncio.TaskGroup() as group:
        for started in range(1, number + 1):
            group.create_task(_survive(one(crowd)))
            if started % (SLICE // 10) == 0:
                await asyncio.sleep(0.1)
        await asyncio.Event().wait()


async def again(crowd: Crowd, one: Attack, number: int = AT_ONCE) -> None:
    """That many clients at one time, each over and over."""

    async def repeat() -> None:
        while True:
            await _survive(one(crowd))
            await asyncio.sleep(0)

    async with asyncio.TaskGroup() as group:
        for _ in range(number):
            group.create_task(repeat())


async def _survive(attack: Awaitable[None]) -> None:
    with suppress(OSError):
        await attack


def standing(one: Attack, number: int) -> Attack:
    return partial(stand, one=one, number=number)


def repeating(one: Attack, number: int = AT_ONCE) -> Attack:
    return partial(again, one=one, number=number)


# -- Handshakes --------------------------------------------------------------------------------


async def slowloris(crowd: Crowd) -> None:
    connection = await crowd.connect()
    sending = asyncio.ensure_future(drip(connection, request("/hostile/tame")))
    try:
        await crowd.answer(connection)
    finally:
        sending.cancel()


async def silent(crowd: Crowd) -> None:
    await crowd.answer(await crowd.connect())


async def come_and_go(crowd: Crowd) -> None:
    connection = await crowd.connect()
    crowd.outcomes["came and went"] += 1
    connection.abort()


async def nonsense(crowd: Crowd) -> None:
    connection = await crowd.connect()
    connection.send(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")
    await crowd.answer(connection)


async def open_and_cut(crowd: Crowd) -> None:
    connection = await crowd.session("tame")
    if connection is not None:
        crowd.outcomes["101, then cut by the client"] += 1
        connection.abort()


async def open_and_leave_open(crowd: Crowd) -> None:
    """Not even Pings are answered."""
    connection = await crowd.session("tame")
    if connection is not None:
        await crowd.until_it_ends(asyncio.sleep(3600), Mute(connection))


class Mute(RawConnection):
    """Reads, and sends nothing."""

    def __init__(self, connection: RawConnection) -> None:
        super().__init__(connection._reader, connection._writer)

    def send(self, data: bytes) -> None:
        """Don't."""


# -- One id ------------------------------------------------------------------------------------

SECRET = "Authorization: Bearer of-the-owner"
NAMED = "X-Connection-Id: everybodys"


async def on_one_id(crowd: Crowd, one: Attack, path: str) -> None:
    """A session with that id, and many who want it."""
    owner = await crowd.session(path, SECRET, NAMED)
    await again(crowd, one)
    assert owner is not None


async def strange(crowd: Crowd) -> None:
    connection = await crowd.connect()
    connection.send(request("/hostile/tame", NAMED, "Authorization: Bearer of-another"))
    await crowd.answer(connection)


async def unknown(crowd: Crowd) -> None:
    connection = await crowd.connect()
    connection.send(request("/hostile/tame", "X-Reconnect-Id: nobodys"))
    await crowd.answer(connection)


async def take_over(crowd: Crowd) -> None:
    connection = await crowd.session("tame", SECRET, NAMED)
    if connection is not None:
        crowd.outcomes["101"] += 1
        connection.abort(reset=False)


async def leave_and_return(crowd: Crowd) -> None:
    """By the close code of one who will be back."""
    name = f"X-Connection-Id: {next(NAMES)}"
    while (connection := await crowd.session("tame", name)) is not None:
        crowd.outcomes["101"] += 1
        connection.send(close_frame(1001))
        await take(connection, masked=True)
        connection.abort(reset=False)


NAMES = count(1)


# -- Frames ------------------------------------------------------------------------------------


async def flood(crowd: Crowd, first: bytes, then: bytes, path: str = "tame") -> None:
    connection = await crowd.session(path)
    if connection is not None:
        connection.send(first)
        await crowd.until_it_ends(send_on(connection, then), connection)


async def byte_by_byte(crowd: Crowd) -> None:
    """A byte a packet, as fast as it goes."""
    connection = await crowd.session("tame")
    if connection is None:
        return
    sock = connection.socket
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

    async def send() -> None:
        message = frame(BINARY, bytes(10000))
        while True:
            for byte in message:
                connection.send(bytes((byte,)))
            await connection.drain()
            await asyncio.sleep(0)

    await crowd.until_it_ends(send(), connection)


async def byte_a_second(crowd: Crowd) -> None:
    connection = await crowd.session("tame")
    if connection is not None:
        await crowd.until_it_ends(drip(connection, frame(BINARY, bytes(1000))), connection)


async def impossible(crowd: Crowd) -> None:
    connection = await crowd.session("tame")
    if connection is not None:
        connection.send(huge(1 << 62, masked=True))
        await crowd.until_it_ends(asyncio.sleep(3600), connection)


async def never_whole(crowd: Crowd) -> None:
    """Nearly all of a large message, and then nothing."""
    connection = await crowd.session("tame")
    if connection is None:
        return

    async def send() -> None:
        connection.send(huge(16 * 2**20, masked=True))
        for _ in range(ALMOST // 65536):
            connection.send(bytes(65536))
            await connection.drain()

    await crowd.until_it_ends(send(), connection)


async def bomb(crowd: Crowd) -> None:
    """Zeros, compressed a thousand to one."""
    packer = zlib.compressobj(9, wbits=-15)
    packed = packer.compress(bytes(64 * 2**20)) + packer.flush(zlib.Z_SYNC_FLUSH)
    connection = await crowd.session(
        "compressing", "Sec-WebSocket-Extensions: permessage-deflate; client_no_context_takeover"
    )
    if connection is not None:
        data = block(frame(BINARY, packed[:-4], rsv=4))
        await crowd.until_it_ends(send_on(connection, data), connection)


async def deaf(crowd: Crowd, path: str) -> None:
    """Never read."""
    connection = await crowd.session(path)
    if connection is None:
        return
    try:
        await asyncio.sleep(3600)
    finally:
        crowd.outcomes["kept"] += 1
        connection.abort()


async def deaf_pinger(crowd: Crowd) -> None:
    """Send Pings, and read no Pong."""
    connection = await crowd.session("tame")
    if connection is None:
        return
    try:
        await send_on(connection, floods(masked=True)["large-pings"][1])
    finally:
        crowd.outcomes["kept"] += 1
        connection.abort()


async def patient(crowd: Crowd, path: str) -> None:
    """A good client of a hostile server."""
    connection = await crowd.session(path)
    if connection is not None:
        await crowd.until_it_ends(asyncio.sleep(3600), connection)


def _floods() -> dict[str, Attack]:
    return {
        name: standing(partial(flood, first=first, then=then), 10)
        for name, (first, then) in floods(masked=True).items()
    }


def _by_servers() -> dict[str, Attack]:
    return {
        f"server-{name}": standing(partial(patient, path=name), 10) for name in floods(masked=False)
    }


ATTACKS: dict[str, Attack] = {
    "slowloris": standing(slowloris, 2000),
    "silent": standing(silent, 2000),
    "come-and-go": repeating(come_and_go),
    "nonsense": repeating(nonsense),
    "open-and-cut": repeating(open_and_cut),
    "left-open": standing(open_and_leave_open, 1500),
    "strange": partial(on_one_id, one=strange, path="tame"),
    "unknown": repeating(unknown),
    "take-over": partial(on_one_id, one=take_over, path="tame"),
    "take-over-full": partial(on_one_id, one=take_over, path="large"),
    "leave-and-return": repeating(leave_and_return),
    **_floods(),
    "byte-by-byte": standing(byte_by_byte, 10),
    "byte-a-second": standing(byte_a_second, 1000),
    "impossible": repeating(impossible),
    "never-whole": standing(never_whole, 50),
    "bomb": standing(bomb, 10),
    "deaf": standing(partial(deaf, path="large"), 50),
    "deaf-pinger": standing(deaf_pinger, 10),
    **_by_servers(),
    "server-impossible": repeating(partial(patient, path="impossible")),
    "server-endless": standing(partial(patient, path="endless"), 10),
    "server-slow": standing(partial(patient, path="slow"), 200),
    "server-restless": standing(partial(patient, path="restless"), 200),
    "server-deaf": standing(
        partial(flood, first=b"", then=floods(masked=True)["large"][1], path="deaf"), 50
    ),
}


async def attack(name: str, port: int, seconds: float) -> Counter[str]:
    """Attack for so long, and tell what became of it."""
    crowd = Crowd(port, Counter())
    with suppress(TimeoutError):
        async with asyncio.timeout(seconds):
            await ATTACKS[name](crowd)
    return crowd.outcomes


if __name__ == "__main__":
    step_back()
    gc.freeze()
    print("begins", flush=True)
    print(json.dumps(asyncio.run(attack(sys.argv[1], int(sys.argv[2]), float(sys.argv[3])))))
