"""The resuming client in Python: `python resuming_client.py URL COUNT RATE LIMIT`."""

import asyncio
import json
import sys

from delivery_peer import SIZE, TICK, say
from reknit.resume import ResumingClient


async def main(url: str, count: int, rate: int, limit: int) -> None:
    """Send `count` numbers, receive at least as many; say what came."""
    client = ResumingClient(url, limit=limit, retry=0.02, proxy=None)

    async def send() -> None:
        for number in range(1, count + 1):
            await client.send(str(number).rjust(SIZE))
            if number % round(rate * TICK) == 0:
                await asyncio.sleep(TICK)

    received: list[int] = []
    async with client:
        sending = asyncio.create_task(send())
        async for message in client:
            received.append(int(message))
            if sending.done() and len(received) >= count:
                break
        sending.result()
    result = {
        "received": received,
        "greetings": ["new", *["resumed"] * client.returns],
        "ended": 1000,
    }
    say(f"result {json.dumps(result)}")


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1], *map(int, sys.argv[2:])))
