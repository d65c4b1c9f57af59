"""A whole run: nodes, a store, faults, then peace, then the end."""

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import count
from random import Random

from reknit_core.cluster.states import Node
from reknit_core.cluster.tenure.tenure import Tenure
from reknit_core.cluster.times import Times

from reknit.memory.network import Conditions, MemoryNetwork
from reknit.verify.cluster.faults import Fault, Kind, draw
from reknit.verify.cluster.node import SimulatedNode
from reknit.verify.cluster.store import Store
from reknit.verify.cluster.watch import Watch
from reknit.verify.cluster.wire import LIMIT, Wire

MOST_NODES = 5
FEWEST_NODES = 2
LATENCY = (0.0005, 0.02)  # seconds
DRIFT = 0.02  # by how much of a second a node's clock is off, a second
Maker = Callable[[str, Times], Tenure]


@dataclass(frozen=True, slots=True)
class Plan:
    """A run. Times in seconds."""

    seed: int
    nodes: int = 3
    has_replica: bool = False
    duration: float = 120.0
    fault_every: float = 2.5
    times: Times = Times(alone=20.0, patience=25.0)
    faults: Sequence[Fault] | None = None
    """None: drawn by the seed."""

    @classmethod
    def of(cls, seed: int) -> "Plan":
        """The one of that seed."""
        return cls(seed, 3 + seed % 3, seed % 2 == 1)

    def drawn(self) -> Sequence[Fault]:
        """The faults of that seed."""
        random = Random(f"faults {self.seed}")  # noqa: S311 (a simulation must be repeatable)
        return draw(random, self.duration, self.fault_every, has_replica=self.has_replica)


@dataclass(frozen=True, slots=True)
class Result:
    """What a run came to."""

    broken: list[str]
    confirmed: int
    lost: int
    """What was confirmed and then lost, each with its reason."""
    claims: int
    by_promise: float
    """Seconds that nodes were sure by promise."""
    served_after: float
    """Seconds from the last fault until each book was served."""
    faults: Counter[str]


class Simulation:
    """The cluster. `make`: what makes a node's tenure."""

    def __init__(self, plan: Plan, make: Maker = Tenure, log: list[str] | None = None) -> None:
        self.plan = plan
        self.times = plan.times
        random = Random(plan.seed)  # noqa: S311 (a simulation must be repeatable)
        self.faults = plan.drawn() if plan.faults is None else plan.faults
        self.network = MemoryNetwork(random, Conditions(LATENCY), log)
        self.store = Store(lambda: self.network.now, plan.has_replica)
        self.nodes: dict[str, SimulatedNode] = {}
        self.watch = Watch(self.nodes)
        self._make = make
        self._numbers = count(1)
        self._names = count()
        self._old: Store | None = None  # the primary that doesn't know it isn't any more
        self._beside: set[str] = set()  # nodes that reach only that one
        self._cut: set[str] = set()
        self._links: set[frozenset[str]] = set()
        self._wires: dict[str, Wire] = {}
        self._counts: Counter[str] = Counter()
        self.claims = 0
        self._by_promise = 0.0

    def run(self) -> Result:
        """From the first node to the last, or to the first thing that is wrong."""
        network, plan = self.network, self.plan
        for _ in range(plan.nodes):
            self._join()
        for fault in self.faults:
            network.at(fault.at, partial(self._strike, fault))
        self._sample()
        while network.now < plan.duration and not self.watch.broken:
            network.run(min(network.now + 1.0, plan.duration))
        served_after = 0.0
        if not self.watch.broken:
            self._make_peace()
            served_after = self._await_service()
        if not self.watch.broken:
            self._end()
        return Result(
            self.watch.broken,
            self.watch.confirmed,
            self.watch.lost,
            self.claims,
            self._by_promise,
            served_after,
            self._counts,
        )

    # -- For the nodes -------------------------------------------------------------------------

    def connect(self, node: SimulatedNode, done: Callable[[Wire | None], None]) -> None:
        """Try to reach the store."""
        store = self._old if node.name in self._beside and self._old else self.store
        if store.is_up and not store.is_frozen and node.name not in self._cut:
            self.network.after(
                self.network.latency() * 2, partial(self._connected, node, store, done)
            )
        else:
            self.network.after(LIMIT, partial(done, None))

    def _connected(
        self, node: SimulatedNode, store: Store, done: Callable[[Wire | None], None]
    ) -> None:
        if not store.is_up or (store is not self.store and store is not self._old):
            done(None)
            return
        wire = Wire(self.network, store, node)
        wire.passes = node.name not in self._cut
        self._wires[node.name] = wire
        done(wire)

    def tell(self, sender: SimulatedNode, to: str, action: Callable[[SimulatedNode], None]) -> None:
        """Have that done at another node, if it can be reached."""
        if frozenset((sender.name, to)) not in self._links and to in self.nodes:
            other = self.nodes[to]
            self.network.after(self.network.latency(), partial(other.run, partial(action, other)))

    def number(self) -> int:
        """A new one."""
        return next(self._numbers)

    def confirm(self, node: SimulatedNode, book: str, item: int) -> None:
        """Something is written to a connection."""
        self._at()
        self.watch.confirm(node, book, item, (self.store,))

    def written(self, book: str, items: frozenset[int]) -> None:
        """A node has heard that a store has these."""
        self.watch.written(book, items, self.store)

    def looks(self, node: SimulatedNode) -> None:
        """Something has happened at that node."""
        self._at()
        self.watch.look_at(node)

    def let_go(self, book: str, *, is_over: bool) -> None:
        """A node hasn't got it any more; `is_over`: its sessions had ended."""
        self._at()
        if is_over:
            self.watch.ended(book)
        self.watch.look_for_losses(self.store)

    def _at(self) -> None:
        self.watch.now = self.network.now

    # -- What goes wrong -----------------------------------------------------------------------

    def _join(self) -> None:
        name = f"n{next(self._names)}"
        pace = 1.0 + self.network.random.uniform(-DRIFT, DRIFT)
        tenure = self._make(name, self.times)
        self.nodes[name] = SimulatedNode(name, self, tenure, pace)

    def _running(self) -> list[SimulatedNode]:
        return [
            node
            for node in self.nodes.values()
            if node.is_alive and node.tenure.state not in (Node.LEAVING, Node.LEFT)
        ]

    def _strike(self, fault: Fault) -> None:
        self._at()
        running = self._running()
        numbers = fault.numbers
        node = running[int(numbers[0]) % len(running)] if numbers else running[0]
        self._counts[fault.kind.value] += 1
        self.network.note(f"{fault} ({node.name})")
        match fault.kind:
            case Kind.PAUSE:
                node.pause()
                self.network.after(numbers[1], node.resume)
            case Kind.CUT:
                self._cut.add(node.name)
                self._set_passing()
            case Kind.LINK:
                other = running[int(numbers[1]) % len(running)]
                self._links.add(frozenset((node.name, other.name)))
            case Kind.HEAL:
                self._heal()
            case Kind.RESET:
                self._break(node.name)
            case Kind.KILL:
                if len(running) > FEWEST_NODES:
                    node.kill()
                    self.watch.look_for_losses(self.store)
            case Kind.DRAIN:
                if len(running) > FEWEST_NODES:
                    node.run(partial(node.leave, numbers[1]))
            case Kind.JOIN:
                if len(running) < MOST_NODES:
                    self._join()
            case _:
                self._strike_store(fault, [each.name for each in running])

    def _strike_store(self, fault: Fault, running: list[str]) -> None:
        store, numbers = self.store, fault.numbers
        before = {book: stream.items for book, stream in store.streams.items()}
        match fault.kind:
            case Kind.FAIL_OVER if store.is_up:
                if store.has_replica:
                    self.store = store.promoted()
                    self.store.is_frozen = store.is_frozen
                else:
                    store.roll_back(numbers[0])
                self._break_all(store)
                self.watch.forgotten(before, self.store)
            case Kind.SPLIT if store.is_up and store.has_replica and self._old is None:
                self._beside = {running[int(number) % len(running)] for number in numbers}
                self._old, self.store = store, store.promoted()
                store.is_alone = True
                for name in running:
                    if name not in self._beside:
                        self._break(name)
                self.watch.forgotten(before, self.store)
            case Kind.LAG if store.has_replica:
                store.replica_stalls_since = store.replicated_until
                self.network.after(numbers[0], partial(self._catch_up, store))
            case Kind.DOWN if store.is_up:
                store.is_up = False
                self._break_all(store)
            case Kind.UP:
                store.is_up = True
            case Kind.UP_EMPTY if not store.is_up:
                store.is_up = True
                store.forget_all()
                self.watch.forgotten(before, store)
            case Kind.FLUSH if store.is_up:
                store.forget_all()
                self.watch.forgotten(before, store)
            case Kind.FREEZE if not store.is_frozen:
                store.is_frozen = True
                self.network.after(numbers[0], partial(self._thaw, store))
            case _:
                pass

    def _catch_up(self, store: Store) -> None:
        store.replica_stalls_since = None

    def _thaw(self, store: Store) -> None:
        store.is_frozen = False
        for wire in list(self._wires.values()):
            wire.go_on()

    def _break(self, name: str) -> None:
        wire = self._wires.pop(name, None)
        if wire is not None:
            wire.cut(heard=name not in self._cut)

    def _break_all(self, store: Store) -> None:
        for name, wire in list(self._wires.items()):
            if wire.store is store:
                self._break(name)

    def _set_passing(self) -> None:
        for name, wire in list(self._wires.items()):
            wire.passes = name not in self._cut
            wire.go_on()

    def _heal(self) -> None:
        self._cut.clear()
        self._links.clear()
        if self._old is not None:
            self._beside.clear()
            old, self._old = self._old, None
            old.is_up = False
            self._break_all(old)
        self._set_passing()

    # -- Peace ---------------------------------------------------------------------------------

    def _make_peace(self) -> None:
        self._heal()
        self.store.is_up = True
        self._catch_up(self.store)
        self._thaw(self.store)
        for node in self.nodes.values():
            node.resume()

    def _await_service(self) -> float:
        """How long it takes until each book is served; who wasn't known waits longest."""
        times, began = self.times, self.network.now
        self.watch.look_for_losses(self.store)
        while unserved := self.watch.unserved(self.store):
            self.network.run(self.network.now + 0.25)
            self._at()
            if self.network.now - began > times.alone + 4 * times.lease + times.patience:
                self.watch.note(f"not served again: {', '.join(unserved)}")
                break
        return self.network.now - began

    def _end(self) -> None:
        """All sessions end, and all nodes leave."""
        self._at()
        self.watch.look_for_losses(self.store)
        for node in self.nodes.values():
            node.run(node.end_sessions)
        self.network.run(self.network.now + 3 * self.times.lease)
        for node in self._running():
            node.leave(1.0)
        self.network.run(self.network.now + 2 * self.times.lease)
        self._at()
        self.watch.look_at_end(self.store)

    def _sample(self) -> None:
        for node in self.nodes.values():
            if node.is_alive and node.tenure.state is Node.BY_PROMISE:
                self._by_promise += 0.1
        self.network.after(0.1, self._sample)


def simulate(plan: Plan, make: Maker = Tenure, log: list[str] | None = None) -> Result:
    """Run it."""
    return Simulation(plan, make, log).run()
