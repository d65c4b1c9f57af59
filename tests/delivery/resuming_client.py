"""The resuming client in Python: `python resuming_client.py URL COUNT RATE LIMIT`."""

import asyncio
import json
import sys

from peer import SIZE, TICK, say
from reknit.resume import ResumingClient, SessionLost
from websockets.exceptions import ConnectionClosed


async def main(url: str, count: int, rate: int, limit: int) -> None:
    """Send `count` numbers, receive at least as many; say what came, and how it ended."""
    client = ResumingClient(url, limit=limit, retry=0.02, proxy=None)
    received: list[int] = []
    ended = 1000
    try:
        async with client:
            sending = asyncio.create_task(send(client, count, rate))
            async for message in client:
                received.append(int(message))
                if sending.done() and len(received) >= count:
                    break
            sending.cancel()
    except SessionLost:
        ended = 4404
    except ConnectionClosed as closed:
        ended = closed.rcvd.code if closed.rcvd else 1006
    greetings = ["new", *["resumed"] * client.returns]
    say(f"result {json.dumps({'received': received, 'greetings': greetings, 'ended': ended})}")


async def send(client: ResumingClient, count: int, rate: int) -> None:
    """Numbers from 1 on, `rate` a second."""
    for number in range(1, count + 1):
        await client.send(str(number).rjust(SIZE))
        if number % round(rate * TICK) == 0:
            await asyncio.sleep(TICK)


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1], *map(int, sys.argv[2:5])))
