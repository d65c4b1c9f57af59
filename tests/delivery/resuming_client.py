"""The resuming client in Python: `python resuming_client.py URL COUNT RATE LIMIT ["" [final]]`."""

import asyncio
import json
import sys

from peer import SIZE, TICK, say
from reknit.resume import Opened, ResumingClient, SessionLost
from websockets.exceptions import ConnectionClosed


async def main(url: str, count: int, rate: int, limit: int, *, fresh: bool) -> None:
    """Send `count` numbers, receive at least as many; say what came, and how it ended."""
    opened: list[tuple[bool, list[int]]] = []

    def note(what: Opened) -> None:
        opened.append((what.recovered, [int(message) for message in what.unconfirmed]))

    left = []
    client = ResumingClient(
        url,
        limit=limit,
        retry=0.02,
        retry_cap=0.02,
        proxy=None,
        fresh=fresh,
        on_open=note,
        on_away=lambda: left.append(client.is_away),
    )
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
    assert client.returns == sum(recovered for recovered, _ in opened)
    assert len(left) in (len(opened) - 1, len(opened))
    assert all(left)
    result = {
        "received": received,
        "greetings": ["resumed" if recovered else "new" for recovered, _ in opened],
        "opened": opened,
        "ended": ended,
    }
    say(f"result {json.dumps(result)}")


async def send(client: ResumingClient, count: int, rate: int) -> None:
    """Numbers from 1 on, `rate` a second."""
    for number in range(1, count + 1):
        await client.send(str(number).rjust(SIZE))
        if number % round(rate * TICK) == 0:
            await asyncio.sleep(TICK)


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1], *map(int, sys.argv[2:5]), fresh="final" not in sys.argv[5:]))
