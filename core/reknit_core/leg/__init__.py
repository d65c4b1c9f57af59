"""One leg of a session: its connection, its peer, and how the server is dialled."""
