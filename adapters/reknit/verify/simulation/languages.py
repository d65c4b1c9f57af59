"""What simulated ends say to each other in a dialect: strict servers that forget, and clients.

A server's connection knows nothing of any before it, and takes nothing out of turn. A client has
begun once, and notices nothing of its servers' deaths: whatever it is told twice, or was never to
be told, is noted. What clients have asked is in a `Diary`, which outlives all connections.

A client that has forgotten all begins another life. Its first word says which, and so does what
servers say to that: neither end may hear of another life than its own.
"""

import json
from collections import Counter
from dataclasses import dataclass, field
from typing import Protocol


@dataclass(slots=True)
class Diary:
    """One client's requests: `asked` by it, `done` by servers, `answered` to it, by number."""

    asked: int = 0
    done: Counter[int] = field(default_factory=Counter)
    answered: Counter[int] = field(default_factory=Counter)
    events: int = 0
    """What servers have said to its subscription, and it has heard."""
    wrong: list[str] = field(default_factory=list)
    """What an end heard that it must not hear."""
    lives: list[int] = field(default_factory=lambda: [0])
    """How many requests had been asked when each of the client's lives began."""
    heard: int = 0
    """The last request that a server has heard for the first time."""

    @property
    def life(self) -> int:
        """The client's present one; the first is 0."""
        return len(self.lives) - 1

    @property
    def unanswered(self) -> list[int]:
        """Requests of the client's present life without an answer."""
        first = self.lives[-1] + 1
        return [number for number in range(first, self.asked + 1) if not self.answered[number]]

    def forget(self) -> None:
        """The client knows of no request any more."""
        self.lives.append(self.asked)

    def hear(self, number: int, life: int) -> None:
        """A server with a client of that life hears that request: of no other one, and in order."""
        until = self.lives[life + 1] if life < self.life else self.asked
        if not self.lives[life] < number <= until:
            self.wrong.append(f"a server hears request {number}, which is not of life {life}")
        if number > self.heard + 1 and self.heard > self.lives[life]:
            self.wrong.append(f"a server hears request {number}, and {self.heard} was the last")
        self.heard = max(self.heard, number)

    def answer(self, number: int) -> None:
        """The client hears the answer to that request."""
        if number <= self.lives[-1]:
            self.wrong.append(f"a client hears the answer to {number}, which a former life asked")
        self.answered[number] += 1


class Client(Protocol):
    """A client's end of one session."""

    def __init__(self, diary: Diary) -> None:
        """`diary`: the client's."""

    def begin(self) -> bytes:
        """What it says at first."""

    def ask(self, number: int) -> bytes:
        """The request of that number."""

    def hear(self, message: bytes) -> list[bytes]:
        """What it says to that."""


class Server(Protocol):
    """A server's end of one connection."""

    life: int | None
    """Which one of its client's it hears; None: it has not begun."""

    def __init__(self, diary: Diary) -> None:
        """`diary`: the client's."""

    def hear(self, message: bytes) -> list[bytes]:
        """What it says to that."""

    def event(self) -> bytes | None:
        """What it says to the client's subscription, if it knows of that."""


@dataclass(frozen=True, slots=True)
class Language:
    """A dialect's two ends. `is_cut`: its messages may be cut, and put together, anywhere."""

    subprotocol: str
    client: type[Client]
    server: type[Server]
    is_text: bool = True
    is_cut: bool = False


# -- graphql-transport-ws --------------------------------------------------------------------------


def _document(kind: str, name: str = "", **more: object) -> bytes:
    return json.dumps({"type": kind, **({"id": name} if name else {}), **more}).encode()


class GraphqlClient:
    """Subscribes once, then queries."""

    def __init__(self, diary: Diary) -> None:
        self._diary = diary
        self._life = {"life": diary.life}
        self._is_welcome = False

    def begin(self) -> bytes:
        """Initialise the connection."""
        return _document("connection_init", payload=self._life)

    def ask(self, number: int) -> bytes:
        """A query."""
        return _document("subscribe", f"q{number}", payload={"query": "{a}"})

    def hear(self, message: bytes) -> list[bytes]:
        """The answers, and the subscription's events."""
        match json.loads(message):
            case {"type": "connection_ack", "payload": life} if (
                life == self._life and not self._is_welcome
            ):
                self._is_welcome = True
                return [_document("subscribe", "events", payload={"query": "subscription{a}"})]
            case {"type": "next", "id": "events", "payload": life} if life == self._life:
                self._diary.events += 1
            case {"type": "next", "id": str(name)} if name != "events" and (
                int(name[1:]) in self._diary.unanswered
            ):
                pass  # a query may run twice
            case {"type": "complete", "id": str(name)}:
                self._diary.answer(int(name[1:]))
            case {"type": "ping"}:
                return [_document("pong")]
            case _:
                self._diary.wrong.append(f"a client heard {message!r}")
        return []


class GraphqlServer:
    """Knows who has initialised and subscribed."""

    def __init__(self, diary: Diary) -> None:
        self._diary = diary
        self.life: int | None = None
        self._has_subscribed = False

    def hear(self, message: bytes) -> list[bytes]:
        """Answers queries at once."""
        match json.loads(message), self.life:
            case {"type": "connection_init", "payload": {"life": int(life)}}, None:
                self.life = life
                return [_document("connection_ack", payload={"life": life})]
            case {"type": "subscribe", "id": "events"}, int() if not self._has_subscribed:
                self._has_subscribed = True
            case {"type": "subscribe", "id": str(name)}, int(life) if name != "events":
                self._diary.hear(int(name[1:]), life)
                self._diary.done[int(name[1:])] += 1
                return [_document("next", name, payload={}), _document("complete", name)]
            case {"type": "pong"}, int():
                pass
            case _:
                self._diary.wrong.append(f"a server heard {message!r}")
        return []

    def event(self) -> bytes | None:
        """For the subscription."""
        event = _document("next", "events", payload={"life": self.life})
        return event if self._has_subscribed else None


# -- MQTT 3.1.1 ------------------------------------------------------------------------------------

_TOPIC = b"\0\1t"
_CONNECT = b"\x10\x0f\0\4MQTT\4\2\0\0\0\3"  # and three digits
_PUBLISH, _DUP_PUBLISH, _PUBACK = 0x32, 0x3A, 0x40
_PUBLISH_2, _DUP_PUBLISH_2, _PUBREC, _PUBREL, _PUBCOMP = 0x34, 0x3C, 0x50, 0x62, 0x70


class _Packets:
    """Cuts packets of up to 127 bytes out of a stream."""

    def __init__(self) -> None:
        self._data = b""

    def read(self, data: bytes) -> list[bytes]:
        self._data += data
        packets = []
        while len(self._data) >= 2 and len(self._data) >= (size := self._data[1] + 2):
            packets.append(self._data[:size])
            self._data = self._data[size:]
        return packets


class MqttClient:
    """Subscribes once, then publishes; a packet's id is the request's number. Even ones: QoS 2."""

    def __init__(self, diary: Diary) -> None:
        self._diary = diary
        self._packets = _Packets()
        self._life = b"%03d" % diary.life
        self._subscription = (0xFFFF - diary.life).to_bytes(2, "big")
        self._answers: Counter[int] = Counter()
        self._received: set[bytes] = set()

    def begin(self) -> bytes:
        """Connect, with a clean session."""
        return _CONNECT + self._life

    def ask(self, number: int) -> bytes:
        """Publish."""
        first = _PUBLISH if number % 2 else _PUBLISH_2
        return bytes((first, 5)) + _TOPIC + number.to_bytes(2, "big")

    def hear(self, message: bytes) -> list[bytes]:
        """The answers, and what comes for the subscription."""
        said = []
        for packet in self._packets.read(message):
            kind = packet[0]
            self._answers[kind] += 1
            if kind == _PUBREC:
                said.append(bytes((_PUBREL, 2)) + packet[2:4])
                self._note_received(packet)
            elif kind in (_PUBACK, _PUBCOMP):
                self._diary.answer(int.from_bytes(packet[2:4], "big"))
            elif kind == 0x20 and self._answers[kind] == 1:
                said.append(b"\x82\6" + self._subscription + _TOPIC + b"\0")
            elif kind == 0x30 and packet.endswith(self._life):
                self._diary.events += 1
            elif packet[2:4] != self._subscription or self._answers[kind] != 1:
                self._diary.wrong.append(f"a client heard {packet!r}")
        return said

    def _note_received(self, packet: bytes) -> None:
        if packet in self._received:
            self._diary.wrong.append(f"a client heard {packet!r} again")
        self._received.add(packet)


class MqttServer:
    """A broker that keeps no sessions. What is published with QoS 2 is done when it is released."""

    def __init__(self, diary: Diary) -> None:
        self._diary = diary
        self.life: int | None = None
        self._packets = _Packets()
        self._heard: Counter[int] = Counter()
        self._received: set[bytes] = set()

    def hear(self, message: bytes) -> list[bytes]:
        """Acknowledges at once."""
        said = []
        for packet in self._packets.read(message):
            kind = packet[0]
            self._heard[kind] += 1
            if self.life is None and packet.startswith(_CONNECT):
                self.life = int(packet[len(_CONNECT) :])
                said.append(b"\x20\2\0\0")
            elif self.life is None or kind == _CONNECT[0]:
                self._diary.wrong.append(f"a server heard {packet!r} out of turn")
            elif packet[:2] + packet[4:] == b"\x82\6" + _TOPIC + b"\0":
                said.append(b"\x90\3" + packet[2:4] + b"\0")
            elif kind in (_PUBLISH, _DUP_PUBLISH, _PUBLISH_2, _DUP_PUBLISH_2):
                said.append(self._published(packet, self.life))
            elif kind == _PUBREL and packet[2:4] in self._received:
                self._diary.done[int.from_bytes(packet[2:4], "big")] += 1
                said.append(bytes((_PUBCOMP, 2)) + packet[2:4])
            else:
                self._diary.wrong.append(f"a server heard {packet!r}")
        return said

    def _published(self, packet: bytes, life: int) -> bytes:
        number = int.from_bytes(packet[5:7], "big")
        self._diary.hear(number, life)
        if packet[0] in (_PUBLISH_2, _DUP_PUBLISH_2):
            self._received.add(packet[5:7])
            return bytes((_PUBREC, 2)) + packet[5:7]
        self._diary.done[number] += 1
        return bytes((_PUBACK, 2)) + packet[5:7]

    def event(self) -> bytes | None:
        """For the subscription, with QoS 0."""
        if self.life is None or not self._heard[0x82]:
            return None
        return b"\x30\6" + _TOPIC + b"%03d" % self.life


LANGUAGES = {
    "graphql-transport-ws": Language("graphql-transport-ws", GraphqlClient, GraphqlServer),
    "mqtt": Language("mqtt", MqttClient, MqttServer, is_text=False, is_cut=True),
}
"""By the name of the dialect."""
