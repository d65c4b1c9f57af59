"""Stream sockets, plain or TLS, without an event loop: what trio and asyncio share."""
