"""The limit on open files is raised when the proxy starts, and bounds how many may connect."""

import subprocess
import sys

from reknit_core.policy.policy import Policy

PROGRAM = """
import logging, resource, sys
from reknit.process.file_limit import fit_to_files, tell_room
from reknit_core.policy.policy import Policy
resource.setrlimit(resource.RLIMIT_NOFILE, (64, 1000))
logging.basicConfig(format="%(levelname)s %(message)s", level="INFO")
sessions, connections = map(int, sys.argv[1:])
wanted = Policy(session_limit=sessions, connection_limit=connections)
policy = fit_to_files(wanted)
tell_room(wanted, policy)
limit = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
print(limit, policy.session_limit, policy.connection_limit)
"""


def run(sessions: int, connections: int) -> tuple[str, str]:
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM, str(sessions), str(connections)],
        capture_output=True,
        text=True,
        check=True,
    )
    return done.stdout, done.stderr


def test_the_limit_is_raised_as_far_as_it_may_be() -> None:
    assert run(450, 449) == ("1000 450 449\n", "")


def test_too_low_a_limit_for_what_nobody_has_asked_for_is_not_said() -> None:
    sessions = Policy().session_limit
    assert run(sessions, sessions) == ("1000 450 450\n", "")


def test_too_low_a_limit_is_said_and_there_are_no_more_sessions_than_it_has_room_for() -> None:
    limits, log = run(451, 10**6)
    assert limits == "1000 450 450\n"
    assert log.startswith(
        "INFO up to 450 sessions at one time, by the system's limit of 1000 open files; for more, "
    )
