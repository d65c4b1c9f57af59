"""Fuzzing of bytes that is guided by what code they reach, on atheris (libFuzzer for Python).

libFuzzer never returns, so each target of fuzz_bytes.py runs in a process of its own, which is
this module: `python -m reknit.verify.fuzz.guided TARGET SECONDS DIRECTORY`.
"""

import importlib.util
import os
import signal
import subprocess
import sys
from pathlib import Path
from tempfile import TemporaryDirectory
from types import FrameType
from typing import NoReturn

LONGEST = 20_000  # bytes of an input: more than the head of a handshake may have
HANG = 10.0  # seconds for one input
_FOUND = 1


def is_available() -> bool:
    """Whether atheris is installed."""
    return importlib.util.find_spec("atheris") is not None


def run(seconds: int, corpus: Path | None) -> str | None:
    """Fuzz each target for its part of that time; `corpus` keeps the inputs that reach new code.

    Returns None if all held, else what was found, as something that shows it again. Raises
    RuntimeError where the fuzzer itself fails.
    """
    from reknit.verify.fuzz.bytes import TARGETS

    with TemporaryDirectory() as passing:
        for target in TARGETS:
            directory = (corpus or Path(passing)) / target
            directory.mkdir(parents=True, exist_ok=True)
            time = str(max(1, seconds // len(TARGETS)))
            command = (sys.executable, "-m", __name__, target, time, str(directory))
            done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=False)  # noqa: S603
            if done.returncode == _FOUND and done.stdout:
                return done.stdout
            if done.returncode:
                raise RuntimeError(f"fuzzing of {target} ended with status {done.returncode}")
    return None


def main(target: str, seconds: str, directory: str) -> NoReturn:
    """Fuzz one target in this process. The status is 1 where something was found."""
    import atheris

    with atheris.instrument_imports(include=["reknit_core", "wsproto", "h11"]):
        from reknit.verify.fuzz.bytes import SEEDS, broken

    def hangs(signal_number: int, at: FrameType | None) -> NoReturn:
        raise TimeoutError(f"not done after {HANG:g} seconds")

    def feed(data: bytes) -> None:
        signal.setitimer(signal.ITIMER_REAL, HANG)
        found = broken(target, data)
        signal.setitimer(signal.ITIMER_REAL, 0)
        if found is not None:
            sys.stdout.write(found)
            sys.stdout.flush()
            os._exit(_FOUND)  # else libFuzzer reports it once more, in its own way

    signal.signal(signal.SIGALRM, hangs)
    for number, seed in enumerate(SEEDS[target]):
        Path(directory, f"seed-{number}").write_bytes(seed)
    limits = (f"-max_total_time={seconds}", f"-max_len={LONGEST}", "-timeout=0")
    atheris.Setup([sys.argv[0], *limits, directory], feed)
    atheris.Fuzz()
    raise AssertionError("libFuzzer does not return")


if __name__ == "__main__":
    main(*sys.argv[1:])
