"""A client whose next request isn't complete."""

import socket
import ssl
from typing import TYPE_CHECKING

from reknit_core.proxy.admission import Guest
from reknit_core.wire.handshake import ClientHandshake
from reknit_core.wire.proxy_header import ProxyHeader

from reknit.sockets.stream_socket import StreamSocket
from reknit.sockets.tls import TlsSocket
from reknit.trio.watched import Watched

if TYPE_CHECKING:
    from reknit.trio.door.newcomers import Newcomers


class Newcomer(Watched):
    """Its connection, and what was read of its request; `begun`: before it was here.

    `secure`: whether it speaks TLS, here or to whoever passes on what it says. `context`: how, for
    one that is to begin with it when its balancer has spoken.
    """

    __slots__ = (
        "_begun",
        "_context",
        "_newcomers",
        "_secure",
        "guest",
        "handshake",
        "header",
        "is_kept",
        "stream",
    )

    def __init__(
        self,
        newcomers: "Newcomers",
        stream: StreamSocket,
        guest: Guest,
        begun: bytes,
        *,
        secure: bool,
        context: ssl.SSLContext | None = None,
    ) -> None:
        super().__init__(stream.fileno())
        self._newcomers = newcomers
        self._context = context
        self.stream = stream
        self.guest = guest
        self._secure = secure
        self.is_kept = False
        """Whether this isn't the first request on its connection."""
        self.header: ProxyHeader | None = None
        """What its balancer has to say first."""
        if guest.awaits:
            self.header = ProxyHeader()
            self.header.receive_data(begun)
            begun = b""
        self._expect(begun)

    def announced(self) -> None:
        """Its balancer has said whose it is: now its own words follow."""
        self.header = None
        if self._context is not None:
            assert isinstance(self.stream, socket.socket)  # no TLS yet
            self.stream = TlsSocket(self.stream, self._context, None)
        self._expect(b"")

    def _expect(self, begun: bytes) -> None:
        self._begun = begun
        self.handshake = ClientHandshake(self.guest.peer, secure=self._secure)

    def keep(self, begun: bytes) -> None:
        """Its request is over: another one may follow, and may be begun."""
        self.is_kept = True
        self._expect(begun)

    def take_begun(self) -> bytes:
        """What is not given to the handshake yet; it is to be, now."""
        begun, self._begun = self._begun, b""
        return begun

    @property
    def read(self) -> bytes:
        """What it has sent of its request, or of what stands in front of it."""
        if self.header is not None:
            return self.header.read
        return self.handshake.head + self.handshake.rest + self._begun

    @property
    def is_idle(self) -> bool:
        """Whether it has been answered, and has begun nothing new."""
        return self.is_kept and not self.read

    def ready(self, now: float) -> None:
        """Read on."""
        self._newcomers.serve(self, now)

    def drop(self) -> None:
        """Close its connection."""
        self._newcomers.part(self)
