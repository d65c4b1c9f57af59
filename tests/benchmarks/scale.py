"""Measures one reknit process with many connections; see --help."""

import argparse
import gc
import json
import os
import sys
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path
from subprocess import Popen
from typing import IO, Any

import crowd
from crowd import Crowd
from load import RunError
from peers import Place, at_least_once, reknit_version
from processes import (
    Cores,
    StartError,
    machine,
    memory,
    raise_file_limit,
    start,
    start_server,
    start_server_later,
    stop,
)
from report import number

HERE = Path(__file__).parent
SPARE_FILES = 200  # the proxy keeps 100 for itself; a few more sessions stand beside the crowd

DESCRIPTION = """\
Measures one reknit process: the time to open many connections, what they cost while they stand
idle with heartbeats on, all clients that lose their connections in one moment and return, and an
outage: the server is killed and comes back, while each client sends a message that must be
answered. Linux, two cores. Options after -- go to reknit serve."""

ROWS = (  # part, key, what it is, its unit
    ("opened", "seconds", "opening {connections:,} connections, 64 at a time", "s"),
    ("opened", "each_p50_ms", "one of them, p50", "ms"),
    ("opened", "each_p99_ms", "one of them, p99", "ms"),
    ("opened", "processor_us_each", "processor time for one", "µs"),
    ("standing", "kib_each", "memory of one of {connections:,} idle connections", "KiB"),
    ("standing", "mib", "memory of the process with them", "MiB"),
    ("standing", "processor_percent", "of its core, all idle, heartbeats on", "%"),
    ("standing", "pings", "heartbeats that clients answered in {seconds:g} s", ""),
    ("standing", "longest_round_trip_ms", "longest round trip of a Ping meanwhile", "ms"),
    ("comeback", "all_back", "{contexts:,} clients cut off in one moment: all are back after", "s"),
    ("comeback", "each_p50_ms", "one of them from connecting on, p50", "ms"),
    ("comeback", "each_p99_ms", "one of them from connecting on, p99", "ms"),
    ("comeback", "processor_us_each", "processor time for one", "µs"),
    ("comeback", "dialled_anew", "server connections that were lost by it", ""),
    ("comeback", "longest_round_trip_ms", "longest round trip of another's Ping meanwhile", "ms"),
    ("comeback", "longest_silence_ms", "longest time without an answer to a Ping", "ms"),
    ("comeback", "longest_turn_of_loader_ms", "of that at most by the loader of the test", "ms"),
    ("outage", "seconds_away", "server killed under {contexts:,} sessions and away for", "s"),
    ("outage", "first_dial", "it is back: first session connected after", "s"),
    ("outage", "median_dial", "half of them connected after", "s"),
    ("outage", "last_dial", "all connected after", "s"),
    ("outage", "all_delivered", "all messages of the outage answered after", "s"),
    ("outage", "repeated", "messages repeated", ""),
    ("outage", "most_dials_in_100_ms", "most sessions connected in 100 ms", ""),
    ("outage", "processor_seconds", "processor time from the kill to the last answer", "s"),
    ("outage", "mib_before", "memory before", "MiB"),
    ("outage", "mib_peak", "memory at most", "MiB"),
    ("outage", "longest_round_trip_ms", "longest round trip of a Ping meanwhile", "ms"),
    ("outage", "longest_silence_ms", "longest time without an answer to a Ping", "ms"),
    ("outage", "longest_turn_of_server_ms", "of that at most by the server of the test", "ms"),
    ("outage", "longest_turn_of_loader_ms", "of that at most by the loader of the test", "ms"),
)


class Stage:
    """The server, and a proxy before it."""

    def __init__(self, cores: Cores, place: Place, options: list[str], log: IO[str]) -> None:
        self.cores = cores
        self.place = place
        self.options = options
        self.log = log
        self.server = start_server(place.upstream, cores.server, log)

    def restart_server(self, seconds: float) -> None:
        """Kill the server now; the next one listens after so many seconds."""
        self.server.kill()
        self.server.wait()
        port, core = self.place.upstream, self.cores.server
        self.server = start_server_later(port, core, self.log, seconds)

    @contextmanager
    def proxy(self) -> Iterator[tuple[int, Popen[bytes]]]:
        """The port and process of a fresh proxy. Raises StartError."""
        peer = at_least_once(self.place)
        command = [*peer.command, *self.options]
        process = start(command, self.cores.proxy, peer.port, self.log)
        try:
            yield peer.port, process
        finally:
            stop(process)


@contextmanager
def _crowd(port: int) -> Iterator[Crowd]:
    made = Crowd(port)
    try:
        yield made
    finally:
        made.close()


def main() -> int:
    """Exit status 1 if a session was lost, 2 if nothing could begin."""
    options = _options()
    files = raise_file_limit()
    room = (files - SPARE_FILES) // 2  # the proxy and the server of a session have two sockets
    total, contexts = (min(wanted, room) for wanted in (options.connections, options.contexts))
    results: dict[str, Any] = {
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
        "machine": machine(),
        "version": reknit_version(),
        "files": files,
        "options": options.serve,
    }
    if total < options.connections or contexts < options.contexts:
        limit = f"{files} open files are allowed: room for {room} connections"
        print(f"scale.py: {limit}", file=sys.stderr)
        results["limit"] = limit
    try:
        _measure(options, total, contexts, results)
    except RunError as error:
        print(f"scale.py: FAILED: {error}", file=sys.stderr)
        return 1
    except (StartError, ValueError) as error:
        print(f"scale.py: {error}", file=sys.stderr)
        return 2
    Path(options.json).write_text(json.dumps(results, indent=1) + "\n")
    print(_table(results))
    return 0


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=DESCRIPTION)
    add = parser.add_argument
    add("--connections", type=int, default=20000, help="that stand idle (default: 20000)")
    add(
        "--contexts",
        type=int,
        default=10000,
        help="opened, cut off, and of the outage (default: 10000)",
    )
    add("--idle", type=float, default=45, help="seconds to stand idle (default: 45)")
    add("--outage", type=float, default=3, help="seconds without a server (default: 3)")
    add("--server-port", type=int, default=9125, help="of the server behind (default: 9125)")
    add("--cores", default="", metavar="N,N[,N]", help="for proxy, loader and server")
    add("--json", default=HERE / "scale.json", metavar="FILE", help="where the numbers go")
    add("serve", nargs="*", help=argparse.SUPPRESS)
    return parser.parse_args()


def _measure(
    options: argparse.Namespace, total: int, contexts: int, results: dict[str, Any]
) -> None:
    cores = Cores.choose([int(core) for core in options.cores.split(",") if core])
    with ExitStack() as stack:
        directory = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        log = stack.enter_context((directory / "log").open("w"))
        place = Place(options.server_port, directory, total)
        stage = Stage(cores, place, options.serve, log)
        stack.callback(lambda: stop(stage.server))
        os.sched_setaffinity(0, {cores.load})
        gc.disable()
        with stage.proxy() as (port, process), _crowd(port) as many:
            many.watch(1)
            base = memory(process.pid)
            results["opened"] = asdict(crowd.opening(many, process, min(contexts, total)))
            many.open(total - min(contexts, total), crowd.SOURCES)
            results["standing"] = asdict(crowd.standing(many, process, base, options.idle))
        with stage.proxy() as (port, process), _crowd(port) as many:
            many.open(contexts, crowd.SOURCES)
            results["comeback"] = asdict(crowd.comeback(many, process, place.upstream))
            restart, upstream = stage.restart_server, place.upstream
            seconds = options.outage
            results["outage"] = asdict(crowd.outage(many, process, restart, upstream, seconds))


def _table(results: dict[str, Any]) -> str:
    lines = ["| what | |", "| --- | ---: |"]
    for part, key, title, unit in ROWS:
        value = results[part][key]
        shown = f"{value:,}" if isinstance(value, int) else number(value)
        lines.append(f"| {title.format(**results[part])} | {shown} {unit} |".replace("  |", " |"))
    about = results["machine"]
    note = f"Measured {results['date'][:10]} on {about['processor']} ({about['cores']} cores, "
    note += f"{about['system']}), reknit {results['version']}, at-least-once"
    limit = f"; {results['limit']}" if "limit" in results else ""
    return "\n".join((*lines, "", f"{note}{limit}."))


if __name__ == "__main__":
    sys.exit(main())
