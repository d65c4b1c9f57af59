"""`reknit dialects`, its check, and `reknit serve --dialect` with what is not allowed."""

from pathlib import Path

import pytest
from click.testing import CliRunner, Result
from own_dialect import RULES
from reknit.cli.main import main
from reknit_core.dialect.registry import registry

RECORDING = """
{"target": "/chat", "subprotocol": "mine"}
{"from": "client", "text": "{\\"type\\":\\"login\\"}"}
{"from": "server", "text": "{\\"type\\":\\"welcome\\"}"}
"""


def run(*arguments: str) -> Result:
    return CliRunner().invoke(main, ["dialects", *arguments])


@pytest.fixture
def files(tmp_path: Path) -> tuple[str, str]:
    """A dialect's file and a recording."""
    rules, recording = tmp_path / "mine.toml", tmp_path / "r.jsonl"
    rules.write_text(RULES)
    recording.write_text(RECORDING)
    return str(rules), str(recording)


def assert_one_line(result: Result, status: int, *texts: str) -> None:
    assert (result.exit_code, result.stdout) == (status, "")
    assert result.stderr.startswith("reknit: ")
    assert result.stderr.count("\n") == 1
    for text in texts:
        assert text in result.stderr


def test_the_list(files: tuple[str, str]) -> None:
    head, *lines = run("--dialect", files[0]).stdout.splitlines()
    assert head.split() == ["NAME", "SERVER'S", "LOSS", "FROM", "CHOSEN", "BY"]
    assert [line.split()[0] for line in lines] == sorted([*registry().names, "mine"])
    rows = {line.split()[0]: line.split(maxsplit=3)[1:] for line in lines}
    assert rows["mine"] == ["statements", files[0], "subprotocol mine"]
    assert rows["nats"] == ["statements", "built-in", "its name only"]
    assert rows["socket.io"][0] == rows["signalr"][0] == "end"
    assert "mine" not in run().stdout


def test_a_recording_against_a_file(files: tuple[str, str]) -> None:
    rules, recording = files
    told = [
        f"{recording}: 2 messages, as mine",
        "--dialect auto chooses for /chat with subprotocol mine: mine",
        "a new server is told, behind the last message:",
        '  message 1: {"type":"login"}',
        "      then it must answer; message 2 was the answer, and is left out",
        "left out, when a new server says it again: message 2",
    ]
    assert run("check", rules, "--with", recording).stdout.splitlines() == told
    each = run("check", rules, "--with", recording, "--verbose").stdout.splitlines()
    assert each[:3] == [*told[:2], '   1 client: {"type":"login"}']
    assert [line for line in each if line in told] == told


def test_a_name_in_place_of_a_file(files: tuple[str, str]) -> None:
    lines = run("check", "nats", "--with", files[1]).stdout.splitlines()
    assert lines[1] == "--dialect auto chooses for /chat with subprotocol mine: nothing"
    assert lines[3] == '  the half that it has not heard: {"type":"login"}'
    result = run("check", "socket.io", "--with", files[1])
    assert (result.exit_code, "Close 1012" in result.stdout) == (0, True)


def test_several_conversations_in_one_har(tmp_path: Path) -> None:
    file = Path(__file__).parents[2] / "core" / "play" / "chromium.har"
    entries = file.read_text()
    twice = tmp_path / "two.har"
    start, end = entries.index("[") + 1, entries.rindex("]")
    twice.write_text(f"{entries[:end]},{entries[start:end]}{entries[end:]}")
    told = run("check", "graphql-transport-ws", "--with", str(twice)).stdout
    assert told.count("6 messages, as graphql-transport-ws") == 2
    assert told.count('  message 3: {"type":"subscribe","id":"1"') == 2


def test_a_file_alone(files: tuple[str, str]) -> None:
    told = "mine: on a server's loss: statements; chosen by subprotocol mine\n"
    assert run("check", files[0]).stdout == told


def test_mistakes(files: tuple[str, str], tmp_path: Path) -> None:
    rules, recording = files
    bad = tmp_path / "bad.toml"
    bad.write_text(RULES + 'awiats = "x"\nkey = 7\n')
    there = f"{bad}, line 8: [[statement]] 1, awiats: unknown key; did you mean awaits? allowed: "
    assert_one_line(run("check", str(bad)), 2, there)
    assert_one_line(run("check", str(bad), "--with", recording), 2, there)
    assert_one_line(run("--dialect", str(bad)), 2, there)
    assert_one_line(run("check", rules, "--with", str(bad)), 2, f"{bad}: line 2: ")
    assert_one_line(
        run("check", rules, "--with", f"{tmp_path}/x"), 2, "can't read ", "No such file"
    )
    assert_one_line(run("check", rules, "--with", str(tmp_path)), 2, "can't read ", "directory")
    assert_one_line(run("check", f"{tmp_path}/x.toml"), 2, "can't read ", "No such file")
    assert_one_line(run("check", "mqttt"), 2, "'mqttt' is not known; allowed: ")
    for name in ("auto", "none"):
        assert_one_line(
            run("check", name), 2, f"'{name}' is no dialect; allowed: a file, or a name"
        )


@pytest.mark.parametrize(
    ("dialect", "told"),
    [
        ("mqttt", "--dialect: dialect 'mqttt' is not known; allowed: auto, none, actioncable, "),
        ("bad.toml", "--dialect: bad.toml, line 1: name: is missing; allowed: lower-case"),
        ("auto,./none.toml", "--dialect: can't read ./none.toml: No such file or directory"),
        ("auto,nats", "--dialect: dialect 'nats' can't stand beside others"),
        ("none,nats", "--dialect: none can't stand beside others"),
        ("", "--dialect: '' is not allowed; allowed: auto, none, the name of a dialect, or a file"),
        (",", "--dialect: ',' is not allowed; allowed: auto, none, the name of a dialect, or"),
    ],
)
def test_serve_tells_the_same_at_its_start(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, dialect: str, told: str
) -> None:
    (tmp_path / "bad.toml").write_text("[[statement]]")
    monkeypatch.chdir(tmp_path)
    options = ["serve", "ws://127.0.0.1:1", "--listen", "127.0.0.1:0", "--dialect", dialect]
    result = CliRunner().invoke(main, options)
    assert result.exit_code == 2
    assert result.stderr.startswith(f"reknit: {told}")
    assert result.stderr.count("\n") == 1
