"""Which HTTP headers pass the proxy: what is hop-by-hop, the proxy's own, or the handshake's."""

import re
from datetime import UTC
from functools import lru_cache
from urllib.parse import unquote

HeaderList = tuple[tuple[bytes, bytes], ...]

# RFC 9110, section 7.6.1, and the framing of a body: a property of one connection. And Host.
_HOP_BY_HOP = frozenset(
    (
        b"connection",
        b"content-length",
        b"host",
        b"keep-alive",
        b"proxy-authenticate",
        b"proxy-authorization",
        b"proxy-connection",
        b"te",
        b"trailer",
        b"transfer-encoding",
        b"upgrade",
    )
)
UPGRADE_REQUIRED = 426
_FORWARDED = b"x-forwarded-"
_RECONNECT = b"x-reconnect"  # the proxy's own headers all begin so
_HANDSHAKE = b"sec-websocket-"


@lru_cache(maxsize=256)  # all say the same few names
def normalised(name: bytes) -> bytes:
    """A header's name as it is compared: CGI and its heirs can't tell `_` from `-`."""
    return name.strip().lower().replace(b"_", b"-")


def is_own(name: bytes) -> bool:
    """Whether a header of that normalised name is set by the proxy for each connection."""
    return name == b"forwarded" or name.startswith((_FORWARDED, _RECONNECT, _HANDSHAKE))


def end_to_end(headers: HeaderList) -> HeaderList:
    """Without hop-by-hop headers, those that Connection names, and the handshake's own.

    Names stay as they were written.
    """
    passing = _passing(headers)
    return tuple((name, value) for key, name, value in passing if not key.startswith(_HANDSHAKE))


def of_answer(headers: HeaderList, status: int) -> HeaderList:
    """What passes of an answer of a server's other than 101.

    What it says of the handshake stays, as Sec-WebSocket-Version (RFC 6455, 4.4); in a 426
    Upgrade does too, which is why there is one (RFC 9110, 15.5.22).
    """
    passing = tuple((name, value) for _, name, value in _passing(headers))
    if status != UPGRADE_REQUIRED:
        return passing
    upgrades = ((name, value) for name, value in headers if name.lower() == b"upgrade")
    return (*passing, *upgrades)


def says_upgrade(headers: HeaderList) -> bool:
    """Whether Connection must name Upgrade, because there is one (RFC 9110, 7.8)."""
    return any(name.lower() == b"upgrade" for name, _ in headers)


def _passing(headers: HeaderList) -> list[tuple[bytes, bytes, bytes]]:
    """Those that are not for one hop: each with its name normalised, as written, and its value."""
    keyed = [(normalised(name), name, value) for name, value in headers]
    dropped = _HOP_BY_HOP
    for key, _, value in keyed:
        if key == b"connection" and value.lower() != b"upgrade":
            dropped = dropped.union(map(normalised, value.split(b",")))
    return [header for header in keyed if header[0] not in dropped]


def as_lines(headers: HeaderList) -> bytes:
    """Them as `name: value` lines, without a line's end behind the last."""
    return b"\n".join([name + b": " + value for name, value in headers])


def for_server(headers: HeaderList, id_header: bytes) -> HeaderList:
    """A client's headers without those that the proxy says itself."""
    own_id = normalised(id_header)
    return tuple(
        (name, value) for key, name, value in _passing(headers) if not is_own(key) and key != own_id
    )


def for_client(headers: HeaderList, id_header: bytes) -> HeaderList:
    """A server's headers in a 101, without those that the proxy says itself or keeps."""
    return _not_own(end_to_end(headers), id_header)


def for_refused(headers: HeaderList, status: int, id_header: bytes) -> HeaderList:
    """As for_client(), in an answer other than 101."""
    return _not_own(of_answer(headers, status), id_header)


def _not_own(headers: HeaderList, id_header: bytes) -> HeaderList:
    return tuple(
        (name, value)
        for name, value in headers
        if (key := name.lower()) != id_header and not key.startswith(_RECONNECT)
    )


def reason_phrase(given: bytes) -> bytes:
    """A status line's reason as it may go on: nothing, if it holds what none may (RFC 9112, 4)."""
    return given if re.fullmatch(rb"[\t -~\x80-\xff]*", given) else b""


def value_of(headers: HeaderList, name: bytes) -> str | None:
    """The first header of that (lower-case) name."""
    for key, value in headers:
        if key == name or (len(key) == len(name) and key.lower() == name):
            return value.decode("latin-1")
    return None


def cookie(headers: HeaderList, name: str) -> str | None:
    """The value of a cookie in the Cookie headers (RFC 6265, section 4.2)."""
    for key, value in headers:
        if key.lower() == b"cookie":
            for pair in value.decode("latin-1").split(";"):
                found, _, content = pair.strip().partition("=")
                if found == name:
                    return content.strip('"')
    return None


def query_value(target: str, name: str) -> str | None:
    """The first value of a query parameter in a request target."""
    if "?" not in target:
        return None
    _, _, query = target.partition("?")
    for part in query.split("&"):
        found, _, value = part.partition("=")
        if unquote(found) == name:
            return unquote(value)
    return None


def without_query(target: str, names: frozenset[str]) -> str:
    """The target without these query parameters; the others stay as they were written."""
    if "?" not in target:
        return target
    path, _, query = target.partition("?")
    parts = query.split("&")
    kept = [part for part in parts if unquote(part.partition("=")[0]) not in names]
    if len(kept) == len(parts):
        return target
    rest = "&".join(kept)
    return f"{path}?{rest}" if rest else path


def is_via(headers: HeaderList, name: str) -> bool:
    """Whether a message has passed a gateway that calls itself that (RFC 9110, 7.6.3)."""
    entries = (
        entry.split()
        for key, value in headers
        if key.lower() == b"via"
        for entry in value.decode("latin-1").split(",")
    )
    return any(entry[1:2] == [name] for entry in entries)


def retry_after(headers: HeaderList, wall: float | None = None) -> float:
    """For how many seconds a Retry-After header asks (RFC 9110, 10.2.3); else 0.

    A date counts from the answer's own Date, so that clocks needn't agree; without that from
    `wall`, the time of day (seconds since 1970).
    """
    value = value_of(headers, b"retry-after") or ""
    if value.isascii() and value.isdigit():
        return float(value)
    until = _read_date(value)
    said = _read_date(value_of(headers, b"date") or "")
    since = wall if said is None else said
    return 0.0 if until is None or since is None else max(0.0, until - since)


def _read_date(text: str) -> float | None:
    """A date in one of HTTP's three forms (RFC 9110, 5.6.7) in seconds since 1970; else None."""
    if not text:
        return None
    from email.utils import parsedate_to_datetime  # a large module, for a rare header

    try:
        date = parsedate_to_datetime(text)
        return date.replace(tzinfo=date.tzinfo or UTC).timestamp()
    except (ValueError, TypeError, OverflowError):
        return None
