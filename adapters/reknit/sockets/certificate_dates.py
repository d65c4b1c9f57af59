"""Until when a certificate is valid: what TLS libraries tell of a peer's, but not of one's own.

The certificate is DER (X.690); its fields stand in the order of RFC 5280, section 4.1.
"""

import ssl
from datetime import UTC, datetime

_SEQUENCE, _VERSION, _UTC_TIME = 0x30, 0xA0, 0x17
_BEGIN, _END = "-----BEGIN CERTIFICATE-----", "-----END CERTIFICATE-----"


def not_after(pem: str) -> float:
    """When the first certificate of that text expires (seconds since 1970). Raises ValueError."""
    _, begins, rest = pem.partition(_BEGIN)
    body, ends, _ = rest.partition(_END)
    if not begins or not ends:
        raise ValueError("no certificate")
    try:
        return _not_after(ssl.PEM_cert_to_DER_cert(f"{_BEGIN}{body}{_END}"))
    except IndexError:
        raise ValueError("a certificate that is cut off") from None


def _not_after(certificate: bytes) -> float:
    _, whole, _ = _element(certificate)
    kind, fields, _ = _element(whole)
    if kind != _SEQUENCE:
        raise ValueError("no certificate")
    kind, _, rest = _element(fields)
    if kind == _VERSION:  # then the serial number
        _, _, rest = _element(rest)
    for _ in ("signature", "issuer"):
        _, _, rest = _element(rest)
    _, validity, _ = _element(rest)
    _, _, rest = _element(validity)  # behind notBefore
    kind, value, _ = _element(rest)
    text = value.decode("ascii")
    if kind == _UTC_TIME:  # of two digits: up to 49 they are of this century
        text = ("20" if int(text[:2]) < 50 else "19") + text
    return datetime.strptime(text, "%Y%m%d%H%M%SZ").replace(tzinfo=UTC).timestamp()


def _element(data: bytes) -> tuple[int, bytes, bytes]:
    """The first element's tag and content, and what follows it. Raises IndexError, ValueError."""
    size, start = data[1], 2
    if size & 0x80:
        start += size & 0x7F
        if start > len(data):
            raise IndexError
        size = int.from_bytes(data[2:start], "big")
    end = start + size
    if end > len(data):
        raise IndexError
    return data[0], data[start:end], data[end:]
