"""The command line. Heavy modules are imported by the command that needs them.

Exit status: 0 fine; 1 it ran and failed; 2 it was asked for something that isn't allowed.
"""

import os

import click

from reknit.cli.demo import demo
from reknit.cli.dialects import dialects
from reknit.cli.usage import Failure, Group, Misuse, ServeCommand, configurable, read_text
from reknit.cli.verify import diagram, fuzz, replay
from reknit.observe.logs import log_to_stderr
from reknit.observe.outlet import divert_stderr
from reknit.process.mask import heed_no_more, held_back
from reknit.settings.config import (
    CONFIG,
    Config,
    ConfigError,
    from_command_line,
    from_environment,
    from_toml,
    merge,
)
from reknit.settings.option import PREFIX
from reknit.settings.options import OPTIONS, count_workers


@click.group("reknit", cls=Group, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="reknit")
def main() -> None:
    """A WebSocket reconnect proxy: sessions survive a lost client or server."""


@main.command(cls=ServeCommand, short_help="Run the proxy in front of a server.")
@configurable
@click.option("--config", "config_file", metavar="FILE", help="A TOML file with settings.")
def serve(config_file: str | None, **options: object) -> None:
    """Run the proxy between clients and the server at UPSTREAM, a WebSocket URL; or several.

    Example: reknit serve ws://127.0.0.1:9125 --listen 0.0.0.0:9300

    Every option is also an environment variable (--retry-interval: REKNIT_RETRY_INTERVAL) and a
    key of the TOML file (retry_interval). Command line overrides environment, environment overrides
    file. The file may also hold `upstream`. A TIME is 250ms, 90s or 5m, a SIZE 64kB or 4MiB;
    without a unit they are in seconds and bytes.
    """
    with held_back():
        _serve(config_file, options)
        heed_no_more()


def _serve(config_file: str | None, options: dict[str, object]) -> None:
    _open_standard_files()
    try:
        config = _configure(config_file, options)
    except ConfigError as error:
        raise Misuse(error) from None
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


def _configure(config_file: str | None, options: dict[str, object]) -> Config:
    name = config_file or os.environ.get(PREFIX + CONFIG.upper())
    command_line = from_command_line(options)
    environment = from_environment(os.environ)
    return merge(command_line, environment, from_toml(read_text(name), name) if name else {})


for command in (demo, dialects, replay, diagram, fuzz):
    main.add_command(command)
