"""The generated diagrams in their directory: what differs from the code, and writing it anew.

The directory has the lifecycle and the few scenarios that explain the design.
"""

from collections.abc import Mapping
from pathlib import Path

from reknit_core.diagrams.text import render_all

from reknit.settings.files import read_text

DRAWN = "scenario_*.scn"  # those that explain the design; others are drawn when asked for


def render(scenarios: Path) -> dict[str, str]:
    """The diagrams of the directory, by name. Raises OSError, UnicodeError, ScenarioError."""
    found = sorted(scenarios.glob(DRAWN))
    return render_all({path.name: read_text(str(path)) for path in found})


def differing(directory: Path, files: Mapping[str, str]) -> list[Path]:
    """The files that are missing, that differ, or that nothing makes any more."""
    paths = {directory / name: text for name, text in files.items()}
    changed = [path for path, text in paths.items() if _read(path) != text.encode()]
    return sorted([*changed, *_left_over(directory, paths)])


def write(directory: Path, files: Mapping[str, str]) -> None:
    """Write the files, and remove what nothing makes any more. Raises OSError."""
    paths = {directory / name: text for name, text in files.items()}
    for path, text in paths.items():
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(text.encode())
    for path in _left_over(directory, paths):
        path.unlink()


def _read(path: Path) -> bytes | None:
    return path.read_bytes() if path.is_file() else None


def _left_over(directory: Path, made: Mapping[Path, str]) -> list[Path]:
    """Diagrams of scenarios that are gone: other files in the directory aren't ours."""
    return [path for path in directory.glob("scenarios/*.mmd") if path not in made]
