"""How commands are described and how they fail: in one line, on standard error."""

import re
import sys
from collections.abc import Callable, Sequence
from typing import Any

import click
from reknit_core.wire.reasons import reason_of, without_users

from reknit.settings import files
from reknit.settings.config import one_line
from reknit.settings.option import Option
from reknit.settings.options import OPTIONS

MOST_SAID = 1000  # characters of an error: what is allowed stands at its end

# Headings of `serve --help`; an option belongs to the first pattern that its name matches.
_HEADINGS = (
    (
        "Proxy",
        r"listen|workers|takeover.*|state_.*|log_.*|config_file|check|print_config|session_.*|drain_.*",
    ),
    ("Cluster", r"(cluster|node_).*"),
    ("Admin", r"admin.*|on_event"),
    ("TLS", r"tls_.*|upstream_.+"),
    ("Several servers, and their health", r"balance|server_check.*|ready_needs_server"),
    ("Reconnecting to the server", r"retry_.*|refused_limit|server_.*|on_server_loss"),
    ("Waiting for the client", r"client_.*|grace_for"),
    ("Messages", r"delivery|dialect|confirm_.*|replay_.*|queue_.*|overflow_.*|message_.*"),
    ("Resuming a session", r"id_.*|bind|resume_.*|require_minted_id"),
    (
        "Access control",
        r"allow_origin|trust_forwarded|proxy_protocol_from|connection_limit|address_.*",
    ),
    ("Request to the server", r"host"),
    ("Plain HTTP", r"http.*"),
    ("Heartbeats and timeouts", r"heartbeat_.*|.*_timeout|.*_wait"),
    ("More", r".*"),
)


class Failure(click.ClickException):
    """It ran and failed: one line, exit status 1."""

    exit_code = 1

    def __init__(self, message: object) -> None:
        super().__init__(within(without_users(one_line(message)), MOST_SAID))

    @property
    def line(self) -> str:
        """As it is printed."""
        return f"reknit: {self.message}"

    def show(self, file: Any = None) -> None:
        """Print it, on standard error."""
        click.echo(self.line, file=file or sys.stderr)


class Misuse(Failure):
    """What was asked for is not allowed: one line, exit status 2."""

    exit_code = 2


def within(text: str, most: int) -> str:
    """The text, but for its middle if it has more than so many characters."""
    return text if len(text) <= most else f"{text[: most // 2]} … {text[-most // 2 :]}"


def read_text(name: str) -> str:
    """The text of the file of that name. Raises Misuse."""
    try:
        return files.read_text(name)
    except OSError as error:
        raise Misuse(f"can't read {name}: {reason_of(error)}") from None
    except ValueError as error:
        raise Misuse(f"can't read {name}: {error}") from None


class Group(click.Group):
    """Wrong usage is one line too, as every other error."""

    def invoke(self, ctx: click.Context) -> Any:
        """Run the command."""
        try:
            return super().invoke(ctx)
        except click.UsageError as error:
            where = error.ctx.command_path if error.ctx else "reknit"
            raise Misuse(f"{error.format_message()} ({where} --help)") from None


class Main(Group):
    """Shows its commands by whom they are for, in the order in which they were added."""

    def __init__(self, *arguments: Any, **more: Any) -> None:
        super().__init__(*arguments, **more)
        self._for_development: set[str] = set()

    def add_for_development(self, command: click.Command) -> None:
        """Add a command that only those need who work on reknit."""
        self.add_command(command)
        self._for_development.add(command.name or "")

    def list_commands(self, ctx: click.Context) -> list[str]:
        """The names, in order."""
        return list(self.commands)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write the part of the help that lists the commands."""
        for title in ("Commands", "Development"):
            with formatter.section(title):
                formatter.write_dl(
                    [
                        (name, command.get_short_help_str())
                        for name, command in self.commands.items()
                        if (name in self._for_development) == (title == "Development")
                    ]
                )


class ServeCommand(click.Command):
    """Shows its options under headings."""

    def format_options(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write the part of the help that lists the options."""
        groups: dict[str, list[tuple[str, str]]] = {title: [] for title, _ in _HEADINGS}
        for option in self.get_params(ctx):
            record = option.get_help_record(ctx)
            if record is not None and isinstance(option, click.Option):
                groups[_heading(option.name or "")].append(record)
        for title, records in groups.items():
            if records:
                with formatter.section(title):
                    formatter.write_dl(records)


def table(rows: Sequence[tuple[str, ...]]) -> list[str]:
    """The lines of a table with aligned columns."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return [
        "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()
        for row in rows
    ]


def _heading(name: str) -> str:
    return next(title for title, pattern in _HEADINGS if re.fullmatch(pattern, name))


def configurable(command: Callable[..., None]) -> Callable[..., None]:
    """Give the command every option of the configuration."""
    for option in reversed(list(OPTIONS.values())):
        if option.name == "upstream":
            command = click.argument("upstream", nargs=-1, callback=_spaced)(command)
        else:
            command = _click_option(option)(command)
    return command


def _click_option(option: Option) -> Callable[[Callable[..., None]], Callable[..., None]]:
    limits = f"{option.limits}; " if option.limits else ""
    note = f"{option.help}  [{limits}default: {option.default or 'none'}]"
    if option.is_flag:
        flag = f"{option.flag}/--no-{option.flag[2:]}"
        return click.option(flag, option.name, default=None, help=note)
    return click.option(
        option.flag,
        option.name,
        metavar=option.metavar,
        help=note,
        multiple=option.is_list,
        callback=_joined if option.is_list else None,
    )


def _spaced(context: click.Context, option: click.Parameter, values: tuple[str, ...]) -> str | None:
    """Several servers as the environment has them; None: none is given."""
    return " ".join(values) if values else None


def _joined(context: click.Context, option: click.Parameter, values: tuple[str, ...]) -> str | None:
    """A list as the environment has it; None: it isn't given."""
    return ",".join(values) if values else None
