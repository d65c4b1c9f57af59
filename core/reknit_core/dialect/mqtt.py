"""MQTT 3.1, 3.1.1 and 5: connected again, subscribed again, unacknowledged messages sent again.

CONNECT is repeated as it was. Each topic filter is a statement of its own, subscribed under a
packet identifier that the client does not use. A PUBLISH of QoS 1 or 2 stands until it is
acknowledged, and is sent again with DUP (3.1.1, section 4.4). What can't be repeated, topic aliases
and an AUTH exchange (5), is a conversation that can't be followed: then a server's loss ends the
session, and the client connects anew.
"""

from dataclasses import replace

from reknit_core.dialect.packets import (
    Kind,
    MalformedError,
    Packet,
    PacketReader,
    Piece,
    number,
    packet,
    properties,
    text_end,
)
from reknit_core.dialect.speech import Beat, Heard, Key, Message, Offer, State, Statement
from reknit_core.side import Side

SUBPROTOCOLS = frozenset(("mqtt", "mqttv3.1"))

_CONNECT: Key = ("connect",)
_PINGREQ = b"\xc0\x00"
_PINGRESP = Message(b"\xd0\x00", False)
_DUP = 0x08
_TOPIC_ALIAS = 0x23
_LAST_ID = 0xFFFF


class Mqtt:
    """The dialect."""

    name = "mqtt"
    summary = "Connected and subscribed again; what a broker had not acknowledged is sent again."

    def speaks(self, offer: Offer) -> bool:
        """Whether the agreed subprotocol is one of MQTT's (section 6)."""
        return offer.subprotocol in SUBPROTOCOLS

    def converse(self, state: State | None = None) -> "MqttConversation":
        """A session's conversation."""
        conversation = MqttConversation()
        if state is not None:
            conversation.thaw(state)
        return conversation


class MqttConversation:
    """Reads both directions' packets."""

    __slots__ = ("_asked", "_client", "_is_5", "_server", "_subscribed")

    def __init__(self) -> None:
        self._is_5 = False
        self._client = PacketReader()
        self._server = PacketReader()
        self._subscribed: dict[int, list[Key]] = {}  # by the identifier of an open SUBSCRIBE
        self._asked = _LAST_ID  # the identifier of the proxy's own next SUBSCRIBE

    def hear(self, side: Side, message: Message) -> tuple[Heard, ...]:
        """What the packets in a message mean."""
        reader = self._client if side is Side.CLIENT else self._server
        if side is Side.CLIENT and message.data == _PINGREQ and not reader.is_inside:
            return (Heard(reply=_PINGRESP),)
        heard: list[Heard] = []
        try:
            for piece in reader.read(message.data):
                heard.append(self._heard(side, piece))
        except MalformedError:
            heard.append(Heard(lost=True))
        if reader.is_inside:
            heard.append(Heard(is_cut=True, part=b""))
        return tuple(heard)

    def _heard(self, side: Side, piece: Piece) -> Heard:
        if piece.packet is None:
            return Heard(part=piece.data)
        read = self._from_client if side is Side.CLIENT else self._from_server
        said = read(piece.packet)
        # An answer that spans messages can't be cut out any more.
        return replace(said, part=piece.data, lost=said.lost or bool(said.answers) > piece.is_all)

    def again(self, statement: Statement) -> Message:
        """A PUBLISH is marked as a duplicate; a SUBSCRIBE gets an identifier of the proxy's."""
        data = statement.said.data
        match statement.key[0]:
            case "publish" if data[0] >> 4 == Kind.PUBLISH:
                return Message(bytes((data[0] | _DUP,)) + data[1:], False)
            case "subscribe":
                identifier = self._free_identifier()
                self._subscribed[identifier] = [statement.key]
                (piece,) = PacketReader().read(data)
                assert piece.packet is not None
                each = piece.packet
                body = identifier.to_bytes(2, "big") + each.body[2:]
                return Message(packet(each.first, body), False)
        return statement.said

    def beat(self, side: Side) -> Beat | None:
        """None: a broker sends nothing by itself, and a client's PINGREQ only tells that it is."""
        return None

    def fails(self, statement: Statement) -> Message | None:
        """MQTT has no way to say so."""
        return None

    def begins_again(self) -> None:
        """What the lost broker was saying, and what it was asked, is void."""
        self._server = PacketReader()
        self._subscribed.clear()

    def freeze(self) -> State:
        """The version; identifiers of what is asked are void on another connection."""
        return {
            "is_5": self._is_5,
            "subscribed": [
                [key, [list(k) for k in keys]] for key, keys in self._subscribed.items()
            ],
            "cut": self._client.is_inside or self._server.is_inside,
        }

    def thaw(self, state: State) -> None:
        """Become what freeze() gave."""
        self._is_5 = bool(state["is_5"])
        subscribed = state["subscribed"]
        assert isinstance(subscribed, list)
        self._subscribed = {number: [tuple(k) for k in keys] for number, keys in subscribed}

    # -- What packets mean -------------------------------------------------------------------------

    def _from_client(self, each: Packet) -> Heard:
        body = each.body
        match each.kind:
            case Kind.CONNECT:
                level = text_end(body, 0)
                self._is_5 = body[level : level + 1] == b"\x05"
                said = Statement(_CONNECT, Message(each.whole, False), awaits=True)
                return Heard(states=(said,), begins=True)
            case Kind.SUBSCRIBE:
                return self._subscribe(each)
            case Kind.UNSUBSCRIBE:
                start = properties(body, 2)[0] if self._is_5 else 2
                return Heard(
                    settles=tuple(_subscription(name) for name, _ in _filters(body, start, 0))
                )
            case Kind.PUBLISH if each.qos:
                return self._publish(each)
            case Kind.PUBLISH if self._is_5 and _has_alias(body, text_end(body, 0)):
                return Heard(lost=True)
            case Kind.PUBREL:
                key = ("publish", number(body, 0))
                said = Statement(key, Message(each.whole, False), is_request=True)
                return Heard(states=(said,))
            case Kind.AUTH:
                return Heard(lost=True)
        return Heard()

    def _subscribe(self, each: Packet) -> Heard:
        """One statement for each filter: they are taken back one by one."""
        identifier = number(each.body, 0)
        start = properties(each.body, 2)[0] if self._is_5 else 2
        head = each.body[:start]
        states = []
        for name, entry in _filters(each.body, start, 1):
            said = Message(packet(each.first, head + entry), False)
            states.append(Statement(_subscription(name), said))
        self._subscribed[identifier] = [statement.key for statement in states]
        return Heard(states=tuple(states))

    def _publish(self, each: Packet) -> Heard:
        topic = text_end(each.body, 0)
        if self._is_5 and _has_alias(each.body, topic + 2):
            return Heard(lost=True)
        key = ("publish", number(each.body, topic))
        return Heard(states=(Statement(key, Message(each.whole, False), is_request=True),))

    def _from_server(self, each: Packet) -> Heard:
        body = each.body
        match each.kind:
            case Kind.CONNACK:
                refused = body[1:2] != b"\x00"
                return Heard(answers=(_CONNECT,), refuses=(_CONNECT,) if refused else ())
            case Kind.SUBACK:
                return self._subscribed_to(body)
            case Kind.PUBACK | Kind.PUBCOMP:
                return Heard(settles=(("publish", number(body, 0)),))
            case Kind.PUBREC if self._is_5 and body[2:3] >= b"\x80":
                return Heard(settles=(("publish", number(body, 0)),))
            case Kind.AUTH:
                return Heard(lost=True)
        return Heard()

    def _subscribed_to(self, body: bytes) -> Heard:
        keys = self._subscribed.pop(number(body, 0), [])
        start = properties(body, 2)[0] if self._is_5 else 2
        codes = body[start:]
        refused = tuple(key for key, code in zip(keys, codes, strict=False) if code >= 0x80)
        return Heard(answers=tuple(keys), refuses=refused)

    def _free_identifier(self) -> int:
        """From the end: clients count from 1."""
        self._asked = self._asked - 1 if self._asked > _LAST_ID // 2 else _LAST_ID
        return self._asked


def _subscription(name: bytes) -> Key:
    return ("subscribe", name.decode("utf-8", "surrogateescape"))


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
