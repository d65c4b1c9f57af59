"""What the proxies are loaded with: the rows of the table."""

from dataclasses import dataclass
from enum import Enum


class Flow(Enum):
    """Which way messages go."""

    ECHO = "echo"
    TO_SERVER = "sink"
    TO_CLIENT = "source"


@dataclass(frozen=True, slots=True)
class Case:
    """One row of the table; `in_flight` counts for each connection.

    `speech`: the protocol that the messages are in (speech.py), which are larger than `size` then.
    """

    connections: int
    size: int
    flow: Flow = Flow.ECHO
    in_flight: int = 1
    speech: str = ""

    @property
    def name(self) -> str:
        """As it stands in the table."""
        size = _bytes(self.size)
        many = f"{self.connections} connection{'s' * (self.connections > 1)}, {size}"
        match self.flow:
            case Flow.ECHO if self.in_flight == 1:
                return f"{many}, ping-pong"
            case Flow.ECHO:
                return f"{many}, {self.in_flight} in flight"
            case Flow.TO_SERVER:
                return f"{many}, client to server"
            case Flow.TO_CLIENT:
                return f"{many}, server to client"


def _bytes(size: int) -> str:
    for unit in ("B", "KiB", "MiB"):
        if size < 1024:
            return f"{size} {unit}"
        size //= 1024
    return f"{size} GiB"


CASES = (
    Case(1, 64),
    Case(100, 64),
    Case(100, 64, in_flight=16),
    Case(10, 1024, in_flight=64),
    Case(10, 65536, in_flight=2),
    Case(4, 1 << 20, in_flight=2),
    Case(10, 64, Flow.TO_SERVER),
    Case(10, 64, Flow.TO_CLIENT),
    Case(10, 65536, Flow.TO_SERVER),
    Case(10, 65536, Flow.TO_CLIENT),
)
