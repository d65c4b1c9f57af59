"""Where proxies are measured: all on one core, one at a time, and in turns."""

import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from subprocess import Popen
from typing import IO

import measure
from cases import Case, SessionCase
from load import RunError
from measure import Gone, Idle, Sample
from peers import Peer, Place
from processes import Cores, StartError, start, start_server, stop
from report import DIRECT, Numbers, number
from sessions import sessions

Running = tuple[Peer, Popen[bytes] | None]


@dataclass(slots=True)
class Notes:
    """What was measured so far: for each row and proxy what each round gave."""

    rounds: dict[str, dict[str, list[Numbers | None]]] = field(default_factory=dict)
    failures: list[str] = field(default_factory=list)

    def note(self, row: str, peer: Peer, run: Callable[[], Sample | Idle | Gone]) -> None:
        """Measure a row once, and note what it gave."""
        sample: Numbers | None = None
        try:
            sample = measure.plain(run())
            told = ", ".join(f"{key} {number(value)}" for key, value in sample.items() if value)
        except (RunError, StartError) as error:
            self.failures.append(f"{row}: {peer.name}: {error}")
            told = f"FAILED: {error}"
        self.rounds.setdefault(row, {}).setdefault(peer.name, []).append(sample)
        say(f"  {peer.name:24} {told}")


@dataclass(frozen=True, slots=True)
class Stage:
    """Proxies in front of one server. `authority`: the file of it, if clients speak TLS."""

    notes: Notes
    cores: Cores
    place: Place
    log: IO[str]
    rounds: int
    authority: str = ""

    def messages(self, cases: Sequence[Case], peers: Sequence[Peer], seconds: float) -> None:
        """All proxies run, one is loaded at a time: the others sleep."""
        with self._server(), self._started(peers) as running:
            for case in cases:
                say(case.name)
                for peer, process in running * self.rounds:
                    place = peer.port, process, case, seconds, self.authority
                    self.notes.note(case.name, peer, partial(measure.loaded, *place))

    def sessions(
        self, cases: Sequence[SessionCase], peers: Sequence[Peer], loader: Path, many: int
    ) -> None:
        """As messages(), but the compiled loader is both the clients and the server."""
        with self._started(peers) as running:
            for case in cases:
                say(case.name)
                for peer, process in running * self.rounds:
                    if peer.resumes or not case.resumes:
                        run = partial(self._sessions, peer, process, case, loader, many)
                        self.notes.note(case.name, peer, run)

    def _sessions(
        self, peer: Peer, process: Popen[bytes] | None, case: SessionCase, loader: Path, many: int
    ) -> Sample:
        ports = peer.port, self.place.upstream
        with sessions(loader, self.cores.load, ports, self.authority, self.log) as ends:
            return measure.sessions(ends, process, case, many)

    def memory(
        self, row: str, peers: Sequence[Peer], run: Callable[[int, Popen[bytes]], Idle | Gone]
    ) -> None:
        """Each proxy once, in a fresh process, whose port and process `run` gets."""
        say(row)
        with self._server():
            for peer in peers:
                self.notes.note(row, peer, partial(self._memory, peer, run))

    def _memory(self, peer: Peer, run: Callable[[int, Popen[bytes]], Idle | Gone]) -> Idle | Gone:
        with self._started([peer]) as ((_, process), *_):
            assert process is not None
            return run(peer.port, process)

    @contextmanager
    def _server(self) -> Iterator[None]:
        process = start_server(self.place.upstream, self.cores.server, self.log)
        try:
            yield
        finally:
            stop(process)

    @contextmanager
    def _started(self, peers: Sequence[Peer]) -> Iterator[list[Running]]:
        """These proxies, and none at all where clients need no TLS. Raises StartError."""
        with ExitStack() as stack:
            running: list[Running] = []
            for peer in peers:
                core, environment = self.cores.proxy, peer.environment
                process = start(peer.command, core, peer.port, self.log, environment)
                stack.callback(stop, process)
                running.append((peer, process))
            if not self.authority:
                running.append((Peer(DIRECT, "", self.place.upstream, ()), None))
            yield running


def say(text: str) -> None:
    """Tell who waits for the result."""
    print(text, file=sys.stderr, flush=True)
