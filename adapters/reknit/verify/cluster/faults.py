"""What goes wrong and when: drawn by seed, and as lines of a file that plays it again."""

from collections.abc import Iterable
from dataclasses import dataclass
from enum import Enum
from random import Random


class Kind(Enum):
    """What happens. Nodes are numbers: which of those that run, by age, round and round."""

    PAUSE = "pause"  # a node stands still for that long (SIGSTOP, a suspended machine)
    CUT = "cut"  # between a node and the store nothing passes
    LINK = "link"  # between two nodes nothing passes
    HEAL = "heal"  # everything passes again
    RESET = "reset"  # a node's connection to the store breaks; answers are lost
    FAIL_OVER = "fail-over"  # the store is another one, without the last so many seconds
    SPLIT = "split"  # the same, and some nodes go on with the old one
    LAG = "lag"  # the replica gets nothing for that long
    DOWN = "down"  # the store dies
    UP = "up"  # it is back
    UP_EMPTY = "up-empty"  # it is back without anything
    FLUSH = "flush"  # it forgets everything, and breaks no connection
    FREEZE = "freeze"  # it answers nothing for that long
    KILL = "kill"  # a node dies
    JOIN = "join"  # a node comes
    DRAIN = "drain"  # a node leaves within that time


_ANY = (
    *(Kind.PAUSE,) * 4,
    *(Kind.CUT,) * 2,
    *(Kind.HEAL,) * 3,
    *(Kind.LINK,) * 2,
    *(Kind.FAIL_OVER,) * 2,
    Kind.DOWN,
    *(Kind.UP,) * 2,
    Kind.UP_EMPTY,
    Kind.FLUSH,
    Kind.FREEZE,
    Kind.RESET,
    Kind.KILL,
    *(Kind.JOIN,) * 2,
    Kind.DRAIN,
)
_ONLY_WITH_REPLICA = (Kind.SPLIT, Kind.LAG)
_PAUSES = (1.0, 4.0, 6.0, 15.0)


@dataclass(frozen=True, slots=True)
class Fault:
    """One of them. Times in seconds."""

    at: float
    kind: Kind
    numbers: tuple[float, ...] = ()

    def __str__(self) -> str:
        return " ".join((f"@{self.at:.3f}", self.kind.value, *(f"{n:g}" for n in self.numbers)))


def draw(random: Random, duration: float, every: float, *, has_replica: bool) -> list[Fault]:
    """Faults for so long, with that mean time between them."""
    faults: list[Fault] = []
    at = random.expovariate(1 / every)
    kinds = (*_ANY, *_ONLY_WITH_REPLICA) if has_replica else _ANY
    while at < duration:
        kind = random.choice(kinds)
        faults.append(Fault(round(at, 3), kind, _numbers(random, kind)))
        at += random.expovariate(1 / every)
    return faults


def _numbers(random: Random, kind: Kind) -> tuple[float, ...]:
    node = float(random.randrange(60))
    match kind:
        case Kind.PAUSE:
            return (node, random.choice(_PAUSES) + round(random.random(), 3))
        case Kind.CUT | Kind.RESET | Kind.KILL:
            return (node,)
        case Kind.LINK | Kind.SPLIT:
            return (node, float(random.randrange(60)))
        case Kind.DRAIN:
            return (node, random.choice((1.0, 4.0)))
        case Kind.FAIL_OVER:
            return (round(random.uniform(0, random.choice((0.5, 2.0, 8.0))), 3),)
        case Kind.LAG | Kind.FREEZE:
            return (round(random.uniform(0.2, 10.0), 3),)
        case _:
            return ()


def read(lines: Iterable[str]) -> list[Fault]:
    """Faults as they are written. Raises ValueError."""
    faults = []
    for line in lines:
        at, kind, *numbers = line.split()
        faults.append(Fault(float(at.removeprefix("@")), Kind(kind), tuple(map(float, numbers))))
    return faults
