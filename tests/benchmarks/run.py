"""Measures reknit beside other WebSocket proxies; see --help."""

import argparse
import gc
import json
import os
import sys
import tempfile
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import replace
from datetime import UTC, datetime
from functools import partial
from pathlib import Path

import chart
import measure
import report
from cases import CASES, SESSION_CASES
from peers import NODE_MODULES, Peer, Place, find
from processes import (
    Cores,
    StartError,
    free_port,
    machine,
    raise_file_limit,
)
from report import GONE, IDLE, Results
from sessions import build
from stage import Notes, Stage
from tls_files import certificate, write_authority, write_certificate

HERE = Path(__file__).parent
CHART = HERE.parent.parent / "tests" / "benchmarks" / "benchmark.svg"
CONNECTIONS = 4000  # the most that a proxy must be able to hold

DESCRIPTION = f"""\
Measures reknit in each delivery policy beside HAProxy and nginx (where they are installed),
@fastify/http-proxy (where {NODE_MODULES} names the node_modules directory that has it), and the
proxies of --peer. Each has the same core for itself and is loaded alone; the rounds take turns.
Every message is checked at both ends, for content and order. Linux, two cores, and a C compiler
for the loader of sessions that come and go."""


def main() -> int:
    """Exit status 1 if any run failed, 2 if none could begin."""
    options = _options()
    if options.show:
        results: Results = json.loads(Path(options.show).read_text())
    else:
        try:
            results = _measure(options)
        except (StartError, ValueError) as error:
            print(f"run.py: {error}", file=sys.stderr)
            return 2
        Path(options.json).write_text(json.dumps(results, indent=1, ensure_ascii=False) + "\n")
    Path(options.chart).write_text(chart.draw(results))
    parts = (report.overview, report.details, report.memory_table, report.footnote)
    print("\n\n".join(filter(None, (part(results) for part in parts))))
    for failure in results["failures"]:
        print(f"FAILED: {failure}", file=sys.stderr)
    return 1 if results["failures"] else 0


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=DESCRIPTION)
    add = parser.add_argument
    add("--rounds", type=int, default=5, help="how often each is measured (default: 5)")
    add("--seconds", type=float, default=1.0, help="of messages (default: 1)")
    add("--sessions", type=int, default=1000, help="that come and go (default: 1000)")
    add("--case", action="append", default=[], metavar="TEXT", help="only cases with this in it")
    add("--only", action="append", default=[], metavar="TEXT", help="only proxies with this in it")
    add(
        "--peer",
        action="append",
        default=[],
        metavar="NAME=PORT=COMMAND",
        help="one more proxy, in front of --server-port; {port} and {upstream} are filled in",
    )
    add("--server-port", type=int, default=9125, help="of the server behind (default: 9125)")
    add("--cores", default="", metavar="N,N[,N]", help="for proxy, loader and server")
    add("--json", default=HERE / "results.json", metavar="FILE", help="where the numbers go")
    add("--chart", default=CHART, metavar="FILE", help="where the drawing goes")
    add("--show", metavar="FILE", help="measure nothing: tables and chart of this JSON file")
    return parser.parse_args()


def _measure(options: argparse.Namespace) -> Results:
    cores = Cores.choose([int(core) for core in options.cores.split(",") if core])
    raise_file_limit()
    with ExitStack() as stack:
        directory = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        log = stack.enter_context((directory / "log").open("w"))
        place = Place(options.server_port or free_port(), directory, CONNECTIONS)
        plain = Stage(Notes(), cores, place, log, options.rounds)
        file, authority = _certificate(directory)
        secure = replace(plain, place=replace(place, certificate=file), authority=authority)
        os.sched_setaffinity(0, {cores.load})
        gc.disable()  # a collection of the loader's would show as a slow proxy
        peers = _measure_all(plain, options)
        _measure_all(secure, options)
        notes = plain.notes
    if not notes.rounds:
        raise ValueError("no proxy or no case has that in its name")
    return {
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
        "machine": machine(),
        "settings": {
            "rounds": options.rounds,
            "seconds": options.seconds,
            "cores": [cores.proxy, cores.load, cores.server],
        },
        "versions": {peer.name: peer.version for peer in peers},
        "rounds": notes.rounds,
        "failures": notes.failures,
        "summary": report.summarise(notes.rounds),
    }


def _measure_all(stage: Stage, options: argparse.Namespace) -> list[Peer]:
    """All rows that are wanted, those with TLS or those without; the proxies that are."""
    secure = bool(stage.authority)
    found = find(stage.place, options.peer)
    peers = [peer for peer in found if _wanted(peer.name, options.only)]
    cases = [case for case in CASES if case.secure == secure and _wanted(case.name, options.case)]
    coming = [
        case for case in SESSION_CASES if case.secure == secure and _wanted(case.name, options.case)
    ]
    if peers and coming:
        stage.sessions(coming, peers, build(stage.place.directory), options.sessions)
    if peers and cases:
        stage.messages(cases, peers, options.seconds)
    if _wanted(IDLE, options.case) and not secure:
        stage.memory(IDLE, peers, measure.idle)
    if _wanted(GONE, options.case) and not secure:
        stage.memory(GONE, peers, partial(measure.gone, seconds=options.seconds))
    return peers


def _certificate(directory: Path) -> tuple[str, str]:
    """Files: a certificate for this address with its key, and the authority's."""
    file = directory / "certificate.pem"
    return write_certificate(file, certificate("127.0.0.1")), write_authority(directory)


def _wanted(name: str, parts: Sequence[str]) -> bool:
    return not parts or any(part in name for part in parts)


if __name__ == "__main__":
    sys.exit(main())
