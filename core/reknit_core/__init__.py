"""The pure core of reknit: a WebSocket reconnect proxy without I/O, clock or randomness."""
