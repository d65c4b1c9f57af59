"""A TLS connection with a socket's interface, so that the reactor serves it like any other.

OpenSSL works in memory here: reading never has to write, nor writing to read, and all that has
come in one read of the socket is decrypted at once, so the descriptor's readiness is the truth.
"""

import socket
import ssl
from collections.abc import Iterable, Iterator
from contextlib import suppress

from reknit_core import Buffer
from reknit_core.wire.handshake import encode_refusal, refusal

from reknit.sockets.poller import READ, WRITE

RECORD = 16384  # bytes of plain text in a TLS record at most (RFC 8446, section 5.1)
_FULL = RECORD + 22  # bytes of such a record of TLS 1.3 on its way, by AEAD with a tag of 16 bytes
UNREAD = 65536  # bytes of answers of TLS itself that may wait for a peer that doesn't read

_OTHER_NAME = (62, 64)  # X509_V_ERR_HOSTNAME_MISMATCH, X509_V_ERR_IP_ADDRESS_MISMATCH


TLS_ONLY = encode_refusal(refusal(400, "tls_only", "this port takes TLS only: wss:// or https://"))
"""What a client gets that speaks plain HTTP: without an answer it tries for long."""


class TlsError(OSError):
    """A connection's TLS has failed; says how. `answered`: by what the peer has said.

    `is_plain_http`: a client speaks HTTP without TLS.
    """

    def __init__(self, reason: str, *, answered: bool = True, is_plain_http: bool = False) -> None:
        super().__init__(reason)
        self.answered = answered
        self.is_plain_http = is_plain_http


class TlsSocket:
    """A socket (see StreamSocket) on a non-blocking one; its handshake comes first.

    `host`: the server's name or address, as its certificate must have it; None: we are the server.
    """

    __slots__ = ("_incoming", "_outgoing", "_owed", "_tls", "_unsent", "socket")

    def __init__(self, sock: socket.socket, context: ssl.SSLContext, host: str | None) -> None:
        self.socket = sock
        self._incoming = ssl.MemoryBIO()
        self._outgoing = ssl.MemoryBIO()
        self._tls = context.wrap_bio(
            self._incoming, self._outgoing, server_side=host is None, server_hostname=host
        )
        self._unsent = b""  # encrypted, and not taken by the socket yet
        # A record that is encrypted goes out, whatever is decided later. While the socket hasn't
        # taken all of it, its last byte counts as not taken: then the caller waits for the
        # socket, and comes again with that byte, which stands inside of a frame, in front.
        self._owed = 0

    def shake_hands(self) -> int:
        """Go on with the TLS handshake: what it waits for, READ or WRITE; 0: it is done.

        To call it again then does nothing. Raises TlsError, or OSError if the connection breaks.
        """
        while True:
            is_done = self._is_done()
            try:
                self._flush()
            except BlockingIOError:
                return WRITE
            if is_done:
                return 0
            try:
                data = self.socket.recv(RECORD)
            except BlockingIOError:
                return READ
            if data:
                self._incoming.write(data)
            else:
                self._incoming.write_eof()

    def _is_done(self) -> bool:
        try:
            self._tls.do_handshake()
        except ssl.SSLWantReadError:
            return False
        except ssl.SSLError as error:
            with suppress(OSError):
                self._flush()  # the alert, which says it to the peer
            raise _failed(error) from None
        return True

    @property
    def is_secured(self) -> bool:
        """Whether the TLS handshake is done."""
        return self._tls.version() is not None

    def fileno(self) -> int:
        """The socket's descriptor."""
        return self.socket.fileno()

    @property
    def held(self) -> int:
        """Encrypted bytes that the socket has not taken yet."""
        return self._outgoing.pending + len(self._unsent)

    def recv(self, size: int) -> bytes:
        """What has come, decrypted; b"" at the peer's close_notify.

        Raises TlsError, also for a stream that ends without close_notify (RFC 8446, section 6.1).
        """
        data = b""
        try:
            data = self.socket.recv(size)
            if not data:
                self._incoming.write_eof()
        except BlockingIOError:
            if not self._incoming.pending:
                raise
        pieces: list[bytes] = []
        try:
            ended = self._decrypt(data, pieces)
        except ssl.SSLError as error:
            if not pieces:
                raise _failed(error) from None
            ended = True
        if self._outgoing.pending:
            self._answer()
        if pieces:
            if ended:
                self._read_again()
            return pieces[0] if len(pieces) == 1 else b"".join(pieces)
        if ended:
            return b""
        raise BlockingIOError

    def send(self, data: Buffer) -> int:
        """Encrypt and send; how much is taken."""
        if self._owed or self._unsent or len(data) > RECORD:
            return self.sendmsg((data,))
        return self._send((data,), 0)  # mostly so

    def sendmsg(self, buffers: Iterable[Buffer]) -> int:
        """Encrypt and send; how much is taken."""
        self._flush()
        owed, self._owed = self._owed, 0
        return self._send(_records(buffers, owed), owed)

    def _send(self, records: Iterable[Buffer], taken: int) -> int:
        for record in records:
            try:
                self._tls.write(record)
                self._flush()
            except BlockingIOError:
                self._owed = 1
                taken += len(record) - 1
                if not taken:
                    raise
                break
            except OSError:
                if not taken:
                    raise
                break  # as a socket says it: the next call fails
            taken += len(record)
        return taken

    def shutdown(self, how: int) -> None:
        """End this direction by close_notify."""
        with suppress(ssl.SSLError):  # it does not wait for the peer's
            self._tls.unwrap()
        with suppress(BlockingIOError):
            self._flush()
        self.socket.shutdown(how)

    def close(self) -> None:
        """Close the socket."""
        self.socket.close()

    def _decrypt(self, data: bytes, pieces: list[bytes]) -> bool:
        """Append what these bytes hold; whether it is the last, by close_notify."""
        ended = False
        view = memoryview(data)
        for start in range(0, len(data) or 1, _FULL):  # OpenSSL keeps the room it once needed
            if data:
                self._incoming.write(view[start : start + _FULL])
            ended = self._read_records(pieces)
        return ended

    def _read_records(self, pieces: list[bytes]) -> bool:
        try:
            while piece := self._tls.read(RECORD):
                pieces.append(piece)
                if not self._incoming.pending:
                    return False
        except ssl.SSLWantReadError:
            return False
        except ssl.SSLZeroReturnError:
            pass  # so it is said where both directions have ended
        return True

    def _read_again(self) -> None:
        """An end that came right behind data is to be found by the next read.

        Nothing else may come, so the socket is made to say that it can be read.
        """
        with suppress(OSError):
            self.socket.shutdown(socket.SHUT_RD)

    def _answer(self) -> None:
        """Send what TLS itself has to say to what was read, as a new key or an alert."""
        with suppress(OSError):
            self._flush()
        if len(self._unsent) > UNREAD:
            raise TlsError("TLS: the peer asks for answers and doesn't read them")

    def _flush(self) -> None:
        """Send all that is encrypted. Raises BlockingIOError while some of it is left."""
        if self._outgoing.pending:
            self._unsent += self._outgoing.read()
        while self._unsent:
            self._unsent = self._unsent[self.socket.send(self._unsent) :]


def _records(buffers: Iterable[Buffer], skip: int) -> Iterator[Buffer]:
    """The buffers without their first `skip` bytes, in pieces that fill a record each."""
    parts: list[Buffer] = []
    size = 0
    for buffer in buffers:
        rest = memoryview(buffer)[skip:]
        skip = 0
        while rest:
            parts.append(rest[: RECORD - size])
            size += len(parts[-1])
            rest = rest[len(parts[-1]) :]
            if size == RECORD:
                yield parts[0] if len(parts) == 1 else b"".join(parts)
                parts, size = [], 0
    if parts:
        yield parts[0] if len(parts) == 1 else b"".join(parts)


def _failed(error: ssl.SSLError) -> TlsError:
    ended = isinstance(error, (ssl.SSLEOFError, ssl.SSLZeroReturnError))
    is_plain_http = error.reason == "HTTP_REQUEST"
    return TlsError(_explain(error), answered=not ended, is_plain_http=is_plain_http)


def _explain(error: ssl.SSLError) -> str:
    """What went wrong, in words."""
    if isinstance(error, ssl.SSLCertVerificationError):
        if error.verify_code in _OTHER_NAME:
            return "TLS: the certificate is for another name"  # which one is nobody's business
        return f"TLS: {error.verify_message}"
    if isinstance(error, ssl.SSLEOFError):
        return "TLS: the stream ended without close_notify"
    return f"TLS: {(error.reason or 'failed').lower().replace('_', ' ')}"
