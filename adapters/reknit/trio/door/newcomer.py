"""A client whose next request isn't complete."""

from typing import TYPE_CHECKING

from reknit_core.proxy.admission import Guest
from reknit_core.wire.handshake import ClientHandshake

from reknit.sockets.stream_socket import StreamSocket
from reknit.trio.watched import Watched

if TYPE_CHECKING:
    from reknit.trio.door.newcomers import Newcomers


class Newcomer(Watched):
    """Its connection, and what was read of its request; `begun`: before it was here.

    `secure`: whether it speaks TLS, here or to whoever passes on what it says.
    """

    __slots__ = ("_begun", "_newcomers", "_secure", "guest", "handshake", "is_kept", "stream")

    def __init__(
        self,
        newcomers: "Newcomers",
        stream: StreamSocket,
        guest: Guest,
        begun: bytes,
        *,
        secure: bool,
    ) -> None:
        super().__init__(stream.fileno())
        self._newcomers = newcomers
        self.stream = stream
        self.guest = guest
        self._secure = secure
        self.is_kept = False
        """Whether this isn't the first request on its connection."""
        self._expect(begun)

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
        """What it has sent of its request."""
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
