"""`reknit replay`, `diagram` and `fuzz`: what holds the code against its scenarios and model."""

import os
from pathlib import Path

import click
from reknit_core.wire.reasons import reason_of

from reknit.cli.usage import Failure, Misuse, read_text


@click.command()
@click.argument("files", metavar="FILE...", nargs=-1, required=True)
@click.option("--quiet", "-q", is_flag=True, help="Print differences only.")
def replay(files: tuple[str, ...], quiet: bool) -> None:
    """Play scenario files against the state machine.

    Prints the events, and the commands (<) and states (=) that come out of them. Exit status 1,
    with a diff, if a file says otherwise. A file of `reknit fuzz --cluster` is played too: prints
    what comes before the first thing that is wrong.
    """
    differing = [name for name in files if not _replay(name, quiet=quiet)]
    if differing:
        raise Failure(f"differs from what was played: {', '.join(differing)}")


def _replay(name: str, *, quiet: bool) -> bool:
    """Play one file; whether it says what was played."""
    from reknit_core.play.player import ScenarioError, diff, parse, play

    from reknit.verify.cluster.files import is_run

    text = read_text(name)
    if is_run(text):
        return _replay_cluster(name, text, quiet=quiet)
    try:
        played = play(parse(text))
        differences = diff(text, played)
    except ScenarioError as error:
        raise Misuse(f"{name}: {error}") from None
    if not quiet:
        click.secho(f"# {name}", dim=True)
        click.echo("\n".join(played))
    for line in differences.splitlines():
        click.secho(line, fg={"-": "red", "+": "green", "@": "cyan"}.get(line[:1]))
    return not differences


def _replay_cluster(name: str, text: str, *, quiet: bool) -> bool:
    """Play one run of a cluster; whether all was well."""
    from reknit.verify.cluster.files import ClusterFileError, play, read

    try:
        result, before = play(read(text))
    except ClusterFileError as error:
        raise Misuse(f"{name}: {error}") from None
    if not quiet:
        click.secho(f"# {name}", dim=True)
        click.echo("\n".join(before or [f"{result.claims} claims; nothing was wrong"]))
    for line in result.broken:
        click.secho(line, fg="red")
    return not result.broken


@click.command(short_help="Draw the lifecycle and scenarios.")
@click.argument("files", metavar="[FILE]...", nargs=-1)
@click.option("--check", is_flag=True, help="Write nothing; fail if a file differs.")
@click.option(
    "--output",
    metavar="DIR",
    type=click.Path(path_type=Path),
    default="diagrams",
    show_default=True,
    help="Where the diagrams are.",
)
@click.option(
    "--scenarios",
    metavar="DIR",
    type=click.Path(path_type=Path),
    default="tests/scenarios",
    show_default=True,
    help="Where the scenario files are.",
)
def diagram(files: tuple[str, ...], check: bool, output: Path, scenarios: Path) -> None:
    """Draw the lifecycle and scenarios, from the code, as Mermaid.

    With FILE: prints the sequence diagram of each of these scenario files. Without: writes, in a
    checkout, the diagrams that are kept there: the lifecycle and the scenarios of the design
    (scenario_*.scn).
    """
    if not files:
        _keep_diagrams(check, output, scenarios)
    elif check:
        raise Misuse("--check is for the diagrams in --output, not for FILE")
    else:
        for name in files:
            click.echo(_drawn(name), nl=False)


def _drawn(name: str) -> str:
    from reknit_core.diagrams.text import sequence_mermaid
    from reknit_core.play.player import ScenarioError, parse

    try:
        return sequence_mermaid(parse(read_text(name)))
    except ScenarioError as error:
        raise Misuse(f"{name}: {error}") from None


def _keep_diagrams(check: bool, output: Path, scenarios: Path) -> None:
    from reknit_core.play.player import ScenarioError

    from reknit.cli import diagram_files

    try:
        if not scenarios.is_dir():
            raise Misuse(f"no directory {scenarios}; --scenarios DIR names another")
        files = diagram_files.render(scenarios)
        if not check:
            diagram_files.write(output, files)
            click.echo(f"{len(files)} files in {output}")
        elif wrong := diagram_files.differing(output, files):
            names = ", ".join(map(str, wrong))
            raise Failure(f"not what the code draws (reknit diagram writes them anew): {names}")
    except (ScenarioError, UnicodeError) as error:
        raise Misuse(f"{scenarios}: {error}") from None
    except OSError as error:
        raise Failure(f"{error.filename}: {reason_of(error)}") from None


@click.command(short_help="Play random sessions against a reference model.")
@click.option(
    "--examples",
    metavar="SESSIONS",
    type=click.IntRange(1),
    default=200,
    show_default=True,
    help="How many sessions to play.",
)
@click.option(
    "--steps",
    metavar="EVENTS",
    type=click.IntRange(1),
    default=50,
    show_default=True,
    help="Events in each session.",
)
@click.option("--seed", metavar="NUMBER", type=int, help="Play the same again.  [default: random]")
@click.option(
    "--simulate",
    is_flag=True,
    help="Run whole sessions on a simulated network for an hour of cuts, stalls and restarts "
    "instead, once in each delivery policy, then in dialects; --steps doesn't count.",
)
@click.option(
    "--cluster",
    "clusters",
    is_flag=True,
    help="Run clusters of nodes with a simulated store instead, each for two minutes of pauses, "
    "partitions and failovers; --examples says how many, --steps doesn't count.",
)
@click.option(
    "--bytes",
    "any_bytes",
    is_flag=True,
    help="Feed any bytes to the handshakes, plain requests, the frame scanner and whole sessions "
    "instead, guided by what code they reach; --seconds and --corpus are for this.",
)
@click.option(
    "--seconds",
    metavar="SECONDS",
    type=click.IntRange(1),
    default=60,
    show_default=True,
    help="How long to feed bytes.",
)
@click.option(
    "--corpus",
    metavar="DIR",
    type=click.Path(path_type=Path, file_okay=False),
    help="Keep the bytes that reached new code, to go on with the next time.",
)
def fuzz(
    examples: int,
    steps: int,
    seed: int | None,
    simulate: bool,
    clusters: bool,
    any_bytes: bool,
    seconds: int,
    corpus: Path | None,
) -> None:
    """Play random sessions against a reference model of the state machine.

    A failure is printed as a scenario file, which `reknit replay` takes, with exit status 1. Of
    --bytes it may also be a few lines of Python, where no session had begun.
    """
    if any_bytes:
        _feed_bytes(seconds, corpus)
        return
    if seed is None:
        seed = int.from_bytes(os.urandom(4))
    if simulate:
        _simulate(examples, seed)
        return
    if clusters:
        _run_clusters(examples, seed)
        return
    try:
        from reknit.verify.fuzz.machine import run
    except ModuleNotFoundError as error:
        if error.name != "hypothesis":
            raise
        raise Misuse("fuzzing needs Hypothesis: pip install --group fuzz in a checkout") from None
    failure = run(examples, steps, seed)
    if failure is not None:
        click.echo(failure, nl=False)
        raise Failure(f"found with --examples {examples} --steps {steps} --seed {seed}")
    click.echo(f"{examples} sessions of {steps} events held, with --seed {seed}")


def _simulate(sessions: int, seed: int) -> None:
    from reknit_core.policy.policy import Delivery

    from reknit.verify.simulation.auditor import MAX_NOTED
    from reknit.verify.simulation.languages import LANGUAGES
    from reknit.verify.simulation.scene import Plan, stormy_policy
    from reknit.verify.simulation.simulate import simulate
    from reknit.verify.simulation.spoken import SpokenPlan, converse
    from reknit.verify.simulation.workers import simulate_workers

    for delivery in Delivery:
        result = simulate(seed, Plan(sessions=sessions), stormy_policy(delivery))
        for way, count in (("server", result.to_server), ("client", result.to_client)):
            click.echo(
                f"{delivery.value}, to the {way}: sent {count.sent}, received {count.received}, "
                f"lost {count.lost}, repeated {count.repeated}, reordered {count.reordered}"
            )
        if result.broken:
            click.echo("\n".join(result.broken))
            raise Failure(f"found with --simulate --examples {sessions} --seed {seed}")
        click.echo(
            f"{sum(result.faults.values())} faults, {result.sessions} sessions: what is lost went "
            f"with a connection or a session as promised; --seed {seed}"
        )
    for name, language in LANGUAGES.items():
        spoken = converse(seed, language, SpokenPlan(sessions=sessions))
        if spoken.broken:
            click.echo("\n".join(spoken.broken[:MAX_NOTED]))
            raise Failure(f"found with --simulate --examples {sessions} --seed {seed}")
        click.echo(
            f"{name}: {spoken.deaths} server connections lost, {spoken.answered} of {spoken.asked} "
            f"requests answered, {spoken.repeated} heard again; clients that had forgotten "
            f"all began anew on their connection {spoken.anew} times, elsewhere "
            f"{spoken.elsewhere}; --seed {seed}"
        )
    workers = simulate_workers(seed, steps=20 * sessions)
    if workers.broken:
        click.echo("\n".join(workers.broken))
        raise Failure(f"found with --simulate --examples {sessions} --seed {seed}")
    counts = workers.counts
    click.echo(
        f"workers: {counts['died']} died, {counts['taken over']} takeovers; clients were passed on "
        f"{counts['passed on']} times, came back {counts['resumed']} times; --seed {seed}"
    )


def _run_clusters(runs: int, seed: int) -> None:
    from reknit.verify.cluster import files
    from reknit.verify.cluster.simulate import Plan, simulate

    claims = 0
    for number in range(seed, seed + runs):
        result = simulate(Plan.of(number))
        claims += result.claims
        if result.broken:
            click.echo(files.write(*files.shrink(Plan.of(number))), nl=False)
            raise Failure(f"found with --cluster --examples 1 --seed {number}")
    click.echo(f"{runs} runs held, with {claims} claims, from --seed {seed} on")


def _feed_bytes(seconds: int, corpus: Path | None) -> None:
    from reknit.verify.fuzz import guided

    if not guided.is_available():
        raise Misuse(
            "fuzzing of bytes needs atheris, which some versions of Python have: "
            "pip install --group fuzz-bytes in a checkout"
        )
    try:
        found = guided.run(seconds, corpus)
    except OSError as error:
        raise Failure(f"{error.filename}: {reason_of(error)}") from None
    except RuntimeError as error:
        raise Failure(str(error)) from None
    if found is not None:
        click.echo(found, nl=False)
        raise Failure("found with --bytes")
    click.echo(f"held for {seconds} seconds of bytes")
