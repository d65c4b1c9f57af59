"""A client on its way to another process, in the middle of its handshake."""

import msgspec

from reknit_core.proxy.admission import Guest
from reknit_core.wire.handshake import ClientHandshake


class Arrival(msgspec.Struct):
    """A client whose request isn't answered: its address, and what it has sent.

    `secure`: whether it speaks TLS, to somebody who passes on what it says. `awaits`: whether what
    it has sent is the beginning of a PROXY protocol header, which is not complete.
    """

    address: str
    begun: bytes
    secure: bool = False
    awaits: bool = False


def arrival_of(guest: Guest, handshake: ClientHandshake) -> Arrival:
    """A client whose request is complete; it is not answered, but passed on."""
    return Arrival(guest.peer, handshake.head + handshake.rest, handshake.secure)
