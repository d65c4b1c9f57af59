"""Which phases of the two legs' connections go together with which state of the session.

A session is three small machines: the lifecycle, and a phase for each leg. They don't stand just
anyhow: this is all that can be. What is not in here is a bug.
"""

from reknit_core.leg.phase import Phase
from reknit_core.lifecycle import State

_AWAY, _DIALLING, _HANDSHAKE = Phase.AWAY, Phase.DIALLING, Phase.HANDSHAKE
_OPEN, _CLOSING, _RECEIVED = Phase.OPEN, Phase.CLOSING, Phase.CLOSE_RECEIVED
_LEAVING = Phase.LEAVING

Phases = frozenset[tuple[Phase, Phase]]
"""Pairs: the client's phase, and the server's."""


def _pairs(client: tuple[Phase, ...], server: tuple[Phase, ...]) -> Phases:
    return frozenset((one, other) for one in client for other in server)


_SOUGHT = (_DIALLING, _HANDSHAKE)

CONFIGURATIONS: dict[State, Phases] = {
    # The client waits for its answer while the server is dialled.
    State.OPENING: _pairs((_HANDSHAKE,), _SOUGHT),
    State.CONNECTED: _pairs((_OPEN,), (_OPEN,)),
    State.DRAINING: _pairs((_OPEN,), (_OPEN,)),
    State.REOPENING: _pairs((_OPEN,), (_OPEN,)),
    State.REOPENING_ALONE: _pairs((_AWAY,), (_OPEN,)),
    State.SERVER_DOWN: _pairs((_OPEN,), _SOUGHT),
    State.CLIENT_DOWN: _pairs((_AWAY,), (_OPEN,)),
    State.BOTH_DOWN: _pairs((_AWAY,), _SOUGHT),
    # Each side is told, answers, or is waited for once more, since messages are owed to it. It is
    # answered as soon as the other has been told.
    State.CLOSING: _pairs((_CLOSING,), (_AWAY, _CLOSING, _RECEIVED, _LEAVING))
    | _pairs((_RECEIVED,), (_CLOSING, *_SOUGHT, _AWAY))
    | _pairs((_LEAVING,), (_AWAY, _CLOSING, *_SOUGHT, _LEAVING))
    | _pairs((_AWAY,), (_AWAY, _CLOSING, _RECEIVED, _LEAVING, *_SOUGHT))
    | _pairs((_CLOSING,), _SOUGHT),
    # At once, with an open side still to be told; or when all is done.
    State.CLOSED: _pairs((_AWAY, _CLOSING, _LEAVING), (_AWAY,))
    | _pairs((_AWAY,), (_CLOSING, _LEAVING)),
}

# Once legs that are away are waited for no more, nothing is dialled.
_NOT_RECOVERING = frozenset((State.CLOSING, State.CLOSED))


def check(state: State, client: Phase, server: Phase, *, recovers: bool) -> None:
    """Assert that these can be together. `recovers`: whether legs that are away are waited for."""
    assert (client, server) in CONFIGURATIONS[state], f"{state}: {client}, {server}"
    assert recovers or state in _NOT_RECOVERING, f"{state}, and nobody is waited for"
    assert recovers or server not in _SOUGHT, f"{server}, and nobody is waited for"
