"""A session as data: its legs, on what terms it stands, and when what is due."""

from reknit_core.form import Form, Moment
from reknit_core.leg.leg_forms import FrozenClient, FrozenDialogue, FrozenServer
from reknit_core.lifecycle import State
from reknit_core.terms.terms_forms import FrozenPinned


class FrozenTelling(Form):
    """What a session does by its dialect: see Telling."""

    dialogue: FrozenDialogue
    until: Moment
    beat_at: Moment


class FrozenEnding(Form):
    """How a session ends: see Ending."""

    grace: Moment
    close: Moment
    parting: tuple[int, str]
    recovers: bool


class FrozenAway(Form):
    """How a side was away: see Away."""

    times: int
    seconds: float
    since: Moment


class FrozenCourse(Form):
    """How a session has gone so far: see Course."""

    began: Moment
    address: str
    status: int
    cause: str
    client: FrozenAway | None
    server: FrozenAway | None


class FrozenContext(Form):
    """A whole context at the time `now`; `parted`: whether its legs no longer know each other."""

    now: Moment
    parted: bool
    client: FrozenClient
    server: FrozenServer
    state: State
    pinned: FrozenPinned
    nonce: bytes
    asked: Moment
    drain_to: tuple[int, int]
    ending: FrozenEnding
    telling: FrozenTelling | None
    course: FrozenCourse
