"""The proxy and the server are restarted under load: nothing is lost or repeated.

Ten restarts of each kind, with 500 sessions, are `python restart_run.py`.
"""

import pytest
import trio
from restart_run import Plan, Restart, Row, play

SESSIONS = 20


@pytest.mark.parametrize("workers", [1, 2])
def test_restarts_cost_nothing(workers: int) -> None:
    rows: list[Row] = []
    options = ("--retry-interval", "0.05", "--retry-limit", "1000", "--workers", str(workers))
    plan = Plan(SESSIONS, 400, times=1, opening=0.5, calm=0.3, serve=options)
    trio.run(play, plan, rows.append)
    assert [row.restart for row in rows] == list(Restart)
    for row in rows:
        counts = row.counts
        assert counts.sent > 0
        assert (counts.lost, counts.repeated, counts.reordered, counts.closed) == (0, 0, 0, 0)
        is_server = row.restart in (Restart.DEPLOY, Restart.KILL)
        assert counts.dialled == (SESSIONS if is_server else 0)
