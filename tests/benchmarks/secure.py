"""TLS of the loader's clients: a socket that an endpoint can use as a plain one."""

import ssl

from messages import READ_SIZE

RECORD = 16384  # bytes of a TLS record at most (RFC 8446, section 5.1)


class SecureSocket(ssl.SSLSocket):
    """Raises BlockingIOError where a socket does, and never holds back what it has decrypted."""

    owed = b""  # of a record that is encrypted, and not sent whole: its last byte is not taken yet

    def recv(self, size: int = READ_SIZE, flags: int = 0) -> bytes:
        """What has come, as far as there is room for whole records; b"" at the end."""
        pieces: list[bytes] = []
        try:
            while not pieces or size >= RECORD:
                pieces.append(super().recv(RECORD))
                size -= len(pieces[-1])
                if not pieces[-1]:
                    break
        except ssl.SSLWantReadError:
            if not pieces:
                raise BlockingIOError from None
        return b"".join(pieces)

    def send(self, data: bytes | memoryview, flags: int = 0) -> int:  # type: ignore[override]
        """Send a record; how much of the data is taken.

        OpenSSL must be given again what it has begun to send, so all but its last byte is taken,
        which stands inside of a frame: nothing gets in front of it.
        """
        record, taken = self.owed or bytes(data[:RECORD]), 1 if self.owed else 0
        try:
            super().send(record)
        except ssl.SSLWantWriteError:
            if self.owed:
                raise BlockingIOError from None
            self.owed = record
            return len(record) - 1
        self.owed = b""
        return taken or len(record)


def secured(authority: str) -> ssl.SSLContext:
    """How clients speak TLS that trust the authority in that file."""
    context = ssl.create_default_context(cafile=authority)
    context.sslsocket_class = SecureSocket
    return context
