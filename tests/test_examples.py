"""The pages' examples of a proxy inside of a program run, and have the right types."""

import re
import subprocess
import sys
from pathlib import Path

import pytest
from patience import LIMIT

ROOT = Path(__file__).parents[1]
PAGE = ROOT / "adapters" / "guide" / "embed.md"
EXAMPLES = re.findall(r"^```py\n(.*?)^```$", PAGE.read_text(), re.MULTILINE | re.DOTALL)


def test_there_is_one_for_each_adapter() -> None:
    found = [re.findall(r"from reknit\.(\w+) import open_proxy", example) for example in EXAMPLES]
    assert sorted(found) == [["asyncio"], ["trio"]]


@pytest.mark.parametrize("example", EXAMPLES)
def test_it_runs(example: str) -> None:
    ran = subprocess.run(
        [sys.executable, "-c", example], capture_output=True, text=True, timeout=LIMIT
    )
    assert ran.returncode == 0, ran.stderr
    assert ran.stdout.startswith("clients connect to 127.0.0.1:")


def test_their_types_are_right(tmp_path: Path) -> None:
    files = []
    for number, example in enumerate(EXAMPLES):
        files.append(tmp_path / f"example{number}.py")
        files[-1].write_text(example)
    checked = subprocess.run(
        [sys.executable, "-m", "mypy", "--strict", *files],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=LIMIT,
    )
    assert checked.returncode == 0, checked.stdout + checked.stderr
