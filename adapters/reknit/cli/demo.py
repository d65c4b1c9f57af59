"""`reknit demo`."""

import os
import sys

import click
from click.core import ParameterSource

from reknit.cli.usage import Failure

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
@click.option(
    "--pair",
    is_flag=True,
    help="Two proxies: the network between them is cut, and neither client nor server counts.",
)
@click.pass_context
def demo(ctx: click.Context, seconds: float, delivery: str, pair: bool) -> None:
    """See it work: a server is killed and a client cut while numbers stream both ways.

    \b
    Examples:
      reknit demo
      reknit demo --seconds 30 --delivery at-least-once
      reknit demo --pair
    """  # noqa: D301 - click reads the backspace
    if pair and ctx.get_parameter_source("delivery") is not ParameterSource.DEFAULT:
        raise click.UsageError(
            "--delivery is about ends that are cut off; with --pair neither is: leave it out"
        )
    from rich.console import Console

    from reknit.demo.demonstration import Demo, Promise, play, show
    from reknit.demo.endpoints import HOST
    from reknit.demo.pair import PairDemo

    console = Console()
    problem: BaseExceptionGroup[OSError] | None = None
    try:
        result = play(seconds, Promise(delivery), console, PairDemo if pair else Demo)
        show(result, console)
    except* (BrokenPipeError, SystemExit):  # whoever read along has seen enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(1)
    except* OSError as errors:
        problem = errors
    if problem is not None:
        raise Failure(f"the demo needs sockets on {HOST}: {first_of(problem)}")
    if result.broken_promises():
        ctx.exit(1)


def first_of(group: BaseExceptionGroup[OSError]) -> BaseException:
    """The first error in a group of groups."""
    first = group.exceptions[0]
    return first_of(first) if isinstance(first, BaseExceptionGroup) else first
