import logging
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import pytest
from click.testing import CliRunner, Result
from compiled_form import REPLACES_A_FUNCTION
from patience import LIMIT
from reknit.cli.demo import PROMISES
from reknit.cli.main import main
from reknit.settings.config import from_command_line, merge
from reknit.settings.options import OPTIONS
from reknit_core.cluster.times import Times
from reknit_core.leg.retry import Retry

SCENARIO = """\
# The server accepts, then it is gone.
@0.000 > client connected
@0.100 > server connected
@0.200 > server accepts
"""


def run(*arguments: str, env: Mapping[str, str] | None = None) -> Result:
    return CliRunner().invoke(main, arguments, env=env)


def assert_one_line(result: Result, status: int, *texts: str) -> None:
    assert result.exit_code == status, result.output
    assert result.stdout == ""
    assert result.stderr.startswith("reknit: ")
    assert result.stderr.count("\n") == 1
    for text in texts:
        assert text in result.stderr


# -- help --------------------------------------------------------------------------------------


def test_help_names_the_commands() -> None:
    result = run("--help")
    assert result.exit_code == 0
    for command in ("serve", "demo", "admin", "dialects", "replay", "diagram", "fuzz"):
        assert f"\n  {command} " in result.stdout


def test_version() -> None:
    assert run("--version").stdout.startswith("reknit, version ")


def test_serve_help_explains_every_setting() -> None:
    def packed(text: str) -> str:  # as lines are broken anywhere
        return "".join(text.split())

    text = packed(run("serve", "--help").stdout)
    for name, option in OPTIONS.items():
        if name != "upstream":
            value = f"/ --no-{option.flag[2:]}" if option.is_flag else option.metavar
            assert packed(f"{option.flag} {value} {option.help}") in text
            assert packed(f"default: {option.default or 'none'}]") in text
            assert packed(option.limits) in text


def test_serve_stands_first_and_what_is_for_development_last() -> None:
    text = run("--help").stdout
    commands, development = text.partition("\nCommands:\n")[2].split("\nDevelopment:\n")
    assert commands.split()[0] == "serve"
    assert [line.split()[0] for line in development.strip().split("\n  ")] == [
        "replay",
        "diagram",
        "fuzz",
    ]


@pytest.mark.parametrize("command", [(), ("serve",), ("admin",), ("demo",)])
def test_help_has_examples_that_are_allowed(command: tuple[str, ...]) -> None:
    text = run(*command, "--help").stdout.partition("Examples:\n")[2].partition("\n\n")[0]
    lines = [line.split(" && ")[0].split() for line in text.splitlines()]
    assert lines
    for program, name, *arguments in lines:
        assert program == "reknit"
        parent = main.make_context("reknit", [name, "--help"], resilient_parsing=True)
        context = main.commands[name].make_context(name, arguments, parent)
        if name == "serve":
            options = {**context.params}
            named = [options.pop(name) for name in ("config_file", "check", "print_config")]
            assert any(named) or merge(from_command_line(options), {}, {})


def test_no_setting_is_left_without_a_heading() -> None:
    more = run("serve", "--help").stdout.partition("More:")[2]
    assert more.split()[:2] == ["-h,", "--help"]


# -- serve: what can't be served ---------------------------------------------------------------


def test_an_upstream_is_needed() -> None:
    assert_one_line(run("serve"), 2, "UPSTREAM is missing", "ws://HOST[:PORT]")


@pytest.mark.parametrize("url", ["ftp://h:1", "http://h:1", "127.0.0.1:9125", "ws://"])
def test_another_scheme_is_refused(url: str) -> None:
    assert_one_line(run("serve", url), 2, "UPSTREAM", repr(url), "ws://HOST[:PORT][/PATH]")


def test_a_bad_option_names_the_value_and_what_is_allowed() -> None:
    result = run("serve", "ws://h:1", "--retry-interval", "soon")
    assert_one_line(result, 2, "--retry-interval", "'soon'", "1ms to 1d (in ms, s, m, h or d; ")


@pytest.mark.parametrize(
    ("arguments", "env"),
    [
        (["ws://user:secret@h"], {}),
        (["user:secret@h"], {}),
        (["ws://h", "ws://user:secret@h"], {}),
        (["ws://h", "--on-event", "https://user:secret@h"], {}),
        (["ws://h", "--allow-origin", "https://user:secret@h"], {}),
        ([], {"REKNIT_UPSTREAM": "ws://user:secret@h"}),
        (["ws://h"], {"REKNIT_UPSTREEM": "ws://user:secret@h"}),
    ],
)
def test_no_error_shows_the_password_of_a_url(arguments: list[str], env: dict[str, str]) -> None:
    result = run("serve", *arguments, env=env)
    assert_one_line(result, 2, "...@")
    assert "secret" not in result.stderr


def test_an_unknown_option_is_one_line() -> None:
    result = run("serve", "ws://h:1", "--retry-intervall", "1")
    assert_one_line(result, 2, "--retry-intervall", "--retry-interval", "reknit serve --help")


def test_an_unknown_command_is_one_line() -> None:
    assert_one_line(run("surve"), 2, "surve")


def test_a_bad_variable_is_named() -> None:
    result = run("serve", "ws://h:1", env={"REKNIT_RETRY_LIMIT": "many"})
    assert_one_line(result, 2, "REKNIT_RETRY_LIMIT", "'many'", "a whole number")


def test_an_unknown_variable_is_named() -> None:
    result = run("serve", "ws://h:1", env={"REKNIT_RETRY_LIMITS": "1"})
    assert_one_line(result, 2, "REKNIT_RETRY_LIMITS", "did you mean REKNIT_RETRY_LIMIT?")


def test_a_bad_file_is_named(tmp_path: Path) -> None:
    file = tmp_path / "proxy.toml"
    file.write_text("retry_limit = -1\n")
    for result in (
        run("serve", "ws://h:1", "--config", str(file)),
        run("serve", "ws://h:1", env={"REKNIT_CONFIG": str(file)}),
    ):
        assert_one_line(result, 2, "proxy.toml: retry_limit", "-1", "0 to 1000000000 attempts")


@pytest.mark.parametrize("content", [b"retry_limit", b"\xff\xfe", b"\x00"])
def test_a_file_that_is_no_toml_is_one_line(tmp_path: Path, content: bytes) -> None:
    file = tmp_path / "proxy.toml"
    file.write_bytes(content)
    assert_one_line(run("serve", "ws://h:1", "--config", str(file)), 2, "proxy.toml")


def test_a_file_that_can_not_be_read_is_one_line(tmp_path: Path) -> None:
    missing = str(tmp_path / "missing.toml")
    assert_one_line(run("serve", "--config", missing), 2, missing, "No such file")
    assert_one_line(run("serve", "--config", str(tmp_path)), 2, str(tmp_path), "directory")


def test_a_port_in_use_is_one_line() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        listen = f"127.0.0.1:{taken.getsockname()[1]}"
        result = run("serve", "ws://h:1", "--listen", listen)
    assert_one_line(result, 1, f"can't listen on {listen}", "Address already in use")


def test_a_name_that_does_not_resolve_is_one_line() -> None:
    result = run("serve", "ws://h:1", "--listen", "no-such-host.invalid:9300")
    assert_one_line(result, 1, "can't listen on no-such-host.invalid:9300")


# -- serve: a real process ---------------------------------------------------------------------


@contextmanager
def serving(*arguments: str) -> Iterator[tuple[subprocess.Popen[str], int, list[str]]]:
    """A `reknit serve` of its own, on a free port: the process, the port, the first line."""
    command = [sys.executable, "-c", "from reknit.cli.main import main; main()", "serve"]
    environment = {k: v for k, v in os.environ.items() if not k.startswith("REKNIT_")}
    with subprocess.Popen(
        [*command, "--listen", "127.0.0.1:0", *arguments],
        stderr=subprocess.PIPE,
        text=True,
        env=environment,
    ) as process:
        try:
            assert process.stderr is not None
            first = process.stderr.readline()
            words = first.split()
            assert "listening" in words, first
            yield process, int(words[words.index("on") + 1].rpartition(":")[2]), words
        finally:
            process.kill()


def answer(port: int) -> bytes:
    """What a plain HTTP request gets."""
    with socket.create_connection(("127.0.0.1", port), LIMIT) as client:
        client.sendall(b"GET / HTTP/1.1\r\nHost: h\r\n\r\n")
        return client.recv(4096)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_serve_stops_cleanly_on_a_signal(number: signal.Signals) -> None:
    with serving("ws://127.0.0.1:1") as (process, port, words):
        assert words[1] == "INFO"
        assert answer(port).startswith(b"HTTP/1.1 426 ")
        process.send_signal(number)
        _, log = process.communicate(timeout=LIMIT)
    assert process.returncode == 0
    assert "Traceback" not in log
    for line in log.splitlines():
        assert line.split()[1] == "INFO"


def test_a_file_can_say_everything(tmp_path: Path) -> None:
    file = tmp_path / "proxy.toml"
    file.write_text('upstream = "ws://127.0.0.1:1/x"\nlog_level = "info"\n')
    with serving("--config", str(file)) as (process, port, words):
        assert words[-1] == "ws://127.0.0.1:1/x"
        assert answer(port)
        process.terminate()
        assert process.wait(LIMIT) == 0


def test_the_log_is_one_line_an_event(capfd: pytest.CaptureFixture[str]) -> None:
    from reknit.observe.logs import log_to_stderr
    from reknit.settings.options import LogLevel

    logger = logging.getLogger("reknit")
    handlers, level, propagate = logger.handlers, logger.level, logger.propagate
    try:
        outlet = log_to_stderr(LogLevel.WARNING)
        logger.info("not shown")
        logger.warning("lost: %s", "evil\n2026 ERROR forged \x1b[31m")
        assert outlet.flush()
    finally:
        logger.setLevel(level)
        logger.handlers, logger.propagate = handlers, propagate
    error = capfd.readouterr().err
    assert error.count("\n") == 1
    assert error.endswith(" WARNING lost: evil\\n2026 ERROR forged \\x1b[31m\n")


def test_starting_up_imports_nothing_heavy() -> None:
    program = "import reknit.cli.main, sys; print(*sys.modules)"
    modules = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True
    ).stdout.split()
    assert "click" in modules
    assert not {"trio", "rich", "wsproto", "transitions", "hypothesis", "asyncio"} & set(modules)


# -- demo --------------------------------------------------------------------------------------


def test_demo_ends_with_a_table() -> None:
    result = run("demo", "--seconds", "1")
    assert result.exit_code == 0, result.output
    for text in ("sent", "received", "lost", "repeated", "reordered", "Exactly once, as promised"):
        assert text in result.stdout


def test_demo_offers_every_promise() -> None:
    from reknit.demo.demonstration import Promise

    assert tuple(promise.value for promise in Promise) == PROMISES
    assert "|".join(PROMISES) in run("demo", "--help").stdout


def test_demo_of_a_pair_ends_with_a_table() -> None:
    result = run("demo", "--pair", "--seconds", "1")
    assert result.exit_code == 0, result.output
    assert "client and server noticed nothing" in result.stdout


def test_demo_of_a_pair_has_no_delivery_to_choose() -> None:
    assert_one_line(run("demo", "--pair", "--delivery", "at-most-once"), 2, "--delivery")


@pytest.mark.parametrize("options", [(), ("--pair",)])
def test_demo_without_a_network_says_so(
    options: tuple[str, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    async def fail(*_: object, **__: object) -> None:
        raise OSError("no network here")

    monkeypatch.setattr("trio.open_tcp_listeners", fail)
    assert_one_line(run("demo", *options), 1, "no network here")


def test_demo_of_no_length_is_refused() -> None:
    assert_one_line(run("demo", "--seconds", "0"), 2, "--seconds")


# -- replay ------------------------------------------------------------------------------------


def test_replay_prints_what_it_plays_and_diffs_what_differs(tmp_path: Path) -> None:
    file = tmp_path / "one.scn"
    file.write_text(SCENARIO)
    result = run("replay", str(file))
    assert result.exit_code == 1
    assert "@0.100 > server connected" in result.stdout
    assert "+       = connected" in result.stdout
    assert "one.scn" in result.stderr
    assert result.stderr.count("\n") == 1
    played = result.stdout.partition("--- expected")[0]
    file.write_text(played)
    again = run("replay", str(file))
    assert (again.exit_code, again.stdout, again.stderr) == (0, played, "")
    quiet = run("replay", "-q", str(file), str(file))
    assert (quiet.exit_code, quiet.output) == (0, "")


def test_replay_goes_on_after_a_file_that_differs(tmp_path: Path) -> None:
    names = [str(tmp_path / name) for name in ("a.scn", "b.scn")]
    for name in names:
        Path(name).write_text(SCENARIO)
    result = run("replay", *names)
    assert result.exit_code == 1
    for name in names:
        assert f"# {name}" in result.stdout
        assert name in result.stderr


def test_replay_of_a_bad_file_is_one_line(tmp_path: Path) -> None:
    file = tmp_path / "bad.scn"
    file.write_text("# bad\n@0 > client vanishes\n")
    assert_one_line(run("replay", str(file)), 2, "bad.scn", "2", "client vanishes")
    file.write_bytes(b"\xff")
    assert_one_line(run("replay", str(file)), 2, "bad.scn")
    assert_one_line(run("replay", str(tmp_path / "missing")), 2, "missing", "No such file")
    assert_one_line(run("replay"), 2, "FILE")


# -- diagram -----------------------------------------------------------------------------------


def test_diagram_writes_what_check_accepts(tmp_path: Path) -> None:
    scenarios, output = tmp_path / "scenarios", tmp_path / "out"
    scenarios.mkdir()
    (scenarios / "scenario_1.scn").write_text(SCENARIO)
    (scenarios / "one.scn").write_text(SCENARIO)
    options = ["--scenarios", str(scenarios), "--output", str(output)]
    assert_one_line(run("diagram", "--check", *options), 1, str(output / "lifecycle.svg"))
    assert not output.exists()
    assert run("diagram", *options).exit_code == 0
    assert [path.name for path in output.glob("scenarios/*")] == ["scenario_1.mmd"]
    assert run("diagram", "--check", *options).exit_code == 0

    changed, left_over = output / "lifecycle.dot", output / "scenarios" / "gone.mmd"
    changed.write_text("digraph {}")
    left_over.write_text("sequenceDiagram")
    (output / "notes.txt").write_text("not ours")
    result = run("diagram", "--check", *options)
    assert_one_line(result, 1, str(changed), str(left_over))
    assert "lifecycle.svg" not in result.stderr
    assert run("diagram", *options).exit_code == 0
    assert run("diagram", "--check", *options).exit_code == 0
    assert not left_over.exists()
    assert (output / "notes.txt").exists()


def test_diagram_of_bad_files_is_one_line(tmp_path: Path) -> None:
    options = ["--output", str(tmp_path / "out"), "--scenarios"]
    assert_one_line(run("diagram", *options, str(tmp_path / "no")), 2, "--scenarios DIR")
    (tmp_path / "scenario_bad.scn").write_text("@0 > client vanishes\n")
    assert_one_line(run("diagram", *options, str(tmp_path)), 2, "client vanishes")
    (tmp_path / "scenario_bad.scn").write_bytes(b"\xff")
    assert_one_line(run("diagram", *options, str(tmp_path)), 2)
    (tmp_path / "scenario_bad.scn").unlink()
    (tmp_path / "file").write_text("")
    assert_one_line(
        run("diagram", "--output", str(tmp_path / "file"), *options[2:], str(tmp_path)), 1
    )


def test_diagram_of_a_file_is_printed(tmp_path: Path) -> None:
    (tmp_path / "one.scn").write_text(SCENARIO)
    name = str(tmp_path / "one.scn")
    result = run("diagram", name, name)
    assert (result.exit_code, result.stderr) == (0, "")
    assert result.stdout.count("sequenceDiagram") == 2
    assert_one_line(run("diagram", "--check", name), 2, "--check")
    assert_one_line(run("diagram", str(tmp_path / "no.scn")), 2, "no.scn")
    (tmp_path / "one.scn").write_text("@0 > client vanishes\n")
    assert_one_line(run("diagram", name), 2, "client vanishes")


# -- fuzz --------------------------------------------------------------------------------------


def test_fuzz_holds() -> None:
    result = run("fuzz", "--examples", "5", "--steps", "20", "--seed", "1")
    assert (result.exit_code, result.stderr) == (0, "")
    assert result.stdout == "5 sessions of 20 events held, with --seed 1\n"


@REPLACES_A_FUNCTION
def test_a_failure_of_fuzz_is_a_scenario_that_replay_takes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def gives_up_at_once(self: Retry, *what: object) -> None:
        pass

    with monkeypatch.context() as broken:
        broken.setattr(Retry, "next_dial", gives_up_at_once)
        result = run("fuzz", "--examples", "50", "--steps", "30", "--seed", "1")
        file = tmp_path / "failure.scn"
        file.write_text(result.stdout)
        replayed = run("replay", str(file))
    assert result.exit_code == 1
    assert result.stderr == "reknit: found with --examples 50 --steps 30 --seed 1\n"
    assert replayed.exit_code == 0, replayed.output
    mended = run("replay", str(file))
    assert mended.exit_code == 1
    assert "+       < dial attempt=1" in mended.stdout


def test_fuzz_without_hypothesis_says_what_to_install() -> None:
    program = (
        "import sys; sys.modules['hypothesis'] = None\n"
        "from reknit.cli.main import main; main(['fuzz'])"
    )
    result = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert result.returncode == 2
    assert result.stderr == (
        "reknit: fuzzing needs Hypothesis: pip install --group fuzz in a checkout\n"
    )


def test_fuzz_of_bytes_without_atheris_says_what_to_install() -> None:
    program = (
        "import sys; sys.modules['atheris'] = None; "
        "from reknit.cli.main import main; main(['fuzz', '--bytes'])"
    )
    result = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert result.returncode == 2
    assert result.stderr == (
        "reknit: fuzzing of bytes needs atheris, which some versions of Python have: "
        "pip install --group fuzz-bytes in a checkout\n"
    )


def test_fuzz_can_simulate_whole_sessions() -> None:
    result = run("fuzz", "--simulate", "--examples", "20", "--seed", "5")
    assert result.exit_code == 0, result.output
    for delivery in ("at-most-once", "at-least-once"):
        assert f"{delivery}, to the server: sent " in result.stdout
    assert "--seed 5" in result.stdout
    assert run("fuzz", "--simulate", "--examples", "20", "--seed", "5").stdout == result.stdout


def test_fuzz_can_run_clusters() -> None:
    result = run("fuzz", "--cluster", "--examples", "1", "--seed", "1")
    assert (result.exit_code, result.stderr) == (0, "")
    assert result.stdout.startswith("1 runs held, with ")


def test_a_failure_of_a_cluster_is_a_file_that_replay_takes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as broken:
        broken.setattr(Times, "sure", property(lambda times: times.lease * 3))
        result = run("fuzz", "--cluster", "--examples", "9", "--seed", "1")
        file = tmp_path / "failure.scn"
        file.write_text(result.stdout)
        replayed = run("replay", str(file))
    assert result.exit_code == 1
    assert result.stderr.startswith("reknit: found with --cluster --examples 1 --seed ")
    assert replayed.exit_code == 1
    assert "two are sure of " in replayed.stdout
    assert run("replay", str(file)).exit_code == 0
    file.write_text("cluster seed=1 nodes=many replica=no\n")
    assert_one_line(run("replay", str(file)), 2, "this is no run of a cluster")


def test_demo_ends_quietly_when_nobody_reads_on() -> None:
    command = f"{sys.executable} -m reknit demo --seconds 1 | head -1"
    done = subprocess.run(command, shell=True, capture_output=True, text=True, timeout=LIMIT)
    assert done.stdout.count("\n") == 1
    assert done.stderr == ""
