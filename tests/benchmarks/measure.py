"""One measurement of one proxy: a case under load, or connections that only stand there."""

import gc
from dataclasses import asdict, dataclass
from subprocess import Popen

from cases import Case
from load import Load, RunError
from processes import memory, processor_seconds

WARM_UP = 0.2  # seconds of load before each measurement
IDLE_CONNECTIONS = 1000  # and as many again, whose memory is read
SETTLE = 1.0  # seconds before memory is read
IDLE_SECONDS = 3.0  # seconds over which the processor time of idle connections is read


@dataclass(frozen=True, slots=True)
class Sample:
    """One run: messages a second, µs, and the part of its core that the proxy used."""

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


def loaded(port: int, process: Popen[bytes] | None, case: Case, seconds: float) -> Sample:
    """Load a proxy with a case. Raises RunError for whatever is not as it must be."""
    pid = process.pid if process else None
    load = Load(port)
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


def plain(value: Sample | Idle) -> dict[str, float | None]:
    """As it stands in the JSON file, with four digits."""
    return {
        name: number if number is None else float(f"{number:.4g}")
        for name, number in asdict(value).items()
    }
