"""`reknit serve --check` finds what is wrong before anything listens, and `--print-config`."""

import os
import socket
from collections.abc import Mapping
from pathlib import Path

import pytest
import trustme
from click.testing import CliRunner, Result
from reknit.cli.main import main
from reknit.settings.options import OPTIONS
from wrong_settings import WRONG_LINES, WRONG_TEXTS

FINE = "settings, files and addresses are fine\n"


@pytest.fixture(autouse=True)
def _nothing_listens(monkeypatch: pytest.MonkeyPatch) -> None:
    def listen(*_: object) -> None:
        raise AssertionError("it listens")

    monkeypatch.setattr(socket.socket, "listen", listen)


def check(*arguments: str, env: Mapping[str, str] | None = None) -> Result:
    listen = () if "--listen" in arguments else ("--listen", "0")
    return CliRunner().invoke(main, ["serve", "--check", *listen, *arguments], env=env)


def assert_found(result: Result, status: int, *texts: str) -> None:
    assert result.exit_code == status, result.output
    assert result.stdout == ""
    assert all(line.startswith("reknit: ") for line in result.stderr.splitlines())
    for text in texts:
        assert text in result.stderr


@pytest.mark.parametrize(("name", "value"), WRONG_TEXTS)
def test_a_wrong_text(name: str, value: str) -> None:
    upstream = () if name == "upstream" else ("ws://localhost:1",)
    variable = OPTIONS[name].variable
    assert_found(check(*upstream, env={variable: value}), 2, variable)


@pytest.mark.parametrize("line", WRONG_LINES)
def test_a_wrong_line(line: str, tmp_path: Path) -> None:
    file = tmp_path / "proxy.toml"
    file.write_text(line)
    assert_found(check("ws://localhost:1", "--config", str(file)), 2, "proxy.toml: ")


def test_no_upstream_and_no_file(tmp_path: Path) -> None:
    assert_found(check(), 2, "UPSTREAM is missing")
    assert_found(check("--config", str(tmp_path / "missing.toml")), 2, "No such file")
    assert_found(check("ws://localhost:1", env={"REKNIT_RETRY_LIMITS": "1"}), 2, "did you mean")


def test_all_files_at_once(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    options = {
        "--tls-cert": "no.pem",
        "--dialect": "no.toml",
        "--state-dir": "file",
        "--takeover": "no/socket",
        "--admin": "unix:file",
    }
    arguments = [word for flag, name in options.items() for word in (flag, name)]
    before = Path.cwd()
    os.chdir(tmp_path)
    try:
        result = check("ws://localhost:1", *arguments)
    finally:
        os.chdir(before)
    assert_found(
        result,
        2,
        "--tls-cert: can't read no.pem",
        "--dialect: can't read no.toml",
        "can't use file: it is not a directory",
        "can't listen at no/socket: no is no directory",
        "can't listen on unix:file: file is there, and is no socket",
    )
    assert len(result.stderr.splitlines()) == 5


@pytest.mark.parametrize("listen", ["no-such-host.invalid:1", "192.0.2.1:1"])
def test_an_address_that_is_not_this_machines(listen: str) -> None:
    assert_found(check("ws://localhost:1", "--listen", listen), 1, f"can't listen on {listen}: ")


def test_a_directory_for_sessions_that_others_can_change(tmp_path: Path) -> None:
    (tmp_path / "open").mkdir()
    (tmp_path / "open").chmod(0o777)
    assert_found(check("ws://localhost:1", "--state-dir", str(tmp_path / "open")), 1, "others may")
    (tmp_path / "file").write_text("")
    within = str(tmp_path / "file" / "state")
    assert_found(check("ws://localhost:1", "--state-dir", within), 1, "it is not a directory")


def test_the_authorities_of_a_cluster(tmp_path: Path) -> None:
    options = ("--cluster", "rediss://localhost", "--cluster-ca", str(tmp_path / "no.pem"))
    options += ("--node-address", "localhost:9302")
    result = check("ws://localhost:1", *options, env={"REKNIT_CLUSTER_SECRET": "s" * 32})
    assert_found(result, 1, "--cluster-ca: No such file or directory")


def test_what_is_fine_leaves_no_trace(tmp_path: Path) -> None:
    authority = trustme.CA().issue_cert("localhost")
    authority.private_key_and_cert_chain_pem.write_to_path(str(tmp_path / "cert.pem"))
    options = ["--tls-cert", "cert.pem", "--state-dir", "state", "--takeover", "next"]
    options = [word if word.startswith("--") else str(tmp_path / word) for word in options]
    result = check("ws://localhost:1", *options, "--admin", f"unix:{tmp_path}/admin")
    assert (result.exit_code, result.stdout, result.stderr) == (0, FINE, "")
    assert [path.name for path in tmp_path.iterdir()] == ["cert.pem"]


def test_what_may_be_otherwise_when_it_starts_is_a_note() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        socket.socket.__base__.listen(taken, 1)  # type: ignore[union-attr]
        port = str(taken.getsockname()[1])
        result = check("ws://no-such-host.invalid", "--listen", port)
    assert (result.exit_code, result.stdout) == (0, FINE)
    notes = result.stderr.splitlines()
    assert notes[0].startswith(f"reknit: note: 127.0.0.1:{port} is in use: ")
    assert notes[1].startswith("reknit: note: the server ws://no-such-host.invalid: ")
    assert len(notes) == 2


def test_the_settings_are_printed() -> None:
    arguments = ["serve", "--print-config", "ws://localhost:1"]
    result = CliRunner().invoke(main, arguments, env={"REKNIT_CLIENT_GRACE": "5m"})
    assert result.exit_code == 0
    assert 'client_grace = "5m"' in result.stdout
    assert "# environment variable REKNIT_CLIENT_GRACE" in result.stdout
    assert FINE not in result.stdout
    both = CliRunner().invoke(main, [*arguments, "--check", "--listen", "0"])
    assert both.stdout.endswith(FINE)
    wrong = CliRunner().invoke(main, [*arguments, "--retry-limit", "-1"])
    assert (wrong.exit_code, wrong.stdout) == (2, "")
