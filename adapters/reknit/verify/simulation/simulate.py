"""A simulation: many sessions over simulated hours, with everything going wrong, by seed.

Clients and a server exchange numbered messages through a proxy while connections are cut on
either side, peers stall, leave and return, sessions are closed, and the server restarts. In the
end all is left in peace for a while: then everything must be delivered, and all sessions close.
"""

from collections import Counter
from dataclasses import dataclass
from functools import partial

from reknit_core.codes import GOING_AWAY, SERVICE_RESTART
from reknit_core.lifecycle import State, Trigger
from reknit_core.policy.policy import Policy

from reknit.verify.simulation.actors import (
    ACCEPT,
    SILENT,
    MemoryClient,
    MemoryServer,
    Peer,
    ServerSession,
)
from reknit.verify.simulation.ledger import Count, Promise
from reknit.verify.simulation.scene import PROXY, Plan, Stage
from reknit.verify.simulation.stack import Cut, Stack

CLIENT_DONE, SERVER_DONE = 4000, 4001  # close codes that end a session
MAX_WAITING = 32768  # bytes: a peer whose socket is so far behind sends nothing more
LOOK_EVERY = 20.0  # seconds between two looks at all sessions
PEACE = 300.0  # seconds at the end in which nothing goes wrong
CLOSING = 30.0  # seconds in which all sessions must have closed
_CUTS = tuple(Cut)


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


class User:
    """Uses one client after the other, and upsets the session of each at both its ends."""

    client: MemoryClient

    def __init__(self, stage: Stage, name: str) -> None:
        self._stage = stage
        self._random = stage.random
        self._name = name
        self._number = 0
        self._joined = False

    def begin(self) -> None:
        """Begin a session, unless one is there already: a client may be missed twice."""
        if self._number and self.client.stack is not None:
            return
        stage = self._stage
        if not self._number:
            stage.later(stage.plan.send_every, self._talk)
            stage.later(stage.plan.fault_every, self._trouble)
        self._number += 1
        self._joined = False
        name = f"{self._name}.{self._number}"
        dialogue = stage.dialogue(name)
        self.client = MemoryClient(stage.network, PROXY, name, dialogue)
        stage.clients[name] = self.client
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
            self._stage.auditor.note(name, "is not connected in the end")
        for end in ends:
            if end.inbound.last != end.inbound.sent:
                missing = f"{end.inbound.last} of {end.inbound.sent}"
                self._stage.auditor.note(end.inbound.name, f"has {missing} in the end")

    def _session(self) -> ServerSession | None:
        return self._stage.session(self.client.connection_id)

    # -- Coming and going ----------------------------------------------------------------------

    def _opened(self) -> None:
        self._joined = True
        session = self._session()
        if session is not None:
            session.on_gone = partial(self._server_gone, session)

    def _gone(self, client: MemoryClient, stack: Stack | None) -> None:
        self._stage.check_drop(client.connection_id, stack)
        code = client.closed[0] if client.closed else GOING_AWAY  # GOING_AWAY is its own, answered
        if code == SERVER_DONE and not client.deliberate:
            client.inbound.finish()
        if self._stage.over:
            return
        refused = client.status not in (None, ACCEPT)
        over = client.deliberate or code != GOING_AWAY or refused or not self._joined
        again = self.begin if over else partial(self._return, client)
        self._stage.later(self._stage.plan.away, again)

    def _return(self, client: MemoryClient) -> None:
        if client is self.client:  # else another session has begun meanwhile
            client.connect(resume=True)

    def _server_gone(self, session: ServerSession, stack: Stack | None) -> None:
        self._stage.check_drop(session.connection_id, stack)
        closed = session.closed
        if closed is not None and closed[0] == CLIENT_DONE and not session.deliberate:
            session.inbound.finish()

    # -- Messages and faults -------------------------------------------------------------------

    def _talk(self) -> None:
        stage, random = self._stage, self._random
        if stage.peace:
            return
        stage.later(stage.plan.send_every, self._talk)
        end = random.choice(self.ends())
        if end.stack is None or end.stack.waiting > MAX_WAITING:
            return
        burst = random.randint(1, stage.plan.burst)
        if random.random() < 0.02:
            burst *= stage.plan.flood
        end.send(burst, random.choice((1, 1, 1, 1, 2, 3)))

    def _trouble(self) -> None:
        """Something goes wrong, mostly while messages are on their way."""
        stage, random = self._stage, self._random
        if stage.peace:
            return
        stage.later(stage.plan.fault_every, self._trouble)
        for end in self.ends():
            end.send(random.randint(0, stage.plan.burst))
        stage.network.after(random.uniform(0.0, 0.15), self._strike)

    def _strike(self) -> None:
        stage, random = self._stage, self._random
        ends = self.ends()
        end = random.choice(ends)
        if stage.peace or not end.up:
            return
        match random.randrange(11 if stage.plan.closings else 10):
            case 0 | 1 | 2 | 3:
                how = random.choice(_CUTS)
                what = f"is cut: {how.value}"
                end.cut(how)
            case 4 | 5:
                what = "stalls"
                end.read(False)
                stall = stage.plan.stall * (10 if random.random() < 0.1 else 1)
                stage.later(stall, partial(end.read, True))
            case 6 | 7:
                what = "loses its path"
                self._lose_path(end)
            case 8:
                what = "closes, to come back"
                end.close(GOING_AWAY if end is self.client else SERVICE_RESTART)
            case 9:
                what = "and the other are cut"
                for both in ends:
                    if both.up:
                        both.cut(random.choice(_CUTS))
            case _:
                what = "closes for good"
                end.close(CLIENT_DONE if end is self.client else SERVER_DONE)
        side = "client" if end is self.client else "server"
        stage.faults[f"{side} {what}"] += 1

    def _lose_path(self, end: Peer) -> None:
        """Nothing passes any more. A client dials anew at once; the proxy must notice a server."""
        assert end.stack is not None
        end.stack.socket.vanish()
        if end is self.client:
            self.client.connect(resume=True)


class Simulation(Stage):
    """The stage with its users, and what happens on it."""

    def __init__(self, seed: int, plan: Plan, policy: Policy, log: list[str] | None) -> None:
        super().__init__(seed, plan, policy, log)
        self._seed = seed
        self.users = [User(self, f"u{number}") for number in range(plan.sessions)]

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
        for user in self.users:
            for end in user.ends():
                end.read(True)
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

    def _look(self) -> None:
        drivers = [session.driver for session in self.proxy.sessions.values()]
        for driver in drivers:
            self.auditor.look(driver)
        self.auditor.look_at_waiting(drivers)
        self.auditor.look_at_servers(self.proxy.contexts.servers)
        self.network.after(LOOK_EVERY, self._look)

    def _restart(self) -> None:
        """The server dies and comes back, in one of many ways."""
        if self.peace:
            return
        how = self.random.choice(_CUTS)
        server = self.servers[0]
        if len(self.servers) > 1:
            server = self.random.choice(self.servers)
        server.kill(how)
        back = self.random.expovariate(1 / self.plan.outage)
        trouble = self.random.choice((ACCEPT, ACCEPT, SILENT, 503, 404))
        self.faults[f"server restarts: {how.value}, then {trouble}"] += 1
        if trouble != ACCEPT:
            self.network.after(back / 2, partial(self._start, server, trouble))
        elif self.random.random() < 0.3:
            self.network.swallow(server.address)
        self.network.after(back, partial(self._start, server, ACCEPT))
        self.later(self.plan.restart_every, self._restart)

    def _start(self, server: MemoryServer, status: int) -> None:
        server.status = status
        server.start()

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
            self.auditor.note(session.driver.context.connection_id, "does not end")
        for context in self.proxy.contexts:
            self.auditor.note(context.connection_id, "is not forgotten")

    def _judge(self, where: str, count: Count) -> None:
        wrong = {"reordered": count.reordered, "altered": count.altered}
        wrong["lost without a cause"] = count.unexplained
        if self.promise is not Promise.AT_LEAST_ONCE:
            wrong["repeated"] = count.repeated
        for what, number in wrong.items():
            if number:
                self.auditor.note(where, f"{number} messages {what}")
