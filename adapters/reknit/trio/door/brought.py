"""A client on its way to the worker of its session, with its request that is read already."""

import msgspec
from reknit_core.proxy.arrival import Arrival
from reknit_core.wire.handshake import ClientHandshake, UpgradeRequest
from reknit_core.wire.headers import HeaderList


class Brought(msgspec.Struct, array_like=True):
    """A client on its way to the worker of its session, and the request that was read already.

    To read it again would cost more than all the rest of the way.

    `begun`: what the client has sent, of which the first `size` bytes are the request's head.
    """

    address: str
    secure: bool
    begun: bytes
    size: int
    target: str
    host: str
    headers: HeaderList
    subprotocols: tuple[str, ...]
    extensions: tuple[str, ...]

    @classmethod
    def of(cls, address: str, handshake: ClientHandshake, request: UpgradeRequest) -> "Brought":
        """The client at that address, whose handshake has just read this request."""
        return cls(
            address,
            handshake.secure,
            handshake.head + handshake.rest,
            len(handshake.head),
            request.target,
            request.host,
            request.headers,
            request.subprotocols,
            request.extensions,
        )

    @property
    def request(self) -> UpgradeRequest:
        """What it asks."""
        return UpgradeRequest(
            self.target, self.host, self.headers, self.subprotocols, self.extensions
        )

    @property
    def arrival(self) -> Arrival:
        """The client, for a process that has to look again whose it is."""
        return Arrival(self.address, self.begun, self.secure)
