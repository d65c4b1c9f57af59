"""Whole conversations while servers die: nothing is lost, and the client notices nothing."""

from collections.abc import Iterator
from random import Random
from typing import ClassVar

import pytest
from dialect_world import World
from reknit_core.dialect.protocols.nats_lines import LineReader
from reknit_core.dialect.protocols.packets import Kind, PacketReader, number, packet, text_end
from reknit_core.dialect.protocols.stomp_frames import FrameReader

SEEDS = range(150)


class Broker:
    """MQTT. `taken`: what any broker has taken."""

    greeting = b""
    taken: ClassVar[list[int]]

    def __init__(self) -> None:
        self._reader = PacketReader()
        self.filters: set[bytes] = set()
        self.is_connected = False

    def hear(self, data: bytes) -> Iterator[bytes]:
        for _, each in self._reader.read(data):
            if each is None:
                continue
            assert self.is_connected is (each.kind != Kind.CONNECT), each
            identifier = each.body[:2]
            match each.kind:
                case Kind.CONNECT:
                    self.is_connected = True
                    yield b"\x20\x02\x00\x00"
                case Kind.SUBSCRIBE:
                    self.filters.add(each.body[4 : text_end(each.body, 2)])
                    yield packet(0x90, identifier + b"\x01")
                case Kind.UNSUBSCRIBE:
                    self.filters.discard(each.body[4 : text_end(each.body, 2)])
                    yield packet(0xB0, identifier)
                case Kind.PUBLISH:
                    identifier = each.body[3:5]
                    self.taken.append(number(identifier, 0))
                    yield packet((Kind.PUBACK if each.qos == 1 else Kind.PUBREC) << 4, identifier)
                case Kind.PUBREL:
                    yield packet(0x70, identifier)
                case Kind.PINGREQ:
                    yield b"\xd0\x00"
                case _:
                    raise AssertionError(each)


@pytest.mark.parametrize("seed", SEEDS)
def test_mqtt(seed: int) -> None:
    class Here(Broker):
        taken: ClassVar[list[int]] = []

    random = Random(seed)
    world = World("mqtt", Here, random)
    said = [packet(0x10, b"\x00\x04MQTT\x04\x02\x00\x00\x00\x02me")]
    topics: set[bytes] = set()
    for each in range(1, 40):
        identifier = each.to_bytes(2, "big")
        topic = random.choice((b"a", b"b", b"c"))
        match random.randrange(5):
            case 0:
                topics.add(topic)
                said.append(packet(0x82, identifier + b"\x00\x01" + topic + b"\x01"))
            case 1:
                topics.discard(topic)
                said.append(packet(0xA2, identifier + b"\x00\x01" + topic))
            case 2:
                said.append(b"\xc0\x00")
            case _:
                said.append(packet(0x32, b"\x00\x01t" + identifier + b"x" * random.randrange(200)))
    world.play(said, 0.05)
    assert isinstance(world.server, Here)
    heard = [each for _, each in PacketReader().read(bytes(world.heard)) if each is not None]
    kinds = [each.kind for each in heard]
    asked = [each[0] >> 4 for each in said]
    assert kinds.count(Kind.CONNACK) == 1
    assert kinds.count(Kind.SUBACK) == asked.count(Kind.SUBSCRIBE)
    acknowledged = {number(each.body, 0) for each in heard if each.kind == Kind.PUBACK}
    assert len(acknowledged) == len([each for each in said if each[0] == 0x32])
    assert acknowledged <= set(world.server.taken)
    assert world.server.filters == topics
    kept = {each.statement.key[0] for each in world.interpreter.statements}
    assert kept <= {"connect", "filter"}


class NatsServer:
    greeting = b"INFO {}\r\n"

    def __init__(self) -> None:
        self._reader = LineReader()
        self.subjects: dict[str, str] = {}
        self.is_connected = False

    def hear(self, data: bytes) -> Iterator[bytes]:
        for _, each in self._reader.read(data):
            if each is None:
                continue
            assert self.is_connected or each.operation == "CONNECT", each
            match each.operation:
                case "CONNECT":
                    self.is_connected = True
                case "PING":
                    yield b"PONG\r\n"
                case "SUB":
                    self.subjects[each.words[1]] = each.words[0]
                case "UNSUB":
                    self.subjects.pop(each.words[0], None)
                case "PUB":
                    pass
                case _:
                    raise AssertionError(each)


@pytest.mark.parametrize("seed", SEEDS)
def test_nats(seed: int) -> None:
    random = Random(seed)
    world = World("nats", NatsServer, random)
    said = [b'CONNECT {"verbose":false}\r\n', b"PING\r\n"]
    subjects: dict[str, str] = {}
    for each in range(1, 40):
        match random.randrange(4):
            case 0:
                subjects[str(each)] = f"s{each}"
                said.append(f"SUB s{each} {each}\r\n".encode())
            case 1 if subjects:
                sid = random.choice([*subjects])
                del subjects[sid]
                said.append(f"UNSUB {sid}\r\n".encode())
            case 2:
                said.append(b"PUB a 6\r\nSUB x \r\n")
            case _:
                said.append(b"PING\r\n")
    world.play(said, 0.05)
    assert isinstance(world.server, NatsServer)
    assert bytes(world.heard).count(b"INFO") == 1
    assert bytes(world.heard).count(b"PONG") == said.count(b"PING\r\n")
    assert world.server.subjects == subjects


class StompServer:
    greeting = b""
    sent: ClassVar[list[bytes]]

    def __init__(self) -> None:
        self._reader = FrameReader()
        self.subscriptions: set[str] = set()
        self._transactions: dict[str, list[bytes]] = {}
        self.is_connected = False

    def hear(self, data: bytes) -> Iterator[bytes]:
        for _, each in self._reader.read(data):
            if each is None:
                continue
            assert self.is_connected is (each.command != "CONNECT"), each
            headers = each.headers
            match each.command:
                case "CONNECT":
                    self.is_connected = True
                    yield b"CONNECTED\nversion:1.2\n\n\0"
                case "SUBSCRIBE":
                    self.subscriptions.add(headers["id"])
                case "UNSUBSCRIBE":
                    self.subscriptions.remove(headers["id"])
                case "BEGIN":
                    assert headers["transaction"] not in self._transactions
                    self._transactions[headers["transaction"]] = []
                case "SEND" if "transaction" in headers:
                    self._transactions[headers["transaction"]].append(each.whole)
                case "COMMIT":
                    self.sent.extend(self._transactions.pop(headers["transaction"]))
                case "ABORT":
                    del self._transactions[headers["transaction"]]
                case "SEND":
                    self.sent.append(each.whole)
                case _:
                    raise AssertionError(each)
            if "receipt" in headers:
                yield b"RECEIPT\nreceipt-id:%s\n\n\0" % headers["receipt"].encode()


@pytest.mark.parametrize("seed", SEEDS)
def test_stomp(seed: int) -> None:
    class Here(StompServer):
        sent: ClassVar[list[bytes]] = []

    random = Random(seed)
    world = World("stomp", Here, random)
    said = [b"CONNECT\n\n\0"]
    subscribed: set[str] = set()
    is_open = False
    receipts, certain, never = set(), set(), set()
    asks_always = seed % 2 == 1  # else nothing is asked that ends without an answer
    for each in range(1, 40):
        asks = asks_always or random.random() < 0.5
        receipt = f"receipt:{each}\n" if asks else ""
        quiet = receipt if asks_always else ""
        send = f"SEND\ndestination:/a\n{receipt}n:{each}\n\nx\0".encode()
        match random.randrange(7):
            case 0:
                subscribed.add(str(each))
                frame = f"SUBSCRIBE\nid:{each}\n{quiet}\n\0".encode()
            case 1 if subscribed:
                name = random.choice(sorted(subscribed))
                subscribed.remove(name)
                frame = f"UNSUBSCRIBE\nid:{name}\n{receipt}\n\0".encode()
            case 2 | 3 if not is_open:
                is_open, within = True, []
                frame = f"BEGIN\ntransaction:{each}\n{quiet}\n\0".encode()
                transaction = each
            case 2:
                is_open = False
                word = random.choice(("COMMIT", "ABORT"))
                if word == "ABORT":
                    never.update(within)
                elif asks:
                    certain.update(within)
                frame = f"{word}\ntransaction:{transaction}\n{receipt}\n\0".encode()
            case 3 | 4 if is_open:
                head = f"SEND\ndestination:/a\ntransaction:{transaction}\n{quiet}"
                frame = f"{head}n:{each}\n\nx\0".encode()
                within.append(frame)
            case _:
                frame = send
                certain.update({frame} if asks else ())
        said.append(frame)
        receipts.update({str(each)} if b"receipt" in frame else ())
    world.play(said, 0.05)
    assert isinstance(world.server, Here)
    heard = [each for _, each in FrameReader().read(bytes(world.heard)) if each is not None]
    assert [each.command for each in heard].count("CONNECTED") == 1
    assert {each.headers["receipt-id"] for each in heard[1:]} == receipts
    assert certain <= set(Here.sent)
    assert not never & set(Here.sent)
    assert world.server.subscriptions == subscribed
