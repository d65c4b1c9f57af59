"""Who may ask the admin listener.

Two kinds of strangers are kept out: whoever can connect but has no token, and web pages in the
browser of somebody who can. Such a page can have its browser send requests here, also under a
name of its own that it makes resolve to this address (DNS rebinding). So Host must be a name
that only this listener has, and a request that a browser marks as another site's is refused.
"""

import hmac
import re

from reknit.admin.http_messages import ProblemError, Request
from reknit.settings.addresses import is_loopback

_HOST = re.compile(r"(?:\[([0-9a-f:.]+)\]|([a-z0-9.-]+))(?::\d*)?", re.ASCII)
_UNSAFE_SITES = ("cross-site", "same-site")  # Sec-Fetch-Site


class Guard:
    """`token`: what a request must carry. `loopback`: whether Host must name this machine."""

    def __init__(self, token: str | None, *, loopback: bool) -> None:
        self._token = token
        self._loopback = loopback

    def check_site(self, request: Request) -> None:
        """Raise ProblemError for a request that another web site may be behind."""
        host = request.headers.get("host", "").lower()
        match = _HOST.fullmatch(host)
        if self._loopback and not (match and is_loopback(match[1] or match[2])):
            raise ProblemError(421, "wrong_host", "Host must be localhost or a loopback address")
        origin = request.headers.get("origin")
        if origin is not None and origin.partition("://")[2].lower() != host:
            raise ProblemError(403, "cross_site", "a request from another site")
        site = request.headers.get("sec-fetch-site")
        if site in _UNSAFE_SITES and request.method not in ("GET", "HEAD"):
            raise ProblemError(403, "cross_site", "a request from another site")

    def check_token(self, request: Request) -> None:
        """Raise ProblemError for a request without the token."""
        if self._token is None:
            return
        scheme, _, given = request.headers.get("authorization", "").partition(" ")
        right = hmac.compare_digest(given.strip().encode(), self._token.encode())
        if scheme.lower() != "bearer" or not right:
            challenge = (("www-authenticate", 'Bearer realm="reknit"'),)
            raise ProblemError(401, "unauthorized", "the token is missing or wrong", challenge)

    def knows(self, request: Request) -> bool:
        """Whether this request may ask what is not open to all."""
        try:
            self.check_site(request)
            self.check_token(request)
        except ProblemError:
            return False
        return True
