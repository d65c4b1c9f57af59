"""What a system still has to deliver of a connection's bytes: a fact that is passed in."""

from collections.abc import Callable
from typing import NamedTuple

from reknit_core.side import Side

SLOWEST = 256  # bytes a second: a peer that takes less, time-out after time-out, counts as dead


class Transit(NamedTuple):  # not compiled: it is a form too, whose types MessagePack must see
    """Bytes that a leg's socket has taken, as its system counts them.

    `left`: so many the peer's system has not acknowledged yet. `arrived`: so many it has, since
    the connection began. `quiet`: for so long (seconds) it has acknowledged nothing, not even that
    its window is full. None where the system doesn't say.
    """

    left: int
    arrived: int | None = None
    quiet: float | None = None


Look = Callable[[Side], Transit | None]
"""Asks the system about that side's socket; None where it can't be asked."""


def unseen(side: Side) -> Transit | None:
    """Look where there is no system to ask."""
    return None
