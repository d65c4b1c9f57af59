"""The server behind the proxy, as its URL names it."""

import re
from dataclasses import dataclass
from urllib.parse import urlsplit

from reknit_core.policy.policy import OF_CLIENT, OF_UPSTREAM, Policy
from reknit_core.policy.setting import PolicyError
from reknit_core.wire.reasons import without_user

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
    def url(self) -> str:
        """As parse_upstream() reads it."""
        if self.socket_path:
            return f"ws+unix:{self.socket_path}" + (f":{self.path}" if self.path else "")
        return f"{'wss' if self.secure else 'ws'}://{self.authority}{self.path}"

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
    problem = _problem(url)
    if problem:
        raise PolicyError("UPSTREAM", without_user(url), URL_FORMS, problem)
    if unix := _UNIX.fullmatch(url):
        return Upstream("localhost", 80, (unix[2] or "").rstrip("/"), socket_path=unix[1])
    parts = urlsplit(url)
    secure = parts.scheme == "wss"
    port = (443 if secure else 80) if parts.port is None else parts.port
    return Upstream(parts.hostname or "", port, parts.path.rstrip("/"), secure)


def _problem(url: str) -> str:
    """Which part of a URL is wrong; empty: none."""
    scheme, _, rest = url.partition("://")
    place = rest.partition("/")[0]
    if not re.fullmatch(r"[!-~]+", url):
        return "it has a space or a character that is not ASCII" if url else "it is empty"
    if url.startswith("ws+unix:"):
        return "" if _UNIX.fullmatch(url) else "a socket's path begins with one / and has no : ? #"
    if scheme.lower() not in ("ws", "wss"):
        return f"it does not begin with ws:// or wss://{_meant(url)}"
    if "@" in place:
        return "it has a user name or password"
    if "?" in url or "#" in url:
        return "it has a query (?)" if "?" in url else "it has a fragment (#)"
    return _problem_of_place(place)


def _problem_of_place(place: str) -> str:
    """Which part of HOST[:PORT] is wrong; empty: none."""
    found = re.fullmatch(r"(\[.*\]|[^:]*)(?::([^:]*))?", place)
    if found is None:
        return "an IPv6 address stands in brackets: [::1]"
    host, port = found[1], found[2] or "80"
    if not re.fullmatch(r"[0-9]{1,5}", port) or not 0 < int(port) < 65536:
        return "the port is not from 1 to 65535"
    if not host:
        return "there is no host"
    try:
        # As looking the name up and the handshake would: no label is empty or too long.
        (urlsplit(f"ws://{host}").hostname or "").encode("idna"), place.encode("idna")
    except ValueError:
        host = ""
    if not re.fullmatch(r"[A-Za-z0-9._%-]+|\[[A-Za-z0-9.:%]+\]", host):
        return "the host is neither a name nor an address"
    return ""


def _meant(url: str) -> str:
    """What is probably meant by a URL of another scheme, or of none."""
    scheme, separator, rest = url.partition("://")
    if not separator:
        scheme, rest = "http", url
    guess = f"{'wss' if scheme in ('https', 'wss') else 'ws'}://{rest}"
    known = scheme in ("http", "https")
    return f"; did you mean {guess}?" if known and not _problem(guess) else ""
