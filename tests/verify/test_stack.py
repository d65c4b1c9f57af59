"""The simulated peers' WebSocket stack against wsproto, an independent implementation."""

import pytest
from memory_world import connect, make
from reknit.memory.network import Conditions, MemorySocket
from reknit.verify.simulation.stack import Cut, PeerError, Stack
from wsproto import ConnectionType, WSConnection
from wsproto.events import (
    AcceptConnection,
    CloseConnection,
    Event,
    Message,
    Ping,
    Pong,
    Request,
    TextMessage,
)


class Application:
    """Records what a stack hears."""

    def __init__(self) -> None:
        self.messages: list[bytes] = []
        self.over = 0

    def received(self, message: bytes) -> None:
        self.messages.append(message)

    def gone(self, stack: Stack) -> None:
        self.over += 1


class Judge:
    """The other end, on wsproto: answers the handshake, Pings and Close, and records events."""

    def __init__(self, socket: MemorySocket, kind: ConnectionType) -> None:
        self.socket = socket
        self.wsproto = WSConnection(kind)
        self.events: list[Event] = []
        self.texts: list[str] = []
        self._text = ""
        socket.owner = self
        if kind is ConnectionType.CLIENT:
            self.send(Request(host="there", target="/"))

    def send(self, event: Event) -> None:
        data = self.wsproto.send(event)
        assert self.socket.send(data) == len(data)

    def on_data(self, data: bytes) -> None:
        self.wsproto.receive_data(data)
        for event in self.wsproto.events():
            self.events.append(event)
            match event:
                case Request():
                    self.send(AcceptConnection())
                case Ping() | CloseConnection() if self.wsproto.state.name != "CLOSED":
                    self.send(event.response())
                case TextMessage():
                    self._text += event.data
                    if event.message_finished:
                        self.texts.append(self._text)
                        self._text = ""
                case _:
                    pass

    def on_eof(self) -> None:
        self.socket.close()

    def on_lost(self, reason: str) -> None:
        raise AssertionError(reason)

    def on_writable(self) -> None:
        raise AssertionError("everything fits")


class Pair:
    """A stack and a judge on the two ends of a connection."""

    def __init__(self, *, client: bool) -> None:
        self.network = make(Conditions(capacity=2**20))
        self.application = Application()
        near, far = connect(self.network)
        if client:
            self.judge = Judge(far.socket, ConnectionType.SERVER)
            self.stack = Stack(near.socket, self._heard, b"\x01\x80\xff\x33")
            self.stack.application = self.application
            self.stack.request("/chat?x=1", {"X-Connection-Id": "abc"})
        else:
            self.stack = Stack(far.socket, self._heard)
            self.judge = Judge(near.socket, ConnectionType.CLIENT)
        self.run()

    def run(self) -> None:
        self.network.run(self.network.now + 1.0)

    def _heard(self, stack: Stack, line: str, headers: dict[str, str]) -> None:
        self.line, self.headers = line, headers
        if line.startswith("GET"):
            stack.application = self.application
            stack.answer(headers, {})


SIZES = (0, 1, 125, 126, 127, 65535, 65536, 70000)


@pytest.fixture(params=["client", "server"])
def pair(request: pytest.FixtureRequest) -> Pair:
    return Pair(client=request.param == "client")


def test_the_stack_shakes_hands_with_wsproto(pair: Pair) -> None:
    assert pair.stack.open
    first = pair.judge.events[0]
    if isinstance(first, Request):
        assert first.target == "/chat?x=1"
        assert (b"x-connection-id", b"abc") in first.extra_headers
    else:
        assert isinstance(first, AcceptConnection)


@pytest.mark.parametrize("fragments", [1, 2, 3])
def test_wsproto_reads_what_the_stack_sends(pair: Pair, fragments: int) -> None:
    messages = [b"m" * size for size in SIZES]
    pair.stack.send(messages, fragments)
    pair.run()
    assert [text.encode() for text in pair.judge.texts] == messages
    assert pair.stack.unaccepted == 0


def test_the_stack_reads_what_wsproto_sends(pair: Pair) -> None:
    for size in SIZES:
        pair.judge.send(Message("m" * size))
    pair.judge.send(Message("two ", message_finished=False))
    pair.judge.send(Ping(b"between"))
    pair.judge.send(Message("parts"))
    pair.run()
    assert pair.application.messages == [*(b"m" * size for size in SIZES), b"two parts"]
    assert pair.judge.events[-1] == Pong(b"between")
    assert pair.stack.unread == 0


def test_the_stack_counts_pongs(pair: Pair) -> None:
    pair.stack.ping(b"are you there")
    pair.run()
    assert pair.stack.pongs == [b"are you there"]


def test_the_stack_answers_a_close(pair: Pair) -> None:
    pair.judge.send(CloseConnection(code=4321, reason="enough"))
    pair.run()
    assert pair.stack.close_received == (4321, "enough")
    assert isinstance(pair.judge.events[-1], CloseConnection)
    assert not pair.stack.open
    assert not pair.stack.dropped


def test_the_stack_closes(pair: Pair) -> None:
    pair.stack.close(1000, "done")
    pair.run()
    pair.judge.socket.close()
    pair.run()
    assert pair.judge.events[-1] == CloseConnection(code=1000, reason="done")
    assert pair.stack.close_received == (1000, "done")
    assert pair.application.over == 1


def test_a_dropped_connection_is_told_from_one_that_was_left(pair: Pair) -> None:
    pair.judge.socket.reset()
    pair.run()
    assert pair.stack.dropped
    other = Pair(client=True)
    other.stack.cut(Cut.BREAK)
    other.network.run(other.network.now + 0.0005)
    assert not other.stack.dropped
    assert not other.stack.open


def test_unaccepted_counts_from_the_last_message_that_was_read(pair: Pair) -> None:
    pair.stack.send([b"taken"])
    pair.run()
    pair.judge.socket.read(False)
    pair.stack.send([b"x" * 100, b"y" * 100])
    pair.run()
    assert 204 <= pair.stack.unaccepted <= 220


@pytest.mark.parametrize(
    "data",
    [
        pytest.param(b"\x83\x00", id="reserved opcode"),
        pytest.param(b"\x80\x00", id="continuation of nothing"),
        pytest.param(b"\x01\x01a\x81\x01b", id="message in a message"),
        pytest.param(b"\xc1\x01a", id="reserved bit"),
        pytest.param(b"\x81\x81\x00\x00\x00\x00a", id="masked for a client"),
    ],
)
def test_the_stack_is_strict(data: bytes) -> None:
    pair = Pair(client=True)
    pair.judge.socket.send(data)
    with pytest.raises(PeerError):
        pair.run()
