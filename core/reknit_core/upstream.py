"""The server behind the proxy, as its URL names it."""

import re
from dataclasses import dataclass
from urllib.parse import urlsplit

from reknit_core.policy import PolicyError


@dataclass(frozen=True, slots=True)
class Upstream:
    """The server behind the proxy: where to dial, and what its URL says."""

    host: str
    port: int
    path: str = ""

    @property
    def authority(self) -> str:
        """The Host header's value (RFC 9110, section 7.2)."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return host if self.port == 80 else f"{host}:{self.port}"

    def target(self, client_target: str) -> str:
        """The request target for a client's: the upstream's path in front of it."""
        return self.path + client_target


def parse_upstream(url: str) -> Upstream:
    """Read `ws://HOST[:PORT][/PATH]`. Raises PolicyError, named UPSTREAM."""
    allowed = "ws://HOST:PORT[/PATH]"
    try:
        parts = urlsplit(url)
        host, port = parts.hostname or "", 80 if parts.port is None else parts.port
        upstream = Upstream(host, port, parts.path.rstrip("/"))
        # As looking the name up and the handshake would: no label is empty or too long.
        host.encode("idna"), upstream.authority.encode("idna")
    except ValueError:
        raise PolicyError("UPSTREAM", url, allowed) from None
    plain = re.fullmatch(r"[!-~]+", url) and not (parts.query or parts.fragment)
    place = re.fullmatch(r"([A-Za-z0-9._%-]+|\[[A-Za-z0-9.:%]+\])(:\d*)?", parts.netloc)
    if parts.scheme != "ws" or not port or not plain or not place:
        raise PolicyError("UPSTREAM", url, allowed)
    return upstream
