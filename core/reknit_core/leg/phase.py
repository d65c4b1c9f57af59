"""What a leg's connection is doing."""

from enum import Enum


class Phase(Enum):
    """A leg's own small machine; which of its states go with which of the session's: context.py."""

    __hash__ = object.__hash__  # members are single; Enum's own is Python code

    AWAY = "away"
    DIALLING = "dialling"
    HANDSHAKE = "handshake"
    OPEN = "open"
    CLOSING = "closing"  # our Close follows what is queued; the peer's answer is awaited
    CLOSE_RECEIVED = "close received"  # the peer's Close is in; our answer is due
    LEAVING = "leaving"  # our last bytes are on their way
