"""Requests that two readers could take for different ones: what smuggling is made of.

Each server connection carries one client's handshake, or one plain request, and nothing else, so
there is no request of somebody else's to smuggle one into. What remains is a server that sees
another path, host, client or body than the proxy did; such a request is refused rather than
mended. A header name's `_` counts as `-`, since CGI and its heirs can't tell them apart.
"""

import re
from urllib.parse import unquote

from reknit_core.wire.headers import HeaderList, is_own, normalised

MAX_HEADERS = 100

_CONTROL = re.compile(rb"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f]")  # RFC 9110, 5.5; CR and LF: h11
_HOST = re.compile(r"([A-Za-z0-9._~!$&'()*+,;=%-]*|\[[0-9A-Fa-f:.]+\])(:[0-9]*)?")
_ORIGIN = re.compile(r"(?:http|ws)s?://([^/?#]*)", re.IGNORECASE)
_ONCE = (b"host", b"origin", b"sec-websocket-key", b"sec-websocket-version")
_FRAMING = (b"content-length", b"transfer-encoding")
_NOT_OF_ONE_HOP = frozenset((b"authorization", b"cookie", b"forwarded", b"host", b"origin"))


def ambiguity(lines: HeaderList, head: bytes, *, may_have_body: bool = False) -> str | None:
    """What makes a request's head ambiguous, for people; None if nothing does.

    `lines`: its headers as they came, names in lower case. h11 has refused bad lines and bad
    names already.
    """
    if _CONTROL.search(head):
        return "a control character"
    problem = _framing_problem(lines, head) if may_have_body else _body_problem(lines)
    if problem is not None:
        return problem
    headers = [(normalised(name), value) for name, value in lines]
    names = [name for name, _ in headers]
    for name in _ONCE:
        if names.count(name) > 1:
            return f"more than one {name.decode()}"
    for name, value in headers:
        if name == b"connection":
            for token in map(normalised, value.split(b",")):
                if token in _NOT_OF_ONE_HOP or is_own(token):
                    return f"Connection names {token.decode()}, which is not for one hop"
    return None


def _body_problem(lines: HeaderList) -> str | None:
    framing = [(key, value) for name, value in lines if (key := normalised(name)) in _FRAMING]
    return None if framing in ([], [(_FRAMING[0], b"0")]) else "the request has a body"


def _framing_problem(lines: HeaderList, head: bytes) -> str | None:
    """What leaves open where a request's body ends (RFC 9112, 6.3)."""
    framing = [(name, value) for name, value in lines if normalised(name) in _FRAMING]
    match framing:
        case []:
            return None
        case [(b"content-length", value)] if re.fullmatch(rb"[0-9]+", value):
            return None
        case [(b"transfer-encoding", value)] if value.lower() == b"chunked":
            is_old = not head.partition(b"\r\n")[0].endswith(b"HTTP/1.1")
            return "Transfer-Encoding in an older version of HTTP" if is_old else None
        case [(name, _)] if name in _FRAMING:
            return f"{name.decode()} has a value that is not allowed"
        case _:
            return "the end of the body is given more than once, or with an underscore"


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
