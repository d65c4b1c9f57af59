"""What a client claims in its opening handshake: which session it wants, and as whose client.

Each can be said by a header or, for browsers, which can't set headers, by a query parameter; the
session's id also by a cookie. The header counts before the parameter, that before the cookie.
"""

import re
from dataclasses import dataclass

from reknit_core.policy.policy import Policy
from reknit_core.wire.handshake import Refusal, UpgradeRequest, refusal
from reknit_core.wire.headers import cookie, query_value, value_of

RECONNECT = b"x-reconnect"
RECONNECT_ID = b"x-reconnect-id"
RECEIVED = b"x-reconnect-received"
TOKEN = b"x-reconnect-token"
ID_QUERY = "reconnect_id"
RECEIVED_QUERY = "reconnect_received"
TOKEN_QUERY = "reconnect_token"  # noqa: S105
HELLO_QUERY = "reconnect_hello"

OWN_QUERIES = frozenset((ID_QUERY, RECEIVED_QUERY, TOKEN_QUERY, HELLO_QUERY))
"""The query parameters that are for the proxy alone, but for that with the id (see Policy)."""

_ID = re.compile(r"[A-Za-z0-9._~+/=:@-]{1,128}")


@dataclass(frozen=True, slots=True)
class Claim:
    """What a client's `request` says of a session.

    `connection_id`: the session that it names; None: none. `must_resume`: whether it wants that
    one or none at all. `received`: how many messages of that session it has; None: it does not
    count. `token`: the one that it shows; empty: none. `hello`: whether it wants to be told the
    proxy's headers by a message. `can_return`: whether it has shown that it knows how to come
    back.
    """

    request: UpgradeRequest
    connection_id: str | None
    must_resume: bool
    received: int | None
    token: str
    hello: bool
    can_return: bool

    @classmethod
    def read(cls, policy: Policy, request: UpgradeRequest) -> "Claim | Refusal":
        """The claim, or the answer to one that can't be understood."""
        target = request.target
        headers = tuple([each for each in request.headers if each[0].startswith(RECONNECT)])
        resume = value_of(headers, RECONNECT_ID)
        if resume is None:
            resume = query_value(target, ID_QUERY)
        named = _named(policy, request) if resume is None else resume
        if named is not None and not _ID.fullmatch(named):
            return refusal(400, "bad_connection_id", "1 to 128 letters, digits or ._~+/=:@-")
        try:
            received = received_count(
                value_of(headers, RECEIVED) or query_value(target, RECEIVED_QUERY)
            )
        except ValueError as error:
            return refusal(400, "bad_count", str(error))
        return cls(
            request,
            named,
            resume is not None or (named is not None and policy.require_minted_id),
            received,
            value_of(headers, TOKEN) or query_value(target, TOKEN_QUERY) or "",
            query_value(target, HELLO_QUERY) == "1",
            named is not None or bool(headers) or _has_own_query(target),
        )


def received_count(text: str | None) -> int | None:
    """The value of x-reconnect-received. Raises ValueError if it is no count of messages."""
    if text is None:
        return None
    if not (text.isascii() and text.isdigit() and len(text) < 20):
        raise ValueError(f"{text!r} is not a number of messages")
    return int(text)


def _named(policy: Policy, request: UpgradeRequest) -> str | None:
    """The id of a session that is resumed if it is there, and begun if it is not."""
    named = value_of(request.headers, policy.id_header_name)
    if named is None:
        named = query_value(request.target, policy.id_query)
    if named is None:
        named = cookie(request.headers, policy.id_cookie)
    return named


def _has_own_query(target: str) -> bool:
    """Whether there is any query parameter that is made for coming back."""
    return "?" in target and any(query_value(target, name) is not None for name in OWN_QUERIES)
