"""Two legs by hand: what their peers send, what their sockets take."""

from typing import Any

from frame_bytes import FIN, PING, message
from reknit_core.leg.dialling import Dialling
from reknit_core.leg.leg import Leg
from reknit_core.leg.legs import IncomingWebSocket, OutgoingWebSocket
from reknit_core.policy.policy import Policy
from reknit_core.queue.backlog import Backlog
from reknit_core.queue.budget import Budget
from reknit_core.wire.frames import Opcode, payload

NONCE = b"8 bytes."
DATA = message(b"x" * 98).data  # 100 bytes

Pair = tuple[IncomingWebSocket, OutgoingWebSocket]


def legs(*, eager: bool = False, window: int = 0, limit: int = 1 << 60, **changes: Any) -> Pair:
    """The client's leg and the server's, both open since second 0."""
    policy = Policy(**changes)
    budget = Budget(limit)
    to_server, to_client = (Backlog(eager=eager, window=window, budget=budget) for _ in range(2))
    client = IncomingWebSocket(to_server, to_client, policy)
    server = OutgoingWebSocket(to_client, to_server, policy, Dialling(policy, NONCE))
    client.other, server.other = server, client
    for leg in (client, server):
        leg.open(deflate=False, now=0.0)
    return client, server


def feed(leg: Leg, data: bytes) -> list[tuple[Opcode, bytes]]:
    """Bytes from the leg's peer, as the context hands them on."""
    assert leg.scanner is not None
    controls = leg.cut_controls(leg.scanner.scan(data))
    while leg.is_behind:
        controls += leg.cut_controls(leg.scanner.scan(b""))
    return [(opcode, frame) for opcode, frame, _ in controls]


def out(leg: Leg) -> bytes:
    return b"".join(leg.pending())


def write(leg: Leg, size: int = -1, now: float = 0.0) -> bytes:
    """Let the leg's socket take that many bytes, or all."""
    data = b""
    while size:
        given_ = out(leg)[: size if size > 0 else None]
        if not given_:
            break
        leg.advance(len(given_), now)
        data += given_
        size -= len(given_) if size > 0 else 0
    return data


def asked(leg: Leg) -> bytes:
    """The payload of the proxy's own Ping, which must be all that there is to write."""
    ping = write(leg)
    assert ping[0] == FIN | PING
    return payload(ping)
