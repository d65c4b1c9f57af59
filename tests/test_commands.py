"""tests/README.md and .ci/run say the same: how to check, which fast tests, which all tests."""

import re
from pathlib import Path

ROOT = Path(__file__).parents[1]
PAGE = (ROOT / "tests" / "README.md").read_text()


def test_ci_runs_the_commands_of_the_page() -> None:
    (block,) = re.findall(r"^```sh\n(ruff .*?)^```", PAGE, re.DOTALL | re.MULTILINE)
    commands = [line.partition("#")[0].strip() for line in block.splitlines()]
    steps = re.findall(r"^\s*step (.*)$", (ROOT / ".ci" / "run").read_text(), re.MULTILINE)
    assert list(dict.fromkeys(steps)) == commands


def test_the_programs_that_the_page_names_are_there() -> None:
    programs = re.findall(r"python (tests/\S+\.py)", PAGE)
    assert len(programs) > 5
    for name in programs:
        assert (ROOT / name).exists(), name
