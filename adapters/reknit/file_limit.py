"""The system's limit on open files, which bounds how many sessions there can be."""

import resource
from logging import INFO, WARNING

from reknit.logs import tell

PER_SESSION = 2  # sockets: the client's and the server's
OWN = 100  # files beside those of sessions: listeners, handshakes and dials under way


def raise_file_limit(sessions: int) -> None:
    """Allow this process as many open files as it may; say so if that many sessions need more."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft != hard:
        try:
            resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
            soft = hard
        except (ValueError, OSError) as error:  # some systems allow less than they say
            text = "can't raise the limit on open files from %(limit)d: %(reason)s"
            tell(WARNING, "file_limit_not_raised", text, limit=soft, reason=str(error))
    room = (soft - OWN) // PER_SESSION
    if soft != resource.RLIM_INFINITY and room < sessions:
        tell(
            INFO,
            "file_limit_low",
            "%(limit)d open files are allowed: room for some %(room)d sessions, not for "
            "%(sessions)d (--session-limit); a higher limit (ulimit -Hn, LimitNOFILE=) makes room",
            limit=soft,
            room=max(0, room),
            sessions=sessions,
        )
