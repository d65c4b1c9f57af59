"""One measurement of one proxy: messages, sessions, or the memory that connections take."""

import gc
import time
from dataclasses import asdict, dataclass
from subprocess import Popen

from cases import Case, SessionCase
from load import Load, RunError
from processes import memory, processor_seconds
from sessions import Sessions

WARM_UP = 0.2  # seconds of load before each measurement
IDLE_CONNECTIONS = 1000  # and as many again, whose memory is read
SETTLE = 1.0  # seconds before memory is read
IDLE_SECONDS = 3.0  # seconds over which the processor time of idle connections is read
CROWD = Case(100, 65536, in_flight=16)  # that sends for a second, and goes
QUIET = 0.2  # seconds in which a proxy is done with the last session


@dataclass(frozen=True, slots=True)
class Sample:
    """One run: messages or sessions a second, µs, and the part of its core that the proxy used."""

    rate: float
    p50: float | None
    p99: float | None
    processor: float
    busy: float


@dataclass(frozen=True, slots=True)
class Idle:
    """Idle connections: KiB each and for the process without any, % of a core for 1,000."""

    connection: float
    base: float
    processor: float


@dataclass(frozen=True, slots=True)
class Gone:
    """What a process keeps when its clients have gone, and what it had before they came; MiB."""

    held: float
    base: float


def loaded(
    port: int, process: Popen[bytes] | None, case: Case, seconds: float, authority: str = ""
) -> Sample:
    """Load a proxy with a case. Raises RunError for whatever is not as it must be."""
    pid = process.pid if process else None
    load = Load(port, authority=authority)
    try:
        load.open(case.connections)
        load.plan(case)
        load.run(case, WARM_UP)
        gc.collect()
        before = processor_seconds(pid) if pid else 0.0
        result = load.run(case, seconds)
        used = processor_seconds(pid) - before if pid else 0.0
        if not result.messages:
            raise RunError("no message came through")
        return Sample(
            rate=result.messages / result.seconds,
            p50=result.p50 and result.p50 * 1e6,
            p99=result.p99 and result.p99 * 1e6,
            processor=used / result.messages * 1e6,
            busy=used / result.seconds,
        )
    finally:
        load.close()


def sessions(
    loader: Sessions, process: Popen[bytes] | None, case: SessionCase, many: int
) -> Sample:
    """Have sessions come and go. Raises RunError for whatever is not as it must be."""
    for command in case.before:
        loader.tell(command.format(many=many))
    time.sleep(QUIET)
    before = processor_seconds(process.pid) if process else 0.0
    answer = loader.tell(case.measured.format(many=many))
    time.sleep(QUIET)
    used = processor_seconds(process.pid) - before if process else 0.0
    if answer.dials != answer.done * case.dials:
        raise RunError(f"{answer.done} done, and the server got {answer.dials} connections")
    for command in case.after:
        loader.tell(command)
    p50, p99 = answer.trip(0.5), answer.trip(0.99)
    return Sample(
        rate=answer.done / answer.seconds,
        p50=p50 and p50 * 1e6,
        p99=p99 and p99 * 1e6,
        processor=used / answer.done * 1e6,
        busy=used / answer.seconds,
    )


def gone(port: int, process: Popen[bytes], seconds: float) -> Gone:
    """What is left of a crowd when it has gone. Raises RunError."""
    time.sleep(SETTLE)
    base = memory(process.pid)
    load = Load(port)
    try:
        load.open(CROWD.connections)
        load.plan(CROWD)
        load.run(CROWD, seconds)
    finally:
        load.close()
    time.sleep(SETTLE)
    return Gone(held=(memory(process.pid) - base) / (1 << 20), base=base / (1 << 20))


def idle(port: int, process: Popen[bytes]) -> Idle:
    """What connections cost that nobody uses. Raises RunError."""
    load = Load(port)
    try:
        load.rest(SETTLE)
        base = memory(process.pid)
        # The first thousand makes what is made once: caches, pools, what many openings need.
        load.open(IDLE_CONNECTIONS)
        load.rest(SETTLE)
        few = memory(process.pid)
        load.open(IDLE_CONNECTIONS)
        load.rest(SETTLE)
        many = memory(process.pid)
        before = processor_seconds(process.pid)
        load.rest(IDLE_SECONDS)
        used = processor_seconds(process.pid) - before
        return Idle(
            connection=(many - few) / IDLE_CONNECTIONS / 1024,
            base=base / 1024,
            processor=used / IDLE_SECONDS / 2 * 100,
        )
    finally:
        load.close()


def plain(value: Sample | Idle | Gone) -> dict[str, float | None]:
    """As it stands in the JSON file, with four digits."""
    return {
        name: number if number is None else float(f"{number:.4g}")
        for name, number in asdict(value).items()
    }
