"""Bytes and RFCs, without a session: frames, opening handshakes, headers."""
