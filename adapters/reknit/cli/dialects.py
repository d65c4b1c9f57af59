"""`reknit dialects`: which there are, and what one makes of a recorded conversation."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

import click
from reknit_core.wire.reasons import shortened

from reknit.cli.usage import Misuse, read_text, table

if TYPE_CHECKING:
    from reknit_core.dialect.registry import Registry
    from reknit_core.dialect.speech import Dialect, Offer
    from reknit_core.play.recording import Recording

_NAME_ONLY = "its name only"


@click.group(invoke_without_command=True, short_help="List dialects, and check one's own.")
@click.option(
    "--dialect",
    "files",
    metavar="FILE",
    multiple=True,
    help="A TOML file whose dialect is listed too.",
)
@click.pass_context
def dialects(context: click.Context, files: tuple[str, ...]) -> None:
    """List the dialects: the protocols inside WebSocket messages that the proxy knows.

    Each with what shows it in a handshake, what a server's loss means to a session (statements: a
    new server is told what it must know; end: the client is closed and begins anew), and where it
    is from: built-in, a file, or a package with an entry point of the group reknit.dialects.
    """
    if context.invoked_subcommand is None:
        known, _ = _known(files)
        rows = [("NAME", "SERVER'S LOSS", "FROM", "CHOSEN BY")]
        rows += [_row(dialect, known.source(dialect.name)) for dialect in known]
        click.echo("\n".join(table(rows)))


def _row(dialect: "Dialect", source: str) -> tuple[str, str, str, str]:
    loss = "end" if dialect.ends else "statements"
    return dialect.name, loss, shortened(source), shortened(dialect.chosen_by) or _NAME_ONLY


def _known(names: Sequence[str]) -> "tuple[Registry, list[str]]":
    from reknit_core.dialect.ruled.mistakes import DialectError

    from reknit.settings.dialects import installed, with_files

    try:
        return with_files(installed(), names)
    except DialectError as error:
        raise Misuse(error) from None


@dialects.command(short_help="Play a recording against a dialect.")
@click.argument("dialect", metavar="FILE|NAME")
@click.option("--with", "recording", metavar="RECORDING", help="A recorded conversation.")
@click.option("--verbose", "-v", is_flag=True, help="Say what each message means.")
def check(dialect: str, recording: str | None, verbose: bool) -> None:
    """Say what a new server would be told behind the last message of a recording.

    FILE is a dialect's TOML file, NAME one that `reknit dialects` lists. Without --with only the
    file is read. A RECORDING is a browser's HAR, JSON lines such as

    \b
      {"from": "client", "text": "{\\"type\\":\\"connection_init\\"}"}
      {"from": "server", "base64": "AAEC"}

    or a scenario. Exit status 2 if one of them has a mistake.
    """  # noqa: D301 - click reads the backspace
    from reknit_core.dialect.registry import RESERVED
    from reknit_core.dialect.ruled.mistakes import DialectError
    from reknit_core.play.recording import RecordingError, read_recordings

    if dialect in RESERVED:
        raise Misuse(f"'{dialect}' is no dialect; allowed: a file, or a name in `reknit dialects`")
    known, (name,) = _known([dialect])
    try:
        chosen = known.find(name)
        recordings = [] if recording is None else read_recordings(read_text(recording), recording)
    except (DialectError, RecordingError) as error:
        raise Misuse(error) from None
    if recording is None:
        row = _row(chosen, known.source(name))
        click.echo(f"{row[0]}: on a server's loss: {row[1]}; chosen by {row[3]}")
    for place, each in enumerate(recordings):
        click.echo("\n" * bool(place) + "\n".join(_report(known, chosen, each, verbose)))


def _report(
    known: "Registry", dialect: "Dialect", recording: "Recording", verbose: bool
) -> Sequence[str]:
    from reknit_core.play.rehearsal import rehearse

    played = rehearse(dialect, recording)
    count = len(recording.said)
    head = f"{shortened(recording.name)}: {count} message{'s' * (count != 1)}, as {dialect.name}"
    lines = [head, *_choice(known, recording.offer)]
    if verbose:
        lines += played.each
    lines += ["a new server is told, behind the last message:", *_indented(played.told)]
    return [*lines, *played.findings]


def _choice(known: "Registry", offer: "Offer | None") -> list[str]:
    """What `auto` would do with such a handshake."""
    if offer is None:
        return []
    found = known.choose(offer)
    subprotocol = f" with subprotocol {offer.subprotocol}" if offer.subprotocol else ""
    name = "nothing" if found is None else found.name
    shown = f"{shortened(offer.target)}{shortened(subprotocol)}"
    return [f"--dialect auto chooses for {shown}: {name}"]


def _indented(lines: Sequence[str]) -> list[str]:
    return [f"  {line}" for line in lines]
