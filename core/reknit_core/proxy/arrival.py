"""A client on its way to another process, in the middle of its handshake."""

import msgspec


class Arrival(msgspec.Struct):
    """A client whose request isn't answered: its address, and what it has sent.

    `secure`: whether it speaks TLS, to somebody who passes on what it says.
    """

    address: str
    begun: bytes
    secure: bool = False
