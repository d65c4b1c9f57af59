"""The limit on open files is raised when the proxy starts, and is said when it is too low."""

import subprocess
import sys

PROGRAM = """
import logging, resource, sys
from reknit.file_limit import raise_file_limit
resource.setrlimit(resource.RLIMIT_NOFILE, (64, 1000))
logging.basicConfig(format="%(levelname)s %(message)s", level="INFO")
raise_file_limit(int(sys.argv[1]))
print(resource.getrlimit(resource.RLIMIT_NOFILE)[0])
"""


def run(sessions: int) -> tuple[str, str]:
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM, str(sessions)], capture_output=True, text=True, check=True
    )
    return done.stdout, done.stderr


def test_the_limit_is_raised_as_far_as_it_may_be() -> None:
    assert run(450) == ("1000\n", "")


def test_too_low_a_limit_is_said_with_what_it_has_room_for() -> None:
    limit, log = run(451)
    assert limit == "1000\n"
    assert log.startswith(
        "INFO 1000 open files are allowed: room for some 450 sessions, not for 451"
    )
