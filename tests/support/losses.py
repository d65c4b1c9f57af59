"""Ways in which an end is lost, and what is sent around it."""

from collections.abc import Awaitable, Callable

from upstream_server import cut
from websockets.asyncio.connection import Connection

AT_MOST_ONCE = ("--delivery", "at-most-once")
EARLIER = ["said", "and", "heard"]
WAITING = [f"waiting {number}" for number in range(100)]
AFTER = ["and", "on", "it", "goes"]


async def send_all(connection: Connection, messages: list[str]) -> None:
    for message in messages:
        await connection.send(message)


async def recv_after(connection: Connection, earlier: list[str], count: int) -> list[str]:
    """The next messages, without repeats of earlier ones: at-least-once may begin with some."""
    received: list[str] = []
    while len(received) < count:
        message = str(await connection.recv())
        if received or message not in earlier:
            received.append(message)
    return received


async def reset(connection: Connection) -> None:
    cut(connection)


async def end_of_stream(connection: Connection) -> None:
    cut(connection, reset=False)


async def going_away(connection: Connection) -> None:
    await connection.close(1001, "back soon")


async def service_restart(connection: Connection) -> None:
    await connection.close(1012)


Lose = Callable[[Connection], Awaitable[None]]
