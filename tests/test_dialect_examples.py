"""The guide's dialects, a file and a class, do what the page says, and so does its check."""

import re
import subprocess
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner
from dialect_session import DialectSession, text
from patience import LIMIT
from reknit.cli.main import main
from reknit_core.dialect.registry import registry
from reknit_core.dialect.ruled import rules_file
from reknit_core.dialect.ruled.rules_file import read_rules
from reknit_core.dialect.speech import Offer

ROOT = Path(__file__).parents[1]
PAGE = (ROOT / "adapters" / "guide" / "dialects.md").read_text()


def block(language: str) -> str:
    """The page's one block in that language."""
    (found,) = re.findall(rf"^```{language}\n(.*?)^```$", PAGE, re.MULTILINE | re.DOTALL)
    assert isinstance(found, str)
    return found


def test_the_check_says_what_the_page_shows(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("chat.toml").write_text(block("toml"))
    Path("recording.jsonl").write_text(block("json"))
    arguments = ["dialects", "check", "chat.toml", "--with", "recording.jsonl"]
    result = CliRunner().invoke(main, arguments)
    assert (result.exit_code, result.stdout) == (0, block("text"))


def test_every_key_of_a_file_is_explained() -> None:
    groups = (rules_file._TOP, rules_file._STATEMENT, rules_file._BEAT, rules_file._GREETING)
    table = PAGE[PAGE.index("| key | says |") :].partition("\n\n")[0]
    explained = set(re.findall(r"^\| `\[*(\w+)\]*` \|", table, re.MULTILINE))
    assert explained == set().union(*groups) - {"from"}
    assert "by `from`" in table


@pytest.mark.parametrize("name", registry().names)
def test_every_dialect_is_in_the_table(name: str) -> None:
    table = PAGE[PAGE.index("| dialect | chosen by |") :].partition("\n\n")[0]
    rows = [row.split("|")[1].split(",") for row in table.splitlines()]
    assert name in [each.strip() for row in rows for each in row]


def test_the_file_in_a_session() -> None:
    session = DialectSession(read_rules(block("toml"), "chat.toml"))
    session.client(*text('{"type":"login"}', '{"type":"subscribe","topic":"a"}'))
    session.server(*text('{"type":"hello"}', '{"type":"welcome"}'))
    session.lose()
    assert session.words() == [b'{"type":"login"}']
    assert session.passes(*text('{"type":"hello"}', '{"type":"welcome"}')) == []
    assert session.words() == [b'{"type":"subscribe","topic":"a"}']


def test_the_class_in_a_session() -> None:
    names: dict[str, object] = {}
    exec(block("py"), names)
    known = registry().with_objects({"acme": names["Lines"]})
    lines = known.find("lines")
    assert known.choose(Offer("/", "lines")) is lines
    session = DialectSession(lines)
    session.client(*text("LOGIN ann", "SUB a", "SUB b", "UNSUB a"))
    assert session.passes(*text("WELCOME", "a: 1")) == text("WELCOME", "a: 1")
    session.lose()
    assert session.words() == [b"LOGIN ann"]
    assert session.passes(*text("WELCOME")) == []
    assert session.words() == [b"SUB b"]
    assert not session.interpreter.is_reopening


def test_the_class_has_the_right_types(tmp_path: Path) -> None:
    file = tmp_path / "lines.py"
    file.write_text(block("py"))
    checked = subprocess.run(
        [sys.executable, "-m", "mypy", "--strict", file],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=LIMIT,
    )
    assert checked.returncode == 0, checked.stdout + checked.stderr
