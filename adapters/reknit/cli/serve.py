"""`reknit serve`."""

import os

import click

from reknit.cli.usage import Failure, Misuse, ServeCommand, configurable, read_text
from reknit.observe.logs import log_to_stderr
from reknit.observe.outlet import divert_stderr
from reknit.process.mask import heed_no_more, held_back
from reknit.settings.config import (
    CONFIG,
    Config,
    ConfigError,
    Layer,
    from_command_line,
    from_environment,
    from_toml,
    merge,
    overlay,
)
from reknit.settings.option import PREFIX
from reknit.settings.options import OPTIONS, count_workers


@click.command(cls=ServeCommand, short_help="Run the proxy in front of a server.")
@configurable
@click.option("--config", "config_file", metavar="FILE", help="A TOML file with settings.")
@click.option(
    "--check",
    is_flag=True,
    help="Say whether the proxy could start: settings, files, certificates, addresses; and end.",
)
@click.option(
    "--print-config",
    is_flag=True,
    help="Print all settings that hold, as a TOML file, with where each comes from; and end.",
)
def serve(config_file: str | None, check: bool, print_config: bool, **options: object) -> None:
    """Run the proxy between clients and the server at UPSTREAM, a WebSocket URL; or several.

    \b
    Examples:
      reknit serve ws://127.0.0.1:9125
      reknit serve ws://127.0.0.1:9125 --listen :9300 --client-grace 5m
      reknit serve wss://app.example/chat --admin 9301 --state-dir /var/lib/reknit
      reknit serve --config /etc/reknit/reknit.toml --check

    Every option is also an environment variable (--retry-interval: REKNIT_RETRY_INTERVAL) and a
    key of the TOML file (retry_interval). Command line overrides environment, environment overrides
    file. The file may also hold `upstream`. A TIME is 250ms, 90s or 5m, a SIZE 64kB or 4MiB;
    without a unit they are in seconds and bytes.
    """  # noqa: D301 - click reads the backspace
    if check or print_config:
        given, config = _configure(config_file, options)
        if print_config:
            from reknit.settings.effective import settings_of

            click.echo("\n".join(settings_of(config, given)))
        if check:
            _check(config)
        return
    with held_back():
        _open_standard_files()
        _run(_configure(config_file, options)[1])
        heed_no_more()


def _check(config: Config) -> None:
    """Say what is found; exit status 2 for a wrong setting, 1 for what the system lacks."""
    from reknit.process.check import findings

    found = list(findings(config))
    for finding in found:
        click.echo(Failure(f"{'note: ' * finding.is_remark}{finding.text}").line, err=True)
    problems = [finding for finding in found if not finding.is_remark]
    if problems:
        raise SystemExit(2 if any(problem.is_setting for problem in problems) else 1)
    click.echo("settings, files and addresses are fine")


def _run(config: Config) -> None:
    outlet = log_to_stderr(config.log_level, config.log_format)
    divert_stderr(outlet)
    import trio
    from reknit_core.dialect.ruled.mistakes import DialectError

    from reknit.process.serve import ListenError, WorkerError
    from reknit.process.serve import serve as run
    from reknit.process.takeover import TakeoverError
    from reknit.state.directory import StateError
    from reknit.trio.transport.certificates import CertificateError

    try:
        count = count_workers(config.workers)
        if count == 1:
            trio.run(run, config)
        else:
            from reknit.workers.parent import supervise

            trio.run(supervise, config, count)
    except CertificateError as error:
        raise Misuse(error) from None
    except DialectError as error:
        raise Misuse(f"{OPTIONS['dialect'].flag}: {error}") from None
    except (ListenError, StateError, TakeoverError, WorkerError) as error:
        raise Failure(error) from None
    finally:
        outlet.flush()


def _open_standard_files() -> None:
    """Where one is closed, a client's socket would get its number, and what is written to it."""
    for descriptor in range(3):
        try:
            os.fstat(descriptor)
        except OSError:
            os.open(os.devnull, os.O_RDWR)  # gets the lowest number that is free


def _configure(config_file: str | None, options: dict[str, object]) -> tuple[Layer, Config]:
    """What is given, and what it makes. Raises Misuse."""
    name = config_file or os.environ.get(PREFIX + CONFIG.upper())
    try:
        command_line = from_command_line(options)
        environment = from_environment(os.environ)
        file = from_toml(read_text(name), name) if name else {}
        given = overlay(command_line, environment, file)
        return given, merge(given)
    except ConfigError as error:
        raise Misuse(error) from None
