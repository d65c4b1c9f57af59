"""TCP, TLS and Unix sockets as streams; dialling the server."""
