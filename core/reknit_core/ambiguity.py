"""Requests that two readers could take for different ones: what smuggling is made of.

Each server connection carries one client's handshake and nothing else, so there is no request
of somebody else's to smuggle one into. What remains is a server that sees another path, host,
client or body than the proxy did; such a request is refused rather than mended. A header name's
`_` counts as `-`, since CGI and its heirs can't tell them apart.
"""

import re
from urllib.parse import unquote

from reknit_core.headers import HeaderList, is_own, normalised

MAX_HEADERS = 100

_CONTROL = re.compile(rb"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f]")  # RFC 9110, 5.5; CR and LF: h11
_HOST = re.compile(r"([A-Za-z0-9._~!$&'()*+,;=%-]*|\[[0-9A-Fa-f:.]+\])(:[0-9]*)?")
_ORIGIN = re.compile(r"(?:http|ws)s?://([^/?#]*)", re.IGNORECASE)
_ONCE = (b"host", b"origin", b"sec-websocket-key", b"sec-websocket-version")
_NOT_OF_ONE_HOP = frozenset((b"authorization", b"cookie", b"forwarded", b"host", b"origin"))


def ambiguity(lines: HeaderList, head: bytes) -> str | None:
    """What makes a request's head ambiguous, for people; None if nothing does.

    `lines`: its headers as they came. h11 has refused bad lines and bad names already.
    """
    if _CONTROL.search(head):
        return "a control character"
    headers = [(normalised(name), value) for name, value in lines]
    names = [name for name, _ in headers]
    lengths = [value for name, value in headers if name == b"content-length"]
    if b"transfer-encoding" in names or lengths not in ([], [b"0"]):
        return "the request has a body"
    for name in _ONCE:
        if names.count(name) > 1:
            return f"more than one {name.decode()}"
    for name, value in headers:
        if name == b"connection":
            for token in map(normalised, value.split(b",")):
                if token in _NOT_OF_ONE_HOP or is_own(token):
                    return f"Connection names {token.decode()}, which is not for one hop"
    return None


def origin_form(target: str, host: str) -> str | None:
    """A request target as a path and query (RFC 9112, 3.2); None where it names no path.

    Neither may it name another host than Host does, nor climb out of the upstream's path.
    """
    if _HOST.fullmatch(host) is None or "#" in target:
        return None
    if not target.startswith("/"):
        origin = _ORIGIN.match(target)
        if origin is None or origin[1].lower() != host.lower():
            return None
        rest = target[origin.end() :]
        target = rest if rest.startswith("/") else "/" + rest
    path = target.partition("?")[0]
    return None if ".." in re.split(r"[/\\]", unquote(path)) else target
