"""Sessions by hand: a map of them, clients that connect, a server that accepts."""

import json
from itertools import count

from handshake_bytes import accepting, request
from reknit_core.commands import Dial
from reknit_core.events import ConnectionLost, ServerConnected
from reknit_core.lifecycle import State
from reknit_core.policy.policy import GraceFor, Policy
from reknit_core.policy.upstream import Upstream
from reknit_core.proxy.contexts import Contexts
from reknit_core.session.context import ContextStateMachine
from reknit_core.side import Side
from reknit_core.wire.handshake import ClientHandshake, Refusal, UpgradeRequest


def contexts(policy: Policy | None = None) -> Contexts:
    """Their randomness counts, so that each id is known."""
    numbers = count(1)
    return Contexts(
        policy or Policy(grace_for=GraceFor.ALL),  # most of them name no id
        Upstream("server.example", 80),
        lambda size: next(numbers).to_bytes(size, "big"),
    )


def connect(
    sessions: Contexts, *extra: bytes, target: bytes = b"/", now: float = 0.0, rest: bytes = b""
) -> ContextStateMachine | Refusal:
    handshake = ClientHandshake("192.0.2.7")
    data = request(*extra, line=b"GET " + target + b" HTTP/1.1") + rest
    outcome = handshake.receive_data(data)
    assert isinstance(outcome, UpgradeRequest)
    return sessions.connect(handshake, outcome, now)


def session(
    sessions: Contexts, *extra: bytes, target: bytes = b"/", now: float = 0.0
) -> ContextStateMachine:
    context = connect(sessions, *extra, target=target, now=now)
    assert isinstance(context, ContextStateMachine)
    return context


def refused(answer: ContextStateMachine | Refusal, status: int, error: str) -> str:
    """Check a refusal, and return its message."""
    assert isinstance(answer, Refusal)
    assert answer.status == status
    assert (b"content-type", b"application/json") in answer.headers
    body = json.loads(answer.body)
    assert body["error"] == error
    return str(body["message"])


def take(context: ContextStateMachine, side: Side, now: float = 0.0) -> bytes:
    """Write all that there is for that side."""
    data = b""
    while buffers := context.pending(side):
        part = b"".join(buffers)
        context.advance(side, len(part), now)
        data += part
    return data


def accept(context: ContextStateMachine, *extra: bytes, frames: bytes = b"") -> bytes:
    """Let the server accept; returns the client's answer."""
    (dial,) = [command for command in context.commands() if isinstance(command, Dial)]
    context.handle(ServerConnected(dial.generation), 0.0)
    sent = take(context, Side.SERVER)
    context.receive_data(Side.SERVER, accepting(sent, *extra) + frames, 0.0)
    assert context.state is State.CONNECTED
    return take(context, Side.CLIENT)


def lose_client(context: ContextStateMachine) -> None:
    context.handle(ConnectionLost(Side.CLIENT, context.client.generation, "reset"), 0.0)
    assert context.state is State.CLIENT_DOWN
