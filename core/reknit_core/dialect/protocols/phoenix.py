"""Phoenix channels, with version 1 of their serializer (objects) and version 2 (arrays).

A join is repeated until the channel is left or closed by either side; a heartbeat until it has its
reply. In version 2 it is `[join_ref, ref, topic, event, payload]`, in version 1 an object of the
same names. A LiveView is not joined again: what it shows is the state of a server's process, which
the client would not hear of. A server's loss then ends the session, and the client joins anew.
Binary messages are pushes and broadcasts.
"""

import re
from collections.abc import Mapping
from typing import Any, NamedTuple

from reknit_core.dialect.ruled import patterns
from reknit_core.dialect.ruled.rules import MAX_BITS
from reknit_core.dialect.speech import (
    NOTHING,
    Beat,
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

_TARGET = re.compile(r"^[^?]*/websocket\?(.*&)?vsn=[12]\.0\.0(&|$)")
_HEARTBEAT: Key = ("heartbeat",)
_LIVE_VIEW = "lv:"
_OURS = "reknit"  # the reference of the proxy's own heartbeats
_BEAT = 30.0  # seconds: as Phoenix's client does it
_MAX_JOINS = 1024

Ref = str | int | None


class Phoenix:
    """The dialect."""

    name = "phoenix"
    summary = "Phoenix channels: all are joined again; the replies to that are left out."
    chosen_by = "path and query: /websocket?vsn="
    ends = False

    def speaks(self, offer: Offer) -> bool:
        """Whether path and query are those that a Phoenix client asks for: `…/websocket?vsn=`."""
        return _TARGET.match(offer.target) is not None

    def converse(self, state: State | None = None) -> "PhoenixConversation":
        """A session's conversation."""
        return taken_up(PhoenixConversation(), state)


class _Event(NamedTuple):
    join_ref: Ref
    ref: Ref
    topic: str
    event: str
    payload: object
    is_list: bool


class PhoenixConversation(Conversation):
    """Reads the events of all channels."""

    __slots__ = ("_heartbeat", "_is_list", "_is_lost", "_joins")

    def __init__(self) -> None:
        self._joins: dict[str, Ref] = {}  # by topic: the reference of the join
        self._heartbeat: Ref = None  # the reference of the heartbeat without a reply
        self._is_list = True  # as the client writes
        self._is_lost = False

    def hear(self, side: Side, message: Message, *, away: bool = False) -> tuple[Heard, ...]:
        """What an event means."""
        each = _read(message) if message.is_text and not self._is_lost else None
        if each is None:
            return NOTHING
        if side is Side.CLIENT and not _can_be_kept(each):
            self._is_lost = True
            return (Heard(lost=True),)
        heard = self._from_client(each, message, away) if side is Side.CLIENT else self._said(each)
        if heard is None:
            return NOTHING
        self._is_lost = heard.lost
        return (heard,)

    def beat(self, side: Side) -> Beat | None:
        """A server ends a connection that is silent for a minute, its default."""
        if side is Side.SERVER or not self._joins:
            return None
        return Beat(_phoenix("heartbeat", _OURS, {}, is_list=self._is_list), _BEAT)

    def freeze(self) -> State:
        """What is joined and asked."""
        return {
            "joins": [[topic, ref] for topic, ref in self._joins.items()],
            "heartbeat": self._heartbeat,
            "is_list": self._is_list,
            "is_lost": self._is_lost,
        }

    def thaw(self, state: State) -> None:
        """Become what freeze() gave."""
        each: dict[str, Any] = dict(state)
        self._joins = dict(each["joins"])
        self._heartbeat = each["heartbeat"]
        self._is_list = each["is_list"]
        self._is_lost = each["is_lost"]

    # -- What events mean --------------------------------------------------------------------------

    def _from_client(self, each: _Event, message: Message, away: bool) -> Heard | None:
        if each.event == "heartbeat" and each.topic == "phoenix":
            if away:
                taken = {"status": "ok", "response": {}}
                reply = _phoenix("phx_reply", each.ref, taken, is_list=each.is_list)
                return Heard(reply=reply)
            self._heartbeat = each.ref
            return Heard(states=(Statement(_HEARTBEAT, message),))
        key: Key = ("join", each.topic)
        if each.event == "phx_join":
            self._is_list = each.is_list
            self._joins[each.topic] = each.ref
            is_lost = each.topic.startswith(_LIVE_VIEW) or len(self._joins) > _MAX_JOINS
            return Heard(states=(Statement(key, message),), lost=is_lost)
        if each.event == "phx_leave" and self._joins.pop(each.topic, None) is not None:
            return Heard(takes_back=(key,))
        return None

    def _said(self, each: _Event) -> Heard | None:
        if each.event == "phx_reply":
            return self._replied(each)
        if each.event not in ("phx_close", "phx_error") or each.topic not in self._joins:
            return None
        ref = each.join_ref if each.is_list or each.join_ref is not None else each.ref
        if ref is not None and ref != self._joins[each.topic]:
            return None  # of an earlier join
        del self._joins[each.topic]
        return Heard(settles=(("join", each.topic),))

    def _replied(self, each: _Event) -> Heard | None:
        if each.topic == "phoenix":
            if each.ref == _OURS:
                return Heard(is_beat=True, is_ours=True)
            if each.ref != self._heartbeat:
                return None
            self._heartbeat = None
            return Heard(settles=(_HEARTBEAT,))
        if each.ref is None or self._joins.get(each.topic) != each.ref:
            return None
        key = ("join", each.topic)
        is_taken = patterns.find(each.payload, ("status",)) == "ok"
        return Heard(answers=(key,), refuses=() if is_taken else (key,))


def _read(message: Message) -> _Event | None:
    document = patterns.decode(message.data)
    if isinstance(document, list):
        parts = document if len(document) == 5 else []
    elif isinstance(document, dict):
        parts = [document.get(name) for name in ("join_ref", "ref", "topic", "event", "payload")]
    else:
        return None
    match parts:
        case [join_ref, ref, str() as topic, str() as event, payload]:
            if _is_ref(join_ref) and _is_ref(ref):
                return _Event(join_ref, ref, topic, event, payload, isinstance(document, list))
    return None


def _is_ref(found: object) -> bool:
    return found is None or (isinstance(found, (str, int)) and not isinstance(found, bool))


def _can_be_kept(each: _Event) -> bool:
    """Whether its topic and reference are of a size that a client of Phoenix's makes."""
    ref = each.ref
    size = len(ref) if isinstance(ref, str) else 0 if ref is None else ref.bit_length()
    return len(each.topic) <= MAX_NAME and size <= (MAX_BITS if isinstance(ref, int) else MAX_NAME)


def _phoenix(event: str, ref: Ref, payload: Mapping[str, object], *, is_list: bool) -> Message:
    """An event of the topic that is the connection itself."""
    if is_list:
        return Message(patterns.encode([None, ref, "phoenix", event, payload]), True)
    members = {"topic": "phoenix", "event": event, "payload": payload, "ref": ref}
    return Message(patterns.encode(members), True)
