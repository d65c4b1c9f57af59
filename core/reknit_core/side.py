"""Which end of a session something belongs to."""

from enum import Enum


class Side(Enum):
    """The two legs of a session: towards the client, and towards the server."""

    CLIENT = "client"
    SERVER = "server"
