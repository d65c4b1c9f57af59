"""On what terms a session stands: what its first handshake pinned, and to whom it belongs."""
