"""Yjs over WebSocket: y-websocket, and hocuspocus, which has many documents on one connection.

A new server is asked once more for what the client lacked when it asked last (sync step 1), and
is told who the client is (its own awareness); hocuspocus hears the authentication before. All
answers pass: to merge them twice is harmless, and by its own step 1 a server asks for what the
lost one had not saved. What other clients are doing, they say themselves.
"""

from enum import IntEnum
from typing import Any

from reknit_core.dialect.protocols.lib0 import Lib0Error, Lib0Reader, array, number
from reknit_core.dialect.speech import (
    NOTHING,
    Conversation,
    Heard,
    Key,
    Message,
    Offer,
    State,
    Statement,
    taken_up,
)
from reknit_core.dialect.statements import MAX_NAME
from reknit_core.side import Side

_STEP_1 = 0  # of y-protocols' sync
_MAX_DOCUMENTS = 1024


class Kind(IntEnum):
    """y-websocket's and hocuspocus's kinds of message."""

    SYNC = 0
    AWARENESS = 1
    AUTH = 2
    CLOSE = 7


class Auth(IntEnum):
    """Kinds of hocuspocus's authentication."""

    TOKEN = 0
    DENIED = 1
    AUTHENTICATED = 2


class Yjs:
    """The dialect. `named`: whether each message begins with its document's name."""

    chosen_by = ""
    ends = False

    def __init__(self, name: str, summary: str, *, named: bool) -> None:
        self.name = name
        self.summary = summary
        self._named = named

    def speaks(self, offer: Offer) -> bool:
        """Neither names a subprotocol: they have to be chosen by name."""
        return False

    def converse(self, state: State | None = None) -> "YjsConversation":
        """A session's conversation."""
        return taken_up(YjsConversation(named=self._named), state)


Y_WEBSOCKET = Yjs(
    "y-websocket", "The document is synchronised again, and presence told again.", named=False
)
HOCUSPOCUS = Yjs(
    "hocuspocus",
    "Documents are authenticated for and synchronised again, and presence told again.",
    named=True,
)


class YjsConversation(Conversation):
    """Reads both directions' messages.

    It has no beat: a client of both may be silent, and their Pings are WebSocket's.
    """

    __slots__ = ("_is_lost", "_named", "_own", "_scopes")

    def __init__(self, *, named: bool) -> None:
        self._named = named
        self._own: dict[str, int] = {}  # by document: the client's number in its awareness
        self._scopes: dict[str, bytes] = {}  # by document: what the client may do
        self._is_lost = False

    def hear(self, side: Side, message: Message, *, away: bool = False) -> tuple[Heard, ...]:
        """What a message means; nothing, if it can't be read."""
        if message.is_text or self._is_lost:
            return NOTHING
        reader = Lib0Reader(message.data)
        try:
            document = reader.array() if self._named else b""
            if len(document) > MAX_NAME:
                self._is_lost = True
                return (Heard(lost=True),)
            kind = reader.number()
            read = self._from_client if side is Side.CLIENT else self._from_server
            heard = read(document, kind, reader, message)
        except Lib0Error:
            return NOTHING
        if heard is None:
            return NOTHING
        self._is_lost = heard.lost
        return (heard,)

    def freeze(self) -> State:
        """Who the client is, and what it may do."""
        return {
            "own": [[name, client] for name, client in self._own.items()],
            "scopes": [[name, scope] for name, scope in self._scopes.items()],
            "is_lost": self._is_lost,
        }

    def thaw(self, state: State) -> None:
        """Become what freeze() gave."""
        each: dict[str, Any] = dict(state)
        self._own = dict(each["own"])
        self._scopes = dict(each["scopes"])
        self._is_lost = each["is_lost"]

    # -- What messages mean ------------------------------------------------------------------------

    def _from_client(
        self, document: bytes, kind: int, reader: Lib0Reader, message: Message
    ) -> Heard | None:
        name = document.decode("latin-1")
        match kind:
            case Kind.SYNC if reader.number() == _STEP_1:
                return Heard(states=(Statement(("sync", name), message),))
            case Kind.AWARENESS:
                return self._aware(document, name, reader.array())
            case Kind.AUTH if self._named and reader.number() == Auth.TOKEN:
                said = Statement(("auth", name), message, awaits=True)
                return Heard(states=(said,))
            case Kind.CLOSE if self._named:
                return self._close(name)
        return None

    def _aware(self, document: bytes, name: str, update: bytes) -> Heard | None:
        """Clients repeat what they hear of others, too: only what this one says of itself counts.

        y-protocols, awareness: a number of clients, and for each its number, a clock and a state.
        """
        reader = Lib0Reader(update)
        for _ in range(reader.number()):
            start = reader.pos
            client = reader.number()
            reader.number()
            state = reader.array()
            if self._own.setdefault(name, client) != client:
                continue
            if state == b"null":  # it goes
                return Heard(settles=(("awareness", name),))
            one = number(1) + update[start : reader.pos]
            head = array(document) if self._named else b""
            said = Message(head + number(Kind.AWARENESS) + array(one), False)
            is_lost = len(self._own) > _MAX_DOCUMENTS
            return Heard(states=(Statement(("awareness", name), said),), lost=is_lost)
        return None

    def _from_server(
        self, document: bytes, kind: int, reader: Lib0Reader, message: Message
    ) -> Heard | None:
        if not self._named:
            return None
        name = document.decode("latin-1")
        key: Key = ("auth", name)
        match kind, reader.number() if kind == Kind.AUTH else 0:
            case Kind.AUTH, Auth.AUTHENTICATED:
                scope = reader.array() if not reader.is_done else b""
                is_one_more = len(self._scopes) >= _MAX_DOCUMENTS and name not in self._scopes
                if is_one_more or len(scope) > MAX_NAME:
                    return Heard(lost=True)
                is_other = self._scopes.setdefault(name, scope) != scope
                return Heard(answers=(key,), refuses=(key,) if is_other else ())
            case Kind.AUTH, Auth.DENIED:
                return Heard(answers=(key,), refuses=(key,))
            case Kind.CLOSE, _:
                return self._close(name)
        return None

    def _close(self, name: str) -> Heard:
        """The document is left, by either side."""
        self._own.pop(name, None)
        self._scopes.pop(name, None)
        return Heard(settles=(("auth", name), ("sync", name), ("awareness", name)))
