"""Files that are none, or without end: nobody waits for them, and little is said of them."""

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from click.testing import CliRunner, Result
from reknit.cli.main import main
from reknit.cli.usage import MOST_SAID
from reknit.settings import files

SERVE = ("serve", "ws://127.0.0.1:1")
COMMANDS = {
    "config": (*SERVE, "--config", "FILE"),
    "dialect": (*SERVE, "--dialect", "FILE"),
    "dialects": ("dialects", "--dialect", "FILE"),
    "check": ("dialects", "check", "FILE"),
    "recording": ("dialects", "check", "mqtt", "--with", "FILE"),
    "replay": ("replay", "FILE"),
    "diagram": ("diagram", "FILE"),
    "certificate": (*SERVE, "--tls-cert", "FILE"),
    "authorities": ("serve", "wss://127.0.0.1:1", "--upstream-ca", "FILE"),
}
EACH = pytest.mark.parametrize("command", COMMANDS.values(), ids=COMMANDS)


@pytest.fixture(autouse=True)
def bounds(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(files, "PATIENCE", 0.05)
    monkeypatch.setattr(files, "LARGEST", 1 << 20)


@pytest.fixture
def pipe(tmp_path: Path) -> Iterator[Path]:
    """A pipe to which nobody writes."""
    path = tmp_path / "pipe"
    os.mkfifo(path)
    yield path
    path.unlink()


def run(command: tuple[str, ...], file: str) -> Result:
    return CliRunner().invoke(main, [file if each == "FILE" else each for each in command])


def assert_told(result: Result, *texts: str) -> None:
    assert result.exit_code == 2, result.output
    assert result.stdout == ""
    assert result.stderr.startswith("reknit: ")
    assert result.stderr.count("\n") == 1
    assert len(result.stderr) < MOST_SAID + 100
    assert any(text in result.stderr for text in texts), result.stderr


@EACH
def test_a_pipe_that_says_nothing(command: tuple[str, ...], pipe: Path) -> None:
    expected = "nothing has come from it for 0.05 seconds"
    assert_told(run(command, str(pipe)), expected, "it is no file")


@EACH
def test_a_pipe_whose_writer_stands_still(command: tuple[str, ...], pipe: Path) -> None:
    descriptor = os.open(pipe, os.O_RDWR | os.O_NONBLOCK)
    os.write(descriptor, b"{")
    expected = "nothing has come from it for 0.05 seconds"
    assert_told(run(command, str(pipe)), expected, "it is no file")
    os.close(descriptor)


@EACH
@pytest.mark.skipif(sys.platform != "linux", reason="has no /dev/zero that is known")
def test_what_has_no_end(command: tuple[str, ...]) -> None:
    expected = "it has more than 1,048,576 bytes"
    assert_told(run(command, "/dev/zero"), expected, "it is no file")


@EACH
def test_a_long_line_of_nonsense(command: tuple[str, ...], tmp_path: Path) -> None:
    file = tmp_path / "long.toml"
    for text in (
        "x" * 100_000,
        '{"a":' + "y" * 100_000,
        "z" * 100_000 + "=1",
        f'"{"u" * 90_000}"=1',
    ):
        file.write_text(text)
        assert_told(run(command, str(file)), "reknit: ")


def test_a_long_name_is_cut() -> None:
    assert_told(run(("dialects", "check", "FILE"), "n" * 100_000), "allowed: ")


def test_what_is_allowed_stands_at_the_end_of_a_long_error(tmp_path: Path) -> None:
    file = tmp_path / "long.jsonl"
    file.write_text('{"from": "client", "' + "x" * 100_000 + '": 1}')
    result = run(("dialects", "check", "mqtt", "--with", "FILE"), str(file))
    assert_told(result, "is no message; allowed: ")


def test_a_listing_shows_no_long_text_of_a_file(tmp_path: Path) -> None:
    file = tmp_path / "long.toml"
    file.write_text(f'name = "long"\ntarget = "{"t" * 100_000}"\n[[greeting]]\nmatch = {{a = 1}}\n')
    recording = tmp_path / "long.jsonl"
    recording.write_text(f'{{"target": "/{"p" * 100_000}", "subprotocol": "{"s" * 100_000}"}}\n')
    listed = CliRunner().invoke(main, ["dialects", "--dialect", str(file)])
    assert listed.exit_code == 0
    assert max(map(len, listed.stdout.splitlines())) < MOST_SAID
    checked = CliRunner().invoke(main, ["dialects", "check", str(file), "--with", str(recording)])
    assert checked.exit_code == 0
    assert max(map(len, checked.stdout.splitlines())) < MOST_SAID


def test_a_pipe_that_says_all_is_a_file(monkeypatch: pytest.MonkeyPatch) -> None:
    """As a shell's <(command) is."""
    monkeypatch.setattr(files, "PATIENCE", 60.0)
    words = 'name = "piped"\n[[greeting]]\nmatch = {a = 1}\n'
    script = f"import sys; sys.stdout.write({words!r})"
    with subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        result = run(("dialects", "check", "FILE"), f"/dev/fd/{process.stdout.fileno()}")
    assert result.output.startswith("piped: ")
