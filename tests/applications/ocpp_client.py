"""A charge point on the package `ocpp`: one call after the other, and none twice."""

import asyncio
import sys

from ocpp.v16 import ChargePoint, call
from websockets.asyncio.client import connect
from websockets.exceptions import ConnectionClosed

url, every = sys.argv[1], int(sys.argv[2]) / 1000


def say(text: str) -> None:
    print(text, flush=True)


async def talk(point: ChargePoint, ended: asyncio.Task[str]) -> None:
    booted = await point.call(call.BootNotification("model", "vendor"))
    assert booted.status == "Accepted"
    say("open")
    while not ended.done():
        numbers.append(len(numbers) + 1)
        say(f"sent {numbers[-1]}")
        transfer = call.DataTransfer(vendor_id="numbers", data=str(numbers[-1]))
        answer = await point.call(transfer, suppress=False)
        say(f"got {answer.data}")
        await asyncio.sleep(every)
    await asyncio.Event().wait()


async def main() -> None:
    ended = asyncio.create_task(asyncio.to_thread(sys.stdin.read))
    async for connection in connect(url, subprotocols=["ocpp1.6"]):
        point = ChargePoint("numbers", connection, response_timeout=60)
        working = {asyncio.create_task(each) for each in (point.start(), talk(point, ended))}
        done, waiting = await asyncio.wait(working, return_when=asyncio.FIRST_COMPLETED)
        for task in waiting:
            task.cancel()
        for task in done:
            error = task.exception()
            if error is not None and not isinstance(error, ConnectionClosed):
                say(f"error {error!r}")


numbers: list[int] = []
asyncio.run(main())
