"""Which end of a session something belongs to."""

from enum import Enum


class Side(Enum):
    """The two legs of a session: towards the client, and towards the server."""

    __hash__ = object.__hash__  # members are single; Enum's own is Python code

    CLIENT = "client"
    SERVER = "server"
