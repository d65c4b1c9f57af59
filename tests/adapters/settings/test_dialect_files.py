"""The dialects of files and of installed packages: how they are loaded, and how that fails."""

from collections.abc import Callable
from pathlib import Path

import pytest
from reknit.settings import dialects
from reknit.settings.dialects import LoadedDialects, installed, is_file
from reknit_core.dialect.ruled.mistakes import DialectError
from reknit_core.dialect.speech import Offer

MINE = 'name = "mine"\nsubprotocols = ["mine"]\n'
MODULE = """
from reknit_core import Dialect

class Own(Dialect):
    name = "own"
    summary = "Nothing lives on."
    chosen_by = "subprotocol own"

    def speaks(self, offer):
        return offer.subprotocol == "own"

OWN = Own()
SEVEN = 7

class Broken(Own):
    name = "broken"

    def speaks(self, offer):
        raise KeyError("x")
"""

Install = Callable[..., None]


@pytest.fixture
def install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Install:
    """Installs a package with entry points: their names, and what they load."""

    def install(package: str = "acme-dialects", **points: str) -> None:
        folder = tmp_path / "packages"
        info = folder / f"{package.replace('-', '_')}-1.0.dist-info"
        info.mkdir(parents=True)
        (folder / "acme_own.py").write_text(MODULE)
        (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {package}\nVersion: 1.0\n")
        lines = [f"{name} = {value}" for name, value in points.items()]
        (info / "entry_points.txt").write_text("\n".join(["[reknit.dialects]", *lines]))
        monkeypatch.syspath_prepend(folder)
        dialects._of_packages.cache_clear()

    dialects._of_packages.cache_clear()
    yield install
    dialects._of_packages.cache_clear()


def chosen(loaded: LoadedDialects, subprotocol: str | None) -> str | None:
    dialect = loaded.choose(Offer("/", subprotocol))
    return None if dialect is None else dialect.name


@pytest.mark.parametrize(
    ("name", "is_one"),
    [("mqtt", False), ("auto", False), ("a.b", False), ("a.toml", True), ("./a", True)],
)
def test_what_is_a_file(name: str, is_one: bool) -> None:
    assert is_file(name) is is_one


def test_a_file_is_for_all_sessions_or_beside_others(tmp_path: Path) -> None:
    file = tmp_path / "mine.toml"
    file.write_text(MINE)
    alone = LoadedDialects(str(file))
    assert (chosen(alone, "mine"), chosen(alone, "mqtt"), chosen(alone, None)) == ("mine",) * 3
    beside = LoadedDialects(f"auto, {file}")
    assert (chosen(beside, "mine"), chosen(beside, "mqtt")) == ("mine", "mqtt")
    assert chosen(beside, None) is None
    assert alone.reloadable
    assert beside.reloadable
    assert alone.named("mqtt") is beside.named("mqtt")
    assert not LoadedDialects("auto").reloadable


def test_a_file_is_read_again(tmp_path: Path) -> None:
    file = tmp_path / "mine.toml"
    file.write_text(MINE)
    loaded = LoadedDialects(f"auto,{file}")
    file.write_text(MINE.replace('["mine"]', '["yours"]'))
    assert chosen(loaded, "mine") == "mine"
    loaded.reload()
    assert (chosen(loaded, "mine"), chosen(loaded, "yours")) == (None, "mine")
    for text in ("name = 7", None):
        file.write_text(text) if text else file.unlink()
        with pytest.raises(DialectError):
            loaded.reload()
        assert chosen(loaded, "yours") == "mine"


@pytest.mark.parametrize(
    ("content", "told"),
    [
        (b'name = "mine"\nnmae = 1', "{file}, line 2: nmae: unknown key; did you mean name? "),
        (b"\xff", "{file}: not valid TOML: it is not in UTF-8"),
        (b"name", "{file}: not valid TOML: "),
        (b'name = "auto"', "{file}: the name 'auto' is not allowed; allowed: "),
        (None, "can't read {file}: No such file or directory"),
    ],
)
def test_a_file_that_can_not_be_used(tmp_path: Path, content: bytes | None, told: str) -> None:
    file = tmp_path / "mine.toml"
    if content is not None:
        file.write_bytes(content)
    with pytest.raises(DialectError) as caught:
        LoadedDialects(str(file))
    assert str(caught.value).startswith(told.format(file=file))


def test_names_that_no_file_can_have(tmp_path: Path) -> None:
    for name in (f"{tmp_path}/", f"{tmp_path}/a\0b", "/" + "a" * 5000):
        with pytest.raises(DialectError, match="can't read "):
            LoadedDialects(name)


# -- Packages --------------------------------------------------------------------------------------


def test_a_package_has_dialects(install: Install) -> None:
    install(one="acme_own:Own")
    assert chosen(LoadedDialects("auto"), "own") == "own"
    assert chosen(LoadedDialects("own"), None) == "own"
    assert installed().source("own") == "acme-dialects 1.0, entry point one"
    with pytest.raises(DialectError, match=r"allowed: auto, none, .*, own, phoenix"):
        LoadedDialects("other")


@pytest.mark.parametrize(
    ("value", "told"),
    [
        (
            "acme_none:Own",
            "can't load acme_none:Own: ModuleNotFoundError: No module ",
        ),
        ("acme_own:Other", "can't load acme_own:Other: AttributeError: "),
        ("acme_own:SEVEN", "7 is no dialect: it needs name, summary, "),
    ],
)
def test_a_package_that_is_broken(install: Install, value: str, told: str) -> None:
    install(one=value)
    for dialect in ("auto", "mqtt"):
        with pytest.raises(DialectError) as caught:
            LoadedDialects(dialect)
        assert str(caught.value).startswith(f"acme-dialects 1.0, entry point one: {told}")
    assert LoadedDialects("none").choose(Offer("/", "mqtt")) is None  # it is not asked


def test_two_packages_with_one_name(install: Install) -> None:
    install(one="acme_own:Own")
    install("other", two="acme_own:OWN")
    with pytest.raises(DialectError) as caught:
        LoadedDialects("auto")
    assert str(caught.value).startswith(
        "other 1.0, entry point two: the name 'own' is taken by acme-dialects 1.0, entry point "
    )


def test_what_a_package_does_wrong_is_reported(install: Install) -> None:
    install(one="acme_own:Broken")
    reports: list[str] = []
    loaded = LoadedDialects("auto", report=lambda source, what: reports.append(f"{source} {what}"))
    assert chosen(loaded, "mqtt") == "mqtt"
    (report,) = reports
    assert report.startswith(
        "acme-dialects 1.0, entry point one raised KeyError: 'x' (acme_own.py, line "
    )
