"""The certificates, keys and authorities of both legs, as files name them."""

import re
import ssl
from math import nan
from pathlib import Path

from reknit_core.side import Side
from reknit_core.wire.reasons import reason_of

from reknit.settings.files import FileError, read_file
from reknit.settings.options import TlsFiles
from reknit.sockets.certificate_dates import not_after

_NONE = TlsFiles()


class CertificateError(Exception):
    """A file can't be used: one line for people."""


class BothEnds:
    """How TLS is spoken on new connections, if at all.

    `for_clients`: on those that come in. `for_server`: on those that go out.
    """

    def __init__(self) -> None:
        self.for_clients: ssl.SSLContext | None = None
        self.for_server: ssl.SSLContext | None = None


class Certificates(BothEnds):
    """The TLS settings for new connections, read from files now and at each reload().

    `not_after` says of what the proxy shows to that side when it expires (seconds since 1970).
    `links`: those of connections between the nodes of a cluster.
    Raises CertificateError.
    """

    def __init__(self, files: TlsFiles = _NONE, *, secure_upstream: bool = False) -> None:
        self._files = files
        self._secure_upstream = secure_upstream
        super().__init__()
        self.links = BothEnds()
        self.not_after: dict[Side, float] = {}
        self.reload()

    @property
    def reloadable(self) -> bool:
        """Whether there are files, which can change."""
        return self._files != _NONE

    def reload(self) -> None:
        """Read all files again. Raises CertificateError; then all stays as it was."""
        for_clients = _for_clients(self._files) if self._files.tls_cert else None
        for_links = _for_links(self._files) if self._files.node_cert else (None, None)
        self.for_server = _for_server(self._files) if self._secure_upstream else None
        self.for_clients = for_clients
        self.links.for_clients, self.links.for_server = for_links
        shown = {Side.CLIENT: self._files.tls_cert, Side.SERVER: self._files.upstream_cert}
        self.not_after = {side: _not_after(name) for side, name in shown.items() if name}


def _not_after(name: str) -> float:
    """When the certificate in that file expires; nan: nobody knows."""
    try:
        return not_after(read_file(name).decode("latin-1"))
    except (OSError, ValueError):
        return nan


def _for_clients(files: TlsFiles) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    _identify(context, "--tls-cert", files.tls_cert, "--tls-key", files.tls_key)
    if files.tls_client_ca:
        _trust(context, "--tls-client-ca", files.tls_client_ca)
        context.verify_mode = ssl.CERT_REQUIRED
    return _restrict(context)


def _for_server(files: TlsFiles) -> ssl.SSLContext:
    """The server's certificate and its name are verified, else against the system's authorities."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    if files.upstream_ca:
        _trust(context, "--upstream-ca", files.upstream_ca)
    else:
        context.load_default_certs()
    if files.upstream_cert:
        cert, key = files.upstream_cert, files.upstream_key
        _identify(context, "--upstream-cert", cert, "--upstream-key", key)
    return _restrict(context)


def _for_links(files: TlsFiles) -> tuple[ssl.SSLContext, ssl.SSLContext]:
    """Either node must have a certificate of the authority, whatever name is in it.

    Nodes are called by addresses that change; who is called is seen by what it knows.
    """
    ends = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER), ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    ends[1].check_hostname = False
    for context in ends:
        _identify(context, "--node-cert", files.node_cert, "--node-key", files.node_key)
        _trust(context, "--node-ca", files.node_ca)
        context.verify_mode = ssl.CERT_REQUIRED
        _restrict(context)
    return ends


def _restrict(context: ssl.SSLContext) -> ssl.SSLContext:
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.options |= ssl.OP_NO_RENEGOTIATION
    context.set_alpn_protocols(["http/1.1"])
    return context


def _identify(
    context: ssl.SSLContext, cert_option: str, cert: str, key_option: str, key: str
) -> None:
    """Load a certificate with its chain, and its key, which may stand in the same file."""
    _check(cert_option, cert, "CERTIFICATE", "certificate")
    option, name = (key_option, key) if key else (cert_option, cert)
    _check(option, name, "PRIVATE KEY", "private key")
    try:
        context.load_cert_chain(cert, name, password=_refuse_to_ask)
    except _EncryptedError:
        raise CertificateError(f"{option}: the key in {name} is encrypted") from None
    except ssl.SSLError as error:
        if error.reason == "KEY_VALUES_MISMATCH":
            problem = f"{option}: the key in {name} is not that of the certificate in {cert}"
        else:
            problem = f"{cert_option}: can't use {cert} with the key in {name}: {_words(error)}"
        raise CertificateError(problem) from None


def _trust(context: ssl.SSLContext, option: str, name: str) -> None:
    """Accept what is signed by the authorities in that file."""
    _check(option, name, "CERTIFICATE", "certificate")
    try:
        context.load_verify_locations(name)
    except ssl.SSLError as error:
        raise CertificateError(f"{option}: can't use {name}: {_words(error)}") from None


def _check(option: str, name: str, label: str, what: str) -> None:
    """OpenSSL's word for a wrong file says nothing: look for what must be there."""
    try:
        path = Path(name)
        if path.exists() and not (path.is_file() or path.is_dir()):  # OpenSSL reads it once more
            raise FileError("it is no file")
        data = read_file(name)
    except (OSError, ValueError) as error:
        reason = reason_of(error)
        raise CertificateError(f"{option}: can't read {name}: {reason}") from None
    if not re.search(rb"-----BEGIN [A-Z ]*" + label.encode() + rb"-----", data):
        raise CertificateError(f"{option}: there is no {what} in {name} (in PEM form)")


class _EncryptedError(Exception):
    """A key asks for a passphrase."""


def _refuse_to_ask() -> str:
    raise _EncryptedError  # OpenSSL would ask on the terminal


def _words(error: ssl.SSLError) -> str:
    return (error.reason or "it is damaged").lower().replace("_", " ")
