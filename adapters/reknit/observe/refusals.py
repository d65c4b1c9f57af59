"""What is counted, and said, of clients that are refused."""

from logging import ERROR, INFO, WARNING

from reknit_core.counters import Counters
from reknit_core.telemetry.seldom import Seldom
from reknit_core.wire.handshake import NO_UPGRADE, Refusal, refusal

from reknit.observe.logs import tell_seldom

NO_HEADER = refusal(400, "proxy_protocol", "a PROXY protocol header must come first")
UNTRUSTED = refusal(400, "proxy_protocol", "no PROXY protocol header is taken from this address")


class Refusals:
    """They go into `counters`; any stranger can cause them, so the log hears of some only."""

    def __init__(self, counters: Counters) -> None:
        self._counters = counters
        self._seldom = Seldom()

    def limited(self, address: str, answer: Refusal) -> None:
        """A client was over a limit when it came."""
        self._tell_refusal(WARNING, "limited", address, answer)

    def refused(self, address: str, answer: Refusal) -> None:
        """What a client asked for is refused."""
        self._tell_refusal(INFO, "refused", address, answer)

    def gave_way(self, address: str) -> None:
        """A client had to leave its place to another one."""
        text = "client %(address)s gave way: it asked for nothing"
        self._tell(WARNING, "limited", "gave_way", text, address=address)

    def accept_failed(self, reason: str) -> None:
        """A client that waits can't be let in."""
        text = "can't accept a connection: %(reason)s"
        self._tell(ERROR, "accept_failed", reason, text, reason=reason)

    def unannounced(self, address: str, reason: str) -> None:
        """A balancer's connection does not begin as it has to."""
        self._counters.handshakes[NO_HEADER.status] += 1
        text = "balancer %(address)s refused: no PROXY protocol header: %(reason)s"
        self._tell(WARNING, "proxy_header", reason, text, address=address, reason=reason)

    def tls_failed(self, address: str, reason: str) -> None:
        """A client got no answer, since it speaks no TLS that we understand."""
        self._counters.tls_failures += 1
        text = "client %(address)s refused: %(reason)s"
        self._tell(INFO, "tls_failed", reason, text, address=address, reason=reason)

    def _tell(self, level: int, event: str, kind: str, text: str, **fields: str | int) -> None:
        """Log it: of each kind at the 1st, 2nd, 4th, 8th, … time."""
        tell_seldom(self._seldom, f"{event} {kind}", level, event, text, **fields)

    def _tell_refusal(self, level: int, event: str, address: str, answer: Refusal) -> None:
        status, error = answer.status, answer.error
        self._counters.handshakes[status] += 1
        text = "client %(address)s refused: %(status)d %(error)s"
        if answer is NO_UPGRADE:
            text += " (--http pass would pass its request to the server)"
        if answer is UNTRUSTED:
            text += " (its address is not in --proxy-protocol-from)"
        self._tell(level, event, error, text, address=address, status=status, error=error)
