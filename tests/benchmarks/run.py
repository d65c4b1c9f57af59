"""Measures reknit beside other WebSocket proxies; see --help."""

import argparse
import gc
import json
import os
import sys
import tempfile
from collections.abc import Sequence
from contextlib import ExitStack
from datetime import UTC, datetime
from pathlib import Path
from subprocess import Popen
from typing import IO

import chart
import measure
import report
from cases import CASES, Case
from load import RunError
from peers import NODE_MODULES, Peer, Place, find
from processes import (
    Cores,
    StartError,
    free_port,
    machine,
    raise_file_limit,
    start,
    start_server,
    stop,
)
from report import DIRECT, IDLE, Numbers, Results

HERE = Path(__file__).parent
CHART = HERE.parent.parent / "tests" / "benchmarks" / "benchmark.svg"
CONNECTIONS = 4000  # the most that a proxy must be able to hold

DESCRIPTION = f"""\
Measures reknit in each delivery policy beside HAProxy and nginx (where they are installed),
@fastify/http-proxy (where {NODE_MODULES} names the node_modules directory that has it), and the
proxies of --peer. Each has the same core for itself and is loaded alone; the rounds take turns.
Every message is checked at both ends, for content and order. Linux, two cores."""


class Bench:
    """The processes under test, and what was measured so far."""

    def __init__(self, cores: Cores, log: IO[str]) -> None:
        self.cores = cores
        self.log = log
        self.rounds: dict[str, dict[str, list[Numbers | None]]] = {}
        self.failures: list[str] = []

    def start(self, peer: Peer) -> Popen[bytes]:
        """Start a proxy on its core. Raises StartError."""
        return start(peer.command, self.cores.proxy, peer.port, self.log, peer.environment)

    def load(self, peer: Peer, process: Popen[bytes] | None, case: Case, seconds: float) -> None:
        """Measure one case once."""
        try:
            sample = measure.plain(measure.loaded(peer.port, process, case, seconds))
        except RunError as error:
            self._fail(case.name, peer, error)
            return
        self._note(case.name, peer, sample)
        rate, processor = sample["rate"] or 0, sample["processor"] or 0
        busy = sample["busy"] or 0
        _say(
            f"  {peer.name:24} {rate:12,.0f} messages/s {processor:10.2f} µs/message"
            f" {busy:5.0%} of its core"
        )

    def idle(self, peer: Peer) -> None:
        """Measure idle connections, in a fresh process."""
        try:
            process = self.start(peer)
            try:
                sample = measure.plain(measure.idle(peer.port, process))
            finally:
                stop(process)
        except (RunError, StartError) as error:
            self._fail(IDLE, peer, error)
            return
        self._note(IDLE, peer, sample)
        _say(f"  {peer.name:24} {sample['connection'] or 0:12.1f} KiB")

    def _note(self, row: str, peer: Peer, sample: Numbers | None) -> None:
        self.rounds.setdefault(row, {}).setdefault(peer.name, []).append(sample)

    def _fail(self, row: str, peer: Peer, error: Exception) -> None:
        self._note(row, peer, None)
        self.failures.append(f"{row}: {peer.name}: {error}")
        _say(f"  {peer.name:24} FAILED: {error}")


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
    parts = (report.overview, report.details, report.idle_table, report.footnote)
    print("\n\n".join(part(results) for part in parts))
    for failure in results["failures"]:
        print(f"FAILED: {failure}", file=sys.stderr)
    return 1 if results["failures"] else 0


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=DESCRIPTION)
    add = parser.add_argument
    add("--rounds", type=int, default=5, help="how often each is measured (default: 5)")
    add("--seconds", type=float, default=1.0, help="of each measurement (default: 1)")
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
    cases = [case for case in CASES if _wanted(case.name, options.case)]
    with ExitStack() as stack:
        directory = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        log = stack.enter_context((directory / "log").open("w"))
        port = options.server_port or free_port()
        stack.callback(stop, start_server(port, cores.server, log))
        place = Place(port, directory, CONNECTIONS)
        peers = [peer for peer in find(place, options.peer) if _wanted(peer.name, options.only)]
        if not peers or not (cases or _wanted(IDLE, options.case)):
            raise ValueError("no proxy or no case has that in its name")
        bench = Bench(cores, log)
        os.sched_setaffinity(0, {cores.load})
        gc.disable()  # a collection of the loader's would show as a slow proxy
        _load_all(bench, peers, Peer(DIRECT, "", port, ()), cases, options)
        if _wanted(IDLE, options.case):
            _say(IDLE)
            for peer in peers:
                bench.idle(peer)
    return {
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
        "machine": machine(),
        "settings": {
            "rounds": options.rounds,
            "seconds": options.seconds,
            "cores": [cores.proxy, cores.load, cores.server],
        },
        "versions": {peer.name: peer.version for peer in peers},
        "rounds": bench.rounds,
        "failures": bench.failures,
        "summary": report.summarise(bench.rounds),
    }


def _load_all(
    bench: Bench,
    peers: Sequence[Peer],
    direct: Peer,
    cases: Sequence[Case],
    options: argparse.Namespace,
) -> None:
    """All proxies run, one is loaded at a time: the others sleep."""
    with ExitStack() as stack:
        running: list[tuple[Peer, Popen[bytes] | None]] = []
        for peer in peers:
            process = bench.start(peer)
            stack.callback(stop, process)
            running.append((peer, process))
        running.append((direct, None))
        for case in cases:
            _say(case.name)
            for _ in range(options.rounds):
                for peer, proxy in running:
                    bench.load(peer, proxy, case, options.seconds)


def _wanted(name: str, parts: Sequence[str]) -> bool:
    return not parts or any(part in name for part in parts)


def _say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


if __name__ == "__main__":
    sys.exit(main())
