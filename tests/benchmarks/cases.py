"""What the proxies are loaded with: the rows of the table."""

from dataclasses import dataclass, replace
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
    `secure`: the clients speak TLS.
    """

    connections: int
    size: int
    flow: Flow = Flow.ECHO
    in_flight: int = 1
    speech: str = ""
    secure: bool = False

    @property
    def name(self) -> str:
        """As it stands in the table."""
        size = _bytes(self.size)
        many = f"{self.connections} connection{'s' * (self.connections > 1)}, {size}"
        many = f"TLS: {many}" if self.secure else many
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


@dataclass(frozen=True, slots=True)
class SessionCase:
    """One row of the table whose sessions come and go; the commands are those of sessions.c.

    `measured` is measured, `before` prepares it, and `after` checks what has become of it; {many}
    is the number of sessions. `dials`: how many server connections each needs. `resumes`: only for
    proxies whose sessions outlive a connection.
    """

    name: str
    before: tuple[str, ...]
    measured: str
    after: tuple[str, ...]
    dials: int = 0
    resumes: bool = False
    secure: bool = False


ALIVE = ("ask 1", "leave")
ONE = SessionCase("1 connection, 64 B, ping-pong", ("open 1", "ask {many}"), "ask {many}0", ALIVE)
VISIT = SessionCase("open a session and close it", ("visit 200",), "visit {many}", (), dials=1)
SESSION_CASES = (
    ONE,
    VISIT,
    SessionCase("open a session", ("visit 200",), "open {many}", ALIVE, dials=1),
    SessionCase("a client returns", ("open {many}",), "return", ALIVE, resumes=True),
    SessionCase(
        "a server is lost and dialled again",
        ("open {many}",),
        "redial",
        ALIVE,
        dials=1,
        resumes=True,
    ),
    replace(VISIT, name=f"TLS: {VISIT.name}", secure=True),
)

CASES = (
    Case(100, 64),
    Case(100, 64, in_flight=16),
    Case(10, 1024, in_flight=64),
    Case(10, 65536, in_flight=2),
    Case(4, 1 << 20, in_flight=2),
    Case(10, 64, Flow.TO_SERVER),
    Case(10, 64, Flow.TO_CLIENT),
    Case(10, 65536, Flow.TO_SERVER),
    Case(10, 65536, Flow.TO_CLIENT),
    Case(100, 64, secure=True),
    Case(100, 64, in_flight=16, secure=True),
    Case(10, 65536, in_flight=2, secure=True),
)
