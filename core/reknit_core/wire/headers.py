"""Which HTTP headers pass the proxy: what is hop-by-hop, the proxy's own, or the handshake's."""

from collections.abc import Iterable
from urllib.parse import unquote

HeaderList = tuple[tuple[bytes, bytes], ...]

# RFC 9110, section 7.6.1, and the framing of a body: a property of one connection.
_HOP_BY_HOP = frozenset(
    (
        b"connection",
        b"content-length",
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
_FORWARDED = b"x-forwarded-"
_RECONNECT = b"x-reconnect"  # the proxy's own headers all begin so
_HANDSHAKE = b"sec-websocket-"


def normalised(name: bytes) -> bytes:
    """A header's name as it is compared: CGI and its heirs can't tell `_` from `-`."""
    return name.strip().lower().replace(b"_", b"-")


def is_own(name: bytes) -> bool:
    """Whether a header of that normalised name is set by the proxy for each connection."""
    return name == b"forwarded" or name.startswith((_FORWARDED, _RECONNECT, _HANDSHAKE))


def end_to_end(headers: Iterable[tuple[bytes, bytes]]) -> HeaderList:
    """Without hop-by-hop headers, those that Connection names, and the handshake's own."""
    headers = [(name.lower(), value) for name, value in headers]
    dropped = set(_HOP_BY_HOP)
    for name, value in headers:
        if name == b"connection":
            dropped.update(map(normalised, value.split(b",")))
    return tuple(
        (name, value)
        for name, value in headers
        if (key := normalised(name)) not in dropped
        and key != b"host"
        and not key.startswith(_HANDSHAKE)
    )


def for_server(headers: HeaderList, id_header: bytes) -> HeaderList:
    """A client's headers without those that the proxy says itself."""
    own_id = normalised(id_header)
    return tuple(
        (name, value)
        for name, value in end_to_end(headers)
        if not is_own(key := normalised(name)) and key != own_id
    )


def for_client(headers: HeaderList, id_header: bytes) -> HeaderList:
    """A server's headers without those that the proxy says itself or keeps."""
    return tuple(
        (name, value)
        for name, value in end_to_end(headers)
        if name != id_header and not name.startswith(_RECONNECT)
    )


def value_of(headers: HeaderList, name: bytes) -> str | None:
    """The first header of that (lower-case) name."""
    for key, value in headers:
        if key.lower() == name:
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
    _, _, query = target.partition("?")
    for part in query.split("&"):
        found, _, value = part.partition("=")
        if unquote(found) == name:
            return unquote(value)
    return None


def without_query(target: str, names: frozenset[str]) -> str:
    """The target without these query parameters; the others stay as they were written."""
    path, _, query = target.partition("?")
    parts = query.split("&")
    kept = [part for part in parts if unquote(part.partition("=")[0]) not in names]
    if len(kept) == len(parts):
        return target
    rest = "&".join(kept)
    return f"{path}?{rest}" if rest else path


def retry_after(headers: HeaderList) -> float:
    """The seconds of a Retry-After header (RFC 9110, 10.2.3), at most an hour; else 0."""
    value = value_of(headers, b"retry-after") or ""
    return min(float(value), 3600.0) if value.isascii() and value.isdigit() else 0.0
