"""The in-memory network by itself, and the simulated peers' stack against wsproto."""

from random import Random

import pytest
from reknit.memory_network import MAX_AT_ONCE, Conditions, MemoryNetwork, MemorySocket
from reknit.memory_stack import Cut, PeerError, Stack
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

ADDRESS = ("there", 80)


class Recorder:
    """Owns a socket and records what happens on it, with the time."""

    def __init__(self, network: MemoryNetwork, socket: MemorySocket) -> None:
        self.network = network
        self.socket = socket
        self.data = b""
        self.seen: list[tuple[float, str]] = []
        socket.owner = self

    def on_data(self, data: bytes) -> None:
        self.data += data
        self.seen.append((self.network.now, data.decode()))

    def on_eof(self) -> None:
        self.seen.append((self.network.now, "end"))

    def on_lost(self, reason: str) -> None:
        self.seen.append((self.network.now, "lost"))

    def on_writable(self) -> None:
        self.seen.append((self.network.now, "writable"))

    @property
    def what(self) -> list[str]:
        return [what for _, what in self.seen]


def connect(network: MemoryNetwork) -> tuple[Recorder, Recorder]:
    """The dialling end and the accepting one."""
    ends: list[Recorder] = []

    def dialled(outcome: MemorySocket | str) -> None:
        assert isinstance(outcome, MemorySocket)
        ends.append(Recorder(network, outcome))

    network.listen(ADDRESS, lambda socket: ends.append(Recorder(network, socket)))
    network.dial(ADDRESS, 10.0, dialled)
    network.run(network.now + 5.0)
    far, near = ends
    return near, far


def make(conditions: Conditions | None = None) -> MemoryNetwork:
    return MemoryNetwork(Random(1), conditions)


def test_a_dial_takes_two_latencies_and_bytes_one() -> None:
    network = make(Conditions(latency=(0.25, 0.25)))
    times: list[float] = []
    network.listen(ADDRESS, lambda socket: times.append(network.now))
    network.dial(ADDRESS, 10.0, lambda outcome: times.append(network.now))
    network.run(1.0)
    assert times == [0.25, 0.5]
    near, far = connect(network)
    began = network.now
    near.socket.send(b"hello")
    network.run(began + 1.0)
    assert far.seen == [(began + 0.25, "hello")]


def test_bytes_keep_their_order_and_their_latency() -> None:
    network = make(Conditions(latency=(0.1, 1.0)))
    near, far = connect(network)
    began = network.now
    for number in range(50):
        network.at(began + number / 10, lambda number=number: near.socket.send(b"%d " % number))
    network.run(began + 20.0)
    assert far.data.split() == [b"%d" % number for number in range(50)]
    delays = [time - began - int(text) / 10 for time, text in far.seen]
    assert min(delays) >= 0.1
    assert len({round(delay, 3) for delay in delays}) > 20
    assert max(delays) <= 1.0 + 1e-9


def test_a_partial_write_takes_a_part_and_goes_on_later() -> None:
    network = make(Conditions(partial=1.0, part=10))
    near, far = connect(network)
    left = b"x" * 200
    writes = 0
    while left:
        taken = near.socket.send(left)
        assert 1 <= taken <= 10
        left = left[taken:]
        writes += 1
        network.run(network.now + 0.1)
    assert far.data == b"x" * 200
    assert writes >= 20
    assert near.what == ["writable"] * (writes - 1)  # the last one took all


def test_a_writer_waits_for_a_peer_that_does_not_read() -> None:
    network = make(Conditions(capacity=100))
    near, far = connect(network)
    far.socket.read(False)
    assert near.socket.send(b"x" * 150) == 100
    assert near.socket.send(b"x" * 50) == 0
    network.run(network.now + 100.0)
    assert (near.what, far.what) == ([], [])
    assert far.socket.unread == 100
    far.socket.read(True)
    network.run(network.now + 1.0)
    assert near.what == ["writable"]
    assert far.data == b"x" * 100
    assert near.socket.send(b"y" * 50) == 50


def test_a_graceful_end_lets_everything_before_it_arrive() -> None:
    network = make()
    near, far = connect(network)
    near.socket.send(b"last")
    near.socket.end()
    assert near.socket.send(b"too late") == 0
    network.run(network.now + 1.0)
    assert far.what == ["last", "end"]
    far.socket.send(b"answer")  # the other direction goes on
    far.socket.close()
    network.run(network.now + 1.0)
    assert near.what == ["answer", "end"]


def test_the_end_waits_for_a_reader() -> None:
    network = make()
    near, far = connect(network)
    far.socket.read(False)
    near.socket.send(b"last")
    near.socket.close()
    network.run(network.now + 10.0)
    assert far.what == []
    far.socket.read(True)
    network.run(network.now + 1.0)
    assert far.what == ["last", "end"]


def test_a_reset_costs_what_is_unread() -> None:
    network = make()
    near, far = connect(network)
    far.socket.read(False)
    near.socket.send(b"unread")
    near.socket.reset()
    network.run(network.now + 1.0)
    far.socket.read(True)
    network.run(network.now + 1.0)
    assert (near.what, far.what) == ([], ["lost"])


def test_closing_with_unread_bytes_resets_the_connection() -> None:
    network = make()
    near, far = connect(network)
    far.socket.read(False)
    near.socket.send(b"unread")
    network.run(network.now + 1.0)
    far.socket.close()
    network.run(network.now + 1.0)
    assert near.what == ["lost"]


def test_bytes_for_a_closed_socket_reset_the_connection() -> None:
    network = make()
    near, far = connect(network)
    far.socket.close()
    near.socket.send(b"crossing")
    network.run(network.now + 1.0)
    assert near.what == ["end", "lost"]
    assert far.what == []


def test_a_cut_is_seen_by_both_ends_and_costs_what_is_on_its_way() -> None:
    network = make()
    near, far = connect(network)
    near.socket.send(b"on its way")
    near.socket.cut()
    network.run(network.now + 1.0)
    assert (near.what, far.what) == (["lost"], ["lost"])


def test_a_vanished_connection_tells_nobody() -> None:
    network = make(Conditions(capacity=100))
    near, far = connect(network)
    near.socket.vanish()
    assert near.socket.send(b"x" * 150) == 100
    near.socket.close()
    network.run(network.now + 1000.0)
    assert (near.what, far.what) == ([], [])
    assert far.socket.open


def test_dials_that_come_to_nothing() -> None:
    network = make(Conditions(latency=(0.5, 0.5)))
    outcomes: list[tuple[float, object]] = []

    def dial(timeout: float) -> None:
        began = network.now
        network.dial(ADDRESS, timeout, lambda outcome: outcomes.append((network.now, outcome)))
        network.run(began + 10.0)

    dial(3.0)
    network.swallow(ADDRESS)
    dial(3.0)
    network.listen(ADDRESS, lambda socket: None)
    dial(0.9)
    network.refuse(ADDRESS)
    dial(3.0)
    assert outcomes == [
        (1.0, "connection refused"),
        (13.0, "timed out"),
        (20.9, "timed out"),
        (31.0, "connection refused"),
    ]


def test_events_of_one_moment_happen_in_the_order_of_the_calls() -> None:
    network = make()
    seen: list[int] = []
    for number in range(100):
        network.at(1.0, lambda number=number: seen.append(number))
    network.at(0.5, lambda: network.at(0.1, lambda: seen.append(-1)))  # the past is now
    network.run(0.9)
    assert (seen, network.now) == ([-1], 0.9)
    network.run(2.0)
    assert seen == [-1, *range(100)]


def test_time_that_stands_still_is_an_error() -> None:
    network = make()

    def again() -> None:
        network.after(0.0, again)

    network.after(1.0, again)
    with pytest.raises(RuntimeError, match=r"no end of events at 1\.0"):
        network.run(2.0)
    assert network.events == MAX_AT_ONCE + 1


# -- The peers' stack ------------------------------------------------------------------------------


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
