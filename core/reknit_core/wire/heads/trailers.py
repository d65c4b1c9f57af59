"""Which fields may stand behind a body: one there must not change what its message means.

Whoever has read the head has acted on it, and may yet merge the trailers into it. So what frames,
routes, authenticates, modifies or describes a message is dropped (RFC 9110, 6.5.1).
"""

from collections.abc import Iterable

from reknit_core.wire.headers import HeaderList, normalised

# Framing and what names hop-by-hop fields are dropped everywhere: see headers.py.
_FORBIDDEN = frozenset(
    (
        # routing
        b"host",
        b"max-forwards",
        # authentication, as a head has it (RFC 9110, 11; RFC 6265)
        b"authorization",
        b"cookie",
        b"set-cookie",
        b"www-authenticate",
        # request modifiers (RFC 9110, 10.1 and 14.2), with If-… below
        b"expect",
        b"pragma",
        b"range",
        # control of responses (RFC 9110, 10.2; RFC 9111, 5)
        b"age",
        b"cache-control",
        b"date",
        b"expires",
        b"location",
        b"retry-after",
        b"vary",
        b"warning",
    )
)
_FORBIDDEN_KINDS = (b"content-", b"if-", b"proxy-")
_DIGESTS = frozenset((b"content-digest", b"content-md5"))  # made for trailers: RFC 9530, 2


def hop_names(headers: Iterable[tuple[bytes, bytes]]) -> frozenset[bytes]:
    """The fields that a head's Connection names, which end here also as trailers (9110, 7.6.1)."""
    return frozenset(
        normalised(part)
        for name, value in headers
        if normalised(name) == b"connection"
        for part in value.split(b",")
    )


def allowed_trailers(trailers: Iterable[tuple[bytes, bytes]], hop: frozenset[bytes]) -> HeaderList:
    """Those that may go on; `hop`: what hop_names() said of the head."""
    return tuple(
        (name, value)
        for name, value in trailers
        if _is_allowed(key := normalised(name)) and key not in hop
    )


def _is_allowed(name: bytes) -> bool:
    if name in _DIGESTS:
        return True
    return name not in _FORBIDDEN and not name.startswith(_FORBIDDEN_KINDS)
