"""Real applications, direct and through reknit: nobody is worse off with it than without.

`run.py` beside this does the same with ten deaths of the server, and more that is said.
"""

import asyncio
from pathlib import Path

import pytest
from application_table import APPLICATIONS
from applications import Application, Fault, Outcome, compared
from patience import patience

COUNT = 60  # things that a client says at least
FEW = 12  # that one says which takes its time
SOON = patience(10.0)  # seconds by which an outage may be longer here; run.py measures it


async def both(application: Application, state: Path) -> list[tuple[Outcome, Outcome]]:
    """Direct and through reknit: while the server dies, and while connections are cut.

    And it dies once more before it has answered what it is told, if anything is told at all.
    """
    deaths = (Fault.KILL_TWICE,) if application.slow else (Fault.KILL, Fault.KILL_TWICE)
    count = FEW if application.slow else COUNT
    cuts = (Fault.CUT_SERVER, Fault.CUT_CLIENT)
    runs = []
    for name, faults in (
        ("deaths", deaths),
        ("cuts", (Fault.KILL_TOLD, *cuts) if application.stays else cuts),
    ):
        (state / name).mkdir()
        runs.append(compared(application, state / name, faults, count))
    return await asyncio.gather(*runs)


def is_no_worse(application: Application, direct: Outcome, through: Outcome) -> None:
    """What is delivered and answered is what the direct client gets, at least, and as soon."""
    said = f"direct: {direct}; through reknit: {through}"
    assert through.lost <= max(direct.lost, application.unanswered), said
    for outage, its_own in zip(through.outages, direct.outages, strict=True):
        assert outage <= its_own + SOON, said


@pytest.mark.parametrize("application", APPLICATIONS, ids=lambda each: each.name)
def test_nobody_is_worse_off(tmp_path: Path, application: Application) -> None:
    """Both runs are mostly waiting: they do it side by side."""
    application.skip_if_missing()
    deaths, cuts = asyncio.run(both(application, tmp_path))
    is_no_worse(application, *deaths)
    is_no_worse(application, *cuts)
    if application.stays:
        _, through = deaths
        seen = (through.opened, through.errors)
        assert seen == (1, []), "\n".join((str(through), *through.log))


def test_what_is_missing_is_said_with_how_to_install_it() -> None:
    needs = ("python:json", "python:not_there", "nats-server-of-nobody")
    application = Application("x", ("python",), ("python",), needs=needs)
    assert application.lacks == (
        "x needs python:not_there, nats-server-of-nobody: pip install not_there; "
        "install nats-server-of-nobody (tests/README.md)"
    )
    assert not Application("x", ("python",), ("python",), needs=needs[:1]).lacks
