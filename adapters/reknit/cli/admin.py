"""`reknit admin`: asks and steers a running proxy. For people, probes and containers."""

import json
import os
import sys
from collections.abc import Mapping
from typing import Any

import click
from reknit_core.wire.reasons import printable

from reknit.cli.admin_client import AdminClient, AdminError
from reknit.cli.usage import Failure, Group, Misuse, read_text, table
from reknit.settings.addresses import Address, parse_address
from reknit.settings.config import CONFIG, ConfigError, Layer, from_environment, from_toml, overlay
from reknit.settings.option import PREFIX
from reknit.settings.options import OPTIONS

USUAL = "127.0.0.1:9301"
_ADDRESS = "reknit.address"  # in the context
_OWN = ("admin", "admin_token")


class Addressed(Group):
    """Takes an address in front of a command: `reknit admin 9301 sessions`."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Take the address. Raises Misuse: it may be a command with a slip in it."""
        if args and args[0] not in self.commands and not args[0].startswith("-"):
            ctx.meta[_ADDRESS] = self._read(args[0])
            args = args[1:]
        return super().parse_args(ctx, args)

    def _read(self, text: str) -> Address:
        try:
            return parse_address(text.removeprefix("http://").removesuffix("/"))
        except ValueError:
            raise Misuse(
                f"ADDRESS: {text!r} is not allowed; allowed: {OPTIONS['admin'].allowed}; or "
                f"without an address one of {', '.join(self.commands)}"
            ) from None

    def collect_usage_pieces(self, ctx: click.Context) -> list[str]:
        """What stands behind the name in the usage line."""
        return ["[ADDRESS]", *super().collect_usage_pieces(ctx)]

    def list_commands(self, ctx: click.Context) -> list[str]:
        """The names, in order."""
        return list(self.commands)


@click.group(cls=Addressed, short_help="Ask and steer a running proxy.")
@click.option("--config", "config_file", metavar="FILE", help="The proxy's own TOML file.")
@click.pass_context
def admin(context: click.Context, config_file: str | None) -> None:
    """Ask the proxy whose admin listener is at ADDRESS, as its --admin has it.

    \b
    Examples:
      reknit admin 9301 sessions --state server_down
      reknit admin unix:/run/reknit/admin.sock drain
      reknit admin --config /etc/reknit/reknit.toml session 35b04be23834
      reknit admin health --ready && echo ready

    Without ADDRESS it is that of REKNIT_ADMIN, of the file of --config or REKNIT_CONFIG, or else
    127.0.0.1:9301. The token is that of REKNIT_ADMIN_TOKEN or of the file. Exit status 1 says that
    it could not be done, 2 that it isn't allowed.
    """  # noqa: D301 - click reads the backspace
    try:
        given = {name: item.value for name, item in _given(config_file).items()}
    except ConfigError as error:
        raise Misuse(error) from None
    where = context.meta.get(_ADDRESS) or given.get("admin") or parse_address(USUAL)
    context.obj = AdminClient(where, given.get("admin_token"))  # type: ignore[arg-type]


def _given(config_file: str | None) -> Layer:
    """The settings that matter here: others are the proxy's own business."""
    name = config_file or os.environ.get(PREFIX + CONFIG.upper())
    variables = {OPTIONS[option].variable for option in _OWN}
    environment = {key: value for key, value in os.environ.items() if key in variables}
    file = from_toml(read_text(name), name) if name else {}
    return overlay(from_environment(environment), file)


@admin.command(short_help="List sessions.")
@click.option("--state", metavar="STATE", help="Those in that state only, such as server_down.")
@click.option("--json", "as_json", is_flag=True, help="An object of JSON a line.")
@click.pass_obj
def sessions(client: AdminClient, state: str | None, as_json: bool) -> None:
    """List sessions: their state, and what waits for whom."""
    rows: list[tuple[str, ...]] = [
        ("SESSION", "STATE", "SINCE", "AGE", "TO CLIENT", "TO SERVER", "DIALECT")
    ]
    try:
        for each in client.sessions(state):
            if as_json:
                click.echo(json.dumps(each))
            else:
                rows.append(_row(each))
    except AdminError as error:
        raise Failure(error) from None
    if not as_json:
        click.echo("\n".join(table(rows)))


def _row(session: Mapping[str, Any]) -> tuple[str, ...]:
    waiting = session["waiting_bytes"]
    return (
        printable(session["session"]),
        printable(session["state"]),
        f"{session['state_seconds']:.0f}s",
        f"{session['age_seconds']:.0f}s",
        f"{waiting['client']}B",
        f"{waiting['server']}B",
        printable(session["dialect"] or ""),
    )


@admin.command(short_help="Show a session.")
@click.argument("session", required=False)
@click.option("--find", is_flag=True, help="The one of the connection id on standard input.")
@click.pass_obj
def session(client: AdminClient, session: str | None, find: bool) -> None:
    """Show all about SESSION, as JSON, by the name that the log has."""
    if find == (session is not None):
        raise Misuse("SESSION or --find: one of them must be given")
    try:
        if find:
            given = sys.stdin.readline().strip()
            found = client.call("POST", "/sessions/find", {"connection_id": given})
            session = str(found["session"])
        _show(client.session(session or ""))
    except AdminError as error:
        raise Failure(error) from None


@admin.command(short_help="End a session.")
@click.argument("session")
@click.option("--code", type=int, metavar="CODE", help="The Close code.  [default: 1001]")
@click.option("--reason", metavar="TEXT", help="The Close frame's reason.")
@click.pass_obj
def close(client: AdminClient, session: str, code: int | None, reason: str | None) -> None:
    """End SESSION; what waits for a side that is connected is sent before."""
    given = {"code": code, "reason": reason}
    document = {name: value for name, value in given.items() if value is not None}
    _steer(client, session, "close", document)


@admin.command(short_help="End a session by 1012, or all of them and the proxy.")
@click.argument("session", required=False)
@click.pass_obj
def drain(client: AdminClient, session: str | None) -> None:
    """End SESSION by 1012, after which clients reconnect; without it stop the proxy, as SIGTERM."""
    if session is not None:
        _steer(client, session, "drain", {})
        return
    try:
        client.call("POST", "/drain", {})
    except AdminError as error:
        raise Failure(error) from None
    click.echo("draining")


@admin.command(short_help="Break a session's connection, to try it.")
@click.argument("session")
@click.argument("side", type=click.Choice(["client", "server"]))
@click.pass_obj
def cut(client: AdminClient, session: str, side: str) -> None:
    """Break SESSION's connection to its client or server, as a network would."""
    _steer(client, session, "cut", {"leg": side})


@admin.command(short_help="Whether the proxy lives, or takes new sessions.")
@click.option("--ready", is_flag=True, help="Whether it takes new sessions.")
@click.pass_obj
def health(client: AdminClient, ready: bool) -> None:
    """Say whether the proxy lives; exit status 1 if not. It needs no token."""
    try:
        click.echo(client.health("/readyz" if ready else "/livez"))
    except AdminError as error:
        raise Failure(error) from None


def _steer(client: AdminClient, session: str, call: str, document: Mapping[str, object]) -> None:
    try:
        _show(client.session(session, call, **document))
    except AdminError as error:
        raise Failure(error) from None


def _show(document: Mapping[str, Any]) -> None:
    click.echo(json.dumps(document, indent=2))
