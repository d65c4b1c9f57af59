"""What tests of the in-memory network share: recorders of sockets, and a whole world."""

from random import Random

from reknit.memory.adapter import MemoryProxy
from reknit.memory.network import Conditions, MemoryNetwork, MemorySocket
from reknit.verify.simulation.actors import MemoryClient, MemoryServer, ServerSession
from reknit.verify.simulation.ledger import Count, Dialogue, Promise
from reknit_core.commands import Command, Dial, Transitioned
from reknit_core.lifecycle import State
from reknit_core.policy.policy import Delivery, Policy
from reknit_core.policy.upstream import Upstream

PROXY = ("proxy", 80)
SERVER = ("server", 80)
INSTANT = 0.5  # seconds: enough for anything that needs no waiting
QUEUE = 4096  # bytes


def policy(delivery: Delivery = Delivery.AT_MOST_ONCE, **values: float) -> Policy:
    settings: dict[str, float] = {
        "retry_interval": 1.0,
        "retry_jitter": 0.0,
        "retry_limit": 5,
        "client_grace": 30.0,
        "queue_bytes": QUEUE,
        "heartbeat_interval": 20.0,
        "heartbeat_timeout": 10.0,
    }
    return Policy(delivery=delivery, **(settings | values))  # type: ignore[arg-type]


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


class World:
    """A network with a server, a proxy, and one client that is connected unless said."""

    def __init__(
        self,
        policy: Policy,
        conditions: Conditions | None = None,
        seed: int = 1,
        *,
        connected: bool = True,
        promise: Promise | None = None,
        sizes: tuple[int, ...] = (10, 100, 3000),
        servers: int = 1,
    ) -> None:
        self.log: list[str] = []
        self.network = MemoryNetwork(Random(seed), conditions, self.log)
        self.policy = policy
        if promise is None:
            eager = policy.delivery is Delivery.AT_MOST_ONCE
            promise = Promise.AT_MOST_ONCE if eager else Promise.AT_LEAST_ONCE
        self.dialogue = Dialogue.begin("a", sizes, promise)
        self.server = MemoryServer(self.network, SERVER, lambda name: self.dialogue)
        self.servers = [self.server]
        for number in range(2, servers + 1):
            address, known = (f"server{number}", 80), self.server.sessions
            self.servers.append(
                MemoryServer(self.network, address, lambda name: self.dialogue, known)
            )
        upstreams = [Upstream(*server.address) for server in self.servers]
        self.commands: list[tuple[float, Command]] = []
        self.proxy = MemoryProxy(self.network, PROXY, policy, upstreams, self._observe)
        self.client = MemoryClient(self.network, PROXY, "a", self.dialogue)
        if connected:
            self.client.connect()
            self.run(INSTANT)
            assert self.client.up
            assert self.state is State.CONNECTED

    def run(self, seconds: float) -> None:
        self.network.run(self.network.now + seconds)

    def _observe(self, name: str, command: Command) -> None:
        self.commands.append((self.network.now, command))

    @property
    def session(self) -> ServerSession:
        return self.server.sessions["a"]

    @property
    def state(self) -> State:
        (context,) = self.proxy.sessions
        return context.state

    @property
    def states(self) -> list[str]:
        return [c.state.value for _, c in self.commands if isinstance(c, Transitioned)]

    @property
    def to_server(self) -> Count:
        return self.dialogue.to_server.count()

    @property
    def to_client(self) -> Count:
        return self.dialogue.to_client.count()

    def when(self, state: State) -> float:
        """When the session last came into that state (seconds)."""
        return next(
            time
            for time, command in reversed(self.commands)
            if isinstance(command, Transitioned) and command.state is state
        )

    def dials(self) -> list[float]:
        """When each dial was to happen (seconds)."""
        return [command.at for _, command in self.commands if isinstance(command, Dial)]

    def assert_over(self) -> None:
        """The session has left nothing behind."""
        assert not self.proxy.sessions
        assert len(self.proxy.contexts) == 0


def whole(count: int) -> Count:
    return Count(sent=count, received=count)
