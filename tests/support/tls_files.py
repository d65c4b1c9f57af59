"""Certificates for tests, as files: made once a process, since making a key takes its time."""

import ssl
from datetime import UTC, datetime, timedelta
from functools import cache
from pathlib import Path

import trustme
from reknit.sockets.tls import TlsSocket


@cache
def authority(name: str = "") -> trustme.CA:
    """A certificate authority; another name, another one."""
    return trustme.CA()


@cache
def certificate(*names: str, ca: str = "", expired: bool = False) -> trustme.LeafCert:
    """A certificate for these host names and addresses."""
    past = datetime.now(UTC) - timedelta(days=1) if expired else None
    return authority(ca).issue_cert(*names, not_after=past)


def write_authority(directory: Path, name: str = "") -> str:
    """The authority's certificate in a file; the file's name."""
    file = directory / f"ca{name}.pem"
    authority(name).cert_pem.write_to_path(str(file))
    return str(file)


def write_certificate(file: Path, cert: trustme.LeafCert) -> str:
    """The certificate and its key in that file; the file's name."""
    cert.private_key_and_cert_chain_pem.write_to_path(str(file))
    return str(file)


def server_context(cert: trustme.LeafCert, *, client_ca: str | None = None) -> ssl.SSLContext:
    """How a server of a test speaks TLS; `client_ca`: clients need a certificate of that one."""
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    cert.configure_cert(context)
    if client_ca is not None:
        authority(client_ca).configure_trust(context)
        context.verify_mode = ssl.CERT_REQUIRED
    return context


def client_context(ca: str = "", cert: trustme.LeafCert | None = None) -> ssl.SSLContext:
    """How a client of a test speaks TLS."""
    context = ssl.create_default_context()
    authority(ca).configure_trust(context)
    if cert is not None:
        cert.configure_cert(context)
    return context


def shake_hands(*ends: TlsSocket) -> None:
    """The TLS handshake of both ends of a connection."""
    while sum(end.shake_hands() for end in ends):
        pass
