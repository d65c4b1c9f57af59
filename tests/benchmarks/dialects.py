"""Measures what a message costs in a session whose protocol is known; see --help."""

import argparse
import gc
import os
import sys
import tempfile
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path

import measure
from cases import Case, Flow
from load import RunError
from peers import Place, at_least_once, reknit_version
from processes import Cores, StartError, free_port, raise_file_limit, start, start_server, stop
from report import number
from speech import SPEECHES

CASES = (
    Case(100, 64),
    Case(100, 64, in_flight=16),
    Case(10, 1024, in_flight=64),
    Case(10, 16384, in_flight=2),
    Case(10, 16384, Flow.TO_CLIENT),
)

DESCRIPTION = """\
Measures the processor time of a message through reknit with a dialect, and of the same messages
without: the same content in the envelope of each protocol. A jsonrpc message is a statement, and
the answer to one; of the others none makes a statement (graphql-transport-ws: pong and next,
mqtt: PUBLISH of QoS 0, nats: PUB and MSG). The runs take turns, the least of all rounds counts."""


def main() -> int:
    """Exit status 1 if a run failed, 2 if none could begin."""
    parser = argparse.ArgumentParser(description=DESCRIPTION)
    add = parser.add_argument
    add("--rounds", type=int, default=5, help="how often each is measured (default: 5)")
    add("--seconds", type=float, default=1.0, help="of each measurement (default: 1)")
    add("--case", action="append", default=[], metavar="TEXT", help="only cases with this in it")
    add("--only", action="append", default=[], metavar="NAME", help="only these dialects")
    options = parser.parse_args()
    names = [name for name in SPEECHES if not options.only or name in options.only]
    cases = [case for case in CASES if _wanted(case.name, options.case)]
    try:
        cores = Cores.choose()
        raise_file_limit()
        rows = [["processor µs per message, with (without): ratio", *names]]
        for case in cases:
            cells = []
            for name in names:
                with_it, without = _measure(replace(case, speech=name), cores, options)
                cells.append(f"{number(with_it)} ({number(without)}): {with_it / without:.2f}")
                print(f"{case.name:40} {name:24} {cells[-1]}", file=sys.stderr, flush=True)
            rows.append([case.name, *cells])
    except StartError as error:
        print(f"dialects.py: {error}", file=sys.stderr)
        return 2
    except RunError as error:
        print(f"dialects.py: {error}", file=sys.stderr)
        return 1
    rows.insert(1, ["---", *("---:" for _ in names)])
    print("\n".join("| " + " | ".join(row) + " |" for row in rows))
    print(f"\n{reknit_version()}, the least of {options.rounds} rounds of {options.seconds:g} s")
    return 0


def _measure(case: Case, cores: Cores, options: argparse.Namespace) -> tuple[float, float]:
    """µs of a message with the case's dialect, and without. Raises RunError, StartError."""
    least = [float("inf")] * 2
    with ExitStack() as stack:
        directory = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        log = stack.enter_context((directory / "log").open("w"))
        port = free_port()
        stack.callback(stop, start_server(port, cores.server, log))
        proxies = []
        for dialect in (case.speech, "none"):
            peer = at_least_once(Place(port, directory, case.connections))
            command = [*peer.command, "--dialect", dialect]
            process = start(command, cores.proxy, peer.port, log)
            stack.callback(stop, process)
            proxies.append((peer, process))
        os.sched_setaffinity(0, {cores.load})
        gc.disable()  # a collection of the loader's would show as a slow proxy
        for _ in range(options.rounds):
            for place, (peer, process) in enumerate(proxies):
                sample = measure.loaded(peer.port, process, case, options.seconds)
                least[place] = min(least[place], sample.processor)
    os.sched_setaffinity(0, {cores.proxy, cores.load, cores.server})
    gc.enable()
    return least[0], least[1]


def _wanted(name: str, parts: list[str]) -> bool:
    return not parts or any(part in name for part in parts)


if __name__ == "__main__":
    sys.exit(main())
