"""A central system on the package `ocpp`: it says again what a charge point sends."""

import asyncio
import contextlib
import sys
from datetime import UTC, datetime

from ocpp.routing import on
from websockets.asyncio.server import ServerConnection, serve
from websockets.exceptions import ConnectionClosed

port, version = int(sys.argv[1]), sys.argv[2]
if version == "1.6":
    from ocpp.v16 import ChargePoint, call_result
else:
    from ocpp.v201 import ChargePoint, call_result


class Central(ChargePoint):
    @on("BootNotification")
    def booted(self, **_: object) -> call_result.BootNotification:
        self.is_booted = True
        now = datetime.now(UTC).isoformat()
        return call_result.BootNotification(current_time=now, interval=300, status="Accepted")

    @on("DataTransfer")
    def sent(self, data: str, **_: object) -> call_result.DataTransfer:
        assert self.is_booted, "a charge point has to boot first"
        return call_result.DataTransfer(status="Accepted", data=data)


async def main() -> None:
    async def handle(connection: ServerConnection) -> None:
        central = Central("numbers", connection)
        central.is_booted = False
        with contextlib.suppress(ConnectionClosed):
            await central.start()

    async with serve(handle, "127.0.0.1", port, subprotocols=[f"ocpp{version}"]):
        await asyncio.Event().wait()


asyncio.run(main())
