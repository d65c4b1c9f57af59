"""The command line. Heavy modules are imported by the command that needs them.

Exit status: 0 fine; 1 it ran and failed; 2 it was asked for something that isn't allowed.
"""

import click

from reknit.cli.admin import admin
from reknit.cli.demo import demo
from reknit.cli.dialects import dialects
from reknit.cli.serve import serve
from reknit.cli.usage import Main
from reknit.cli.verify import diagram, fuzz, replay


@click.group("reknit", cls=Main, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="reknit")
def main() -> None:
    """A WebSocket reconnect proxy: sessions survive a lost client or server.

    \b
    Examples:
      reknit demo
      reknit serve ws://127.0.0.1:9125 --listen 9300 --admin 9301
      reknit admin 9301 sessions
    """  # noqa: D301 - click reads the backspace


for command in (serve, demo, admin, dialects):
    main.add_command(command)
for command in (replay, diagram, fuzz):
    main.add_for_development(command)
