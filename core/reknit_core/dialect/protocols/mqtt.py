"""MQTT 3.1, 3.1.1 and 5: connected again, subscribed again, unacknowledged messages sent again.

CONNECT is repeated as it was. Each topic filter is a statement of its own, subscribed under a
packet identifier that the client does not use; a SUBSCRIBE without an answer is repeated whole.
A PUBLISH of QoS 1 or 2 stands until it is acknowledged, and is sent again with DUP (3.1.1, section
4.4). So is one of QoS 2 that was received, if the new broker has nothing of the session: the lost
one has taken the message with it. What can't be repeated, topic aliases and an AUTH exchange
(5), is a conversation that can't be followed: then a server's loss ends the session, and the client
connects anew.
"""

from collections import Counter
from typing import Any

from reknit_core.dialect.byte_stream import MAX_UNIT
from reknit_core.dialect.conversation import PASSES, StreamConversation
from reknit_core.dialect.protocols.packets import (
    Kind,
    Packet,
    PacketReader,
    number,
    packet,
    properties,
    text_end,
)
from reknit_core.dialect.speech import (
    NEEDLESS,
    Beat,
    Heard,
    Key,
    LostError,
    Message,
    Offer,
    State,
    Statement,
    taken_up,
)
from reknit_core.side import Side

SUBPROTOCOLS = frozenset(("mqtt", "mqttv3.1"))

_CONNECT: Key = ("connect",)
_PINGREQ = b"\xc0\x00"
_PINGRESP = Message(b"\xd0\x00", False)
_DUP = 0x08
_KIND = 0xF0  # in the first byte of a packet (2.2.1)
_QOS_0 = 0x30  # the first byte of a PUBLISH of QoS 0 (3.3.1)
_WITHOUT_DUP_RETAIN = 0xF6
_TOPIC_ALIAS = 0x23
_CLEAN = 0x02  # of the flags of CONNECT: no earlier session is taken up (3.1.2.4)
_LAST_ID = 0xFFFF
_PING: Key = ("ping",)
_UNSPECIFIED = b"\x80"  # 2.4: unspecified error
_MAX_ASKED = 256  # SUBSCRIBEs that are unanswered
_MAX_FILTERS = 16384  # of all of them
_MAX_RECEIVED = 4096  # PUBLISHes that wait for their PUBCOMP


class Mqtt:
    """The dialect."""

    name = "mqtt"
    summary = "Connected and subscribed again; what a broker had not acknowledged is sent again."
    chosen_by = "subprotocol mqtt or mqttv3.1"
    ends = False

    def speaks(self, offer: Offer) -> bool:
        """Whether the agreed subprotocol is one of MQTT's (section 6)."""
        return offer.subprotocol in SUBPROTOCOLS

    def converse(self, state: State | None = None) -> "MqttConversation":
        """A session's conversation."""
        return taken_up(MqttConversation(), state)


class MqttConversation(StreamConversation[Packet]):
    """Reads both directions' packets."""

    __slots__ = (
        "_again",
        "_asked",
        "_asking",
        "_forgets",
        "_had_session",
        "_is_5",
        "_is_connected",
        "_keepalive",
        "_next",
        "_pinged",
        "_received",
        "_shows_session",
    )

    def __init__(self) -> None:
        super().__init__(PacketReader)
        self._is_5 = False
        self._keepalive = 0.0  # seconds
        self._is_connected = False  # whether a server has accepted the client
        self._had_session = False  # whether the client was told that its session is taken up
        self._shows_session = True  # whether a CONNACK says if the session is taken up
        self._forgets = False  # whether the server has said that it has nothing of the session
        self._pinged = False  # whether a PINGREQ of the client is unanswered
        self._received: set[int] = set()  # of QoS 2, whose PUBREC the client has had
        self._asked: dict[int, list[Key]] = {}  # by the identifier of a SUBSCRIBE of the client
        self._asking: Counter[Key] = Counter()  # how many of these have that filter
        self._again: dict[int, list[Key]] = {}  # by that of one of the proxy
        self._next = _LAST_ID  # the identifier of the proxy's next SUBSCRIBE

    def _idle(self, side: Side, data: bytes) -> Message | None:
        """A PINGREQ, unless an earlier one is to be answered first."""
        is_idle = side is Side.CLIENT and data == _PINGREQ and not self._pinged
        return _PINGRESP if is_idle else None

    def again(self, statement: Statement) -> Message | None:
        """A PUBLISH is marked as a duplicate; a SUBSCRIBE gets an identifier of the proxy's."""
        data = statement.said.data
        match statement.key[0]:
            case "publish":
                if statement.key[1] in self._received and not self._forgets:
                    return None  # its PUBREL says it, or will
                return Message(bytes((data[0] | _DUP,)) + data[1:], False)
            case "filter":
                if statement.key in self._asking:
                    return None  # the client's own SUBSCRIBE stands
                identifier = self._free_identifier()
                self._again[identifier] = [statement.key]
                ((_, each),) = PacketReader().read(data)
                assert each is not None
                body = identifier.to_bytes(2, "big") + each.body[2:]
                return Message(packet(each.first, body), False)
        return statement.said

    def beat(self, side: Side) -> Beat | None:
        """A broker ends a connection that is silent for one and a half keep alives (3.1.2.10)."""
        if side is Side.CLIENT and self._is_connected and self._keepalive:
            return Beat(Message(_PINGREQ, False), self._keepalive / 2)
        return None

    def fails(self, statement: Statement) -> Message | None:
        """MQTT 5 has a reason code for a PUBLISH that was not taken (3.4.2.1)."""
        if statement.key[1] in self._received:
            return NEEDLESS  # it was taken
        if not self._is_5:
            return None
        ((_, each),) = PacketReader().read(statement.said.data)
        assert each is not None
        kind = Kind.PUBACK if each.qos == 1 else Kind.PUBREC
        identifier = int(statement.key[1]).to_bytes(2, "big")
        return Message(packet(kind << 4, identifier + _UNSPECIFIED), False)

    def begins_again(self) -> None:
        """What the lost broker was saying, and what the proxy asked it, is void."""
        super().begins_again()
        self._again.clear()

    def freeze(self) -> State:
        """What is half read, what is asked, and what was agreed."""
        return {
            "is_5": self._is_5,
            "keepalive": self._keepalive,
            "is_connected": self._is_connected,
            "had_session": self._had_session,
            "pinged": self._pinged,
            "shows_session": self._shows_session,
            "forgets": self._forgets,
            "received": [*self._received],
            **super().freeze(),
            "asked": [[number, [[*key] for key in keys]] for number, keys in self._asked.items()],
            "again": [[number, [[*key] for key in keys]] for number, keys in self._again.items()],
            "next": self._next,
        }

    def thaw(self, state: State) -> None:
        """Become what freeze() gave."""
        each: dict[str, Any] = dict(state)
        self._is_5 = each["is_5"]
        self._keepalive = each["keepalive"]
        self._is_connected = each["is_connected"]
        self._had_session = each["had_session"]
        self._pinged = each["pinged"]
        self._shows_session = each["shows_session"]
        self._forgets = each["forgets"]
        self._received = set(each["received"])
        super().thaw(state)
        self._asked = {number: [tuple(key) for key in keys] for number, keys in each["asked"]}
        self._again = {number: [tuple(key) for key in keys] for number, keys in each["again"]}
        self._next = each["next"]
        self._asking = Counter(key for keys in self._asked.values() for key in keys)

    # -- What packets mean -------------------------------------------------------------------------

    def _from_client(self, each: Packet) -> Heard:
        if each.first & _WITHOUT_DUP_RETAIN == _QOS_0 and not self._is_5:
            return PASSES  # most are
        body, said = each.body, Message(each.whole, False)
        if not each.whole:  # it is too large to be kept
            return Heard(lost=each.kind != Kind.PUBLISH or each.qos > 0)
        match each.kind:
            case Kind.CONNECT:
                return self._connect(each)
            case Kind.SUBSCRIBE:
                return self._subscribe(each)
            case Kind.UNSUBSCRIBE:
                start = properties(body, 2)[0] if self._is_5 else 2
                taken = tuple(_filter(name) for name, _ in _filters(body, start, 0))
                key = ("unsubscribe", number(body, 0))
                return Heard(states=(Statement(key, said),), settles=taken)
            case Kind.PUBLISH if each.qos:
                return self._publish(each)
            case Kind.PUBLISH if self._is_5 and _has_alias(body, text_end(body, 0)):
                return Heard(lost=True)
            case Kind.PUBREL:  # said twice, it does nothing twice
                return Heard(states=(Statement(("release", number(body, 0)), said),))
            case Kind.PINGREQ:
                self._pinged = True
                return Heard(states=(Statement(_PING, said),))
            case Kind.AUTH:
                return Heard(lost=True)
        return PASSES

    def _connect(self, each: Packet) -> Heard:
        """Section 3.1: the protocol's name and level, flags, the keep alive."""
        level = text_end(each.body, 0)
        self._is_5 = each.body[level : level + 1] == b"\x05"
        self._keepalive = float(number(each.body, level + 2))
        is_clean = bool(each.body[level + 1] & _CLEAN)
        self._shows_session = is_clean or each.body[level : level + 1] >= b"\x04"
        self._is_connected = self._had_session = self._pinged = False
        self._received.clear()
        self._asked.clear()
        self._asking.clear()
        said = Statement(_CONNECT, Message(each.whole, False), awaits=True)
        return Heard(states=(said,), begins=True)

    def _subscribe(self, each: Packet) -> Heard:
        """The whole until it is answered; one for each filter, as they are taken back one by one.

        `_asked` is bounded, as one for each identifier would be much.
        """
        identifier = number(each.body, 0)
        start = properties(each.body, 2)[0] if self._is_5 else 2
        head, filters = each.body[:start], _filters(each.body, start, 1)
        size = len(filters) * len(head) + len(each.body)  # each has the properties
        asked = len(filters) + self._asking.total()
        if len(self._asked) >= _MAX_ASKED or asked > _MAX_FILTERS or size > MAX_UNIT:
            return Heard(lost=True)
        states = [Statement(("subscribe", identifier), Message(each.whole, False))]
        for name, entry in filters:
            said = Message(packet(each.first, head + entry), False)
            states.append(Statement(_filter(name), said))
        self._answered(identifier)
        self._asked[identifier] = [statement.key for statement in states[1:]]
        self._asking.update(self._asked[identifier])
        return Heard(states=tuple(states))

    def _publish(self, each: Packet) -> Heard:
        topic = text_end(each.body, 0)
        if self._is_5 and _has_alias(each.body, topic + 2):
            return Heard(lost=True)
        key = ("publish", number(each.body, topic))
        self._received.discard(number(each.body, topic))
        return Heard(states=(Statement(key, Message(each.whole, False), is_request=True),))

    def _from_server(self, each: Packet) -> Heard:
        body = each.body
        if not each.whole or each.first & _KIND == _QOS_0:
            return PASSES  # most are a PUBLISH
        match each.kind:
            case Kind.CONNACK:
                return self._connected(body)
            case Kind.SUBACK:
                return self._subscribed(body)
            case Kind.UNSUBACK:
                return Heard(settles=(("unsubscribe", number(body, 0)),))
            case Kind.PUBACK | Kind.PUBCOMP:
                return self._published(number(body, 0))
            case Kind.PUBREC:
                return self._taken(number(body, 0), fails=body[2:3] >= b"\x80")
            case Kind.PINGRESP:
                was_asked, self._pinged = self._pinged, False
                return Heard(settles=(_PING,), is_beat=not was_asked)
            case Kind.AUTH:
                return Heard(lost=True)
            case Kind.DISCONNECT:  # of version 5: the client will connect anew by itself
                return Heard(lost=True)
        return PASSES

    def _published(self, identifier: int) -> Heard:
        self._received.discard(identifier)
        return Heard(settles=(("publish", identifier), ("release", identifier)))

    def _taken(self, identifier: int, *, fails: bool) -> Heard:
        if fails and self._is_5:
            return Heard(settles=(("publish", identifier),))
        self._received.add(identifier)
        lost = len(self._received) > _MAX_RECEIVED
        return Heard(answers=(("publish", identifier),), lost=lost)

    def _connected(self, body: bytes) -> Heard:
        """A client that was told that its session is taken up relies on what that holds."""
        refused = body[1:2] != b"\x00"
        has_session = body[:1] == b"\x01"
        self._forgets = self._shows_session and not has_session
        if self._is_connected:
            refused |= self._had_session and not has_session
        elif not refused:
            self._is_connected = True
            self._had_session = has_session
        return Heard(answers=(_CONNECT,), refuses=(_CONNECT,) if refused else ())

    def _subscribed(self, body: bytes) -> Heard:
        identifier = number(body, 0)
        codes = body[properties(body, 2)[0] if self._is_5 else 2 :]
        if identifier in self._again:
            keys = self._again.pop(identifier)
            refused = tuple(key for key, code in zip(keys, codes, strict=False) if code >= 0x80)
            return Heard(refuses=refused, is_ours=True)
        keys = self._answered(identifier)
        # A filter that the client was refused is none to subscribe to again.
        refused = tuple(key for key, code in zip(keys, codes, strict=False) if code >= 0x80)
        return Heard(settles=(("subscribe", identifier), *refused))

    def _answered(self, identifier: int) -> list[Key]:
        """The filters of that SUBSCRIBE of the client, which is none any more."""
        keys = self._asked.pop(identifier, [])
        self._asking.subtract(keys)
        for key in keys:
            if not self._asking[key]:
                del self._asking[key]
        return keys

    def _free_identifier(self) -> int:
        """From the end: most clients count from 1. Raises LostError, if there is none."""
        if len(self._again) + len(self._asked) >= _LAST_ID:
            raise LostError
        while self._next in self._again or self._next in self._asked:
            self._step()
        found = self._next
        self._step()
        return found

    def _step(self) -> None:
        self._next = self._next - 1 if self._next > 1 else _LAST_ID


def _filter(name: bytes) -> Key:
    return ("filter", name.decode("latin-1"))


def _filters(body: bytes, pos: int, options: int) -> list[tuple[bytes, bytes]]:
    """Topic filters, each with its whole entry: `options` bytes more than its name."""
    found = []
    while pos < len(body):
        end = text_end(body, pos)
        found.append((body[pos + 2 : end], body[pos : end + options]))
        pos = end + options
    return found


def _has_alias(body: bytes, pos: int) -> bool:
    """Whether the properties of a PUBLISH that begin there have a topic alias (3.3.2.3.4)."""
    return _TOPIC_ALIAS in properties(body, pos)[1]
