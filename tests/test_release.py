"""What an index, and the hosted checks, get: metadata, long description, workflows."""

import re
import tomllib
from pathlib import Path
from typing import Any

import pytest
import yaml
from hatchling.metadata.core import ProjectMetadata
from hatchling.plugin.manager import PluginManager

ROOT = Path(__file__).parents[1]
WORKFLOWS = ROOT / ".github" / "workflows"
TOML = tomllib.loads((ROOT / "pyproject.toml").read_text())
PROJECT = TOML["project"]
SOURCE = PROJECT["urls"]["Source"]
TAG = f"v{PROJECT['version']}"


def workflow(name: str) -> dict[str, Any]:
    return dict(yaml.safe_load((WORKFLOWS / name).read_text()))


def pythons() -> list[str]:
    """The versions that are said to work."""
    found = (re.fullmatch(r".* :: Python :: (3\.\d+)", each) for each in PROJECT["classifiers"])
    return [match[1] for match in found if match]


def test_the_long_description_has_absolute_links_to_what_there_is() -> None:
    text = ProjectMetadata(str(ROOT), PluginManager()).core.readme
    links = re.findall(r"\]\(([^)\s]+)\)", text) + re.findall(r'src(?:set)?="([^"]+)"', text)
    files = f"{SOURCE}/blob/{TAG}/"
    assert len(links) > 40
    for link in links:
        assert re.match(r"https://|#", link), link
        if link.startswith(files):
            assert (ROOT / link.removeprefix(files).partition("#")[0]).exists(), link
    assert f"({files}adapters/guide/server.md)" in text


@pytest.mark.parametrize(
    ("text", "absolute"),
    [
        ("[a](b/c.md#d)", "[a](https://github.com/o/r/blob/v1/b/c.md#d)"),
        ("[a](#b) [a](https://b)", "[a](#b) [a](https://b)"),
        ("![a](b.svg)", "![a](https://raw.githubusercontent.com/o/r/v1/b.svg)"),
        (
            '<img src="b.png"> <img src="https://b">',
            '<img src="https://raw.githubusercontent.com/o/r/v1/b.png"> <img src="https://b">',
        ),
    ],
)
def test_links_and_pictures_become_absolute(text: str, absolute: str) -> None:
    space: dict[str, Any] = {}
    exec((ROOT / "core" / "long_description.py").read_text(), space)
    assert space["with_absolute_links"](text, "https://github.com/o/r", "v1") == absolute


def test_the_address_of_the_repository_stands_in_one_place() -> None:
    assert all(url.startswith(SOURCE) for url in PROJECT["urls"].values())
    dockerfile = (ROOT / "adapters/reknit/deploy/Dockerfile").read_text()
    assert f'source="{SOURCE}"' in dockerfile


def test_the_version_is_in_the_changelog_and_stands_in_one_place() -> None:
    version = PROJECT["version"]
    assert f"\n## {version} " in (ROOT / ".github" / "CHANGELOG.md").read_text()
    for path in [*ROOT.glob("core/**/*.py"), *ROOT.glob("adapters/**/*.py")]:
        assert f'"{version}"' not in path.read_text(), path


def test_hosted_checks_run_the_checks_on_every_python_that_is_named() -> None:
    (job,) = workflow("check.yml")["jobs"].values()
    matrix = job["strategy"]["matrix"]
    assert matrix["python"] == pythons()
    assert "macos-latest" in {each["os"] for each in matrix["include"]}
    runs = [step for step in job["steps"] if step.get("run") == ".ci/run"]
    assert [step["env"] for step in runs] == [{"PYTHON": "python", "ONLY": "1"}]


def test_a_release_waits_for_the_checks_and_needs_no_password() -> None:
    jobs = workflow("release.yml")["jobs"]
    assert jobs["check"]["uses"] == "./.github/workflows/check.yml"
    assert {"check", "source", "compiled"} <= set(jobs["publish"]["needs"])
    assert jobs["publish"]["permissions"] == {"id-token": "write"}
    assert "secrets." not in (WORKFLOWS / "release.yml").read_text()


def test_wheels_are_compiled_for_every_python_that_is_named() -> None:
    wheels = TOML["tool"]["cibuildwheel"]
    assert wheels["build"] == [f"cp{version.replace('.', '')}-*" for version in pythons()]
    assert wheels["environment"] == {"REKNIT_COMPILE": "1"}
