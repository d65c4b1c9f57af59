"""The public names: exactly these, each documented, and none imported before it is asked for."""

import ast
import subprocess
import sys
from inspect import isbuiltin, unwrap
from pathlib import Path

import pytest
import reknit
import reknit_core

FACES = [reknit, reknit_core]


def named_for_types(face: str) -> set[str]:
    """What the face imports for type checkers only."""
    source = Path(face).read_text()
    return {
        alias.asname or alias.name
        for node in ast.parse(source).body
        if isinstance(node, ast.If)
        for part in node.body
        if isinstance(part, ast.ImportFrom)
        for alias in part.names
    }


@pytest.mark.parametrize("face", FACES, ids=lambda face: face.__name__)
def test_the_names_are_the_same_for_people_types_and_python(face: object) -> None:
    public = set(face.__all__)
    assert public == set(face._HOME) | {"__version__"}
    assert public == named_for_types(face.__file__) | {"__version__"}
    assert public <= set(dir(face))


@pytest.mark.parametrize(
    ("face", "name"), [(face, name) for face in FACES for name in face.__all__]
)
def test_each_name_is_there_and_documented(face: object, name: str) -> None:
    value = getattr(face, name)
    if hasattr(value, "__mypyc_attrs__") or isbuiltin(unwrap(value)):
        pytest.skip("what is compiled has no docstring; its source is checked in the other form")
    if isinstance(value, type) or callable(value):
        assert (value.__doc__ or "").strip()
        assert not value.__doc__.startswith(f"{name}(")  # that is a dataclass's own text


def test_the_adapters_list() -> None:
    assert " ".join(reknit.__all__) == (
        "Address Listen Policy SessionView UnixPath Upstream __version__ parse_address "
        "parse_upstream"
    )


def test_both_are_one_version() -> None:
    assert reknit.__version__ == reknit_core.__version__


def test_the_list() -> None:
    """A name that goes, or comes, is decided on: here."""
    assert " ".join(sorted(reknit_core.__all__)) == (
        "Answered Ask AttemptFailed Balance Beat Budget Buffer Choice ClientConnected "
        "ClientHandshake Command ConnectionLost ContextStateMachine Contexts Conversation "
        "Counters Delivery Dial DialFailed Dialect DialectError Dialects Disconnect "
        "Driver Dropped Event Heard Host Http LifecycleError Message Offer Overflow "
        "Player Policy PolicyError Refusal Registry ScenarioError ServerConnected "
        "SessionView Shutdown Side Socket State Statement StopAsking TRANSITIONS Transit "
        "Transition Transitioned Transport Trigger Undelivered UpgradeRequest Upstream "
        "Wire __version__ parse_upstream registry"
    )


@pytest.mark.parametrize("face", FACES, ids=lambda face: face.__name__)
def test_what_is_not_public_is_not_there(face: object) -> None:
    with pytest.raises(AttributeError, match="has no attribute 'Leg'"):
        face.Leg  # noqa: B018


@pytest.mark.parametrize("face", FACES, ids=lambda face: face.__name__)
def test_a_face_alone_imports_nothing(face: object) -> None:
    program = f"import {face.__name__}, sys; print(*sys.modules)"
    modules = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True
    ).stdout.split()
    assert not [name for name in modules if name.startswith(f"{face.__name__}.")]
