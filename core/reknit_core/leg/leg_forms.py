"""A leg as data, with what it has asked and how its server is dialled."""

from typing import Any

from reknit_core.form import Form, Moment
from reknit_core.leg.phase import Phase
from reknit_core.leg.transit import Transit
from reknit_core.queue.backlog_form import FrozenBacklog
from reknit_core.queue.stream import Mark
from reknit_core.wire.wire_forms import FrozenAnswer, FrozenRequest, FrozenScanner


class FrozenProbe(Form):
    """The proxy's own Pings: see Probe. `ping`: the place in the lane of one that isn't written."""

    number: int
    mark: Mark
    ping: int | None
    sent_at: Moment
    missed: int
    loaded: bool
    transit: Transit | None
    confirm_at: Moment


class FrozenRetry(Form):
    """The attempts to reach the server: see Retry."""

    attempt: int
    refusals: int
    reason: str
    accepted_at: Moment
    since: Moment
    wait: float


class FrozenLeg(Form):
    """One leg: see Leg."""

    queue: FrozenBacklog
    scanner: FrozenScanner | None
    probe: FrozenProbe
    phase: Phase
    generation: int
    early: bytes
    lane: list[tuple[int, bytes]]
    heard: Moment
    pinged: bytes | None
    full: bool
    asked: bool
    drained: Moment
    ended: bool


class FrozenClient(Form):
    """The client's leg: see IncomingWebSocket."""

    leg: FrozenLeg
    handshake: FrozenRequest | None
    hello: bool


class FrozenServer(Form):
    """The server's leg: see OutgoingWebSocket. `own`, `server`: see Dialling."""

    leg: FrozenLeg
    handshake: FrozenAnswer | None
    retry: FrozenRetry
    until: Moment
    since: Moment
    wall: float | None
    dial_at: Moment
    own: str = ""
    server: str = ""


class FrozenDialogue(Form):
    """A session in its dialect: see Dialogue. `state`: None if nothing is known of messages."""

    name: str
    state: dict[str, Any] | None
    made: list[int]
    since: int
    begins_elsewhere: bool
    afresh: dict[str, Any] | None = None
    is_afresh_cut: bool = False
