"""What a simulation is made of: its plan, its policy, and the stage on which it happens."""

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from random import Random

from reknit_core.lifecycle import State
from reknit_core.policy.policy import Delivery, Policy
from reknit_core.policy.upstream import Upstream

from reknit.memory.adapter import MemoryProxy
from reknit.memory.network import Conditions, MemoryNetwork
from reknit.verify.simulation.actors import MemoryClient, MemoryServer, ServerSession
from reknit.verify.simulation.auditor import Auditor
from reknit.verify.simulation.ledger import Dialogue, Promise
from reknit.verify.simulation.stack import Stack

PROXY = ("proxy", 80)
SERVER = ("server", 80)
_PROMISES = {
    Delivery.AT_MOST_ONCE: Promise.AT_MOST_ONCE,
    Delivery.AT_LEAST_ONCE: Promise.AT_LEAST_ONCE,
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """What a simulation does. Times in seconds, random ones by their mean."""

    sessions: int = 1000
    duration: float = 3600.0
    promise: Promise | None = None
    """None: what the delivery policy promises to ends that don't count."""
    send_every: float = 80.0
    """Between two bursts of messages in one session."""
    burst: int = 8
    """The most messages in one burst."""
    flood: int = 30
    """How many times larger one burst in fifty is."""
    fault_every: float = 600.0
    """Between two faults in one session."""
    closings: bool = True
    """Whether peers close sessions for good."""
    away: float = 6.0
    """How long a client stays away."""
    stall: float = 8.0
    """How long a peer doesn't read; one time in ten it is ten times as long."""
    servers: int = 1
    """How many there are. They share what they know of sessions."""
    restart_every: float = 600.0
    """Between two restarts of a server; 0: none."""
    outage: float = 8.0
    """How long a restart takes."""
    conditions: Conditions = Conditions(
        latency=(0.0005, 0.05), capacity=16384, partial=0.1, part=200
    )


def stormy_policy(delivery: Delivery) -> Policy:
    """A policy whose limits are reached often: short waits, small queues."""
    return Policy(
        delivery=delivery,
        retry_interval=1.0,
        retry_limit=15,
        client_grace=25.0,
        queue_bytes=16384,
        queue_messages=150,
        message_limit=32768,
        heartbeat_interval=100.0,
        heartbeat_timeout=10.0,
    )


class Stage:
    """The network with its proxy and its server, who watches them, and what users share."""

    def __init__(self, seed: int, plan: Plan, policy: Policy, log: list[str] | None) -> None:
        self.plan = plan
        self.random = Random(seed)  # noqa: S311 (a simulation must be repeatable)
        self.network = MemoryNetwork(self.random, plan.conditions, log)
        self.promise = plan.promise or _PROMISES[policy.delivery]
        self.dialogues: dict[str, Dialogue] = {}
        self.clients: dict[str, MemoryClient] = {}
        self.faults: Counter[str] = Counter()
        self.peace = False
        """Whether nothing goes wrong any more."""
        self.over = False
        """Whether nobody begins anything any more."""
        self._sizes = tuple(self._size() for _ in range(101))
        self.auditor = Auditor(self.network, policy, self._closed_deliberately)
        addresses = [SERVER, *((f"server{number}", 80) for number in range(2, plan.servers + 1))]
        self.server = MemoryServer(self.network, SERVER, self.dialogue)
        """The first one; it has the sessions of all."""
        self.servers = [
            self.server,
            *(
                MemoryServer(self.network, address, self.dialogue, self.server.sessions)
                for address in addresses[1:]
            ),
        ]
        upstreams = [Upstream(*address) for address in addresses]
        self.proxy = MemoryProxy(self.network, PROXY, policy, upstreams, self.auditor.observe)

    def later(self, mean: float, action: Callable[[], None]) -> None:
        """Do that after a random time (seconds)."""
        self.network.after(self.random.expovariate(1 / mean), action)

    def dialogue(self, name: str) -> Dialogue:
        """The ledgers of the session with that connection id."""
        known = self.dialogues.get(name)
        if known is None:
            known = Dialogue.begin(name, self._sizes, self.promise)
            self.dialogues[name] = known
        return known

    def session(self, name: str) -> ServerSession | None:
        """The server's end of that session."""
        return self.server.sessions.get(name)

    def check_drop(self, name: str, stack: Stack | None) -> None:
        """A connection is over: the proxy must not have ended a sound one."""
        if stack is not None and stack.dropped and self._goes_on(name):
            self.auditor.note(name, f"lost a sound connection: {stack.socket.name}")

    def _goes_on(self, name: str) -> bool:
        return any(
            context.connection_id == name and context.state is not State.CLOSING
            for context in self.proxy.contexts
        )

    def _closed_deliberately(self, name: str) -> bool:
        ends = (self.clients.get(name), self.session(name))
        return any(end is not None and end.deliberate for end in ends)

    def _size(self) -> int:
        """A message's padding: mostly small, now and then larger than a socket's room."""
        chance = self.random.random()
        top = 200 if chance < 0.9 else 2000 if chance < 0.98 else 20000
        return self.random.randrange(top)
