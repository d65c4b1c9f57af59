"""Ten deaths of each application's server while 1,000 things are said: what is lost, and how long.

Each client runs direct and through reknit, side by side.
"""

import argparse
import asyncio
import sys
import tempfile
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent.parent / "support"))

from application_table import APPLICATIONS
from applications import Application, Fault, compared


def main() -> None:
    """Run those that are named, or all."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("names", nargs="*", help="a part of their names; all, if there is none")
    parser.add_argument("--faults", default=",".join(["KILL"] * 10), help="in order")
    parser.add_argument("--count", type=int, default=1000, help="how many things are said")
    parser.add_argument("--log", action="store_true", help="print the log of reknit")
    given = parser.parse_args()
    faults = [Fault[name] for name in given.faults.split(",")]
    for application in APPLICATIONS:
        if given.names and not any(name in application.name for name in given.names):
            continue
        if application.lacks:
            print(f"not run: {application.lacks}")
        else:
            _show(application, faults, given.count, log=given.log)


def _show(application: Application, faults: list[Fault], count: int, *, log: bool) -> None:
    with tempfile.TemporaryDirectory() as state:
        outcomes = asyncio.run(compared(application, Path(state), faults, count))
    print(application.name)
    for name, outcome in zip(("direct", "reknit"), outcomes, strict=True):
        print(f"  {name}: {outcome}")
        for error in sorted(set(outcome.errors))[:5]:
            print(f"    {outcome.errors.count(error)} times: {error}")
        for line in outcome.log if log else ():
            print(f"    {line}")


if __name__ == "__main__":
    main()
