"""Files that can't be used are named, with what is wrong with them."""

import ssl
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import pytest
from click.testing import CliRunner
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    PrivateFormat,
    load_pem_private_key,
)
from cryptography.x509 import load_pem_x509_certificate
from hypothesis import given
from hypothesis import strategies as st
from reknit.cli.main import main
from reknit.settings.options import TlsFiles
from reknit.sockets.certificate_dates import not_after
from reknit.trio.transport.certificates import CertificateError, Certificates
from reknit_core.side import Side
from tls_files import certificate, write_authority, write_certificate

MINE = ("server.test",)


@pytest.fixture
def file(tmp_path: Path) -> Callable[[str, bytes], str]:
    def write(name: str, content: bytes) -> str:
        path = tmp_path / name
        path.write_bytes(content)
        return str(path)

    return write


def chain() -> bytes:
    return b"".join(pem.bytes() for pem in certificate(*MINE).cert_chain_pems)


def key() -> bytes:
    return certificate(*MINE).private_key_pem.bytes()


def encrypted_key() -> bytes:
    private = load_pem_private_key(key(), None)
    return private.private_bytes(
        Encoding.PEM, PrivateFormat.PKCS8, BestAvailableEncryption(b"secret")
    )


@pytest.mark.parametrize(
    ("cert", "key_content", "message"),
    [
        (b"junk", key(), "--tls-cert: there is no certificate in {cert} (in PEM form)"),
        (b"", key(), "--tls-cert: there is no certificate in {cert} (in PEM form)"),
        (chain()[:300], key(), "--tls-cert: can't use {cert} with the key in {key}: it is damaged"),
        (chain(), b"junk", "--tls-key: there is no private key in {key} (in PEM form)"),
        (chain(), encrypted_key(), "--tls-key: the key in {key} is encrypted"),
        (
            chain(),
            certificate("other.test").private_key_pem.bytes(),
            "--tls-key: the key in {key} is not that of the certificate in {cert}",
        ),
    ],
    ids=["junk", "empty", "half", "no-key", "encrypted", "another-key"],
)
def test_a_file_that_cannot_be_used(
    file: Callable[[str, bytes], str], cert: bytes, key_content: bytes, message: str
) -> None:
    files = TlsFiles(tls_cert=file("cert", cert), tls_key=file("key", key_content))
    with pytest.raises(CertificateError) as caught:
        Certificates(files)
    assert str(caught.value) == message.format(cert=files.tls_cert, key=files.tls_key)


def test_a_key_is_looked_for_with_its_certificate(file: Callable[[str, bytes], str]) -> None:
    alone = file("alone", chain())
    with pytest.raises(CertificateError, match="--upstream-cert: there is no private key in"):
        Certificates(TlsFiles(upstream_cert=alone), secure_upstream=True)
    together = TlsFiles(upstream_cert=file("both", chain() + key()))
    assert Certificates(together, secure_upstream=True).for_server is not None


@pytest.mark.parametrize("name", ["tls_client_ca", "upstream_ca"])
def test_an_authority_that_is_none(name: str, file: Callable[[str, bytes], str]) -> None:
    both = file("both", chain() + key())
    flag = "--" + name.replace("_", "-")
    for content in (key(), b""):
        files = TlsFiles(tls_cert=both, **{name: file("ca", content)})
        with pytest.raises(CertificateError, match=f"{flag}: there is no certificate in"):
            Certificates(files, secure_upstream=True)


def test_a_bad_file_at_a_reload_changes_nothing(tmp_path: Path) -> None:
    cert, ca = tmp_path / "cert", tmp_path / "ca.pem"
    write_certificate(cert, certificate(*MINE))
    files = TlsFiles(tls_cert=str(cert), upstream_ca=write_authority(tmp_path))
    certificates = Certificates(files, secure_upstream=True)
    before = (certificates.for_clients, certificates.for_server)
    for broken in (ca, cert):
        kept = broken.read_bytes()
        broken.write_text("")
        with pytest.raises(CertificateError):
            certificates.reload()
        assert (certificates.for_clients, certificates.for_server) == before
        broken.write_bytes(kept)
    certificates.reload()
    assert certificates.for_clients is not before[0]
    assert certificates.for_server is not before[1]


def test_verification_is_the_default() -> None:
    context = Certificates(secure_upstream=True).for_server
    assert context is not None
    assert context.verify_mode is ssl.CERT_REQUIRED
    assert context.check_hostname
    assert context.minimum_version is ssl.TLSVersion.TLSv1_2
    assert Certificates().for_server is None


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("--tls-cert", "/no/such"), "--tls-cert: can't read /no/such: No such file or directory"),
        (("--tls-cert", "/"), "--tls-cert: can't read /: Is a directory"),
        (("--tls-cert", ""), "--tls-cert: '' is not allowed; allowed: a file's name"),
        (("--tls-key", "k"), "--tls-key needs --tls-cert too"),
        (("--tls-client-ca", "c"), "--tls-client-ca needs --tls-cert too"),
        (("--upstream-ca", "c"), "--upstream-ca needs a wss:// upstream"),
        (("--upstream-cert", "c"), "--upstream-cert needs a wss:// upstream"),
    ],
)
def test_serve_says_it_in_one_line(options: tuple[str, ...], message: str) -> None:
    result = CliRunner().invoke(main, ["serve", "ws://127.0.0.1:1", *options])
    assert (result.exit_code, result.output) == (2, f"reknit: {message}\n")


@pytest.mark.parametrize("expired", [False, True])
def test_when_what_is_shown_expires_is_known(
    file: Callable[[str, bytes], str], expired: bool
) -> None:
    shown = certificate(*MINE, expired=expired)
    pem = b"".join(each.bytes() for each in shown.cert_chain_pems)
    cert, private = file("cert", pem), file("key", shown.private_key_pem.bytes())
    certificates = Certificates(TlsFiles(tls_cert=cert, tls_key=private))
    expires = load_pem_x509_certificate(pem).not_valid_after_utc
    assert certificates.not_after == {Side.CLIENT: expires.timestamp()}
    assert Certificates().not_after == {}


@given(st.data())
def test_dates_are_looked_for_in_no_rubbish(data: st.DataObject) -> None:
    der = ssl.PEM_cert_to_DER_cert(chain().decode().partition("-----END")[0] + END)
    cut = data.draw(st.integers(0, len(der)))
    junk = data.draw(st.binary(max_size=8))
    text = ssl.DER_cert_to_PEM_cert(der[:cut] + junk + der[cut + len(junk) :])
    with suppress(ValueError):
        assert isinstance(not_after(text), float)
    with pytest.raises(ValueError, match=r"cut off|no certificate"):
        not_after(ssl.DER_cert_to_PEM_cert(der[: cut // 2]))


END = "-----END CERTIFICATE-----\n"
