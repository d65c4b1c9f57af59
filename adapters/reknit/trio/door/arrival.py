"""A client on its way from one process to the next, in the middle of its handshake."""

import msgspec


class Arrival(msgspec.Struct):
    """A client whose request isn't complete: its address, and what it has sent."""

    address: str
    begun: bytes
