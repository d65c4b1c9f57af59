"""Slow links: a relay that takes its time in one direction, and a shaped loopback of one's own."""

import asyncio
import os
import shutil
import socket
import subprocess
import sys
from collections.abc import Callable, Coroutine
from contextlib import suppress
from functools import wraps
from typing import Any, ClassVar, Self

import pytest

_BUFFER = 65536  # bytes of the system's on the slow direction
_TICK = 0.02  # seconds between two reads
STILL = 0.1  # seconds for which it can't stand still without being taken for dead
_ATTEMPTS = 10
SHAPED = "127.0.0.9"
"""The address to which the shaped loopback is slow: for the end that is to have the slow link."""

# All but what goes to that address passes as ever.
_SETUP = f"""
ip link set lo up mtu 1500
tc qdisc add dev lo root handle 1: htb
tc class add dev lo parent 1: classid 1:2 htb rate 1gbit
tc qdisc add dev lo parent 1:2 handle 2: tbf rate $RATE burst 4kb latency 60s
tc filter add dev lo parent 1: protocol ip u32 match ip dst {SHAPED}/32 flowid 1:2
"""


class SlowLink:
    """Relays each connection to `port`; `slow`: the direction that has `rate` bytes a second.

    `up`: towards that port; `down`: from it. `stood_still`: for how long any of them did at most
    because the machine had no time for it, in seconds.
    """

    stood_still: ClassVar[float] = 0.0

    def __init__(self, port: int, slow: str, rate: int) -> None:
        self._to = port
        self._slow = slow
        self._rate = rate
        self._tasks: set[asyncio.Task[None]] = set()
        self._listener = _socket()
        self._listener.bind(("127.0.0.1", 0))
        self._listener.listen()
        self.port: int = self._listener.getsockname()[1]

    async def __aenter__(self) -> Self:
        self._spawn(self._accept())
        return self

    async def __aexit__(self, *exception: object) -> None:
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        self._listener.close()

    def _spawn(self, work: Coroutine[None, None, None]) -> None:
        self._tasks.add(asyncio.create_task(work))

    async def _accept(self) -> None:
        while True:
            near, _ = await asyncio.get_running_loop().sock_accept(self._listener)
            far = _socket()
            await asyncio.get_running_loop().sock_connect(far, ("127.0.0.1", self._to))
            self._spawn(self._pass(near, far, slow=self._slow == "up"))
            self._spawn(self._pass(far, near, slow=self._slow == "down"))

    async def _pass(self, source: socket.socket, target: socket.socket, *, slow: bool) -> None:
        loop = asyncio.get_running_loop()
        size = int(self._rate * _TICK) if slow else _BUFFER
        due = 0.0
        with suppress(OSError), source, target:
            while data := await loop.sock_recv(source, size):
                await loop.sock_sendall(target, data)
                if slow:
                    due = max(due, loop.time() - STILL) + len(data) / self._rate  # catches up
                    await asyncio.sleep(due - loop.time())
                    SlowLink.stood_still = max(SlowLink.stood_still, loop.time() - due)


def again_where_links_stand_still(test: Callable[..., None]) -> Callable[..., None]:
    """A test that fails is played again, if a SlowLink stood still meanwhile.

    Whoever watches such a link may take it for dead, and is right.
    """

    @wraps(test)
    def run(**arguments: Any) -> None:
        for attempt in range(_ATTEMPTS):
            SlowLink.stood_still = 0.0
            try:
                test(**arguments)
            except Exception:
                if SlowLink.stood_still < STILL or attempt == _ATTEMPTS - 1:
                    raise
            else:
                return

    return run


def _socket() -> socket.socket:
    sock = socket.socket()
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, _BUFFER)
    sock.setblocking(False)
    return sock


def on_a_shaped_link(call: str, rate: str) -> None:
    """Run `module:function` in a network namespace; what goes to SHAPED has that rate there.

    Skips the test where no such namespace can be had.
    """
    if sys.platform != "linux" or not all(map(shutil.which, ("unshare", "ip", "tc"))):
        pytest.skip("a shaped loopback takes Linux with unshare, ip and tc")
    module, _, function = call.partition(":")
    setup = _SETUP.strip().replace("\n", " && ").replace("$RATE", rate)
    inside = ("unshare", "--user", "--map-root-user", "--net", "sh", "-c")
    tried = subprocess.run([*inside, setup], capture_output=True, text=True)
    if tried.returncode:
        pytest.skip(f"no shaped loopback may be made here: {tried.stderr.strip()}")
    run = f"{setup} && exec {sys.executable} -c 'import {module}; {module}.{function}()'"
    paths = os.pathsep.join(filter(None, sys.path))
    done = subprocess.run(
        [*inside, run], env={**os.environ, "PYTHONPATH": paths}, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stdout + done.stderr
