"""A charge point on the package `ocpp`: one call after the other, and none twice."""

import asyncio
import sys

from websockets.asyncio.client import connect
from websockets.exceptions import ConnectionClosed

url, every, version = sys.argv[1], int(sys.argv[2]) / 1000, sys.argv[3]
if version == "1.6":
    from ocpp.v16 import ChargePoint, call

    BOOT = call.BootNotification("model", "vendor")
else:
    from ocpp.v201 import ChargePoint, call

    BOOT = call.BootNotification({"model": "model", "vendor_name": "vendor"}, "PowerUp")


def say(text: str) -> None:
    print(text, flush=True)


async def talk(point: ChargePoint, ended: asyncio.Task[str]) -> None:
    booted = await point.call(BOOT)
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
    async for connection in connect(url, subprotocols=[f"ocpp{version}"]):
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
