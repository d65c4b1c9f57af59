"""Which web pages may connect: the Origin header of a handshake (RFC 6454; RFC 6455, 10.2)."""

import re
from collections.abc import Iterable
from dataclasses import dataclass

# As `--allow-origin` takes them: an origin, a host with or without a port, either with `*.`.
_SCHEME = r"[A-Za-z][A-Za-z0-9+.-]*"
_HOST = r"[A-Za-z0-9_-]+(?:\.[A-Za-z0-9_-]+)*|\[[0-9A-Fa-f:.]+\]"
ORIGIN = rf"null|(?:({_SCHEME})://)?(\*\.)?({_HOST})(?::([0-9]{{1,5}}|\*))?"
ORIGIN_WORDS = (
    "null, or [SCHEME://]HOST[:PORT], where HOST may begin with '*.' and PORT may be '*', "
    "separated by commas"
)

_SENT = re.compile(rf"({_SCHEME})://({_HOST})(?::([0-9]{{1,5}}))?")
_WEB = ("http", "https")
_DEFAULT_PORTS = {"http": "80", "https": "443"}


def is_origin(text: str) -> bool:
    """Whether `--allow-origin` takes that."""
    match = re.fullmatch(ORIGIN, text)
    port = match[4] if match else None
    return match is not None and (port in (None, "*") or 0 < int(port) < 65536)


@dataclass(frozen=True, slots=True)
class _Pattern:
    schemes: tuple[str, ...]
    host: str
    subdomains: bool
    port: str | None
    """None: the scheme's own; `*`: any."""

    def matches(self, scheme: str, host: str, port: str) -> bool:
        own = _DEFAULT_PORTS.get(scheme, "")
        return (
            scheme in self.schemes
            and (host.endswith("." + self.host) if self.subdomains else host == self.host)
            and (self.port == "*" or port == (self.port or own))
        )


class Origins:
    """The origins that are let in; none named: all are.

    A pattern without a scheme stands for http and https, one without a port for the scheme's
    own. `*.example.org` stands for every name below example.org, but not for that one.
    """

    def __init__(self, allowed: Iterable[str]) -> None:
        self._all = not allowed
        self._null = False
        self._patterns: list[_Pattern] = []
        for text in allowed:
            match = re.fullmatch(ORIGIN, text)
            if text == "null" or match is None:
                self._null = True
                continue
            scheme, wildcard, host, port = match.groups()
            schemes = (scheme.lower(),) if scheme else _WEB
            self._patterns.append(_Pattern(schemes, host.lower(), wildcard is not None, port))

    def allow(self, origin: str | None) -> bool:
        """Whether a client that sends this Origin is let in; None: it sends none.

        Browsers always send one, and a page can't choose it; other programs can send any. So
        the limit is for browsers, and a client without an Origin is let in.
        """
        if self._all or origin is None:
            return True
        if origin == "null":
            return self._null
        match = _SENT.fullmatch(origin)
        if match is None:
            return False
        scheme, host = match[1].lower(), match[2].lower()
        port = match[3] or _DEFAULT_PORTS.get(scheme, "")
        return any(pattern.matches(scheme, host, port) for pattern in self._patterns)
