"""A client's request that may be no WebSocket upgrade, and is passed to the server then."""

from dataclasses import dataclass

from reknit_core.policy.policy import Http
from reknit_core.wire.handshake import (
    NO_UPGRADE,
    ClientHandshake,
    Refusal,
    UpgradeRequest,
    header_lines,
    refusal,
)
from reknit_core.wire.headers import HeaderList, value_of
from reknit_core.wire.heads.ambiguity import ambiguity, origin_form


@dataclass(frozen=True, slots=True)
class PlainRequest:
    """The head of a request that can go on to the server. `headers`: names in lower case."""

    method: bytes
    target: str
    host: str
    headers: HeaderList


def read_request(
    handshake: ClientHandshake, data: bytes, http: Http
) -> UpgradeRequest | PlainRequest | Refusal | None:
    """Read on in what may be a handshake; None while the request's head isn't complete.

    `http`: what a request gets that is none. Never raises.
    """
    outcome = handshake.receive_data(data)
    if outcome is not NO_UPGRADE or http is Http.REFUSE:
        return outcome
    head = handshake.head  # h11 has taken it
    lines = header_lines(head)
    problem = ambiguity(lines, head, may_have_body=True)
    if problem is not None:
        return refusal(400, "bad_request", problem)
    method, target, _ = head.partition(b"\r\n")[0].split(b" ")
    host = value_of(lines, b"host") or ""
    path = origin_form(target.decode("latin-1"), host)
    if path is None:
        message = "the request's target is no path of the host in Host"
        return refusal(400, "bad_request", message)
    return PlainRequest(method, path, host, lines)
