"""A run as a file: its head, and a line for each thing that goes wrong. It plays again the same."""

from collections.abc import Callable
from dataclasses import replace

from reknit_core.cluster.tenure.tenure import Tenure

from reknit.verify.cluster.faults import read as read_faults
from reknit.verify.cluster.simulate import Maker, Plan, Result, Simulation, simulate

HEAD = "cluster"
BEFORE = 10.0  # seconds that are told of what came before the first thing that was wrong


class ClusterFileError(Exception):
    """Not a file of a run; the text says why."""


def is_run(text: str) -> bool:
    """Whether that file is one of a run."""
    return any(line.split()[:1] == [HEAD] for line in text.splitlines()[:5])


def write(plan: Plan, result: Result) -> str:
    """The file of a run, whose faults are named."""
    assert plan.faults is not None
    lines = [
        *(f"# {what}" for what in result.broken[:3]),
        f"{HEAD} seed={plan.seed} nodes={plan.nodes} replica={'yes' if plan.has_replica else 'no'}",
        *map(str, plan.faults),
    ]
    return "\n".join(lines) + "\n"


def read(text: str) -> Plan:
    """The run of that file. Raises ClusterFileError."""
    lines = [line for line in text.splitlines() if line.strip() and not line.startswith("#")]
    try:
        words = dict(word.split("=") for word in lines[0].split()[1:])
        has_replica = {"yes": True, "no": False}[words.pop("replica")]
        seed, nodes = int(words["seed"]), int(words["nodes"])
        return Plan(seed, nodes, has_replica, faults=read_faults(lines[1:]))
    except (LookupError, ValueError) as error:
        raise ClusterFileError(f"this is no run of a cluster: {error}") from None


def play(plan: Plan, make: Maker = Tenure) -> tuple[Result, list[str]]:
    """Run it; what came of it, and what happened shortly before the first thing that was wrong."""
    log: list[str] = []
    result = simulate(plan, make, log)
    if not result.broken:
        return result, []
    at = _time(result.broken[0])
    return result, [line for line in log if at - BEFORE <= _time(line) <= at]


def _time(line: str) -> float:
    return float(line.split()[0].removeprefix("@"))


def shrink(plan: Plan, make: Maker = Tenure, tries: int = 100) -> tuple[Plan, Result]:
    """The same run with as few faults as show that something is wrong, after so many tries."""
    simulation = Simulation(plan, make)
    plan = replace(plan, faults=simulation.faults)
    result = simulation.run()
    part = len(simulation.faults) // 2
    while part and tries and result.broken:
        part, plan, result, tries = _without(plan, result, part, tries, lambda p: simulate(p, make))
    return plan, result


def _without(
    plan: Plan, result: Result, part: int, tries: int, run: Callable[[Plan], Result]
) -> tuple[int, Plan, Result, int]:
    """Leave out each `part` of the faults that isn't needed; then what part to try next."""
    begin = 0
    assert plan.faults is not None
    while begin < len(plan.faults) and tries:
        fewer = replace(plan, faults=[*plan.faults[:begin], *plan.faults[begin + part :]])
        tried = run(fewer)
        tries -= 1
        if tried.broken:
            plan, result = fewer, tried
            assert plan.faults is not None
        else:
            begin += part
    return part // 2, plan, result, tries
