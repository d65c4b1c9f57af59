"""nats-py: publishes what it has subscribed to itself."""

import asyncio
import sys

import nats

url, every = sys.argv[1], int(sys.argv[2]) / 1000


def say(text: str) -> None:
    print(text, flush=True)


async def failed(error: Exception) -> None:
    say(f"error {error!r}")


async def again() -> None:
    say("open")


async def got(message: nats.aio.msg.Msg) -> None:
    say(f"got {int(message.data)}")


async def main() -> None:
    client = await nats.connect(
        url, error_cb=failed, reconnected_cb=again, max_reconnect_attempts=-1, allow_reconnect=True
    )
    say("open")
    await client.subscribe("numbers", cb=got)
    await client.flush()
    ended = asyncio.create_task(asyncio.to_thread(sys.stdin.read))
    number = 0
    while not ended.done():
        number += 1
        say(f"sent {number}")
        await client.publish("numbers", str(number).encode())
        await asyncio.sleep(every)
    await asyncio.Event().wait()


asyncio.run(main())
