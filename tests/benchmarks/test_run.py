"""The command that measures does so, for a moment; how fast anything is, is not asked here."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import report
from cases import CASES, SESSION_CASES
from patience import patience
from processes import HERE
from report import GONE, IDLE, Results

cores = len(os.sched_getaffinity(0)) if sys.platform == "linux" else 0
pytestmark = pytest.mark.skipif(cores < 2, reason="needs Linux with two cores")


def test_the_command_measures_all_kinds_of_rows(loader: Path, tmp_path: Path) -> None:
    names = (
        "open a",
        "returns",
        "lost and dialled",
        "1 connection",
        "TLS: 10 connections",
        "one idle",
        "has gone",
    )
    command = [sys.executable, str(HERE / "run.py"), "--rounds", "1", "--seconds", "0.05"]
    command += ["--sessions", "20", "--only", "reknit, at-least-once", "--server-port", "0"]
    command += [f"--case={name}" for name in names]
    command += ["--json", str(tmp_path / "json"), "--chart", str(tmp_path / "svg")]
    ran = subprocess.run(command, capture_output=True, text=True, timeout=patience(120))
    assert ran.returncode == 0, ran.stdout + ran.stderr
    results: Results = json.loads((tmp_path / "json").read_text())
    all_rows = {case.name for case in (*SESSION_CASES, *CASES)} | {IDLE, GONE}
    assert set(results["summary"]) == {
        row for row in all_rows if any(name in row for name in names)
    }
    for row in report.rows(results):
        assert f"| {row.title} " in ran.stdout
        assert results["summary"][row.case]["reknit, at-least-once"][row.key] is not None
    assert (tmp_path / "svg").read_text().startswith("<svg")
