"""websockets: says a number every while, and connects again when it has lost its server."""

import asyncio
import sys

from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed

url, every = sys.argv[1], int(sys.argv[2]) / 1000


def say(text: str) -> None:
    print(text, flush=True)


async def main() -> None:
    ended = asyncio.create_task(asyncio.to_thread(sys.stdin.read))
    numbers = iter(range(1, 1 << 30))

    async def talk(connection: ClientConnection) -> None:
        while not ended.done():
            number = next(numbers)
            say(f"sent {number}")
            await connection.send(str(number))
            await asyncio.sleep(every)

    async for connection in connect(url):
        say("open")
        talking = asyncio.create_task(talk(connection))
        try:
            async for text in connection:
                say(f"got {text}")
        except ConnectionClosed:
            pass
        talking.cancel()
        await asyncio.wait([talking])


asyncio.run(main())
