"""The server behind the proxy, as its URL names it."""

import re
from dataclasses import dataclass
from urllib.parse import urlsplit

from reknit_core.policy.policy import OF_CLIENT, OF_UPSTREAM, Policy, PolicyError

URL_FORMS = "ws://HOST[:PORT][/PATH], wss://HOST[:PORT][/PATH] or ws+unix:/SOCKET[:/PATH]"

_UNIX = re.compile(r"ws\+unix:(?://)?(/(?!/)[^:?#]*[^:?#/])(?::(/[^?#]*))?")


@dataclass(frozen=True, slots=True)
class Upstream:
    """The server behind the proxy: where to dial, and what its URL says."""

    host: str
    port: int
    path: str = ""
    secure: bool = False
    socket_path: str = ""  # of a unix socket; then host and port are what the server is told

    @property
    def authority(self) -> str:
        """Host and port as a Host header has them (RFC 9110, section 7.2)."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return host if self.port == (443 if self.secure else 80) else f"{host}:{self.port}"

    def target(self, client_target: str) -> str:
        """The request target for a client's: the upstream's path in front of it."""
        return self.path + client_target

    def host_for(self, policy: Policy, client_host: str) -> str:
        """The Host header's value for a client's, which is empty where it has sent none.

        A server that holds Origin against Host, or makes URLs of it, needs the one that the
        client knows.
        """
        if policy.host == OF_CLIENT:
            return client_host or self.authority
        return self.authority if policy.host == OF_UPSTREAM else policy.host


def parse_upstream(url: str) -> Upstream:
    """Read a URL, as URL_FORMS has it. Raises PolicyError, named UPSTREAM.

    The form for unix sockets is that of Node's ws.
    """
    plain = re.fullmatch(r"[!-~]+", url)
    if plain and (unix := _UNIX.fullmatch(url)):
        return Upstream("localhost", 80, (unix[2] or "").rstrip("/"), socket_path=unix[1])
    try:
        parts = urlsplit(url)
        secure = parts.scheme == "wss"
        host, port = parts.hostname or "", parts.port
        port = (443 if secure else 80) if port is None else port
        upstream = Upstream(host, port, parts.path.rstrip("/"), secure)
        # As looking the name up and the handshake would: no label is empty or too long.
        host.encode("idna"), upstream.authority.encode("idna")
    except ValueError:
        raise PolicyError("UPSTREAM", url, URL_FORMS) from None
    place = re.fullmatch(r"([A-Za-z0-9._%-]+|\[[A-Za-z0-9.:%]+\])(:\d*)?", parts.netloc)
    known = parts.scheme in ("ws", "wss") and not (parts.query or parts.fragment)
    if not (known and port and plain and place):
        raise PolicyError("UPSTREAM", url, URL_FORMS)
    return upstream
