"""Under systemd: its sockets are used, and it is told what happens."""

import asyncio
import os
import signal
import socket
import subprocess
import sys
from contextlib import suppress
from pathlib import Path

import pytest
from linux import only_on_linux
from patience import LIMIT
from reknit.process.systemd import listening_sockets, notify
from socket_bench import Bench, socket_test
from succession import Succession
from websockets.asyncio.client import connect, unix_connect

# As systemd starts a service: the socket is descriptor 3, and the process knows that it is meant.
ACTIVATE = """
import os, sys
os.environ.update(LISTEN_PID=str(os.getpid()), LISTEN_FDS="1")
os.execv(sys.executable, [sys.executable, "-m", "reknit", "serve", *sys.argv[1:]])
"""


class Manager:
    """Where a service's notifications arrive."""

    def __init__(self, directory: Path) -> None:
        self.address = str(directory / "notify")
        self.socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self.socket.bind(self.address)
        self.socket.setblocking(False)

    async def told(self) -> list[str]:
        """The lines of the next notification."""
        data = await asyncio.get_running_loop().sock_recv(self.socket, 4096)
        return data.decode().split("\n")


@pytest.mark.parametrize("workers", ["1", "2"])
@socket_test
async def test_a_service_tells_of_its_start_its_takeover_and_its_end(
    bench: Bench, tmp_path: Path, workers: str
) -> None:
    manager = Manager(tmp_path)
    proxy = Succession(f"ws://127.0.0.1:{bench.upstream.port}", "--workers", workers)
    await proxy.begin(environment={"NOTIFY_SOCKET": manager.address})
    bench.proxies.append(proxy)
    assert await manager.told() == ["READY=1"]
    proxy.signal(signal.SIGUSR2)
    kind, time = await manager.told()
    assert kind == "RELOADING=1"
    assert time.startswith("MONOTONIC_USEC=")
    said = [await manager.told(), await manager.told()]  # of both processes, in either order
    await proxy.taken_over()
    assert sorted(said) == [[f"MAINPID={proxy.pid}", "READY=1"], ["READY=1"]]
    assert await proxy.stop() == 0
    assert await manager.told() == ["STOPPING=1"]
    manager.socket.close()


@pytest.mark.parametrize("workers", ["1", "2"])
@socket_test
async def test_a_watchdog_hears_from_a_loop_that_goes_round(
    bench: Bench, tmp_path: Path, workers: str
) -> None:
    manager = Manager(tmp_path)
    proxy = Succession(f"ws://127.0.0.1:{bench.upstream.port}", "--workers", workers)
    # As systemd has it for a process that has taken over: the number is its predecessor's.
    every = {"WATCHDOG_USEC": "200000", "WATCHDOG_PID": "1"} if workers == "1" else {}
    patience = every or {"WATCHDOG_USEC": "2000000"}
    await proxy.begin(environment={"NOTIFY_SOCKET": manager.address, **patience})
    bench.proxies.append(proxy)
    assert await manager.told() == ["READY=1"]
    for _ in range(2):
        assert await manager.told() == ["WATCHDOG=1"]
    if workers == "2":
        line = await proxy.logged(r"worker 1 is process \d+")
        os.kill(int(line.rpartition(" ")[2]), signal.SIGSTOP)
        await proxy.logged("worker 1 gives no answer in 2 seconds: it is ended")
        await proxy.logged("worker 1 serves again")
    assert await proxy.stop() == 0
    manager.socket.close()


@pytest.mark.parametrize("workers", ["1", "2"])
@pytest.mark.parametrize("is_file", [False, True])
@socket_test
async def test_a_socket_of_systemd_is_listened_on(
    bench: Bench, tmp_path: Path, is_file: bool, workers: str
) -> None:
    await bench.upstream.start()
    path = str(tmp_path / "clients")
    family = socket.AF_UNIX if is_file else socket.AF_INET
    with socket.socket(family) as listener:
        listener.bind(path if is_file else ("127.0.0.1", 0))
        listener.listen()
        options = (f"ws://127.0.0.1:{bench.upstream.port}", "--workers", workers)
        process = await asyncio.create_subprocess_exec(
            *("sh", "-c", 'exec 3<&0; exec "$@"', "sh", sys.executable, "-c", ACTIVATE, *options),
            stdin=listener.fileno(),
            stderr=asyncio.subprocess.PIPE,
        )
        if is_file:
            client = await unix_connect(path, open_timeout=LIMIT)  # waits in its backlog
            where = f"unix:{path}"
        else:
            port = listener.getsockname()[1]
            client = await connect(f"ws://127.0.0.1:{port}", proxy=None, open_timeout=LIMIT)
            where = f"127.0.0.1:{port}"
        server = await bench.upstream.accept()
        await client.send("hello")
        assert await server.recv() == "hello"
        process.terminate()
        _, log = await process.communicate()
        assert process.returncode == 0, log.decode()
        assert f"listening on {where} " in log.decode()
        assert Path(path).exists() is is_file  # it is systemd's


def test_what_is_no_listening_socket_of_streams_is_refused() -> None:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as other:
        code = f"import os; os.dup2({other.fileno()}, 3, inheritable=True);" + ACTIVATE
        process = subprocess.run(
            [sys.executable, "-c", code, "ws://127.0.0.1:1"],
            pass_fds=[other.fileno()],
            capture_output=True,
            text=True,
        )
    assert process.returncode == 1
    problem = "systemd passes descriptor 3: no listening TCP or Unix socket"
    assert problem in process.stderr
    assert "Traceback" not in process.stderr


def test_sockets_for_another_process_are_left_alone() -> None:
    environment = {"LISTEN_PID": str(os.getpid() + 1), "LISTEN_FDS": "1"}
    assert listening_sockets(environment) == []
    assert listening_sockets({}) == []


@pytest.mark.parametrize("address", ["", "no/path", "/nowhere/at/all"])
def test_without_a_manager_nothing_is_told(address: str) -> None:
    notify("READY=1", environ={"NOTIFY_SOCKET": address})


def test_an_abstract_address_is_told_too() -> None:
    only_on_linux("abstract addresses of sockets")
    name = f"reknit-test-{os.getpid()}"
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sock:
        sock.bind("\0" + name)
        sock.settimeout(LIMIT)
        notify("STATUS=fine", "READY=1", environ={"NOTIFY_SOCKET": "@" + name})
        assert sock.recv(100) == b"STATUS=fine\nREADY=1"


def test_a_manager_that_reads_nothing_is_not_waited_for(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    manager = Manager(tmp_path)
    environ = {"NOTIFY_SOCKET": manager.address}
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as filler:
        filler.setblocking(False)
        filler.connect(manager.address)
        with suppress(BlockingIOError):
            while True:
                filler.send(b"STATUS=busy")
    notify("READY=1", environ=environ)  # returns, soon
    assert "systemd can't be told READY=1: timed out" in caplog.text
    manager.socket.close()
