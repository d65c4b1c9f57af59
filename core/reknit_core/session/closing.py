"""How a session ends, as two tables: what a Close means, and how each side is told.

Both are by the phase of the leg's connection. What no row names can't happen, or needs nothing.
"""

from enum import Enum

from reknit_core.leg.phase import Phase
from reknit_core.side import Side


class Meaning(Enum):
    """What a peer's Close frame means."""

    LOST = "the peer is lost, and may come back"
    ENDS = "the peer ends the session: the other side is told, and then it is answered"
    CROSSED = "both have asked for the end: our Close, not sent yet, becomes the answer"
    ANSWERED = "the answer to our Close: all before it has arrived"


# By the phase that the Close finds the leg in; in OPEN, whether its code is one of those by which
# a peer is lost; in CLOSING, whether our own Close is on its way.
CLOSE_MEANS: dict[tuple[Phase, bool], Meaning] = {
    (Phase.OPEN, True): Meaning.LOST,
    (Phase.OPEN, False): Meaning.ENDS,
    (Phase.CLOSING, False): Meaning.CROSSED,
    (Phase.CLOSING, True): Meaning.ANSWERED,
}


class Farewell(Enum):
    """How a side is told that the session is over."""

    CLOSE = "a Close frame behind what is queued for it"
    REFUSAL = "an HTTP answer in place of the 101"
    WAIT = "as soon as it is back, if messages are owed to it; else not at all"
    WAIT_OR_DROP = "the same; else what is being dialled is dropped"
    NOTHING = "it is being told already"


FAREWELLS: dict[tuple[Side, Phase], Farewell] = {
    **{
        (side, phase): farewell
        for side in Side
        for phase, farewell in (
            (Phase.AWAY, Farewell.WAIT),
            (Phase.OPEN, Farewell.CLOSE),
            (Phase.CLOSING, Farewell.NOTHING),
            (Phase.CLOSE_RECEIVED, Farewell.NOTHING),
            (Phase.LEAVING, Farewell.NOTHING),
        )
    },
    (Side.CLIENT, Phase.HANDSHAKE): Farewell.REFUSAL,
    (Side.SERVER, Phase.DIALLING): Farewell.WAIT_OR_DROP,
    (Side.SERVER, Phase.HANDSHAKE): Farewell.WAIT_OR_DROP,
}
