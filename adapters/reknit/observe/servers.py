"""What the log says of several servers: which of them has gone, and which is back."""

from logging import INFO, WARNING

from reknit_core.servers import Servers

from reknit.observe.logs import tell


def tell_servers(servers: Servers) -> None:
    """One line for each that has gone or come since this was asked last."""
    for change in servers.news():
        if change.is_up:
            text = "server %(server)s is up again after %(seconds).1f seconds"
            seconds = round(change.seconds, 3)
            tell(INFO, "server_up", text, server=change.name, seconds=seconds)
        else:
            text = "server %(server)s is down: %(reason)s"
            tell(WARNING, "server_down", text, server=change.name, reason=change.reason)
