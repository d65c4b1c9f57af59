"""A cluster in virtual time with everything going wrong, by seed; each rule is seen to be needed.

`simulate(Plan.of(seed))` gives the same course each time.
"""

import pytest
from reknit.verify.cluster import files
from reknit.verify.cluster.faults import Fault, Kind
from reknit.verify.cluster.simulate import Plan, Result, simulate
from reknit_core.cluster.events import Top
from reknit_core.cluster.states import Book
from reknit_core.cluster.tenure.holdings import Holding
from reknit_core.cluster.tenure.keeping import Keeping
from reknit_core.cluster.tenure.promises import Promises
from reknit_core.cluster.tenure.sight import Sight

CALM = 40.0  # seconds between two faults, of which the first is over then


def check(result: Result) -> None:
    """Nothing is broken, and something has happened."""
    assert result.broken == []
    assert result.confirmed > 200
    assert result.claims > 0


@pytest.mark.parametrize("seed", range(6))
def test_two_minutes_of_faults(seed: int) -> None:
    check(simulate(Plan.of(seed)))


def test_a_run_is_the_same_each_time() -> None:
    log: list[str] = []
    again: list[str] = []
    assert simulate(Plan.of(1), log=log) == simulate(Plan.of(1), log=again)
    assert log == again


SINGLE = {
    "a node is paused": [(Kind.PAUSE, 1.0, 3.0), (Kind.PAUSE, 0.0, 20.0)],
    "a node loses the store": [(Kind.CUT, 1.0)],
    "two nodes lose each other": [(Kind.LINK, 0.0, 1.0)],
    "a connection is reset": [(Kind.RESET, 0.0), (Kind.RESET, 1.0), (Kind.RESET, 2.0)],
    "the store dies": [(Kind.DOWN,)],
    "the store is back empty": [(Kind.DOWN,), (Kind.UP_EMPTY,)],
    "the store forgets all": [(Kind.FLUSH,)],
    "the store goes back": [(Kind.FAIL_OVER, 2.0)],
    "the store stands still": [(Kind.FREEZE, 10.0)],
    "a node dies": [(Kind.KILL, 1.0)],
    "a node leaves": [(Kind.DRAIN, 1.0, 4.0)],
    "a node joins": [(Kind.JOIN,)],
}


@pytest.mark.parametrize("name", SINGLE)
def test_a_single_fault_loses_nothing(name: str) -> None:
    """Each is over, and mended, before the next."""
    faults, at = [], 10.0
    for kind, *numbers in SINGLE[name]:
        faults.append(Fault(at, kind, tuple(numbers)))
        if kind is not Kind.DOWN or len(SINGLE[name]) == 1:
            faults += [Fault(at + 12.0, Kind.HEAL), Fault(at + 12.0, Kind.UP)]
            at += CALM
        else:
            at += 3.0
    result = simulate(Plan(1, duration=at, faults=faults))
    assert result.broken == []
    assert result.lost == 0
    assert result.confirmed > 200


def test_a_run_is_a_file_that_plays_again() -> None:
    plan, result = files.shrink(Plan.of(3), tries=0)
    text = files.write(plan, result)
    assert files.is_run(text)
    again, _ = files.play(files.read(text))
    assert again == result


@pytest.mark.parametrize("text", ["cluster seed=1", "cluster seed=x nodes=3 replica=no", "cluster"])
def test_a_file_that_is_none_says_so(text: str) -> None:
    with pytest.raises(files.ClusterFileError, match="this is no run of a cluster"):
        files.read(text)


# -- Each rule is needed: without it, two nodes are sure of one book at once ----------------------


def regains_by_a_check(
    self: Keeping, holding: Holding, top: Top | None, sight: Sight, sent_at: float
) -> None:
    if top is not None and top.epoch == holding.epoch:
        holding.state = Book.OWNED


def yes(*what: object) -> bool:
    return True


def no(*what: object) -> bool:
    return False


@pytest.mark.parametrize(
    ("where", "what", "instead", "seed"),
    [
        pytest.param(Keeping, "_reclaim", regains_by_a_check, 0, id="2-lost-sureness-is-lost"),
        pytest.param(Sight, "is_settled", yes, 4, id="3-a-claim-waits"),
        pytest.param(Promises, "binds", no, 46, id="4-a-promise-binds"),
        pytest.param(Sight, "_is_known_to", yes, 16, id="5-who-was-not-known-waits"),
    ],
)
def test_a_rule_is_needed(
    where: type, what: str, instead: object, seed: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert simulate(Plan.of(seed)).broken == []
    monkeypatch.setattr(where, what, instead)
    assert "two are sure of " in simulate(Plan.of(seed)).broken[0]
