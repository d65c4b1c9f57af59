"""A simulation: many sessions over simulated hours, with everything going wrong, by seed.

Clients and a server exchange numbered messages through a proxy while connections are cut on
either side, peers stall, leave and return, sessions are closed, and the server restarts. In the
end all is left in peace for a while: then everything must be delivered, and all sessions close.
"""

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from random import Random

from reknit_core.lifecycle import State, Trigger
from reknit_core.policy import Delivery, Policy, Upstream

from reknit.auditor import Auditor
from reknit.ledger import Count, Dialogue, Promise
from reknit.memory import MemoryProxy
from reknit.memory_network import Conditions, MemoryNetwork
from reknit.memory_peers import ACCEPT, SILENT, MemoryClient, MemoryServer, Peer, ServerSession
from reknit.memory_stack import Cut, Stack

PROXY = ("proxy", 80)
SERVER = ("server", 80)
LEAVING, RESTARTING = 1001, 1012  # close codes after which a peer comes back
CLIENT_DONE, SERVER_DONE = 4000, 4001  # close codes that end a session
MAX_WAITING = 32768  # bytes: a peer whose socket is so far behind sends nothing more
LOOK_EVERY = 20.0  # seconds between two looks at all sessions
PEACE = 300.0  # seconds at the end in which nothing goes wrong
CLOSING = 30.0  # seconds in which all sessions must have closed
_CUTS = tuple(Cut)
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
    restart_every: float = 600.0
    """Between two restarts of the server; 0: none."""
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
        queue_messages=64,
        message_limit=32768,
        heartbeat_interval=100.0,
        heartbeat_timeout=10.0,
    )


@dataclass(frozen=True, slots=True)
class Result:
    """What a simulation came to."""

    seed: int
    to_server: Count
    to_client: Count
    sessions: int
    """How many sessions were begun."""
    events: int
    dials: int
    most_bytes: int
    """The most bytes that have waited in one queue."""
    faults: Counter[str]
    triggers: Counter[Trigger]
    states: Counter[State]
    broken: list[str]
    """Invariants that did not hold, the first ones; empty if all is well."""


def simulate(seed: int, plan: Plan, policy: Policy, log: list[str] | None = None) -> Result:
    """Run a whole simulation. `log`: where to note each event of the network."""
    return Simulation(seed, plan, policy, log).run()


class Simulation:
    """The network with its proxy, its server and its users, and who watches them."""

    def __init__(self, seed: int, plan: Plan, policy: Policy, log: list[str] | None) -> None:
        self.plan = plan
        self.random = Random(seed)  # noqa: S311 (a simulation must be repeatable)
        self.network = MemoryNetwork(self.random, plan.conditions, log)
        self.faults: Counter[str] = Counter()
        self.peace = False
        """Whether nothing goes wrong any more."""
        self.over = False
        """Whether nobody begins anything any more."""
        self.dialogues: dict[str, Dialogue] = {}
        self._seed = seed
        self._promise = plan.promise or _PROMISES[policy.delivery]
        self._sizes = tuple(self._size() for _ in range(101))
        self.auditor = Auditor(self.network, policy, self._closed_deliberately)
        self.server = MemoryServer(self.network, SERVER, self.dialogue)
        self.proxy = MemoryProxy(
            self.network, PROXY, policy, Upstream(*SERVER), self.auditor.observe
        )
        self.users = [User(self, f"u{number}") for number in range(plan.sessions)]
        self.clients: dict[str, MemoryClient] = {}

    def run(self) -> Result:
        """From the first connection to the last Close."""
        network, plan = self.network, self.plan
        for user in self.users:
            network.at(self.random.uniform(0, min(10.0, plan.duration)), user.begin)
        self._look()
        if plan.restart_every:
            self.later(plan.restart_every, self._restart)
        network.run(plan.duration)
        self.peace = True
        network.run(plan.duration + PEACE)
        self._end()
        both = list(self.dialogues.values())
        to_server = sum((dialogue.to_server.count() for dialogue in both), Count())
        to_client = sum((dialogue.to_client.count() for dialogue in both), Count())
        self._judge("to the server", to_server)
        self._judge("to the client", to_client)
        return Result(
            self._seed,
            to_server,
            to_client,
            len(both),
            network.events,
            self.auditor.dials,
            self.auditor.most_bytes,
            self.faults,
            self.auditor.triggers,
            self.auditor.states,
            self.auditor.broken,
        )

    def later(self, mean: float, action: Callable[[], None]) -> None:
        """Do that after a random time (seconds)."""
        self.network.after(self.random.expovariate(1 / mean), action)

    def dialogue(self, name: str) -> Dialogue:
        """The ledgers of the session with that connection id."""
        known = self.dialogues.get(name)
        if known is None:
            known = Dialogue.begin(name, self._sizes, self._promise)
            self.dialogues[name] = known
        return known

    def check_drop(self, name: str, stack: Stack | None) -> None:
        """A connection is over: the proxy must not have ended a sound one."""
        if stack is not None and stack.dropped and name in self._going_on():
            self.auditor.note(name, f"lost a sound connection: {stack.socket.name}")

    def _going_on(self) -> set[str]:
        return {
            context.connection_id
            for context in self.proxy.contexts
            if context.state is not State.CLOSING
        }

    def _size(self) -> int:
        """A message's padding: mostly small, now and then larger than a socket's room."""
        chance = self.random.random()
        top = 200 if chance < 0.9 else 2000 if chance < 0.98 else 20000
        return self.random.randrange(top)

    def _closed_deliberately(self, name: str) -> bool:
        client, session = self.clients.get(name), self.server.sessions.get(name)
        return any(end is not None and end.deliberate for end in (client, session))

    def _look(self) -> None:
        for session in list(self.proxy.sessions.values()):
            self.auditor.look(session)
        self.network.after(LOOK_EVERY, self._look)

    def _restart(self) -> None:
        """The server dies and comes back, in one of many ways."""
        if self.peace:
            return
        how = self.random.choice(_CUTS)
        self.server.kill(how)
        back = self.random.expovariate(1 / self.plan.outage)
        trouble = self.random.choice((ACCEPT, ACCEPT, SILENT, 503))
        self.faults[f"server restarts: {how.value}, then {trouble}"] += 1
        if trouble != ACCEPT:
            self.network.after(back / 2, partial(self._start, trouble))
        elif self.random.random() < 0.3:
            self.network.swallow(SERVER)
        self.network.after(back, partial(self._start, ACCEPT))
        self.later(self.plan.restart_every, self._restart)

    def _start(self, status: int) -> None:
        self.server.status = status
        self.server.start()

    def _end(self) -> None:
        """After the peace: all is delivered, all is connected, and all closes."""
        for user in self.users:
            for end in user.ends():
                end.send()
        self.network.run(self.network.now + CLOSING)
        self.over = True
        for user in self.users:
            user.check()
            user.client.close(CLIENT_DONE)
        self.network.run(self.network.now + CLOSING)
        for session in self.proxy.sessions.values():
            self.auditor.note(session.context.connection_id, "does not end")
        for context in self.proxy.contexts:
            self.auditor.note(context.connection_id, "is not forgotten")

    def _judge(self, where: str, count: Count) -> None:
        wrong = {"reordered": count.reordered, "altered": count.altered}
        wrong["lost without a cause"] = count.unexplained
        if self._promise is not Promise.AT_LEAST_ONCE:
            wrong["repeated"] = count.repeated
        for what, number in wrong.items():
            if number:
                self.auditor.note(where, f"{number} messages {what}")


class User:
    """Uses one client after the other, and upsets the session of each at both its ends."""

    client: MemoryClient

    def __init__(self, simulation: Simulation, name: str) -> None:
        self._simulation = simulation
        self._random = simulation.random
        self._name = name
        self._number = 0
        self._joined = False

    def begin(self) -> None:
        """Begin a session."""
        simulation = self._simulation
        if not self._number:
            simulation.later(simulation.plan.send_every, self._talk)
            simulation.later(simulation.plan.fault_every, self._trouble)
        self._number += 1
        self._joined = False
        name = f"{self._name}.{self._number}"
        dialogue = simulation.dialogue(name)
        self.client = MemoryClient(simulation.network, PROXY, name, dialogue)
        simulation.clients[name] = self.client
        self.client.on_open = self._opened
        self.client.on_gone = partial(self._gone, self.client)
        self.client.connect()

    def ends(self) -> list[Peer]:
        """The session's ends that there are."""
        session = self._session()
        return [self.client] if session is None else [self.client, session]

    def check(self) -> None:
        """After the peace: the session is whole, and nothing is missing at its end."""
        ends = self.ends()
        name = self.client.connection_id
        if len(ends) < 2 or not all(end.up for end in ends):
            self._simulation.auditor.note(name, "is not connected in the end")
        for end in ends:
            if end.inbound.last != end.inbound.sent:
                missing = f"{end.inbound.last} of {end.inbound.sent}"
                self._simulation.auditor.note(end.inbound.name, f"has {missing} in the end")

    def _session(self) -> ServerSession | None:
        return self._simulation.server.sessions.get(self.client.connection_id)

    # -- Coming and going ----------------------------------------------------------------------

    def _opened(self) -> None:
        self._joined = True
        session = self._session()
        if session is not None:
            session.on_gone = partial(self._server_gone, session)

    def _gone(self, client: MemoryClient, stack: Stack | None) -> None:
        self._simulation.check_drop(client.connection_id, stack)
        code = client.closed[0] if client.closed else LEAVING  # LEAVING is its own, answered
        if code == SERVER_DONE and not client.deliberate:
            client.inbound.finish()
        if self._simulation.over:
            return
        refused = client.status not in (None, ACCEPT)
        over = client.deliberate or code != LEAVING or refused or not self._joined
        again = self.begin if over else partial(client.connect, resume=True)
        self._simulation.later(self._simulation.plan.away, again)

    def _server_gone(self, session: ServerSession, stack: Stack | None) -> None:
        self._simulation.check_drop(session.connection_id, stack)
        closed = session.closed
        if closed is not None and closed[0] == CLIENT_DONE and not session.deliberate:
            session.inbound.finish()

    # -- Messages and faults -------------------------------------------------------------------

    def _talk(self) -> None:
        simulation, random = self._simulation, self._random
        if simulation.peace:
            return
        simulation.later(simulation.plan.send_every, self._talk)
        end = random.choice(self.ends())
        if end.stack is None or end.stack.waiting > MAX_WAITING:
            return
        burst = random.randint(1, simulation.plan.burst)
        if random.random() < 0.02:
            burst *= simulation.plan.flood
        end.send(burst, random.choice((1, 1, 1, 1, 2, 3)))

    def _trouble(self) -> None:
        """Something goes wrong, mostly while messages are on their way."""
        simulation, random = self._simulation, self._random
        if simulation.peace:
            return
        simulation.later(simulation.plan.fault_every, self._trouble)
        for end in self.ends():
            end.send(random.randint(0, simulation.plan.burst))
        simulation.network.after(random.uniform(0.0, 0.15), self._strike)

    def _strike(self) -> None:
        simulation, random = self._simulation, self._random
        ends = self.ends()
        end = random.choice(ends)
        if simulation.peace or not end.up:
            return
        match random.randrange(11 if simulation.plan.closings else 10):
            case 0 | 1 | 2 | 3:
                how = random.choice(_CUTS)
                what = f"is cut: {how.value}"
                end.cut(how)
            case 4 | 5:
                what = "stalls"
                end.read(False)
                stall = simulation.plan.stall * (10 if random.random() < 0.1 else 1)
                simulation.later(stall, partial(end.read, True))
            case 6 | 7:
                what = "loses its path"
                self._lose_path(end)
            case 8:
                what = "closes, to come back"
                end.close(LEAVING if end is self.client else RESTARTING)
            case 9:
                what = "and the other are cut"
                for both in ends:
                    if both.up:
                        both.cut(random.choice(_CUTS))
            case _:
                what = "closes for good"
                end.close(CLIENT_DONE if end is self.client else SERVER_DONE)
        side = "client" if end is self.client else "server"
        simulation.faults[f"{side} {what}"] += 1

    def _lose_path(self, end: Peer) -> None:
        """Nothing passes any more. A client dials anew at once; the proxy must notice a server."""
        assert end.stack is not None
        end.stack.socket.vanish()
        if end is self.client:
            self.client.connect(resume=True)
