"""The adapter that core/README.md sends newcomers to keeps what is promised."""

from reknit_core import Policy, State
from toy_adapter import Pipe, ToyProxy
from turned_clock import Clock
from wsproto import ConnectionType, WSConnection
from wsproto.events import (
    AcceptConnection,
    CloseConnection,
    Event,
    Ping,
    RejectConnection,
    Request,
    TextMessage,
)

POLICY = Policy(retry_interval=1.0, retry_jitter=0.0, client_grace=60.0, confirm_after=0.1)


class End:
    """A client or server: what it received."""

    def __init__(self, clock: Clock, kind: ConnectionType) -> None:
        self.pipe = Pipe(clock, self._hear)
        self._ws = WSConnection(kind)
        self.headers: dict[bytes, bytes] = {}  # of the peer's handshake
        self.messages: list[str] = []
        self.code: int | None = None  # of the Close frame
        self.status = 0  # of a refusal
        self.is_cut = False

    def say(self, event: Event) -> None:
        self.pipe.give(self._ws.send(event))

    def vanish(self) -> None:
        self.is_cut = True
        self.pipe.give(b"")

    def _hear(self, data: bytes) -> None:
        if self.is_cut or not data:
            return
        self._ws.receive_data(data)
        for event in self._ws.events():
            match event:
                case Request():
                    self.headers = dict(event.extra_headers)
                    self.say(AcceptConnection())
                case AcceptConnection():
                    self.headers = dict(event.extra_headers)
                case RejectConnection():
                    self.status = event.status_code
                case TextMessage():
                    self.messages.append(event.data)
                case Ping():
                    self.say(event.response())
                case CloseConnection():
                    self.code = event.code
                    if self._ws.state.name == "REMOTE_CLOSING":
                        self.say(event.response())


class World:
    def __init__(self) -> None:
        self.clock = Clock()
        self.is_up = True
        self.servers: list[End] = []
        self.proxy = ToyProxy(POLICY, self.clock, self._connect)

    def _connect(self) -> Pipe | None:
        if not self.is_up:
            return None
        self.servers.append(End(self.clock, ConnectionType.SERVER))
        return self.servers[-1].pipe

    def client(self, name: bytes, header: bytes = b"x-connection-id") -> End:
        end = End(self.clock, ConnectionType.CLIENT)
        self.proxy.accept(end.pipe)
        end.say(Request(host="example.org", target="/chat", extra_headers=[(header, name)]))
        return end

    def states(self) -> list[State]:
        return [context.state for context in self.proxy.contexts]

    def wait(self, seconds: float) -> None:
        self.clock.run(self.clock.time() + seconds)


def test_messages_survive_the_loss_of_the_server_and_of_the_client() -> None:
    world = World()
    client = world.client(b"7f3a")
    world.wait(0.5)
    assert client.headers[b"x-reconnect"] == b"new"
    client.say(TextMessage("one"))
    world.servers[0].say(TextMessage("hello"))
    world.wait(0.5)
    assert (world.servers[0].messages, client.messages) == (["one"], ["hello"])

    world.is_up = False
    world.servers[0].vanish()
    client.say(TextMessage("two"))
    world.wait(3.0)
    assert len(world.servers) == 1
    assert world.states() == [State.SERVER_DOWN]
    world.is_up = True
    world.wait(3.0)
    assert world.servers[1].messages == ["two"]
    assert world.servers[1].headers[b"x-reconnect"] == b"true"

    client.vanish()
    world.wait(0.5)
    assert world.states() == [State.CLIENT_DOWN]
    world.servers[1].say(TextMessage("meanwhile"))
    world.wait(10.0)
    returned = world.client(b"7f3a")
    world.wait(0.5)
    assert returned.headers[b"x-reconnect"] == b"resumed"
    assert returned.messages == ["meanwhile"]

    returned.say(CloseConnection(4000))
    world.wait(0.5)
    assert (world.servers[1].code, returned.code) == (4000, 4000)
    assert (world.proxy.sessions, len(world.proxy.contexts)) == ({}, 0)


def test_a_client_that_is_late_finds_no_session() -> None:
    world = World()
    client = world.client(b"7f3a")
    world.wait(0.5)
    client.vanish()
    world.wait(POLICY.client_grace + POLICY.close_timeout + 1.0)
    assert world.servers[0].code == 1001
    assert world.proxy.sessions == {}
    late = world.client(b"7f3a", b"x-reconnect-id")
    world.wait(0.5)
    assert late.status == 404


def test_a_server_that_falls_silent_counts_as_lost() -> None:
    world = World()
    world.client(b"7f3a")
    world.wait(0.5)
    world.servers[0].is_cut = True  # it answers no Ping, and its stream does not end
    world.wait(POLICY.heartbeat_interval + POLICY.heartbeat_timeout + 2.0)
    assert len(world.servers) == 2
