"""A wheel that is compiled is compiled as a whole: each module that core/compile.py names."""

import ast
import os
from importlib.machinery import EXTENSION_SUFFIXES
from pathlib import Path

import pytest
import reknit
import reknit_core

LIST = Path(__file__).parents[1] / "core" / "compile.py"


def listed() -> set[str]:
    """The modules of core/compile.py, as paths from where the packages lie."""
    for statement in ast.parse(LIST.read_text()).body:
        if isinstance(statement, ast.Assign) and ast.unparse(statement.targets[0]) == "MODULES":
            names = ast.literal_eval(statement.value)
            return {name.partition("/")[2].removesuffix(".py") for name in names}
    raise AssertionError("no MODULES")


def compiled() -> set[str]:
    """The modules of both packages that are extensions."""
    found = set()
    for package in (reknit, reknit_core):
        folder = Path(package.__file__).parent
        for path in folder.rglob("*"):
            suffix = next((end for end in EXTENSION_SUFFIXES if path.name.endswith(end)), "")
            if suffix:
                found.add(path.relative_to(folder.parent).as_posix().removesuffix(suffix))
    return found


def test_the_compiled_wheel_is_compiled() -> None:
    """$TEST_COMPILED says that the packages were compiled; .ci/run sets it."""
    if not os.environ.get("TEST_COMPILED") and not compiled():
        pytest.skip("the packages are not compiled")
    assert compiled() == listed()
