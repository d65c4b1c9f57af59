"""The system's limit on open files, which bounds how many sessions there can be."""

import resource
from dataclasses import replace
from logging import DEBUG, INFO, WARNING

from reknit_core.policy.policy import Policy

from reknit.observe.logs import tell

PER_SESSION = 2  # sockets: the client's and the server's
OWN = 100  # files beside those of sessions: listeners, clients that are refused


def fit_to_files(policy: Policy) -> Policy:
    """Allow this process as many open files as it may.

    The policy, with no more sessions and connections than there is room for: whoever comes over
    these limits is told so, while one for whom there is no file can't be told anything.
    """
    files = _raise_limit()
    if files == resource.RLIM_INFINITY:
        return policy
    room = max(1, (files - OWN) // PER_SESSION)
    return replace(
        policy,
        session_limit=min(policy.session_limit, room),
        connection_limit=min(policy.connection_limit, room),
    )


def tell_room(wanted: Policy, fitted: Policy) -> None:
    """Say so where fit_to_files() found too little room: loudly for what somebody has asked for."""
    if fitted.session_limit < wanted.session_limit:
        tell(
            DEBUG if wanted.session_limit == Policy().session_limit else INFO,
            "file_limit_low",
            "up to %(room)d sessions at one time, by the system's limit of %(limit)d open files; "
            "for more, up to the %(sessions)d of --session-limit, raise it (ulimit -Hn, "
            "LimitNOFILE=)",
            limit=resource.getrlimit(resource.RLIMIT_NOFILE)[0],
            room=fitted.session_limit,
            sessions=wanted.session_limit,
        )


def _raise_limit() -> int:
    """As far as the system lets it; what the limit is then."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft == hard:
        return soft
    try:
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    except (ValueError, OSError) as error:  # some systems allow less than they say
        text = "can't raise the limit on open files from %(limit)d: %(reason)s"
        tell(WARNING, "file_limit_not_raised", text, limit=soft, reason=str(error))
        return soft
    return hard
