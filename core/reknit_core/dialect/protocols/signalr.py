"""ASP.NET's SignalR: a connection belongs to the server that negotiated it, and ends with it.

Its request is not certain to be one of SignalR: `id=` with 22 characters. Its first message is: a
JSON object with the protocol's name and version, and the record separator behind it (SignalR hub
protocol, "Handshake Request"). Until then, and for all others, nothing is known.
"""

import re

import msgspec

from reknit_core.dialect.speech import NOTHING, Conversation, Heard, Message, Offer, State
from reknit_core.side import Side

_TARGET = re.compile(r"^[^?]*\?(.*&)?id=[A-Za-z0-9_-]{22}(&|$)")
_SEPARATOR = b"\x1e"
_MAX_HANDSHAKE = 256  # bytes


class SignalR:
    """The dialect."""

    name = "signalr"
    summary = "A server's loss ends the session: its client negotiates and connects anew."
    chosen_by = "query: id=, and the first message"
    ends = True

    def speaks(self, offer: Offer) -> bool:
        """Whether it may be SignalR: what the client says first tells."""
        return offer.subprotocol is None and _TARGET.match(offer.target) is not None

    def converse(self, state: State | None = None) -> "SignalRConversation":
        """A session's conversation."""
        return SignalRConversation(has_begun=state is not None and bool(state["has_begun"]))


class SignalRConversation(Conversation):
    """Looks at the client's first message."""

    __slots__ = ("_has_begun",)

    def __init__(self, *, has_begun: bool) -> None:
        self._has_begun = has_begun

    def hear(self, side: Side, message: Message, *, away: bool = False) -> tuple[Heard, ...]:
        """Whether the client's first message is SignalR's handshake."""
        if self._has_begun or side is Side.SERVER:
            return NOTHING
        self._has_begun = True
        return (Heard(lost=True),) if _is_handshake(message.data) else NOTHING

    def freeze(self) -> State:
        """Whether the client has said anything."""
        return {"has_begun": self._has_begun}


def _is_handshake(data: bytes) -> bool:
    first, separator, _ = data[:_MAX_HANDSHAKE].partition(_SEPARATOR)
    if not separator:
        return False
    try:
        document = msgspec.json.decode(first)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return False
    return (
        isinstance(document, dict)
        and isinstance(document.get("protocol"), str)
        and isinstance(document.get("version"), int)
    )
