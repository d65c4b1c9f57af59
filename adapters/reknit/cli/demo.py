"""`reknit demo`."""

import os
import sys

import click

PROMISES = ("at-most-once", "at-least-once", "exactly-once")


@click.command(short_help="See it work, without any set-up.")
@click.option(
    "--seconds",
    type=click.FloatRange(1, 600),
    metavar="SECONDS",
    default=12,
    show_default=True,
    help="How long the demo takes.",
)
@click.option(
    "--delivery",
    type=click.Choice(PROMISES),
    default="exactly-once",
    show_default=True,
    help="What a cut connection may cost. For exactly-once, client and server count messages.",
)
@click.pass_context
def demo(ctx: click.Context, seconds: float, delivery: str) -> None:
    """See it work: a server is killed and a client cut while numbers stream both ways."""
    from rich.console import Console

    from reknit.demo.demonstration import Promise, play, show

    console = Console()
    try:
        result = play(seconds, Promise(delivery), console)
        show(result, console)
    except* (BrokenPipeError, SystemExit):  # whoever read along has seen enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(1)
    if result.broken_promises():
        ctx.exit(1)
