"""The compiled loader: sessions that come, return and leave; see sessions.c."""

import json
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from math import ceil
from pathlib import Path
from typing import IO

from load import RunError
from processes import HERE, StartError, pinned

SOURCE = HERE / "sessions.c"
NEEDED = "it needs a C compiler and OpenSSL's headers: apt install gcc libc6-dev libssl-dev"


@dataclass(frozen=True, slots=True)
class Answer:
    """What a command did: sessions or messages, connections that the server got, seconds.

    `trips`: how long each message's round trip took, in seconds.
    """

    done: int
    dials: int
    seconds: float
    trips: list[float]

    def trip(self, part: float) -> float | None:
        """The round trip that this part of all is not slower than."""
        return sorted(self.trips)[ceil(len(self.trips) * part) - 1] if self.trips else None


class Sessions:
    """The running loader."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self._process = process

    def tell(self, command: str) -> Answer:
        """Have it do that. Raises RunError for whatever is not as it must be."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        print(command, file=self._process.stdin, flush=True)
        said = json.loads(self._process.stdout.readline() or '{"error": "the loader has ended"}')
        if "error" in said:
            raise RunError(f"{command}: {said['error']}")
        return Answer(**said)


def build(directory: Path) -> Path:
    """Compile the loader into that directory; where it is. Raises StartError."""
    program = directory / "sessions"
    command = ["cc", "-O2", "-o", str(program), str(SOURCE), "-lssl", "-lcrypto"]
    try:
        subprocess.run(command, check=True, capture_output=True, text=True)
    except OSError as error:
        raise StartError(f"{SOURCE.name}: cc: {error.strerror}; {NEEDED}") from None
    except subprocess.CalledProcessError as error:
        first = next(iter(error.stderr.splitlines()), "")
        raise StartError(f"{SOURCE.name} can't be compiled: {first}; {NEEDED}") from None
    return program


@contextmanager
def sessions(
    program: Path, core: int, ports: tuple[int, int], authority: str, log: IO[str]
) -> Iterator[Sessions]:
    """The loader with the ports of the proxy and of the server; with an authority: by TLS."""
    command = [str(program), *map(str, ports), *([authority] if authority else [])]
    pipe = subprocess.PIPE
    with (
        pinned(core),
        subprocess.Popen(command, stdin=pipe, stdout=pipe, stderr=log, text=True) as process,
    ):
        try:
            yield Sessions(process)
        finally:
            process.kill()
