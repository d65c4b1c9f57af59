"""The README names every option, header and close code, with the defaults that hold."""

from dataclasses import fields
from enum import Enum
from pathlib import Path

import pytest
from reknit_core.context import GAP, OVERFLOW, TAKEN_OVER
from reknit_core.policy import SETTINGS, Policy

README = (Path(__file__).parents[1] / "README.md").read_text()


def shown(value: object) -> str:
    """A default as the README's table has it."""
    match value:
        case frozenset():
            return ",".join(str(part) for part in sorted(value)) or "none"
        case Enum():
            return str(value.value)
        case float():
            return f"{value:g}"
        case _:
            return str(value)


@pytest.mark.parametrize("name", [field.name for field in fields(Policy)])
def test_the_options_table(name: str) -> None:
    setting = SETTINGS[name]
    default = f"{shown(getattr(Policy(), name))} {setting.unit}".strip()
    row = f"| `--{name.replace('_', '-')}` | {default} | {setting.help} |"
    assert row in README


@pytest.mark.parametrize("code", [1001, 1002, 1009, 1013, GAP, OVERFLOW, TAKEN_OVER])
def test_the_close_codes_table(code: int) -> None:
    table = README[README.index("| close code |") : README.index("| status |")]
    assert str(code) in table
